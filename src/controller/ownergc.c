/* SPDX-License-Identifier: Apache-2.0 */
/* controller/ownergc.c: objects whose owners are all gone go too; and what
 * else only has to be swept: old events, the store's history.
 *
 * An owner of a projected kind counts as there, always: a VM object can
 * vanish because libvirt's answer was wrong, and must take no snapshot,
 * content or restore with it. So does an owner of a kind that we do not know.
 * Whether an owner is there is asked of the store, by uid: a cache that is
 * behind must not delete anything.
 *
 * Keys of the queue are the store's keys, and two words.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/loop.h"

#define SWEEP_KEY        "sweep"
#define COMPACT_KEY      "compact"
#define SWEEP_EVERY_MS   (10 * 60 * 1000)
#define COMPACT_EVERY_MS (5 * 60 * 1000)
#define EVENT_AGE_S      (24 * 3600)
/* As kine: a client that was away for a moment finds its place again. */
#define KEEP_REVS 1000

struct ownergc {
    struct ctl *ctl;   /* [C] */
    struct loop *loop; /* [C] */
    const struct gvr **gvrs;
    struct loop_spec spec;
    uint64_t compact_rev; /* [T: the worker of COMPACT_KEY] */
};

/* "snapshot.kubevirt.io/v1beta1" without its version; "" for "v1". */
static void
group_of(const char *api_version, char *buf, size_t size)
{
    const char *slash = strchr(api_version, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - api_version);

    if (n >= size)
        n = size - 1;
    memcpy(buf, api_version, n);
    buf[n] = 0;
}

static int
is_owner_there(struct ctl *ctl, const struct object *o, const json_t *owner,
               bool *ret_is_there, struct err *err)
{
    CLEANUP(object_unref) struct object *found = NULL;
    const struct kind *k;
    char group[128];
    struct obj_ref ref;

    group_of(jsonx_str_or(owner, "apiVersion", ""), group, sizeof group);
    k = kind_by_kind(group, jsonx_str_or(owner, "kind", ""));
    *ret_is_there = true;
    if (k == NULL || k->is_projected || k == &kind_namespace)
        return 0;
    ref = (struct obj_ref){ &k->gvr, k->gvr.is_namespaced ? object_ns(o) : "",
                            jsonx_str_or(owner, "name", "") };
    if (obj_get(ctl->store, &ref, &found, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -1;
        *ret_is_there = false;
        return 0;
    }
    *ret_is_there =
        strcmp(object_uid(found), jsonx_str_or(owner, "uid", "")) == 0;
    return 0;
}

/* The object behind a key of the store; NULL without error: none. */
static int
find_by_key(struct ownergc *g, const char *key, struct object **ret_object,
            struct err *err)
{
    CLEANUP(store_item_fini) struct store_item item = { 0 };

    *ret_object = NULL;
    for (size_t i = 0; g->gvrs[i] != NULL; i++) {
        CLEANUP(mem_free)
        char *prefix =
            xasprintf("/k/%s/%s/", g->gvrs[i]->group, g->gvrs[i]->resource);

        if (strncmp(key, prefix, strlen(prefix)) != 0)
            continue;
        if (store_get(g->ctl->store, key, &item, NULL, err) < 0)
            return err->code == ERR_NOT_FOUND ? 0 : -1;
        *ret_object =
            object_new(g->gvrs[i], item.val, item.val_len, item.rev, err);
        return *ret_object == NULL ? -1 : 0;
    }
    return 0;
}

static int
work_object(struct ownergc *g, const char *key, struct err *err)
{
    CLEANUP(object_unref) struct object *o = NULL;
    CLEANUP(json_decref) json_t *v = NULL;
    struct obj_write how = { .part = OBJ_MAIN };
    struct obj_ref ref;
    const json_t *owners;

    if (find_by_key(g, key, &o, err) < 0)
        return -1;
    if (o == NULL || object_is_deleting(o))
        return 0;
    v = object_json(o);
    owners = jsonx_get(v, "metadata.ownerReferences");
    if (json_array_size(owners) == 0)
        return 0;
    for (size_t i = 0; i < json_array_size(owners); i++) {
        bool is_there;

        if (is_owner_there(g->ctl, o, json_array_get(owners, i), &is_there,
                           err) < 0)
            return -1;
        if (is_there)
            return 0;
    }
    log_info("%s %s/%s: its owners are gone, it goes too",
             object_gvr(o)->resource, object_ns(o), object_name(o));
    ref = (struct obj_ref){ object_gvr(o), object_ns(o), object_name(o) };
    how.uid = object_uid(o);
    if (obj_delete(g->ctl->store, &ref, &how, NULL, NULL, err) < 0 &&
        err->code != ERR_NOT_FOUND)
        return -1;
    return 0;
}

/* Up to where the store was five minutes ago. */
static int
work_compact(struct ownergc *g, struct err *err)
{
    uint64_t head = cache_rev(g->ctl->cache);
    uint64_t rev = g->compact_rev;

    g->compact_rev = head;
    if (rev + KEEP_REVS > head)
        rev = head > KEEP_REVS ? head - KEEP_REVS : 0;
    return rev == 0 ? 0 : store_compact(g->ctl->store, rev, err);
}

static int
work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct ownergc *g = arg;

    if (strcmp(key, SWEEP_KEY) == 0) {
        eventrec_sweep(g->ctl->events, EVENT_AGE_S);
        *ret_again_ms = SWEEP_EVERY_MS;
        return 0;
    }
    if (strcmp(key, COMPACT_KEY) == 0) {
        *ret_again_ms = COMPACT_EVERY_MS;
        return work_compact(g, err);
    }
    *ret_again_ms = QUEUE_DONE;
    return work_object(g, key, err);
}

static void
map_event(void *arg, struct loop *l, const struct cache_event *ev)
{
    struct ownergc *g = arg;
    struct object_list owned;

    if (ev->type != CACHE_DELETED) {
        if (object_owner(ev->object, 0) != NULL)
            loop_add_key(l, object_key(ev->object), 0);
        return;
    }
    cache_list_owned(g->ctl->cache, object_uid(ev->object), &owned);
    for (size_t i = 0; i < owned.n; i++)
        loop_add_key(l, object_key(owned.v[i]), 0);
    object_list_fini(&owned);
}

static void
ownergc_stop(void *state)
{
    struct ownergc *g = state;

    loop_free(g->loop);
    free(g->gvrs);
    free(g);
}

static void *
ownergc_start(struct ctl *ctl, struct err *err)
{
    struct ownergc *g = xcalloc(1, sizeof *g);
    size_t n = 0;

    while (kind_table[n] != NULL)
        n++;
    g->gvrs = xcalloc(n + 1, sizeof(void *));
    for (size_t i = 0; i < n; i++)
        g->gvrs[i] = &kind_table[i]->gvr;
    g->ctl = ctl;
    g->spec = (struct loop_spec){
        .name = "ownergc",
        .workers = 2, /* nobody waits for it */
        .gvrs = g->gvrs,
        .map = map_event,
        .work = work,
    };
    g->loop = loop_new(ctl, &g->spec, g);
    if (loop_start(g->loop, err) < 0) {
        ownergc_stop(g);
        return NULL;
    }
    loop_add_key(g->loop, SWEEP_KEY, SWEEP_EVERY_MS);
    loop_add_key(g->loop, COMPACT_KEY, COMPACT_EVERY_MS);
    return g;
}

const struct ctl_part ownergc_part = {
    .name = "ownergc",
    .start = ownergc_start,
    .stop = ownergc_stop,
};
