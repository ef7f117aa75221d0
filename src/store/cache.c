/* SPDX-License-Identifier: Apache-2.0 */
/* store/cache.c: all objects in memory, and what happened to them lately.
 *
 * Each resource has a sorted array of its newest objects and a ring of its
 * last events. A watch is a cursor into that ring, so an event costs nothing
 * per watcher but the wake-up, and a watcher that does not read keeps nothing
 * alive: it falls off the ring's end and is told EXPIRED. One more ring holds
 * the events of all resources, for watches without a resource.
 *
 *   ring:  first_seq ........ next_seq     a slot is seq % size
 *            ^ oldest kept      ^ next to come;  floor_rev: all events after
 *                                                this revision are kept
 *
 * The array costs a memmove of 8 bytes per object for an insertion: 5 us at
 * 10,000 objects, and lists are a copy of pointers.
 *
 * Locks: one mutex for everything; nothing foreign is called under it. The
 * store's watch thread is the only writer after cache_new().
 */
#include "store/cache.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/mutex.h"

#define RING_SIZE     1024u /* events per resource */
#define ALL_RING_SIZE 4096u

extern struct role cache_lock;

struct ring {
    struct cache_event *v;
    size_t size;
    uint64_t first_seq, next_seq;
    uint64_t floor_rev;
};

struct resource {
    const struct gvr *gvr;
    struct object **v; /* sorted by key */
    size_t n, cap;
    struct ring ring;
};

/* Objects that name one uid as their owner. */
struct owned {
    struct object **v;
    size_t n;
};

struct cache_watch {
    struct cache *cache;
    struct ring *ring;    /* [C] */
    uint64_t seq;         /* the next event to hand out */
    uint64_t min_rev;     /* events up to it are skipped */
    bool is_expired;      /* the end was handed out, or is to be */
    bool is_awake;        /* wake() was called since it last ran dry */
    unsigned waking;      /* wake() calls going on */
    void (*wake)(void *); /* [C] */
    void *arg;            /* [C] */
    struct cache_watch *next;
};

struct cache {
    pthread_mutex_t mutex; /* what cache_lock stands for */
    pthread_cond_t rev_cond;
    pthread_cond_t idle_cond; /* a wake() ended */
    struct store *store;      /* [C] */
    struct map *by_name;      /* [C] "group/resource" -> struct resource */
    struct resource *resources;
    size_t n_resources;
    struct map *owners GUARDED_BY(cache_lock); /* uid -> struct owned */
    struct ring all;
    uint64_t rev GUARDED_BY(cache_lock);
    struct cache_watch *watches GUARDED_BY(cache_lock);
};

static void
lock(struct cache *c) ACQUIRE(cache_lock) NO_TSA
{
    pthread_mutex_lock(&c->mutex);
}

static void
unlock(struct cache *c) RELEASE(cache_lock) NO_TSA
{
    pthread_mutex_unlock(&c->mutex);
}

static void
cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

/* Wait for `cond` until the monotonic clock shows `until_ms`; false then. */
static bool
cond_wait_locked(struct cache *c, pthread_cond_t *cond, uint64_t until_ms)
    REQUIRES(cache_lock)
{
    struct timespec ts = { .tv_sec = (time_t)(until_ms / 1000),
                           .tv_nsec = (long)(until_ms % 1000) * 1000000 };

    return pthread_cond_timedwait(cond, &c->mutex, &ts) == 0;
}

static uint64_t
deadline(uint64_t timeout_ms)
{
    uint64_t now = clock_mono_ms();

    return timeout_ms > UINT32_MAX ? now + UINT32_MAX : now + timeout_ms;
}

/* ---- rings ---- */

static void
ring_init(struct ring *r, size_t size)
{
    r->size = size;
    r->v = xcalloc(size, sizeof *r->v);
}

static void
ring_drop_all(struct ring *r)
{
    for (; r->first_seq < r->next_seq; r->first_seq++)
        cache_event_fini(&r->v[r->first_seq % r->size]);
}

static void
ring_fini(struct ring *r)
{
    ring_drop_all(r);
    free(r->v);
}

static void
event_copy(const struct cache_event *from, struct cache_event *to)
{
    *to = *from;
    if (to->object != NULL)
        (void)object_ref(to->object);
    if (to->prev != NULL)
        (void)object_ref(to->prev);
}

