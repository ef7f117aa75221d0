/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of bitmaps of hostile images; the first two bytes are the
 * number of entries that the header promises. */
#include <string.h>

#include "disk/qcow2.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct qcow2_bitmaps b = { .n = 0 };
    struct err err = { 0 };
    uint32_t n;

    if (len < 2)
        return 0;
    n = (uint32_t)data[0] << 8 | data[1];
    if (qcow2_bitmaps_decode(data + 2, len - 2, n, &b, &err) < 0) {
        FUZZ_CHECK(err.code == ERR_CORRUPT);
        return 0;
    }
    FUZZ_CHECK(b.n == n && n <= QCOW2_BITMAPS_MAX);
    for (size_t i = 0; i < b.n; i++) {
        FUZZ_CHECK(strlen(b.v[i].name) > 0 &&
                   strlen(b.v[i].name) <= QCOW2_BITMAP_NAME_MAX);
        FUZZ_CHECK(b.v[i].granularity >= 512);
        FUZZ_CHECK(qcow2_bitmaps_find(&b, b.v[i].name) == &b.v[i]);
    }
    qcow2_bitmaps_fini(&b);
    return 0;
}
