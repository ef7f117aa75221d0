/* SPDX-License-Identifier: Apache-2.0 */
/* store/store.h: keys, values, one global revision.
 *
 * A store keeps bytes under keys and numbers every write with one revision
 * that never goes back. The interface is the common part of SQLite and etcd;
 * objects and their rules are above it (store/obj.h).
 * One write is one revision: two objects are never written together.
 * Threads: all calls, from any thread. A write is durable when it returns.
 * source  spec k8swire 14; docs/formats/store-sqlite.md
 */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct store;

struct store_item {
    char *key;
    char *val; /* NUL-terminated */
    size_t val_len;
    uint64_t rev; /* revision of its last write */
};

struct store_items {
    struct store_item *v;
    size_t n;
    uint64_t head_rev; /* of the same reading: a watch can start here */
    bool has_more;
};
void store_item_fini(struct store_item *item);
void store_items_fini(struct store_items *items);
static inline void
store_item_fini_p(struct store_item *item)
{
    store_item_fini(item);
}
static inline void
store_items_fini_p(struct store_items *items)
{
    store_items_fini(items);
}

enum store_op {
    STORE_PUT,
    STORE_DELETE
};

struct store_event {
    uint64_t rev;
    enum store_op op;
    const char *key;
    const char *val;      /* NULL for a delete */
    const char *prev_val; /* NULL for the first put */
    uint64_t prev_rev;    /* 0 for the first put */
};

/* All borrowed for the call. Called on the store's watch thread, in the order
 * of revisions, without gaps, with no lock held. `ev` NULL: the log behind
 * the last event was compacted; list again (in this call). Events go on after
 * the compaction: those up to the new list's revision are to be skipped. */
typedef void (*store_watch_fn)(void *arg, const struct store_event *ev);

struct store_ops;
struct store {
    const struct store_ops *ops;
};

/* Open (or make) the SQLite store in directory `dir`, which is ours alone.
 * errors  CORRUPT (the file is damaged); UNSUPPORTED (from a newer version);
 *         BUSY (another process has it open) */
struct store *store_open_sqlite(const char *dir, struct err *err) NODISCARD;
void store_close(struct store *s); /* ends the watch; NULL is fine */
DEFINE_CLEANUP(store_close, struct store *)

/* errors  EXISTS */
int store_create(struct store *s, const char *key, const char *val,
                 uint64_t *ret_rev, struct err *err) NODISCARD;
/* expect_rev: the revision that must be there now.
 * errors  CONFLICT (another revision is there); NOT_FOUND */
int store_update(struct store *s, const char *key, const char *val,
                 uint64_t expect_rev, uint64_t *ret_rev, struct err *err)
    NODISCARD;
int store_delete(struct store *s, const char *key, uint64_t expect_rev,
                 uint64_t *ret_rev, struct err *err) NODISCARD;
/* errors  NOT_FOUND */
int store_get(struct store *s, const char *key, struct store_item *ret_item,
              uint64_t *ret_head_rev, struct err *err) NODISCARD;
/* Keys that begin with `prefix` and are > `after` (or NULL), ordered, at most
 * `limit` (0: all), as of revision `at_rev` (0: now).
 * errors  NOT_FOUND (at_rev was compacted); UNAVAILABLE (at_rev in future) */
int store_list(struct store *s, const char *prefix, const char *after,
               size_t limit, uint64_t at_rev, struct store_items *ret_items,
               struct err *err) NODISCARD;
/* One watch per process: every event after `after_rev`.
 * errors  NOT_FOUND (after_rev was compacted); BUSY (there is a watch) */
int store_watch(struct store *s, uint64_t after_rev, store_watch_fn fn,
                void *arg, struct err *err) NODISCARD;
void store_watch_stop(struct store *s);
/* Forget what was superseded before `rev`; newest values stay. */
int store_compact(struct store *s, uint64_t rev, struct err *err) NODISCARD;
