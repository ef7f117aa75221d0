/* SPDX-License-Identifier: Apache-2.0 */
/* An input is {"doc": ..., "patch": [...]}: applied, and its first operation
 * as a merge patch. The document stays as it was; the result can be parsed.
 */
#include <string.h>

#include "base/mem.h"
#include "codec/jsonpatch.h"
#include "fuzz.h"

static void
check_result(const json_t *v)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *text = jsonx_canonical(v);
    CLEANUP(json_decref) json_t *back = jsonx_parse(text, strlen(text), &err);

    FUZZ_CHECK(back != NULL && jsonx_equal(v, back));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *v = jsonx_parse((const char *)data, len, &err);
    const json_t *doc = json_object_get(v, "doc");
    const json_t *patch = json_object_get(v, "patch");

    if (doc == NULL || patch == NULL)
        return 0;
    CLEANUP(mem_free) char *before = jsonx_canonical(doc);
    CLEANUP(json_decref) json_t *out = jsonpatch_apply(doc, patch, &err);
    CLEANUP(mem_free) char *after = jsonx_canonical(doc);

    FUZZ_CHECK(strcmp(before, after) == 0);
    if (out != NULL)
        check_result(out);
    else
        FUZZ_CHECK(err.code == ERR_INVALID);
    CLEANUP(json_decref) json_t *merged = jsonpatch_merge(doc, patch);

    check_result(merged);
    return 0;
}
