/* SPDX-License-Identifier: Apache-2.0 */
/* What parses prints, and what is printed parses to the same. */
#include "codec/yamlx.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *docs = yamlx_parse_all((const char *)data, len, &err);

    if (docs == NULL) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        return 0;
    }
    for (size_t i = 0; i < json_array_size(docs); i++) {
        const json_t *v = json_array_get(docs, i);
        CLEANUP(buf_fini) struct buf out = BUF_INIT;

        yamlx_print(v, &out);
        CLEANUP(json_decref)
        json_t *back = yamlx_parse(buf_str(&out), out.len, &err);

        FUZZ_CHECK(back != NULL && jsonx_equal(v, back));
    }
    return 0;
}
