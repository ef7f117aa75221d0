/* SPDX-License-Identifier: Apache-2.0 */
/* Key slots with a right checksum, opened by a key file and as a grant (a
 * passphrase would cost a second each), what is in them, and keys as text. */
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/keys-text.h"
#include "codec/le.h"
#include "fuzz.h"

static void
slot(const uint8_t *data, size_t len)
{
    struct keys_secret file = { .kind = KEYS_SLOT_FILE };
    struct keys_secret recipient = { .kind = KEYS_SLOT_RECIPIENT };
    CLEANUP(mem_free) uint8_t *fixed = xcalloc(1, len);
    static struct keys keys;
    uint8_t box[KEYS_SIZE] = { 0 };
    struct keys_slot s;
    bool matched;
    struct err err;

    memcpy(fixed, data, len);
    le_put32(fixed + len - 4, crc_32c(0, fixed, len - 4));
    if (keys_slot_decode(fixed, len, fixed + 16, 1, &s, &err) < 0)
        return;
    FUZZ_CHECK(strlen(s.label) <= KEYS_SLOT_LABEL);
    (void)!keys_slot_is_signed(&s, box);
    (void)!keys_slot_open(&s, &file, &matched, &keys, box, &err);
    (void)!keys_slot_open(&s, &recipient, &matched, &keys, box, &err);
    (void)!keys_slot_open_grant(&s, box, &matched, &keys, &err);
}

static void
bundle(const uint8_t *data, size_t len)
{
    CLEANUP(buf_fini) struct buf again = BUF_INIT;
    static struct keys keys;
    struct err err;

    if (keys_decode(data, len, KEYS_ROLE_FULL, &keys, &err) < 0)
        return;
    keys_encode(&keys, KEYS_ROLE_FULL, &again);
    FUZZ_CHECK(again.len == len && memcmp(again.data, data, len) == 0);
}

static void
text(const char *data, size_t len)
{
    char again[KEYS_TEXT_SIZE];
    struct keys_secret s;
    uint8_t key[KEYS_SIZE];
    struct err err;

    if (keys_text_parse(data, len, &s, &err) == 0) {
        keys_text_format(s.kind, s.key, again);
        FUZZ_CHECK(strncasecmp(again, data, strlen(again) - 1) == 0);
    }
    if (keys_text_parse_public(data, len, key, &err) == 0) {
        keys_text_format_public(key, again);
        FUZZ_CHECK(strncasecmp(again, data, strlen(again) - 1) == 0);
    }
    (void)!keys_text_collect(data, len, key, &err);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len >= KEYS_SLOT_HEAD)
        slot(data, len);
    bundle(data, len);
    text((const char *)data, len);
    return 0;
}
