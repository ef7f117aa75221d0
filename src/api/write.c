/* SPDX-License-Identifier: Apache-2.0 */
/* Create, replace, patch, apply.
 *
 * All four end the same way: the object as it shall be goes through
 * admission, then through store/obj.h. A change is made inside obj_update()'s
 * callback, on the newest version, and made again when somebody else wrote
 * meanwhile; a refusal there fills the answer and ends the update.
 */
#include <string.h>

#include "api/admission.h"
#include "api/body.h"
#include "api/handlers.h"
#include "api/options.h"
#include "api/patch.h"
#include "api/ssa.h"
#include "api/status.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/obj.h"

/* Who writes, for managedFields. */
struct author {
    struct ssa_writer writer;
    char *manager, *version;
    char now[CLOCK_RFC3339_SIZE];
};

struct change {
    struct request *rq;
    struct reply *rp;
    struct author *author;
    bool is_status; /* the subresource status */
    enum patch_type type;
    const json_t *body; /* the new object, or the patch */
    bool is_replace;
};

static void
author_init(struct author *a, const struct request *rq)
{
    a->manager = options_manager(rq);
    a->version = api_version_of(&rq->target);
    clock_format_rfc3339(clock_wall_s(), a->now);
    a->writer = (struct ssa_writer){ a->manager, a->version, a->now };
}

static void
author_fini_p(struct author *a)
{
    free(a->manager);
    free(a->version);
}

static void
reply_object(struct request *rq, struct reply *rp, int code,
             const struct object *o)
{
    char version[API_VERSION_SIZE];

    rp->code = code;
    buf_truncate(&rp->body, 0);
    object_text(o, api_other_version(&rq->target, version), &rp->body);
    buf_add_char(&rp->body, '\n');
}

/* What the body says about its own type and place must be what the URL says.
 * Missing words are filled in. */
static bool
check_type(const struct request *rq, json_t *v, struct reply *rp)
{
    const struct target *t = &rq->target;
    CLEANUP(mem_free) char *want = api_version_of(t);
    const char *version = jsonx_str_or(v, "apiVersion", want);
    const char *kind = jsonx_str_or(v, "kind", t->kind->gvr.kind);
    const char *ns;

    if (!json_is_object(v)) {
        status_bad_request(rp, "the body is not an object");
        return false;
    }
    if (strcmp(version, want) != 0 || strcmp(kind, t->kind->gvr.kind) != 0) {
        status_bad_request(
            rp,
            "the object in the body is %s %s, but the URL is for %s %s: use the URL of its own kind and version",
            version, kind, want, t->kind->gvr.kind);
        return false;
    }
    jsonx_set_str(v, "kind", kind);
    jsonx_set_str(v, "apiVersion", version);
    if (json_object_get(v, "metadata") == NULL)
        json_object_set_new(v, "metadata", json_object());
    ns = jsonx_str_or(v, "metadata.namespace", "");
    if (t->kind->gvr.is_namespaced && ns[0] != 0 && t->ns != NULL &&
        strcmp(ns, t->ns) != 0) {
        status_bad_request(
            rp,
            "the namespace of the provided object does not match the namespace sent on the request");
        return false;
    }
    return true;
}

/* The body of a creation is known to be of this type: rules, then the store. */
static int
create_object(struct request *rq, struct reply *rp, json_t *v,
              struct author *author, const struct obj_write *how,
              struct err *err)
{
    struct target *t = &rq->target;
    struct admission a = { rq, rp, KIND_CREATE };
    CLEANUP(object_unref) struct object *o = NULL;

    t->name = jsonx_str(v, "metadata.name"); /* for messages */
    if (t->kind->gvr.has_status)
        (void)json_object_del(v, "status");
    if (!admission_check(&a, v, NULL))
        return err_set(err, ERR_CANCELLED, "refused");
    if (author != NULL)
        ssa_track(NULL, v, &author->writer);
    if (obj_create(rq->api->store, &t->kind->gvr, t->ns != NULL ? t->ns : "", v,
                   how, &o, err) < 0) {
        t->name = jsonx_str(v, "metadata.name");
        return -1;
    }
    if (!how->is_dry_run)
        api_wait_rev(rq->api, object_rev(o));
    reply_object(rq, rp, 201, o);
    return 0;
}

