/* repo.cfg: what decodes encodes to the same bytes, but for unused masks. */
#include "codec/le.h"
#include "fuzz.h"
#include "repo/repo-cfg.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err;
    struct repo_cfg c;
    uint8_t again[REPO_CFG_SIZE];

    if (repo_cfg_decode(data, len, &c, &err) < 0)
        return 0;
    repo_cfg_encode(&c, again);
    FUZZ_CHECK(memcmp(again, data, 16) == 0);
    FUZZ_CHECK(memcmp(again + 40, data + 40, 24) == 0);
    return 0;
}
