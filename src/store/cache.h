/* SPDX-License-Identifier: Apache-2.0 */
/* store/cache.h: all objects in memory, and what happened to them lately.
 *
 * One watch of the store feeds it. Lists, watches and controllers read it; a
 * reader that must see its own write waits for that revision first.
 * Threads: any. Nothing here blocks on the store but cache_new().
 * source  spec k8swire 7, 8, 14
 */
#pragma once
#include "store/object.h"
#include "store/store.h"

struct cache;

/* Fill from the store and follow it. `gvrs`: every resource that exists, NULL
 * at the end; kept. Keys of others are ignored. */
struct cache *cache_new(struct store *s, const struct gvr *const *gvrs,
                        struct err *err) NODISCARD;
/* Ends every watch. NULL is fine. */
void cache_free(struct cache *c);

uint64_t cache_rev(struct cache *c);
/* false after timeout_ms. */
bool cache_wait_rev(struct cache *c, uint64_t rev, uint64_t timeout_ms);

/* NULL: not there. The caller unrefs. */
struct object *cache_get(struct cache *c, const struct obj_ref *ref) NODISCARD;

/* `ns` NULL: all namespaces. Objects are referenced, not copied. */
void cache_list(struct cache *c, const struct gvr *gvr, const char *ns,
                struct object_list *ret_list);
/* Every object of any kind whose ownerReferences name `uid`. */
void cache_list_owned(struct cache *c, const char *uid,
                      struct object_list *ret_list);

enum cache_event_type {
    CACHE_ADDED,
    CACHE_MODIFIED,
    CACHE_DELETED, /* object: its last state, rev: that of the deletion */
    CACHE_EXPIRED, /* the watcher fell behind or the log was compacted: end */
};

struct cache_event {
    enum cache_event_type type;
    struct object *object; /* a reference of the receiver's; NULL: expired */
    struct object *prev;   /* the version before, or NULL */
    uint64_t rev;
};
void cache_event_fini(struct cache_event *ev);

/* A bounded queue of events of one resource (gvr NULL: of all).
 * `after_rev`: events after it; 0: from now on. EXPIRED (NOT_FOUND) when it
 * is older than what is kept. `wake` is called (any thread, no lock held,
 * must not block) when the queue turns non-empty; may be NULL. */
struct cache_watch;
struct cache_watch *cache_watch_new(struct cache *c, const struct gvr *gvr,
                                    uint64_t after_rev, void (*wake)(void *),
                                    void *arg, struct err *err) NODISCARD;
void cache_watch_free(struct cache_watch *w);
/* The next event; false: none now. */
bool cache_watch_next(struct cache_watch *w, struct cache_event *ret_event);
/* The revision up to which everything was handed out: for bookmarks. */
uint64_t cache_watch_rev(struct cache_watch *w);
