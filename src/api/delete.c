/* SPDX-License-Identifier: Apache-2.0 */
/* Deletion of one object and of a collection.
 *
 * Dependents are the garbage collector's (controller/): with the policy Orphan
 * their references to the owner are taken out before it goes.
 */
#include <string.h>

#include "api/admission.h"
#include "api/body.h"
#include "api/filter.h"
#include "api/handlers.h"
#include "api/options.h"
#include "api/render.h"
#include "api/status.h"
#include "base/mem.h"
#include "store/obj.h"

struct options {
    json_t *body; /* DeleteOptions */
    struct obj_write how;
    bool is_orphan;
};

/* The body may be empty. */
static bool
parse_options(struct request *rq, struct options *o, struct reply *rp)
{
    struct options_delete read;

    o->body = body_parse(rq, true, rp);
    if (o->body == NULL || !options_delete_read(rq, o->body, &read, rp))
        return false;
    o->is_orphan = read.is_orphan;
    o->how.is_dry_run = read.is_dry_run;
    o->how.uid = read.uid;
    o->how.resource_version = read.resource_version;
    return true;
}

static int
drop_owner(void *arg, json_t *object, struct err *err)
{
    json_t *owners = jsonx_get(object, "metadata.ownerReferences");

    for (size_t i = json_array_size(owners); i > 0; i--) {
        const char *uid = jsonx_str(json_array_get(owners, i - 1), "uid");

        if (uid != NULL && strcmp(uid, arg) == 0)
            (void)json_array_remove(owners, i - 1);
    }
    return 0;
}

static int
orphan_dependents(struct api *api, const struct object *owner, struct err *err)
{
    CLEANUP(object_list_fini) struct object_list l = { 0 };
    struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(mem_free) char *uid = xstrdup(object_uid(owner));

    cache_list_owned(api->cache, uid, &l);
    for (size_t i = 0; i < l.n; i++) {
        struct obj_ref ref = { object_gvr(l.v[i]), object_ns(l.v[i]),
                               object_name(l.v[i]) };

        if (obj_update(api->store, &ref, &how, drop_owner, uid, NULL, NULL,
                       err) < 0 &&
            err->code != ERR_NOT_FOUND)
            return -1;
    }
    return 0;
}

/* Delete what `present` was a moment ago. 0; -1: `rp` is the answer. */
static int
remove_object(struct request *rq, struct reply *rp, const struct options *opt,
              const struct object *present, struct object **ret_object,
              bool *ret_is_gone)
{
    const struct target *t = &rq->target;
    struct obj_ref ref = { &t->kind->gvr, object_ns(present),
                           object_name(present) };
    struct admission a = { rq, rp, KIND_DELETE };
    CLEANUP(json_decref) json_t *old = object_json(present);
    struct err err = { 0 };

    if (!admission_precheck(&a, old))
        return -1;
    if ((opt->is_orphan && !opt->how.is_dry_run &&
         orphan_dependents(rq->api, present, &err) < 0) ||
        obj_delete(rq->api->store, &ref, &opt->how, ret_object, ret_is_gone,
                   &err) < 0) {
        status_of_err(rp, t, &err);
        return -1;
    }
    if (!opt->how.is_dry_run)
        api_wait_rev(rq->api, object_rev(*ret_object));
    return 0;
}

static void
delete_named(struct request *rq, struct reply *rp, const struct options *opt)
{
    const struct target *t = &rq->target;
    struct obj_ref ref = { &t->kind->gvr, t->ns != NULL ? t->ns : "", t->name };
    CLEANUP(object_unref) struct object *present = NULL;
    CLEANUP(object_unref) struct object *o = NULL;
    char version[API_VERSION_SIZE];
    bool is_gone = false;
    struct err err = { 0 };

    if (obj_get(rq->api->store, &ref, &present, &err) < 0) {
        status_of_err(rp, t, &err);
        return;
    }
    if (remove_object(rq, rp, opt, present, &o, &is_gone) < 0)
        return;
    if (is_gone) {
        status_deleted(rp, t, t->name, object_uid(o));
        return;
    }
    rp->code = 200;
    object_text(o, api_other_version(t, version), &rp->body);
}

void
delete_one(struct request *rq, struct reply *rp)
{
    struct options opt = { .how.part = OBJ_MAIN };

    if (parse_options(rq, &opt, rp))
        delete_named(rq, rp, &opt);
    json_decref(opt.body);
}

static void
delete_matching(struct request *rq, struct reply *rp, const struct options *opt,
                const struct filter *f, size_t limit)
{
    CLEANUP(object_list_fini) struct object_list l = { 0 };
    struct render render;
    bool is_first = true;
    size_t n = 0;

    api_catch_up(rq->api);
    cache_list(rq->api->cache, &rq->target.kind->gvr, rq->target.ns, &l);
    render_init(&render, rq);
    render.form = FORM_PLAIN;
    render_list_begin(&render, &rp->body);
    for (size_t i = 0; i < l.n; i++) {
        CLEANUP(object_unref) struct object *o = NULL;
        bool is_gone;

        if (!filter_match(f, l.v[i]))
            continue;
        if (limit > 0 && n++ == limit)
            break;
        rq->target.name = object_name(l.v[i]); /* for messages */
        if (remove_object(rq, rp, opt, l.v[i], &o, &is_gone) < 0) {
            if (rp->code != 404)
                return;   /* rp is the answer */
            rp->code = 0; /* gone meanwhile: cannot be shown */
            buf_truncate(&rp->body, 0);
            render_list_begin(&render, &rp->body);
            is_first = true;
            continue;
        }
        render_list_item(&render, o, is_first, &rp->body);
        is_first = false;
    }
    rp->code = 200;
    render_list_end(&render, cache_rev(rq->api->cache), NULL, -1, &rp->body);
}

void
delete_collection(struct request *rq, struct reply *rp)
{
    struct options opt = { .how.part = OBJ_MAIN };
    struct options_list which;
    struct filter f;

    if (rq->uri.ends_in_slash) { /* ".../virtualmachinesnapshots/$EMPTY" */
        status_bad_request(
            rp,
            "the name of what is to be deleted is missing behind the last slash; to delete the collection leave that slash out");
        return;
    }
    if (parse_options(rq, &opt, rp) &&
        options_list_read(rq, false, &which, rp) && filter_init(&f, rq, rp)) {
        delete_matching(rq, rp, &opt, &f, which.limit);
        filter_fini(&f);
    }
    json_decref(opt.body);
}
