/* SPDX-License-Identifier: Apache-2.0 */
#include "api/admission.h"

#include <string.h>

#include "api/status.h"
#include "base/mem.h"

#define OBJECT_MAX (1536u << 10) /* what etcd takes too */

static json_t *
lookup_get(void *arg, const struct gvr *gvr, const char *ns, const char *name)
{
    struct api *api = arg;
    struct obj_ref ref = { gvr, ns, name };
    CLEANUP(object_unref) struct object *o = cache_get(api->cache, &ref);

    return o != NULL ? object_json(o) : NULL;
}

static json_t *
lookup_list(void *arg, const struct gvr *gvr, const char *ns)
{
    struct api *api = arg;
    CLEANUP(object_list_fini) struct object_list l = { 0 };
    json_t *list = json_array();

    cache_list(api->cache, gvr, ns, &l);
    for (size_t i = 0; i < l.n; i++)
        json_array_append_new(list, object_json(l.v[i]));
    return list;
}

/* The kind's own rules. */
static bool
validate(const struct admission *a, const json_t *object, const json_t *old)
{
    const struct target *t = &a->rq->target;
    struct kind_lookup lookup = { a->rq->api, lookup_get, lookup_list };
    struct kind_request kr = {
        .op = a->op,
        .ns = t->ns != NULL ? t->ns : "",
        .object = object,
        .old = old,
        .lookup = &lookup,
    };
    struct causes causes = { 0 };
    struct err err = { 0 };

    if (t->kind->validate == NULL)
        return true;
    if (t->kind->validate(&kr, &causes, &err) < 0) {
        status_of_err(a->rp, t, &err);
        return false;
    }
    if (causes.n > 0) {
        const json_t *named = object != NULL ? object : old;

        status_invalid(a->rp, t, jsonx_str_or(named, "metadata.name", ""),
                       &causes);
    }
    return causes.n == 0;
}

bool
admission_precheck(const struct admission *a, const json_t *old)
{
    if (a->op == KIND_DELETE)
        return validate(a, NULL, old);
    if (a->op == KIND_CREATE && a->rq->target.kind->is_projected) {
        CLEANUP(json_decref) json_t *nothing = json_object();

        return validate(a, nothing, NULL);
    }
    return true;
}

/* "spec.a[2].b" to "spec.a.2.b", and gone. */
static void
drop_field(json_t *object, const char *path)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    for (; *path != 0; path++) {
        if (*path == '[')
            buf_add_char(&b, '.');
        else if (*path != ']')
            buf_add_char(&b, *path);
    }
    jsonx_del(object, buf_str(&b));
}

/* `text`: one path per line. */
static bool
handle_unknown(const struct admission *a, json_t *object, char *text)
{
    const char *how = uri_query(&a->rq->uri, "fieldValidation");
    bool is_strict = how != NULL && strcmp(how, "Strict") == 0;
    bool is_silent = how != NULL && strcmp(how, "Ignore") == 0;
    CLEANUP(buf_fini) struct buf all = BUF_INIT;
    char *save = NULL;

    for (char *path = strtok_r(text, "\n", &save); path != NULL;
         path = strtok_r(NULL, "\n", &save)) {
        CLEANUP(mem_free) char *words = xasprintf("unknown field \"%s\"", path);

        buf_printf(&all, "%s%s", all.len > 0 ? ", " : "", words);
        if (!is_strict && !is_silent)
            reply_warning(a->rp, words);
        drop_field(object, path);
    }
    if (all.len == 0 || !is_strict)
        return true;
    status_bad_request(
        a->rp,
        "%s in version \"%s\" cannot be handled as a %s: strict decoding error: %s",
        a->rq->target.kind->gvr.kind, a->rq->target.version,
        a->rq->target.kind->gvr.kind, buf_str(&all));
    return false;
}

/* Patches can make an object grow beyond any one body. */
static bool
check_size(const struct admission *a, const json_t *object)
{
    size_t size = json_dumpb(object, NULL, 0, JSON_COMPACT);

    if (size <= OBJECT_MAX)
        return true;
    status_reply(a->rp, 413, "RequestEntityTooLarge",
                 "the object would have %zu bytes; at most %u are kept", size,
                 OBJECT_MAX);
    return false;
}

bool
admission_check(const struct admission *a, json_t *object, const json_t *old)
{
    const struct kind *k = a->rq->target.kind;
    CLEANUP(buf_fini) struct buf unknown = BUF_INIT;
    CLEANUP(mem_free) char *text = NULL;
    struct causes causes = { 0 };
    int rc;

    if (k->set_defaults != NULL && a->op != KIND_UPDATE_STATUS)
        k->set_defaults(object);
    rc = kind_check_schema(k, object, &causes, &unknown);
    text = buf_take_str(&unknown);
    if (!handle_unknown(a, object, text))
        return false;
    if (a->op != KIND_UPDATE_STATUS)
        kind_check_names(object, old, &causes);
    if (rc < 0 || causes.n > 0) {
        status_invalid(a->rp, &a->rq->target,
                       jsonx_str_or(object, "metadata.name", ""), &causes);
        return false;
    }
    return validate(a, object, old) && check_size(a, object);
}
