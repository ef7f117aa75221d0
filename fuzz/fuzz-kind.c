/* SPDX-License-Identifier: Apache-2.0 */
/* Admission as the API runs it: the structural check, and the rules for what
 * passes it. An input is tried as an object of every kind, new and as a change
 * of itself.
 */
#include "codec/jsonx.h"
#include "fuzz.h"
#include "types/kind.h"

static json_t *
get_itself(void *arg, const struct gvr *gvr, const char *ns, const char *name)
{
    return json_incref(arg);
}

static json_t *
list_itself(void *arg, const struct gvr *gvr, const char *ns)
{
    return json_pack("[O]", arg);
}

static void
try_kind(const struct kind *k, json_t *object)
{
    static const enum kind_op ops[] = { KIND_CREATE, KIND_UPDATE,
                                        KIND_UPDATE_STATUS, KIND_DELETE };
    const struct kind_lookup lookup = { object, get_itself, list_itself };
    CLEANUP(json_decref) json_t *copy = json_deep_copy(object);
    CLEANUP(buf_fini) struct buf unknown = BUF_INIT;
    struct causes causes = { .n = 0 };

    if (k->set_defaults != NULL)
        k->set_defaults(copy);
    if (kind_check_schema(k, copy, &causes, &unknown) < 0) {
        FUZZ_CHECK(causes.n > 0);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        struct kind_request rq = { ops[i], "default",
                                   ops[i] == KIND_DELETE ? NULL : copy,
                                   ops[i] == KIND_CREATE ? NULL : object,
                                   &lookup };
        struct err err = { 0 };

        if (k->validate(&rq, &causes, &err) < 0)
            FUZZ_CHECK(err.code != ERR_NONE);
    }
    for (const struct kind_column *c = k->columns; c->name != NULL; c++)
        json_decref(kind_cell(k, c, copy, 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *v = jsonx_parse((const char *)data, len, &err);

    for (size_t i = 0; json_is_object(v) && kind_table[i] != NULL; i++)
        try_kind(kind_table[i], v);
    return 0;
}