static void
ring_push(struct ring *r, const struct cache_event *ev)
{
    struct cache_event *slot = &r->v[r->next_seq % r->size];

    if (r->next_seq - r->first_seq == r->size) {
        r->floor_rev = slot->rev;
        cache_event_fini(slot);
        r->first_seq++;
    }
    event_copy(ev, slot);
    r->next_seq++;
}

void
cache_event_fini(struct cache_event *ev)
{
    object_unref(ev->object);
    object_unref(ev->prev);
    *ev = (struct cache_event){ .type = CACHE_EXPIRED };
}

/* ---- objects and their index ---- */

/* The resource a key belongs to; NULL: not one of ours. */
static struct resource *
resource_of_key(struct cache *c, const char *key)
{
    char name[256];
    const char *from = key + 3; /* behind "/k/" */
    const char *slash = strchr(from, '/');
    const char *end = slash == NULL ? NULL : strchr(slash + 1, '/');

    if (end == NULL || (size_t)(end - from) >= sizeof name)
        return NULL;
    memcpy(name, from, (size_t)(end - from));
    name[end - from] = 0;
    return map_get(c->by_name, name);
}

static struct resource *
resource_of(struct cache *c, const struct gvr *gvr)
{
    for (size_t i = 0; i < c->n_resources; i++)
        if (c->resources[i].gvr == gvr ||
            (strcmp(c->resources[i].gvr->group, gvr->group) == 0 &&
             strcmp(c->resources[i].gvr->resource, gvr->resource) == 0))
            return &c->resources[i];
    return NULL;
}

/* The place of `key`: where it is, or where it would be inserted. */
static size_t
find(const struct resource *r, const char *key, bool *ret_found)
{
    size_t lo = 0, hi = r->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int cmp = strcmp(object_key(r->v[mid]), key);

        if (cmp == 0) {
            *ret_found = true;
            return mid;
        }
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_found = false;
    return lo;
}

static void
owners_add(struct cache *c, struct object *o) REQUIRES(cache_lock)
{
    const char *uid;

    for (size_t i = 0; (uid = object_owner(o, i)) != NULL; i++) {
        struct owned *owned = map_get(c->owners, uid);

        if (owned == NULL) {
            owned = xcalloc(1, sizeof *owned);
            (void)map_put(c->owners, uid, owned);
        }
        owned->v = xrealloc(owned->v, owned->n + 1, sizeof(void *));
        owned->v[owned->n++] = o;
    }
}

static void
owners_remove(struct cache *c, const struct object *o) REQUIRES(cache_lock)
{
    const char *uid;

    for (size_t i = 0; (uid = object_owner(o, i)) != NULL; i++) {
        struct owned *owned = map_get(c->owners, uid);

        for (size_t j = 0; owned != NULL && j < owned->n; j++)
            if (owned->v[j] == o)
                owned->v[j--] = owned->v[--owned->n];
        if (owned != NULL && owned->n == 0) {
            (void)map_remove(c->owners, uid);
            free(owned->v);
            free(owned);
        }
    }
}

/* Take the reference `o` into the place of its key; the object that was there
 * is returned with its reference, or NULL. */
static struct object *
put_locked(struct cache *c, struct resource *r, struct object *o)
    REQUIRES(cache_lock)
{
    struct object *before = NULL;
    bool found;
    size_t at = find(r, object_key(o), &found);

    if (found) {
        before = r->v[at];
        owners_remove(c, before);
    } else {
        if (r->n == r->cap) {
            r->cap = r->cap == 0 ? 16 : r->cap * 2;
            r->v = xrealloc(r->v, r->cap, sizeof(void *));
        }
        memmove(&r->v[at + 1], &r->v[at], (r->n - at) * sizeof(void *));
        r->n++;
    }
    r->v[at] = o;
    owners_add(c, o);
    return before;
}

static struct object *
remove_locked(struct cache *c, struct resource *r, const char *key)
    REQUIRES(cache_lock)
{
    struct object *before;
    bool found;
    size_t at = find(r, key, &found);

    if (!found)
        return NULL;
    before = r->v[at];
    owners_remove(c, before);
    r->n--;
    memmove(&r->v[at], &r->v[at + 1], (r->n - at) * sizeof(void *));
    return before;
}

