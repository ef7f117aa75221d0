/* SPDX-License-Identifier: Apache-2.0 */
/* store/obj.c: objects on top of keys and values.
 *
 * An update reads, lets the caller change a copy, applies the rules
 * (store/objmeta.h) and swaps, again and again until nobody else wrote in
 * between. Nothing is cached here: what decides is what the store says.
 *
 * Nothing is created in a namespace that is being deleted, not even by a
 * create that looked just before the deletion: creates share a lock that the
 * deletion of a namespace takes alone. So once a namespace is Terminating its
 * contents only become fewer.
 */
#include "store/obj.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/objmeta.h"

#define NAME_TRIES   8   /* for generateName: 27^5 suffixes */
#define UPDATE_TRIES 200 /* each lost race is somebody else's progress */

static pthread_rwlock_t ns_lock = PTHREAD_RWLOCK_INITIALIZER;

/* `virtualmachinesnapshots.snapshot.kubevirt.io "s1"`: how Kubernetes names an
 * object in its messages. */
static void
describe(const struct gvr *gvr, const char *name, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%s%s%s \"%s\"", gvr->resource,
                   gvr->group[0] == 0 ? "" : ".", gvr->group, name);
}

/* The store's word on a key becomes the API's word on an object. */
static int
explain(const struct gvr *gvr, const char *name, struct err *err)
{
    char what[400];

    describe(gvr, name, what, sizeof what);
    if (err->code == ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "%s not found", what);
    if (err->code == ERR_EXISTS)
        return err_set(err, ERR_EXISTS, "%s already exists", what);
    if (err->code == ERR_CONFLICT)
        return err_set(
            err, ERR_CONFLICT,
            "Operation cannot be fulfilled on %s: the object has been modified; please apply your changes to the latest version and try again",
            what);
    return err_wrap(err, "%s", what);
}

int
obj_get(struct store *s, const struct obj_ref *ref, struct object **ret_object,
        struct err *err)
{
    CLEANUP(mem_free) char *key = object_key_of(ref->gvr, ref->ns, ref->name);
    CLEANUP(store_item_fini) struct store_item item = { 0 };
    struct object *o;

    if (store_get(s, key, &item, NULL, err) < 0)
        return explain(ref->gvr, ref->name, err);
    o = object_new(ref->gvr, item.val, item.val_len, item.rev, err);
    if (o == NULL)
        return explain(ref->gvr, ref->name, err);
    *ret_object = o;
    return 0;
}

/* ---- create ---- */

static int
check_namespace(struct store *s, const char *ns, const char *what,
                struct err *err)
{
    CLEANUP(mem_free) char *key = xasprintf("/k//namespaces//%s", ns);
    CLEANUP(store_item_fini) struct store_item item = { 0 };
    CLEANUP(json_decref) json_t *v = NULL;

    if (store_get(s, key, &item, NULL, err) < 0) {
        if (err->code == ERR_NOT_FOUND)
            return err_set(err, ERR_NOT_FOUND, "namespaces \"%s\" not found",
                           ns);
        return -1;
    }
    v = jsonx_parse(item.val, item.val_len, err);
    if (v == NULL)
        return err_wrap(err, "namespaces \"%s\"", ns);
    if (objmeta_is_deleting(v))
        return err_set(
            err, ERR_DENIED,
            "%s is forbidden: unable to create new content in namespace %s because it is being terminated",
            what, ns);
    return 0;
}

/* One try with the name that `object` has. */
static int
create_once(struct store *s, const struct gvr *gvr, const json_t *object,
            bool is_dry_run, struct object **ret_object, struct err *err)
{
    const char *name = jsonx_str_or(object, "metadata.name", "");
    const char *ns = jsonx_str_or(object, "metadata.namespace", "");
    CLEANUP(mem_free) char *key = object_key_of(gvr, ns, name);
    CLEANUP(mem_free) char *text = jsonx_canonical(object);
    CLEANUP(store_item_fini) struct store_item item = { 0 };
    char what[400];
    uint64_t rev = 0;

    describe(gvr, name, what, sizeof what);
    if (gvr->is_namespaced && check_namespace(s, ns, what, err) < 0)
        return -1;
    if (is_dry_run) {
        if (store_get(s, key, &item, NULL, err) == 0)
            return err_set(err, ERR_EXISTS, "%s already exists", what);
        if (err->code != ERR_NOT_FOUND)
            return explain(gvr, name, err);
    } else if (store_create(s, key, text, &rev, err) < 0) {
        return explain(gvr, name, err);
    }
    *ret_object = object_new(gvr, text, strlen(text), rev, err);
    return *ret_object == NULL ? -1 : 0;
}

