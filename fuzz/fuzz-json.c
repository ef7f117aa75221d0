/* SPDX-License-Identifier: Apache-2.0 */
/* What parses prints, and what is printed parses to the same. */
#include <string.h>

#include "base/mem.h"
#include "codec/jsonx.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *v = jsonx_parse((const char *)data, len, &err);

    if (v == NULL) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        return 0;
    }
    CLEANUP(mem_free) char *text = jsonx_canonical(v);
    CLEANUP(json_decref) json_t *back = jsonx_parse(text, strlen(text), &err);

    FUZZ_CHECK(back != NULL && jsonx_equal(v, back));
    return 0;
}