void
write_create(struct request *rq, struct reply *rp)
{
    struct admission a = { rq, rp, KIND_CREATE };
    struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(author_fini) struct author author = { 0 };
    CLEANUP(json_decref) json_t *v = NULL;
    struct err err = { 0 };

    if (!admission_precheck(&a, NULL) ||
        !options_write_read(rq, "CreateOptions", &how.is_dry_run, rp))
        return;
    v = body_parse(rq, false, rp);
    if (v == NULL || !check_type(rq, v, rp))
        return;
    author_init(&author, rq);
    if (create_object(rq, rp, v, &author, &how, &err) < 0 && rp->code == 0)
        status_of_err(rp, &rq->target, &err);
    rq->target.name = NULL; /* it was the body's, which goes now */
}

void
write_new(struct request *rq, struct reply *rp, json_t *object)
{
    struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(author_fini) struct author author = { 0 };
    struct err err = { 0 };

    if (!options_write_read(rq, "CreateOptions", &how.is_dry_run, rp))
        return;
    author_init(&author, rq);
    if (create_object(rq, rp, object, &author, &how, &err) < 0 && rp->code == 0)
        status_of_err(rp, &rq->target, &err);
    rq->target.name = NULL; /* it was the object's */
}

/* Somebody else set these fields. */
static void
reply_conflicts(struct reply *rp, const struct ssa_conflicts *found)
{
    size_t n = found->n < SSA_CONFLICTS_MAX ? found->n : SSA_CONFLICTS_MAX;
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    json_t *causes = json_array();
    CLEANUP(json_decref) json_t *s = NULL;

    buf_printf(&b, "Apply failed with %zu conflict%s: ", found->n,
               found->n == 1 ? "" : "s");
    for (size_t i = 0; i < n; i++) {
        const struct ssa_conflict *c = &found->v[i];
        CLEANUP(mem_free)
        char *text = xasprintf("conflict with \"%s\" using %s", c->manager,
                               c->api_version);

        buf_printf(&b, "%s%s: %s", i > 0 ? ", " : "", text, c->field);
        json_array_append_new(causes,
                              json_pack("{s:s, s:s, s:s}", "reason",
                                        "FieldManagerConflict", "message", text,
                                        "field", c->field));
    }
    s = status_json(409, "Conflict", buf_str(&b));
    json_object_set_new(s, "details", json_pack("{s:o}", "causes", causes));
    reply_json(rp, 409, s);
}

/* With a cause, for old clients show nothing else. */
static void
reply_bad_json_patch(const struct change *c, const struct err *err)
{
    const struct target *t = &c->rq->target;
    struct causes causes = { 0 };

    causes_add(&causes, "FieldValueInvalid", "patch",
               "it cannot be applied: %s", err->msg);
    status_invalid(c->rp, t, t->name, &causes);
}

/* The new content as the body says, before rules are applied. */
static json_t *
wanted_of(const struct change *c, const json_t *object)
{
    struct err err = { 0 };
    json_t *v;

    if (c->is_replace)
        return json_deep_copy(c->body);
    if (c->type == PATCH_APPLY) {
        struct ssa_conflicts found;

        v = ssa_apply(object, c->body, &c->author->writer,
                      uri_query_bool(&c->rq->uri, "force"), &found);
        if (v == NULL)
            reply_conflicts(c->rp, &found);
        return v;
    }
    v = patch_apply(c->type, object, c->body, &err);
    if (v == NULL && c->type == PATCH_JSON)
        reply_bad_json_patch(c, &err);
    else if (v == NULL)
        status_bad_request(c->rp, "%s", err.msg);
    return v;
}

/* Take `from`'s member into `to`, or its absence. */
static void
take_member(json_t *to, const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);

    if (v != NULL)
        json_object_set(to, key, v);
    else
        (void)json_object_del(to, key);
}

/* Only the part that this URL may change is the client's. */
static json_t *
restrict_to_part(const struct change *c, const json_t *old, json_t *wanted)
{
    json_t *result;

    take_member(wanted, old, "apiVersion"); /* of the storage version */
    take_member(wanted, old, "kind");
    if (!c->is_status) {
        if (c->rq->target.kind->gvr.has_status)
            take_member(wanted, old, "status");
        return json_incref(wanted);
    }
    result = json_deep_copy(old);
    take_member(result, wanted, "status");
    /* preconditions */
    take_member(json_object_get(result, "metadata"),
                json_object_get(wanted, "metadata"), "resourceVersion");
    take_member(json_object_get(result, "metadata"),
                json_object_get(wanted, "metadata"), "uid");
    return result;
}

