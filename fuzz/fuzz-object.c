/* SPDX-License-Identifier: Apache-2.0 */
/* An object that a client sends, stored and spliced: the text that lists and
 * watches send says what the parsed object says.
 */
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "store/object.h"
#include "store/objmeta.h"

static const struct gvr gvr = { .group = "kubevirt.io",
                                .version = "v1",
                                .resource = "virtualmachines",
                                .kind = "VirtualMachine",
                                .is_namespaced = true,
                                .has_status = true,
                                .has_generation = true };

static void
check_splice(const struct object *o)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(buf_fini) struct buf other = BUF_INIT;
    CLEANUP(json_decref) json_t *parsed = object_json(o);
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(json_decref) json_t *renamed = NULL;
    struct err err;

    object_text(o, NULL, &text);
    v = jsonx_parse(buf_str(&text), text.len, &err);
    FUZZ_CHECK(v != NULL && jsonx_equal(v, parsed));
    object_text(o, "kubevirt.io/v1alpha3", &other);
    renamed = jsonx_parse(buf_str(&other), other.len, &err);
    FUZZ_CHECK(renamed != NULL);
    if (json_object_get(parsed, "apiVersion") != NULL)
        jsonx_set_str(parsed, "apiVersion", "kubevirt.io/v1alpha3");
    FUZZ_CHECK(jsonx_equal(renamed, parsed));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *v = jsonx_parse((const char *)data, len, &err);

    if (!json_is_object(v))
        return 0;
    if (objmeta_prepare_new(&gvr, "default", v, OBJ_ALL, &err) < 0) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        return 0;
    }
    CLEANUP(mem_free) char *text = jsonx_canonical(v);
    CLEANUP(object_unref)
    struct object *o = object_new(&gvr, text, strlen(text), 7, &err);

    FUZZ_CHECK(o != NULL);
    check_splice(o);
    return 0;
}
