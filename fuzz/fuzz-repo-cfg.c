/* SPDX-License-Identifier: Apache-2.0 */
/* repo.cfg with a right checksum, which no search would find: what decodes
 * encodes to the same bytes, but for unused masks. */
#include "codec/crc.h"
#include "codec/le.h"
#include "fuzz.h"
#include "repo/repo-cfg.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t fixed[REPO_CFG_SIZE], again[REPO_CFG_SIZE];
    struct repo_cfg c;
    struct err err;

    if (repo_cfg_decode(data, len, &c, &err) < 0 && len != REPO_CFG_SIZE)
        return 0;
    memcpy(fixed, data, REPO_CFG_SIZE);
    le_put32(fixed + REPO_CFG_SIZE - 4, crc_32c(0, fixed, REPO_CFG_SIZE - 4));
    if (repo_cfg_decode(fixed, sizeof fixed, &c, &err) < 0)
        return 0;
    repo_cfg_encode(&c, again);
    FUZZ_CHECK(memcmp(again, fixed, 16) == 0);
    FUZZ_CHECK(memcmp(again + 40, fixed + 40, 24) == 0);
    return 0;
}
