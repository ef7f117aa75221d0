/* SPDX-License-Identifier: Apache-2.0 */
/* controller/namespace.c: a namespace that is being deleted is emptied first.
 *
 * Admission refuses to delete a namespace that holds virtual machines,
 * snapshots or backups (types/kind-namespace.c). Should one get in all the
 * same, nothing of it is touched here: the namespace waits, and says for what.
 * Since a Terminating namespace takes no new objects (store/obj.c), "empty" is
 * final.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "controller/loop.h"

#define LOOK_EVERY_MS 1000
#define WAIT_MS       10000

/* What is never removed because its namespace goes. */
static bool
is_precious(const struct kind *k)
{
    return k == &kind_vm || k == &kind_vmsnapshot ||
           k == &kind_vmsnapshotcontent || k == &kind_vmbackup;
}

/* Delete what is there of one kind. *ret_left counts what was there, in the
 * store itself: a cache may be a moment behind. */
static int
empty_kind(struct ctl *ctl, const struct kind *k, const char *ns,
           size_t *ret_left, struct err *err)
{
    static const struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(mem_free) char *prefix = object_key_of(&k->gvr, ns, "");
    CLEANUP(store_items_fini) struct store_items items = { 0 };

    if (store_list(ctl->store, prefix, NULL, 0, 0, &items, err) < 0)
        return -1;
    *ret_left += items.n;
    for (size_t i = 0; i < items.n && !is_precious(k); i++) {
        struct obj_ref ref = { &k->gvr, ns, items.v[i].key + strlen(prefix) };

        if (obj_delete(ctl->store, &ref, &how, NULL, NULL, err) < 0 &&
            err->code != ERR_NOT_FOUND)
            return -1;
    }
    return 0;
}

struct left {
    size_t n, precious;
};

static int
empty(struct ctl *ctl, const char *ns, struct left *ret_left, struct err *err)
{
    struct left left = { 0 };

    for (size_t i = 0; kind_table[i] != NULL; i++) {
        const struct kind *k = kind_table[i];
        size_t n = 0;

        if (!k->gvr.is_namespaced)
            continue;
        if (empty_kind(ctl, k, ns, &n, err) < 0)
            return -1;
        left.n += n;
        left.precious += is_precious(k) ? n : 0;
    }
    *ret_left = left;
    return 0;
}

static int
drop_finalizer(void *arg, json_t *object, struct err *err)
{
    (void)arg;
    (void)err;
    jsonx_del(object, "spec.finalizers");
    return 0;
}

static int
put_condition(void *arg, json_t *object, struct err *err)
{
    const struct left *left = arg;
    char message[160];

    (void)err;
    (void)snprintf(
        message, sizeof message,
        "%zu virtual machines and snapshots are left: undefine or delete them",
        left->precious);
    return ctl_condition_set(object, "NamespaceContentRemaining",
                             left->precious > 0 ? "True" : "False",
                             "SomeResourcesRemain", message, 0)
               ? 0
               : 1;
}

static int
work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    static const struct obj_write as_all = { .part = OBJ_ALL };
    static const struct obj_write as_status = { .part = OBJ_STATUS };
    struct ctl *ctl = loop_ctl(arg);
    CLEANUP(object_unref) struct object *o = NULL;
    struct left left;
    struct loop_key k;
    struct obj_ref ref = { &kind_namespace.gvr, "", k.name };

    *ret_again_ms = QUEUE_DONE;
    loop_key_parse(key, &k);
    if (obj_get(ctl->store, &ref, &o, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    if (!object_is_deleting(o))
        return 0;
    if (empty(ctl, k.name, &left, err) < 0)
        return -1;
    if (left.n == 0) {
        if (obj_update(ctl->store, &ref, &as_all, drop_finalizer, NULL, NULL,
                       NULL, err) < 0 &&
            err->code != ERR_NOT_FOUND)
            return -1;
        return 0;
    }
    *ret_again_ms = left.precious > 0 ? WAIT_MS : LOOK_EVERY_MS;
    if (left.precious == 0)
        return 0;
    return obj_update(ctl->store, &ref, &as_status, put_condition, &left, NULL,
                      NULL, err);
}

static const struct gvr *const followed[] = { &kind_namespace.gvr, NULL };
static const struct loop_spec spec = {
    .name = "namespace",
    .workers = 2, /* namespaces are few */
    .gvrs = followed,
    .work = work,
};

const struct ctl_part namespace_part = {
    .name = "namespace",
    .loop = &spec,
};
