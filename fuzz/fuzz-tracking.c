/* SPDX-License-Identifier: Apache-2.0 */
/* A tracking file that is taken encodes to the same bytes. */
#include <string.h>

#include "base/mem.h"
#include "controller/tracking.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(tracking_free)
    struct tracking *t = tracking_code_decode((const char *)data, len, &err);
    CLEANUP(buf_fini) struct buf again = BUF_INIT;

    if (t == NULL) {
        FUZZ_CHECK(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED);
        return 0;
    }
    tracking_code_encode(t, &again);
    FUZZ_CHECK(again.len == len && memcmp(again.data, data, len) == 0);
    return 0;
}
