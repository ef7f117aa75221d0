/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is decoded can be printed as JSON and parsed again. */
#include <string.h>

#include "base/mem.h"
#include "codec/protobuf.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(json_decref) json_t *v = protobuf_decode(data, len, &err);

    if (v == NULL) {
        FUZZ_CHECK(err.code == ERR_INVALID || err.code == ERR_UNSUPPORTED);
        return 0;
    }
    CLEANUP(mem_free) char *text = jsonx_canonical(v);
    CLEANUP(json_decref) json_t *back = jsonx_parse(text, strlen(text), &err);

    FUZZ_CHECK(back != NULL && jsonx_equal(v, back));
    return 0;
}
