/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata of a backup that is taken encodes to the same bytes. */
#include <string.h>

#include "base/mem.h"
#include "controller/backup-meta.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(backup_meta_free)
    struct backup_meta *m = backup_meta_decode(data, len, &err);
    CLEANUP(mem_free) char *again = NULL;
    size_t n = 0;

    if (m == NULL) {
        FUZZ_CHECK(err.code == ERR_INVALID || err.code == ERR_UNSUPPORTED);
        return 0;
    }
    FUZZ_CHECK(backup_meta_encode(m, &again, &n, &err) == 0);
    FUZZ_CHECK(n == len && memcmp(again, data, len) == 0);
    return 0;
}