static void
clear_locked(struct cache *c) REQUIRES(cache_lock)
{
    for (size_t i = 0; i < c->n_resources; i++) {
        struct resource *r = &c->resources[i];

        while (r->n > 0) {
            struct object *o = r->v[--r->n];

            owners_remove(c, o);
            object_unref(o);
        }
    }
}

/* ---- feeding ---- */

struct wakes {
    struct cache_watch **v;
    size_t n;
};

/* Mark who must be woken; they cannot be freed until wake_all() is done. */
static void
collect_wakes_locked(struct cache *c, const struct ring *ring,
                     struct wakes *wakes) REQUIRES(cache_lock)
{
    for (struct cache_watch *w = c->watches; w != NULL; w = w->next) {
        if (ring != NULL && w->ring != ring && w->ring != &c->all)
            continue;
        if (w->wake == NULL || w->is_awake)
            continue;
        w->is_awake = true;
        w->waking++;
        wakes->v = xrealloc(wakes->v, wakes->n + 1, sizeof(void *));
        wakes->v[wakes->n++] = w;
    }
}

static void
wake_all(struct cache *c, struct wakes *wakes) EXCLUDES(cache_lock)
{
    if (wakes->n == 0)
        return;
    for (size_t i = 0; i < wakes->n; i++)
        wakes->v[i]->wake(wakes->v[i]->arg);
    lock(c);
    for (size_t i = 0; i < wakes->n; i++)
        wakes->v[i]->waking--;
    pthread_cond_broadcast(&c->idle_cond);
    unlock(c);
    free(wakes->v);
}

/* Apply one event of the store; `o`: the new object, NULL for a deletion.
 * Returns the object that was replaced: freed without the lock. */
static struct object *
apply_locked(struct cache *c, struct resource *r, const struct store_event *ev,
             struct object *o, struct wakes *wakes) REQUIRES(cache_lock)
{
    struct cache_event out = { .rev = ev->rev };
    struct object *before;

    if (o != NULL) {
        before = put_locked(c, r, o);
        out.type = before == NULL ? CACHE_ADDED : CACHE_MODIFIED;
        out.object = o;
        out.prev = before;
        ring_push(&r->ring, &out);
        ring_push(&c->all, &out);
    } else {
        before = remove_locked(c, r, ev->key);
        if (before == NULL)
            return NULL;
        out.type = CACHE_DELETED;
        out.object = object_at_rev(before, ev->rev);
        out.prev = before;
        ring_push(&r->ring, &out);
        ring_push(&c->all, &out);
        object_unref(out.object);
    }
    collect_wakes_locked(c, &r->ring, wakes);
    return before;
}

static void
rev_set_locked(struct cache *c, uint64_t rev) REQUIRES(cache_lock)
{
    c->rev = rev;
    pthread_cond_broadcast(&c->rev_cond);
}

/* Replace everything by what the store lists now; every watch ends. */
static int
fill(struct cache *c, struct err *err) EXCLUDES(cache_lock)
{
    CLEANUP(store_items_fini) struct store_items items = { 0 };
    struct wakes wakes = { 0 };
    int rc = 0;

    if (store_list(c->store, "/k/", NULL, 0, 0, &items, err) < 0)
        return -1;
    lock(c);
    clear_locked(c);
    for (size_t i = 0; i < items.n && rc == 0; i++) {
        const struct store_item *item = &items.v[i];
        struct resource *r = resource_of_key(c, item->key);
        struct object *o;

        if (r == NULL)
            continue;
        o = object_new(r->gvr, item->val, item->val_len, item->rev, err);
        if (o == NULL)
            rc = err_wrap(err, "object store: %s", item->key);
        else
            object_unref(put_locked(c, r, o));
    }
    for (size_t i = 0; i < c->n_resources; i++) {
        ring_drop_all(&c->resources[i].ring);
        c->resources[i].ring.floor_rev = items.head_rev;
    }
    ring_drop_all(&c->all);
    c->all.floor_rev = items.head_rev;
    for (struct cache_watch *w = c->watches; w != NULL; w = w->next)
        w->is_expired = true;
    rev_set_locked(c, items.head_rev);
    collect_wakes_locked(c, NULL, &wakes);
    unlock(c);
    wake_all(c, &wakes);
    return rc;
}