/* A patch may not make another kind of it, nor move it. */
static bool
check_identity(const struct change *c, const json_t *old, const json_t *wanted)
{
    static const char *const fixed[] = { "kind", "metadata.namespace" };

    for (size_t i = 0; i < ARRAY_SIZE(fixed) && !c->is_replace; i++) {
        const char *was = jsonx_str_or(old, fixed[i], "");
        const char *now = jsonx_str_or(wanted, fixed[i], was);

        if (strcmp(was, now) == 0)
            continue;
        status_bad_request(c->rp,
                           "the patch changes %s to \"%s\", but that of an "
                           "object cannot be changed: it is \"%s\"",
                           fixed[i], now, was);
        return false;
    }
    return true;
}

static int
refused(struct err *err)
{
    return err_set(err, ERR_CANCELLED, "refused");
}

static int
mutate(void *arg, json_t *object, struct err *err)
{
    struct change *c = arg;
    struct admission a = { c->rq, c->rp,
                           c->is_status ? KIND_UPDATE_STATUS : KIND_UPDATE };
    CLEANUP(json_decref) json_t *old = json_deep_copy(object);
    CLEANUP(json_decref) json_t *wanted = NULL;
    CLEANUP(json_decref) json_t *result = NULL;

    reply_fini(c->rp); /* warnings of a try before */
    wanted = wanted_of(c, object);
    if (wanted == NULL)
        return refused(err);
    if (!json_is_object(json_object_get(wanted, "metadata"))) {
        status_bad_request(c->rp, "the result is no object with metadata");
        return refused(err);
    }
    if (!check_identity(c, old, wanted))
        return refused(err);
    result = restrict_to_part(c, old, wanted);
    if (!admission_check(&a, result, old))
        return refused(err);
    if (!c->is_status && c->type != PATCH_APPLY)
        ssa_track(old, result, &c->author->writer);
    (void)json_object_clear(object);
    (void)json_object_update(object, result);
    return 0;
}

/* 1: there is no such object, and `rp` is untouched. */
static int
update(struct change *c, const struct obj_write *how)
{
    struct request *rq = c->rq;
    const struct target *t = &rq->target;
    struct obj_ref ref = { &t->kind->gvr, t->ns != NULL ? t->ns : "", t->name };
    CLEANUP(object_unref) struct object *o = NULL;
    struct err err = { 0 };

    if (obj_update(rq->api->store, &ref, how, mutate, c, &o, NULL, &err) < 0) {
        if (c->rp->code == 0 && err.code == ERR_NOT_FOUND &&
            c->type == PATCH_APPLY)
            return 1;
        if (c->rp->code == 0)
            status_of_err(c->rp, t, &err);
        return 0;
    }
    if (!how->is_dry_run)
        api_wait_rev(rq->api, object_rev(o));
    reply_object(rq, c->rp, 200, o);
    return 0;
}

/* A custom resource is replaced only by who has seen it. */
static bool
check_replace(const struct request *rq, const json_t *v, struct reply *rp)
{
    const struct target *t = &rq->target;
    const char *name = jsonx_str_or(v, "metadata.name", "");
    struct causes causes = { 0 };

    if (strcmp(name, t->name) != 0) {
        status_bad_request(
            rp,
            "the name of the object (%s) does not match the name on the URL (%s)",
            name, t->name);
        return false;
    }
    if (t->kind->gvr.group[0] == 0 ||
        jsonx_str_or(v, "metadata.resourceVersion", "")[0] != 0)
        return true;
    causes_add(&causes, "FieldValueInvalid", "metadata.resourceVersion",
               "Invalid value: 0x0: must be specified for an update");
    status_invalid(rp, t, t->name, &causes);
    return false;
}

/* "" is the same as absent. */
static const char *
given(const json_t *v, const char *path)
{
    const char *s = jsonx_str(v, path);

    return s != NULL && s[0] != 0 ? s : NULL;
}

static bool
is_status(const struct target *t)
{
    return t->subresource != NULL && strcmp(t->subresource, "status") == 0;
}

