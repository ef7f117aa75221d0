/* SPDX-License-Identifier: Apache-2.0 */
/* A layer table that is taken encodes to the same bytes. */
#include <string.h>

#include "fuzz.h"
#include "volume/layer.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(layer_table_free) struct layer_table *t = NULL;
    CLEANUP(buf_fini) struct buf again = BUF_INIT;

    t = layer_table_decode(data, len, &err);
    if (t == NULL) {
        FUZZ_CHECK(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED);
        return 0;
    }
    layer_table_encode(t, &again);
    FUZZ_CHECK(again.len == len && memcmp(again.data, data, len) == 0);
    return 0;
}
