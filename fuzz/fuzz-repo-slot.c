/* Key slots, by a key file (a passphrase would cost a second each), and the
 * key file itself. */
#include <string.h>

#include "codec/keys.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct keys_secret secret = { .kind = KEYS_SLOT_FILE };
    uint8_t repo[16] = { 0 }, uuid[16] = { 0 }, root[KEYS_SIZE];
    char text[KEYS_FILE_TEXT_SIZE];
    bool matched;
    struct err err;

    if (len >= 48) {
        memcpy(repo, data + 16, 16);
        memcpy(uuid, data + 32, 16);
    }
    if (keys_slot_decode(data, len, repo, uuid, 1, &secret, &matched, root,
                         &err) == 0)
        FUZZ_CHECK(len == KEYS_SLOT_SIZE);
    if (keys_file_parse((const char *)data, len, root, &err) == 0) {
        keys_file_format(root, text);
        FUZZ_CHECK(strncasecmp(text, (const char *)data, 77) == 0);
    }
    return 0;
}
