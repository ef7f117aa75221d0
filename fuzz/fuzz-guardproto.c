/* SPDX-License-Identifier: Apache-2.0 */
/* What is decoded encodes to the same bytes. */
#include <string.h>

#include "fuzz.h"
#include "virt/guardproto.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char text[GUARDPROTO_MAX];
    struct guardproto msg;
    struct err err = { 0 };

    if (guardproto_decode((const char *)data, len, &msg, &err) < 0) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        return 0;
    }
    FUZZ_CHECK(guardproto_encode(&msg, text) == len);
    FUZZ_CHECK(memcmp(text, data, len) == 0);
    return 0;
}
