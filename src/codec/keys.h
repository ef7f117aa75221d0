/* SPDX-License-Identifier: Apache-2.0 */
/* codec/keys.h: the root key of a repository, its slots and what is derived.
 *
 * source  docs/formats/keys.md
 * threads any
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "codec/hash.h"

#define KEYS_SIZE      32
#define KEYS_SLOT_SIZE 160

enum keys_slot_kind {
    KEYS_SLOT_FILE = 0,
    KEYS_SLOT_PASSPHRASE = 1,
};

/* The root key and its children. A secret: keys_wipe(). */
struct keys {
    uint8_t root[KEYS_SIZE];
    struct hash_key id;      /* K_id */
    uint8_t data[KEYS_SIZE]; /* wraps the keys of data packs */
    uint8_t meta[KEYS_SIZE];
    struct hash_key log;
};

void keys_init(struct keys *k, const uint8_t root[KEYS_SIZE]);
void keys_wipe(struct keys *k);

/* What opens a slot: the 32 bytes of a key file, or a passphrase. */
struct keys_secret {
    enum keys_slot_kind kind;
    uint8_t file_key[KEYS_SIZE];
    const char *passphrase; /* borrowed */
};

/* Wrap `root`. `uuid` is the slot's, `repo_uuid` and `cipher` are bound to it.
 * is_fast: Argon2id with 64 MiB instead of 256.
 *   errors  NO_MEMORY (Argon2id) */
int keys_slot_encode(const uint8_t root[KEYS_SIZE], const uint8_t repo_uuid[16],
                     const uint8_t uuid[16], uint8_t cipher,
                     const struct keys_secret *secret, bool is_fast,
                     uint8_t out[KEYS_SLOT_SIZE], struct err *err) NODISCARD;

/* Unwrap. *ret_matched false: the slot is of another kind, or the secret is
 * not the one that it was made with.
 *   errors  CORRUPT, UNSUPPORTED: the slot itself; NO_MEMORY */
int keys_slot_decode(const uint8_t *data, size_t len,
                     const uint8_t repo_uuid[16], const uint8_t uuid[16],
                     uint8_t cipher, const struct keys_secret *secret,
                     bool *ret_matched, uint8_t root[KEYS_SIZE],
                     struct err *err) NODISCARD;

/* The key file's text. `text` has KEYS_FILE_TEXT_SIZE bytes. */
#define KEYS_FILE_TEXT_SIZE 79 /* with newline and NUL */
void keys_file_format(const uint8_t key[KEYS_SIZE],
                      char text[KEYS_FILE_TEXT_SIZE]);
int keys_file_parse(const char *text, size_t len, uint8_t key[KEYS_SIZE],
                    struct err *err) NODISCARD;