int
obj_create(struct store *s, const struct gvr *gvr, const char *ns,
           const json_t *object, const struct obj_write *how,
           struct object **ret_object, struct err *err)
{
    bool is_generated = jsonx_str_or(object, "metadata.name", "")[0] == 0;
    int rc = -1;

    for (unsigned i = 0; i < NAME_TRIES; i++) {
        CLEANUP(json_decref) json_t *copy = json_deep_copy(object);

        if (objmeta_prepare_new(gvr, ns, copy, how->part, err) < 0)
            return -1;
        pthread_rwlock_rdlock(&ns_lock);
        rc = create_once(s, gvr, copy, how->is_dry_run, ret_object, err);
        pthread_rwlock_unlock(&ns_lock);
        if (rc == 0 || !is_generated || err->code != ERR_EXISTS)
            break;
    }
    return rc;
}

/* ---- update ---- */

static int
check_preconditions(const struct object *o, const struct obj_write *how,
                    struct err *err)
{
    char rev[24];

    if (how->uid != NULL && strcmp(how->uid, object_uid(o)) != 0)
        return err_set(
            err, ERR_CONFLICT,
            "Precondition failed: UID in precondition: %s, UID in object meta: %s",
            how->uid, object_uid(o));
    (void)snprintf(rev, sizeof rev, "%" PRIu64, object_rev(o));
    if (how->resource_version != NULL &&
        strcmp(how->resource_version, rev) != 0) {
        err->code = ERR_CONFLICT;
        return explain(object_gvr(o), object_name(o), err);
    }
    return 0;
}

/* uid and resourceVersion that the new content carries are preconditions. */
static int
check_wanted(const struct object *o, const json_t *wanted, struct err *err)
{
    const char *uid = jsonx_str(wanted, "metadata.uid");
    const char *rv = jsonx_str(wanted, "metadata.resourceVersion");
    struct obj_write said = {
        .uid = uid == NULL || uid[0] == 0 ? NULL : uid,
        .resource_version = rv == NULL || rv[0] == 0 ? NULL : rv,
    };

    return check_preconditions(o, &said, err);
}

struct update {
    struct store *s;
    const struct obj_ref *ref;
    const struct obj_write *how;
    obj_mutate_fn mutate;
    void *arg;
};

/* Store `result` in the place of `o`, or remove it when nothing keeps a
 * deleted object any more. */
static int
swap(const struct update *u, const struct object *o, const json_t *result,
     struct object **ret_object, bool *ret_is_gone, struct err *err)
{
    CLEANUP(mem_free) char *text = jsonx_canonical(result);
    uint64_t rev = object_rev(o);
    bool is_gone = objmeta_is_deleting(result) &&
                   !objmeta_has_finalizers(u->ref->gvr, result);

    if (!u->how->is_dry_run) {
        int rc = is_gone
                     ? store_delete(u->s, object_key(o), rev, &rev, err)
                     : store_update(u->s, object_key(o), text, rev, &rev, err);

        if (rc < 0)
            return -1;
    }
    *ret_object = object_new(u->ref->gvr, text, strlen(text), rev, err);
    if (*ret_object == NULL)
        return -1;
    *ret_is_gone = is_gone;
    return 0;
}

