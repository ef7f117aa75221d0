/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/keys-text.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/format.h"

#define FILE_WORD      "vmkeep-key-" FORMAT_VERSION_TEXT " "
#define RECIPIENT_WORD "vmkeep-recipient-" FORMAT_VERSION_TEXT " "
#define PUBLIC_WORD    "vmkeep-public-" FORMAT_VERSION_TEXT " "
#define LINE_BYTES     (KEYS_SIZE / KEYS_TEXT_LINES)
#define LINE_DIGITS    (2 * LINE_BYTES + 4)

static void
format(const char *word, const uint8_t key[KEYS_SIZE],
       char text[KEYS_TEXT_SIZE])
{
    size_t at = strlen(word);

    memcpy(text, word, at);
    (void)sodium_bin2hex(text + at, KEYS_TEXT_SIZE - at, key, KEYS_SIZE);
    memcpy(text + at + (size_t)2 * KEYS_SIZE, "\n", 2);
}

static bool
parse(const char *word, const char *text, size_t len, uint8_t key[KEYS_SIZE])
{
    size_t at = strlen(word), end = at + (size_t)2 * KEYS_SIZE, n = 0;

    return len >= end && len <= end + 1 && memcmp(text, word, at) == 0 &&
           (len == end || text[end] == '\n') &&
           sodium_hex2bin(key, KEYS_SIZE, text + at, (size_t)2 * KEYS_SIZE,
                          NULL, &n, NULL) == 0 &&
           n == KEYS_SIZE;
}

void
keys_text_format(enum keys_slot_kind kind, const uint8_t key[KEYS_SIZE],
                 char text[KEYS_TEXT_SIZE])
{
    format(kind == KEYS_SLOT_FILE ? FILE_WORD : RECIPIENT_WORD, key, text);
}

int
keys_text_parse(const char *text, size_t len, struct keys_secret *ret,
                struct err *err)
{
    ret->passphrase = NULL;
    ret->kind = KEYS_SLOT_FILE;
    if (parse(FILE_WORD, text, len, ret->key))
        return 0;
    ret->kind = KEYS_SLOT_RECIPIENT;
    if (parse(RECIPIENT_WORD, text, len, ret->key))
        return 0;
    return err_set(
        err, ERR_INVALID,
        "not a key file (one line: vmkeep-key-1 or vmkeep-recipient-1, and 64 hexadecimal digits)");
}

void
keys_text_format_public(const uint8_t key[KEYS_SIZE], char text[KEYS_TEXT_SIZE])
{
    format(PUBLIC_WORD, key, text);
}

int
keys_text_parse_public(const char *text, size_t len, uint8_t key[KEYS_SIZE],
                       struct err *err)
{
    if (!parse(PUBLIC_WORD, text, len, key))
        return err_set(
            err, ERR_INVALID,
            "not a recipient's public key (vmkeep-public-1 and 64 hexadecimal digits)");
    return 0;
}

/* ---- the kit ------------------------------------------------------------- */

static unsigned
line_sum(unsigned line, const uint8_t *bytes)
{
    uint8_t text[1 + LINE_BYTES];

    text[0] = (uint8_t)line;
    memcpy(text + 1, bytes, LINE_BYTES);
    return crc_32c(0, text, sizeof text) & 0xffff;
}

void
keys_text_line(const uint8_t key[KEYS_SIZE], unsigned line,
               char text[KEYS_TEXT_SIZE])
{
    const uint8_t *b = key + (size_t)LINE_BYTES * (line - 1);

    (void)snprintf(text, KEYS_TEXT_SIZE,
                   "%u:  %02x%02x %02x%02x %02x%02x %02x%02x  %04x", line, b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], line_sum(line, b));
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One line of text: 0 not a key line, else its number; *ret_good false: its
 * digits are not those that were printed. */
static unsigned
take_line(const char *text, size_t len, uint8_t key[KEYS_SIZE], bool *ret_good)
{
    uint8_t bytes[LINE_DIGITS / 2] = { 0 };
    unsigned line, digits = 0;
    size_t i = 0;

    while (i < len && isblank((unsigned char)text[i]))
        i++;
    if (len - i < 2 || text[i] < '1' || text[i] > '0' + (int)KEYS_TEXT_LINES ||
        text[i + 1] != ':')
        return 0;
    line = (unsigned)(text[i] - '0');
    *ret_good = false;
    for (i += 2; i < len; i++) {
        int v = hex_value(text[i]);

        if (isspace((unsigned char)text[i]))
            continue;
        if (v < 0 || digits == LINE_DIGITS)
            return line;
        bytes[digits / 2] = (uint8_t)(bytes[digits / 2] << 4 | v);
        digits++;
    }
    if (digits == LINE_DIGITS &&
        line_sum(line, bytes) ==
            ((unsigned)bytes[LINE_BYTES] << 8 | bytes[LINE_BYTES + 1])) {
        memcpy(key + (size_t)LINE_BYTES * (line - 1), bytes, LINE_BYTES);
        *ret_good = true;
    }
    mem_wipe(bytes, sizeof bytes);
    return line;
}

int
keys_text_collect(const char *text, size_t len, uint8_t key[KEYS_SIZE],
                  struct err *err)
{
    bool has[KEYS_TEXT_LINES + 1] = { false };

    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t n = end != NULL ? (size_t)(end - text) : len;
        bool is_good = false;
        unsigned line = take_line(text, n, key, &is_good);

        if (line > 0 && !is_good)
            return err_set(
                err, ERR_INVALID,
                "line %u of the key: mistyped (16 digits in 4 groups, and 4 of a checksum)",
                line);
        has[line] = true;
        n += end != NULL;
        text += n;
        len -= n;
    }
    for (unsigned i = 1; i <= KEYS_TEXT_LINES; i++)
        if (!has[i])
            return err_set(err, ERR_INVALID, "line %u of the key is missing",
                           i);
    return 0;
}