/* On the store's watch thread. */
static void
on_event(void *arg, const struct store_event *ev)
{
    struct cache *c = arg;
    struct wakes wakes = { 0 };
    struct object *before = NULL;
    struct object *o = NULL;
    struct resource *r;
    struct err err;

    if (ev == NULL) {
        /* Compacted behind us: nothing must be missed, so list until the
         * store can be read. */
        while (fill(c, &err) < 0)
            clock_sleep_ms(1000);
        return;
    }
    r = resource_of_key(c, ev->key);
    if (r != NULL && ev->op == STORE_PUT)
        o = object_new(r->gvr, ev->val, strlen(ev->val), ev->rev, &err);
    lock(c);
    if (ev->rev > c->rev) {
        if (r != NULL && (o != NULL || ev->op == STORE_DELETE)) {
            before = apply_locked(c, r, ev, o, &wakes);
            o = NULL; /* the cache's now */
        }
        rev_set_locked(c, ev->rev);
    }
    unlock(c);
    object_unref(o);
    object_unref(before);
    wake_all(c, &wakes);
}

/* ---- making ---- */

struct cache *NO_TSA
cache_new(struct store *s, const struct gvr *const *gvrs, struct err *err)
{
    struct cache *c = xcalloc(1, sizeof *c);
    size_t n = 0;

    while (gvrs[n] != NULL)
        n++;
    (void)pthread_mutex_init(&c->mutex, NULL);
    cond_init(&c->rev_cond);
    cond_init(&c->idle_cond);
    c->store = s;
    c->by_name = map_new();
    c->owners = map_new();
    c->resources = xcalloc(n + 1, sizeof *c->resources);
    c->n_resources = n;
    for (size_t i = 0; i < n; i++) {
        CLEANUP(mem_free)
        char *name = xasprintf("%s/%s", gvrs[i]->group, gvrs[i]->resource);

        c->resources[i].gvr = gvrs[i];
        ring_init(&c->resources[i].ring, RING_SIZE);
        (void)map_put(c->by_name, name, &c->resources[i]);
    }
    ring_init(&c->all, ALL_RING_SIZE);
    if (fill(c, err) < 0 ||
        store_watch(s, cache_rev(c), on_event, c, err) < 0) {
        cache_free(c);
        return NULL;
    }
    return c;
}

void NO_TSA
cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    store_watch_stop(c->store);
    lock(c);
    clear_locked(c);
    unlock(c);
    for (size_t i = 0; i < c->n_resources; i++) {
        ring_fini(&c->resources[i].ring);
        free(c->resources[i].v);
    }
    ring_fini(&c->all);
    free(c->resources);
    map_free(c->by_name);
    map_free(c->owners);
    (void)pthread_mutex_destroy(&c->mutex);
    (void)pthread_cond_destroy(&c->rev_cond);
    (void)pthread_cond_destroy(&c->idle_cond);
    free(c);
}

/* ---- reading ---- */

uint64_t
cache_rev(struct cache *c)
{
    uint64_t rev;

    lock(c);
    rev = c->rev;
    unlock(c);
    return rev;
}

bool
cache_wait_rev(struct cache *c, uint64_t rev, uint64_t timeout_ms)
{
    uint64_t until = deadline(timeout_ms);
    bool is_there;

    lock(c);
    while (c->rev < rev && cond_wait_locked(c, &c->rev_cond, until))
        ;
    is_there = c->rev >= rev;
    unlock(c);
    return is_there;
}

struct object *
cache_get(struct cache *c, const struct obj_ref *ref)
{
    CLEANUP(mem_free) char *key = object_key_of(ref->gvr, ref->ns, ref->name);
    struct resource *r = resource_of(c, ref->gvr);
    struct object *o = NULL;
    bool found;
    size_t at;

    if (r == NULL)
        return NULL;
    lock(c);
    at = find(r, key, &found);
    if (found)
        o = object_ref(r->v[at]);
    unlock(c);
    return o;
}

void
cache_list(struct cache *c, const struct gvr *gvr, const char *ns,
           struct object_list *ret_list)
{
    CLEANUP(mem_free)
    char *prefix = ns == NULL ? NULL : object_key_of(gvr, ns, "");
    size_t prefix_len = ns == NULL ? 0 : strlen(prefix);
    struct resource *r = resource_of(c, gvr);
    struct object_list l = { 0 };
    size_t from = 0;
    bool found;

