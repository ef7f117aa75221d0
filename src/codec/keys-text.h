/* SPDX-License-Identifier: Apache-2.0 */
/* codec/keys-text.h: keys as text: key files, recipients, the restore kit.
 *
 * source  docs/formats/keys.md
 * threads any
 */
#pragma once
#include "codec/keys-slot.h"

/* One line, with newline and NUL: "vmkeep-key-1 <64 hex digits>",
 * "vmkeep-recipient-1 ..." (secret), "vmkeep-public-1 ..." */
#define KEYS_TEXT_SIZE 96

/* `kind` KEYS_SLOT_FILE or KEYS_SLOT_RECIPIENT. */
void keys_text_format(enum keys_slot_kind kind, const uint8_t key[KEYS_SIZE],
                      char text[KEYS_TEXT_SIZE]);
/* A key file's content, or a recipient's.
 *   errors  INVALID */
int keys_text_parse(const char *text, size_t len, struct keys_secret *ret,
                    struct err *err) NODISCARD;

/* What a recipient gives to others. */
void keys_text_format_public(const uint8_t key[KEYS_SIZE],
                             char text[KEYS_TEXT_SIZE]);
int keys_text_parse_public(const char *text, size_t len, uint8_t key[KEYS_SIZE],
                           struct err *err) NODISCARD;

/* A key to be typed from paper: KEYS_TEXT_LINES lines such as
 * "1:  3f2a 99c0 1234 abcd  5e21", the last group a checksum over number and
 * digits. */
#define KEYS_TEXT_LINES 4u
void keys_text_line(const uint8_t key[KEYS_SIZE], unsigned line,
                    char text[KEYS_TEXT_SIZE]);
/* Finds the lines in `text`, among whatever else stands there; blanks and
 * the case of letters do not matter.
 *   errors  INVALID: names the line that is missing or mistyped */
int keys_text_collect(const char *text, size_t len, uint8_t key[KEYS_SIZE],
                      struct err *err) NODISCARD;