void
write_replace(struct request *rq, struct reply *rp)
{
    struct obj_write how = { .part = is_status(&rq->target) ? OBJ_STATUS
                                                            : OBJ_MAIN };
    CLEANUP(author_fini) struct author author = { 0 };
    struct change c = { .rq = rq,
                        .rp = rp,
                        .author = &author,
                        .is_status = is_status(&rq->target),
                        .is_replace = true };
    CLEANUP(json_decref) json_t *v = NULL;

    if (!options_write_read(rq, "UpdateOptions", &how.is_dry_run, rp))
        return;
    v = body_parse(rq, false, rp);
    if (v == NULL || !check_type(rq, v, rp) || !check_replace(rq, v, rp))
        return;
    author_init(&author, rq);
    c.body = v;
    /* Who has seen an old version is told so before anything is validated. */
    how.resource_version = given(v, "metadata.resourceVersion");
    how.uid = given(v, "metadata.uid");
    (void)update(&c, &how);
}

/* What an apply must say, beside the object. */
static bool
check_apply(const struct request *rq, json_t *v, struct reply *rp)
{
    const char *manager = uri_query(&rq->uri, "fieldManager");
    struct causes causes = { 0 };
    const char *name;

    if (manager == NULL || manager[0] == 0) {
        causes_add(&causes, "FieldValueRequired", "fieldManager",
                   "Required value: is required for apply patch");
        status_invalid_options(rp, "PatchOptions", &causes);
        return false;
    }
    if (!check_type(rq, v, rp))
        return false;
    if (json_array_size(jsonx_get(v, "metadata.managedFields")) > 0) {
        status_bad_request(rp, "metadata.managedFields must be nil");
        return false;
    }
    name = jsonx_str_or(v, "metadata.name", rq->target.name);
    if (strcmp(name, rq->target.name) != 0) {
        status_bad_request(
            rp,
            "the name of the object (%s) does not match the name on the URL (%s)",
            name, rq->target.name);
        return false;
    }
    jsonx_set_str(v, "metadata.name", rq->target.name);
    return true;
}

/* Apply to what is there, or create; again if that changed in between. */
static void
apply(struct change *c, const struct obj_write *how)
{
    struct admission a = { c->rq, c->rp, KIND_CREATE };
    const char *name = c->rq->target.name;

    for (int i = 0; i < 3; i++) {
        CLEANUP(json_decref) json_t *v = NULL;
        struct ssa_conflicts none;
        struct err err = { 0 };
        int rc;

        if (update(c, how) == 0 || !admission_precheck(&a, NULL))
            return;
        v = ssa_apply(NULL, c->body, &c->author->writer, true, &none);
        rc = create_object(c->rq, c->rp, v, NULL, how, &err);
        c->rq->target.name = name;
        if (rc == 0 || c->rp->code != 0)
            return;
        if (err.code != ERR_EXISTS || i == 2) {
            status_of_err(c->rp, &c->rq->target, &err);
            return;
        }
    }
}

static void
reply_unsupported_patch(const struct request *rq, struct reply *rp)
{
    status_reply(
        rp, 415, "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml%s",
        rq->target.kind->gvr.group[0] == 0
            ? ", application/strategic-merge-patch+json"
            : "");
}

static bool
check_force(const struct request *rq, enum patch_type type, struct reply *rp)
{
    struct causes causes = { 0 };

    if (type == PATCH_APPLY || uri_query(&rq->uri, "force") == NULL)
        return true;
    causes_add(&causes, "FieldValueForbidden", "force",
               "Forbidden: may not be specified for non-apply patch");
    status_invalid_options(rp, "PatchOptions", &causes);
    return false;
}

void
write_patch(struct request *rq, struct reply *rp)
{
    struct obj_write how = { .part = is_status(&rq->target) ? OBJ_STATUS
                                                            : OBJ_MAIN };
    CLEANUP(author_fini) struct author author = { 0 };
    struct change c = { .rq = rq,
                        .rp = rp,
                        .author = &author,
                        .is_status = is_status(&rq->target),
                        .type = patch_type_of(rq) };
    CLEANUP(json_decref) json_t *v = NULL;

    if (c.type == PATCH_UNKNOWN) {
        reply_unsupported_patch(rq, rp);
        return;
    }
    if (!options_write_read(rq, "PatchOptions", &how.is_dry_run, rp) ||
        !check_force(rq, c.type, rp))
        return;
    v = body_parse_patch(rq, rp);
    if (v == NULL || (c.type == PATCH_APPLY && !check_apply(rq, v, rp)))
        return;
    author_init(&author, rq);
    c.body = v;
    if (c.type == PATCH_APPLY)
        apply(&c, &how);
    else
        (void)update(&c, &how);
}