/* One round: 0 done, -1 error; CONFLICT from the swap alone sets *ret_again. */
static int
update_once(const struct update *u, struct object **ret_object,
            bool *ret_is_gone, bool *ret_again, struct err *err)
{
    CLEANUP(object_unref) struct object *o = NULL;
    CLEANUP(json_decref) json_t *old = NULL;
    CLEANUP(json_decref) json_t *wanted = NULL;
    CLEANUP(json_decref) json_t *result = NULL;
    int rc;

    if (obj_get(u->s, u->ref, &o, err) < 0 ||
        check_preconditions(o, u->how, err) < 0)
        return -1;
    wanted = object_json(o);
    rc = u->mutate(u->arg, wanted, err);
    if (rc < 0)
        return -1;
    *ret_is_gone = false;
    if (rc == 1) {
        *ret_object = TAKE(o);
        return 0;
    }
    if (check_wanted(o, wanted, err) < 0)
        return -1;
    old = object_json(o);
    (void)json_object_del(json_object_get(old, "metadata"), "resourceVersion");
    result = objmeta_merge(u->ref->gvr, old, wanted, u->how->part, err);
    if (result == NULL)
        return -1;
    if (jsonx_equal(result, old)) {
        *ret_object = TAKE(o);
        return 0;
    }
    if (swap(u, o, result, ret_object, ret_is_gone, err) == 0)
        return 0;
    *ret_again = err->code == ERR_CONFLICT;
    return explain(u->ref->gvr, u->ref->name, err);
}

static int
update_loop(const struct update *u, struct object **ret_object,
            bool *ret_is_gone, struct err *err)
{
    for (unsigned i = 0; i < UPDATE_TRIES; i++) {
        bool again = false;
        int rc;

        rc = update_once(u, ret_object, ret_is_gone, &again, err);
        if (rc == 0 || !again || u->how->resource_version != NULL)
            return rc;
        if (i > 4)
            clock_sleep_ms(i % 8);
    }
    return -1; /* err: the last conflict */
}

int
obj_update(struct store *s, const struct obj_ref *ref,
           const struct obj_write *how, obj_mutate_fn mutate, void *arg,
           struct object **ret_object, bool *ret_is_gone, struct err *err)
{
    struct update u = { s, ref, how, mutate, arg };
    struct object *o = NULL;
    bool is_gone = false;

    if (update_loop(&u, &o, &is_gone, err) < 0)
        return -1;
    if (ret_object == NULL)
        object_unref(o);
    else
        *ret_object = o;
    if (ret_is_gone != NULL)
        *ret_is_gone = is_gone;
    return 0;
}

/* ---- delete ---- */

static int
delete_once(struct store *s, const struct obj_ref *ref,
            const struct obj_write *how, struct object **ret_object,
            bool *ret_is_gone, bool *ret_again, struct err *err)
{
    struct update u = { .s = s, .ref = ref, .how = how };
    CLEANUP(object_unref) struct object *o = NULL;
    CLEANUP(json_decref) json_t *v = NULL;

    if (obj_get(s, ref, &o, err) < 0 || check_preconditions(o, how, err) < 0)
        return -1;
    *ret_is_gone = false;
    if (object_is_deleting(o)) { /* asked before: nothing new */
        *ret_object = TAKE(o);
        return 0;
    }
    v = object_json(o);
    (void)json_object_del(json_object_get(v, "metadata"), "resourceVersion");
    objmeta_mark_deleting(ref->gvr, v);
    if (swap(&u, o, v, ret_object, ret_is_gone, err) == 0)
        return 0;
    *ret_again = err->code == ERR_CONFLICT;
    return explain(ref->gvr, ref->name, err);
}

int
obj_delete(struct store *s, const struct obj_ref *ref,
           const struct obj_write *how, struct object **ret_object,
           bool *ret_is_gone, struct err *err)
{
    struct object *o = NULL;
    bool is_gone = false;
    bool is_ns = objmeta_is_namespace(ref->gvr);
    int rc = -1;

    for (unsigned i = 0; i < UPDATE_TRIES; i++) {
        bool again = false;

        if (is_ns)
            pthread_rwlock_wrlock(&ns_lock);
        rc = delete_once(s, ref, how, &o, &is_gone, &again, err);
        if (is_ns)
            pthread_rwlock_unlock(&ns_lock);
        if (rc == 0 || !again || how->resource_version != NULL)
            break;
    }
    if (rc < 0)
        return -1;
    if (ret_object == NULL)
        object_unref(o);
    else
        *ret_object = o;
    if (ret_is_gone != NULL)
        *ret_is_gone = is_gone;
    return 0;
}
