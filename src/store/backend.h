/* SPDX-License-Identifier: Apache-2.0 */
/* store/backend.h: what a backend of the store provides.
 *
 * Called by store.c only, which has checked the arguments and counted the
 * effect; the contract of each slot is that of the front function of the same
 * name in store/store.h. All slots are required.
 */
#pragma once
#include "store/store.h"

/* What store_list() was asked, checked. */
struct store_query {
    const char *prefix;
    const char *after; /* NULL: from the first */
    size_t limit;      /* 0: all */
    uint64_t at_rev;   /* 0: now */
};

struct store_ops {
    const char *name;
    int (*create)(struct store *s, const char *key, const char *val,
                  uint64_t *ret_rev, struct err *err);
    int (*update)(struct store *s, const char *key, const char *val,
                  uint64_t expect_rev, uint64_t *ret_rev, struct err *err);
    int (*remove)(struct store *s, const char *key, uint64_t expect_rev,
                  uint64_t *ret_rev, struct err *err);
    int (*get)(struct store *s, const char *key, struct store_item *ret_item,
               uint64_t *ret_head_rev, struct err *err);
    int (*list)(struct store *s, const struct store_query *query,
                struct store_items *ret_items, struct err *err);
    int (*watch)(struct store *s, uint64_t after_rev, store_watch_fn fn,
                 void *arg, struct err *err);
    void (*watch_stop)(struct store *s);
    int (*compact)(struct store *s, uint64_t rev, struct err *err);
    void (*close)(struct store *s); /* the watch has ended; frees `s` */
};

/* The SQLite backend (store/sqlite.c). */
struct store *sqlite_open(const char *dir, struct err *err) NODISCARD;
