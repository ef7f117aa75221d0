/* SPDX-License-Identifier: Apache-2.0 */
/* Key slots with a right checksum, by a key file (a passphrase would cost a
 * second each), and the key file itself. */
#include <string.h>

#include "codec/crc.h"
#include "codec/keys.h"
#include "codec/le.h"
#include "fuzz.h"

static void
slot(const uint8_t *data)
{
    struct keys_secret secret = { .kind = KEYS_SLOT_FILE };
    uint8_t fixed[KEYS_SLOT_SIZE], root[KEYS_SIZE];
    bool matched;
    struct err err;

    memcpy(fixed, data, sizeof fixed);
    le_put32(fixed + sizeof fixed - 4, crc_32c(0, fixed, sizeof fixed - 4));
    (void)!keys_slot_decode(fixed, sizeof fixed, fixed + 16, fixed + 32, 1,
                            &secret, &matched, root, &err);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct keys_secret secret = { .kind = KEYS_SLOT_FILE };
    uint8_t id[16] = { 0 }, key[KEYS_SIZE];
    char text[KEYS_FILE_TEXT_SIZE];
    bool matched;
    struct err err;

    if (len == KEYS_SLOT_SIZE)
        slot(data);
    else
        FUZZ_CHECK(keys_slot_decode(data, len, id, id, 1, &secret, &matched,
                                    key, &err) < 0);
    if (keys_file_parse((const char *)data, len, key, &err) == 0) {
        keys_file_format(key, text);
        FUZZ_CHECK(strncasecmp(text, (const char *)data, 77) == 0);
    }
    return 0;
}