    lock(c);
    l.rev = c->rev;
    if (r != NULL) {
        if (prefix != NULL)
            from = find(r, prefix, &found);
        l.v = xcalloc(r->n - from + 1, sizeof(void *));
        for (size_t i = from; i < r->n; i++) {
            if (prefix != NULL &&
                strncmp(object_key(r->v[i]), prefix, prefix_len) != 0)
                break;
            l.v[l.n++] = object_ref(r->v[i]);
        }
    }
    unlock(c);
    *ret_list = l;
}

void
cache_list_owned(struct cache *c, const char *uid, struct object_list *ret_list)
{
    struct object_list l = { 0 };
    struct owned *owned;

    lock(c);
    l.rev = c->rev;
    owned = map_get(c->owners, uid);
    if (owned != NULL) {
        l.v = xcalloc(owned->n, sizeof(void *));
        for (; l.n < owned->n; l.n++)
            l.v[l.n] = object_ref(owned->v[l.n]);
    }
    unlock(c);
    *ret_list = l;
}

/* ---- watching ---- */

struct cache_watch *
cache_watch_new(struct cache *c, const struct gvr *gvr, uint64_t after_rev,
                void (*wake)(void *), void *arg, struct err *err)
{
    struct resource *r = gvr == NULL ? NULL : resource_of(c, gvr);
    struct cache_watch *w;
    uint64_t floor;

    if (gvr != NULL && r == NULL)
        return err_set_null(err, ERR_INVALID, "%s: no such resource",
                            gvr->resource);
    w = xcalloc(1, sizeof *w);
    w->cache = c;
    w->ring = r == NULL ? &c->all : &r->ring;
    w->wake = wake;
    w->arg = arg;
    lock(c);
    floor = w->ring->floor_rev;
    w->seq = after_rev == 0 ? w->ring->next_seq : w->ring->first_seq;
    w->min_rev = after_rev == 0 ? c->rev : after_rev;
    if (after_rev == 0 || after_rev >= floor) {
        w->next = c->watches;
        c->watches = w;
    }
    unlock(c);
    if (after_rev != 0 && after_rev < floor) {
        free(w);
        return err_set_null(err, ERR_NOT_FOUND,
                            "too old resource version: %" PRIu64 " (%" PRIu64
                            ")",
                            after_rev, floor);
    }
    return w;
}

void
cache_watch_free(struct cache_watch *w)
{
    struct cache_watch **at;
    struct cache *c;

    if (w == NULL)
        return;
    c = w->cache;
    lock(c);
    for (at = &c->watches; *at != w; at = &(*at)->next)
        ;
    *at = w->next;
    while (w->waking > 0)
        (void)pthread_cond_wait(&c->idle_cond, &c->mutex);
    unlock(c);
    free(w);
}

/* Skip what the watcher has seen by its list. */
static void
skip_old(struct cache_watch *w)
{
    const struct ring *r = w->ring;

    while (w->seq < r->next_seq && r->v[w->seq % r->size].rev <= w->min_rev)
        w->seq++;
}

static bool
next_locked(struct cache_watch *w, struct cache_event *ret_event)
    REQUIRES(cache_lock)
{
    const struct ring *r = w->ring;

    if (w->is_expired || w->seq < r->first_seq) {
        w->is_expired = true;
        *ret_event = (struct cache_event){ .type = CACHE_EXPIRED };
        return true;
    }
    skip_old(w);
    if (w->seq == r->next_seq) {
        w->is_awake = false;
        return false;
    }
    event_copy(&r->v[w->seq++ % r->size], ret_event);
    return true;
}

bool
cache_watch_next(struct cache_watch *w, struct cache_event *ret_event)
{
    bool is_there;

    lock(w->cache);
    is_there = next_locked(w, ret_event);
    unlock(w->cache);
    return is_there;
}

uint64_t
cache_watch_rev(struct cache_watch *w)
{
    const struct ring *r = w->ring;
    uint64_t rev;

    lock(w->cache);
    if (w->seq >= r->first_seq)
        skip_old(w);
    if (w->seq < r->first_seq || w->is_expired)
        rev = w->min_rev;
    else if (w->seq >= r->next_seq)
        rev = w->cache->rev > w->min_rev ? w->cache->rev : w->min_rev;
    else
        rev = r->v[w->seq % r->size].rev - 1;
    unlock(w->cache);
    return rev;
}
