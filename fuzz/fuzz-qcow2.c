/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of hostile images: bounded, and nothing outside the bytes is read. */
#include <string.h>

#include "disk/qcow2.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct qcow2_info info = { .version = 0 };
    struct err err = { 0 };
    size_t need = 0;

    if (qcow2_decode(data, len, &info, &need, &err) < 0) {
        FUZZ_CHECK(err.code == ERR_CORRUPT || err.code == ERR_INVALID);
        return 0;
    }
    FUZZ_CHECK(need == 0 || (need > len && need <= 2u << 20));
    FUZZ_CHECK(info.backing == NULL ||
               strlen(info.backing) <= QCOW2_BACKING_MAX);
    FUZZ_CHECK(info.n_bitmaps <= QCOW2_BITMAPS_MAX &&
               info.bitmaps_size <= QCOW2_BITMAPS_SIZE_MAX);
    qcow2_info_fini(&info);
    return 0;
}
