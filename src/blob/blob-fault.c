/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/blob-fault.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"

struct blob_fault {
    struct blob blob;
    struct blob *inner;          /* [C] */
    struct blob_fault_plan plan; /* [C] */
    atomic_uint_fast64_t changes;
    atomic_uint_fast64_t gets;
    atomic_bool is_dead;
};

static struct blob_fault *
self(struct blob *b)
{
    return container_of(b, struct blob_fault, blob);
}

static int
dead(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "the store is gone (fault)");
}

/* Is this change the one? Sets *ret_dead when nothing may happen at all. */
static bool
is_due(struct blob_fault *f, bool *ret_dead)
{
    uint64_t n = atomic_fetch_add(&f->changes, 1) + 1;

    if (f->plan.kind == BLOB_FAULT_CRASH && n >= f->plan.n)
        atomic_store(&f->is_dead, true);
    *ret_dead = atomic_load(&f->is_dead);
    if (f->plan.kind == BLOB_FAULT_CALL && n == f->plan.n)
        f->plan.call(f->plan.arg);
    return f->plan.kind != BLOB_FAULT_NONE &&
           f->plan.kind != BLOB_FAULT_GET_ERROR &&
           f->plan.kind != BLOB_FAULT_BAD_PLACE &&
           f->plan.kind != BLOB_FAULT_FULL && f->plan.kind != BLOB_FAULT_CALL &&
           n == f->plan.n;
}

/* A put fails by the plan. */
static bool
is_full(const struct blob_fault *f, bool is_due, const char *name)
{
    const char *spared = f->plan.object;

    if (f->plan.kind != BLOB_FAULT_FULL)
        return is_due && f->plan.kind == BLOB_FAULT_ERROR;
    return atomic_load(&f->changes) >= f->plan.n &&
           (spared == NULL || strncmp(name, spared, strlen(spared)) != 0);
}

static void
fault_free(struct blob *b)
{
    blob_free(self(b)->inner);
    free(self(b));
}

static int
fault_put(struct blob *b, const char *name, const void *data, size_t len,
          bool *ret_existed, struct err *err)
{
    struct blob_fault *f = self(b);
    bool is_dead, due = is_due(f, &is_dead);

    if (is_dead)
        return dead(err);
    if (is_full(f, due, name))
        return err_set(err, ERR_NO_SPACE, "%s: no space (fault)", name);
    if (!due)
        return blob_put(f->inner, name, data, len, ret_existed, err);
    if (f->plan.kind == BLOB_FAULT_TORN) {
        atomic_store(&f->is_dead, true);
        len = (size_t)((uint64_t)len * f->plan.torn_permille / 1000);
    }
    if (blob_put(f->inner, name, data, len, ret_existed, err) < 0)
        return -1;
    return err_set(err, ERR_UNAVAILABLE, "%s: no answer (fault)", name);
}

static int
fault_replace(struct blob *b, const char *name, const void *data, size_t len,
              struct err *err)
{
    struct blob_fault *f = self(b);
    bool is_dead, due = is_due(f, &is_dead);

    if (is_dead)
        return dead(err);
    if (is_full(f, due, name))
        return err_set(err, ERR_NO_SPACE, "%s: no space (fault)", name);
    if (due && f->plan.kind == BLOB_FAULT_TORN) /* nothing is half replaced */
        atomic_store(&f->is_dead, true);
    else if (blob_replace(f->inner, name, data, len, err) < 0)
        return -1;
    return due ? err_set(err, ERR_UNAVAILABLE, "%s: no answer (fault)", name)
               : 0;
}

static int
fault_room(struct blob *b, size_t len, struct err *err)
{
    return blob_room(self(b)->inner, len, err);
}

static int
fault_sync(struct blob *b, struct err *err)
{
    struct blob_fault *f = self(b);
    bool is_dead, due = is_due(f, &is_dead);

    if (is_dead)
        return dead(err);
    if (due && f->plan.kind == BLOB_FAULT_ERROR)
        return err_set(err, ERR_NO_SPACE, "sync (fault)");
    if (blob_sync(f->inner, err) < 0)
        return -1;
    return due ? err_set(err, ERR_UNAVAILABLE, "sync: no answer (fault)") : 0;
}

static int
fault_sync_also(struct blob *b, const char *prefix, struct err *err)
{
    return blob_sync_also(self(b)->inner, prefix, err);
}

static int
fault_get(struct blob *b, const char *name, uint64_t off, void *data,
          size_t len, size_t *ret_len, struct err *err)
{
    struct blob_fault *f = self(b);
    uint64_t n = atomic_fetch_add(&f->gets, 1) + 1;

    if (atomic_load(&f->is_dead))
        return dead(err);
    if (f->plan.kind == BLOB_FAULT_GET_ERROR && n == f->plan.n)
        return err_set(err, ERR_UNAVAILABLE, "%s: read (fault)", name);
    if (f->plan.kind == BLOB_FAULT_BAD_PLACE &&
        strcmp(name, f->plan.object) == 0 && f->plan.n >= off &&
        f->plan.n - off < len)
        return err_sys(err, EIO, "%s: read", name);
    return blob_get(f->inner, name, off, data, len, ret_len, err);
}

static int
fault_size(struct blob *b, const char *name, uint64_t *ret_size,
           struct err *err)
{
    if (atomic_load(&self(b)->is_dead))
        return dead(err);
    return blob_size(self(b)->inner, name, ret_size, err);
}

static int
fault_list(struct blob *b, const char *prefix, struct blob_names *names,
           struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (atomic_load(&self(b)->is_dead))
        return dead(err);
    if (blob_list(self(b)->inner, prefix, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++)
        blob_names_add(names, n.names[i]);
    return 0;
}

static int
fault_remove(struct blob *b, const char *name, struct err *err)
{
    struct blob_fault *f = self(b);
    bool is_dead, due = is_due(f, &is_dead);

    if (is_dead)
        return dead(err);
    if (due && f->plan.kind == BLOB_FAULT_ERROR)
        return err_set(err, ERR_NO_SPACE, "%s: remove (fault)", name);
    if (blob_remove(f->inner, name, err) < 0)
        return -1;
    return due ? err_set(err, ERR_UNAVAILABLE, "%s: no answer (fault)", name)
               : 0;
}

static const struct blob_ops fault_ops = {
    .free = fault_free,
    .put = fault_put,
    .replace = fault_replace,
    .room = fault_room,
    .sync = fault_sync,
    .sync_also = fault_sync_also,
    .get = fault_get,
    .size = fault_size,
    .list = fault_list,
    .remove = fault_remove,
};

struct blob *
blob_fault_new(struct blob *inner, struct blob_fault_plan plan)
{
    struct blob_fault *f = xcalloc(1, sizeof *f);

    f->blob.ops = &fault_ops;
    f->blob.what = xasprintf("%s with faults", inner->what);
    f->inner = inner;
    f->plan = plan;
    return &f->blob;
}

uint64_t
blob_fault_changes(struct blob *b)
{
    return atomic_load(&self(b)->changes);
}
