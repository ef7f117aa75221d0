/* SPDX-License-Identifier: Apache-2.0 */
#include "store/storefault.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/backend.h"

struct fault {
    struct store base;
    struct store *inner;
    struct storefault_plan plan; /* [C] */
    atomic_uint writes, reads;
};

static struct fault *
from_base(struct store *s)
{
    return container_of(s, struct fault, base);
}

static bool
is_due(const struct fault *f, unsigned n, unsigned at)
{
    unsigned count = f->plan.fail_count == 0 ? 1 : f->plan.fail_count;

    return at != 0 && n >= at && n < at + count;
}

static int
refuse(const struct fault *f, const char *key, struct err *err)
{
    return err_set(err, f->plan.fail_code, "%s: a fault was asked for here",
                   key);
}

/* Before a write: true if it must not happen (or must seem not to). */
static bool
begin_write(struct fault *f, unsigned *ret_n)
{
    *ret_n = atomic_fetch_add(&f->writes, 1) + 1;
    if (f->plan.delay_ms != 0)
        clock_sleep_ms(f->plan.delay_ms);
    return is_due(f, *ret_n, f->plan.fail_at);
}

static void
end_write(const struct fault *f, unsigned n)
{
    if (f->plan.crash_after != 0 && n == f->plan.crash_after)
        (void)kill(getpid(), SIGKILL);
}

static int
fault_create(struct store *s, const char *key, const char *val,
             uint64_t *ret_rev, struct err *err)
{
    struct fault *f = from_base(s);
    unsigned n;
    bool fails = begin_write(f, &n);
    int rc = 0;

    if (!fails || f->plan.is_done_anyway)
        rc = f->inner->ops->create(f->inner, key, val, ret_rev, err);
    end_write(f, n);
    return fails && rc == 0 ? refuse(f, key, err) : rc;
}

static int
fault_update(struct store *s, const char *key, const char *val,
             uint64_t expect_rev, uint64_t *ret_rev, struct err *err)
{
    struct fault *f = from_base(s);
    unsigned n;
    bool fails = begin_write(f, &n);
    int rc = 0;

    if (!fails || f->plan.is_done_anyway)
        rc =
            f->inner->ops->update(f->inner, key, val, expect_rev, ret_rev, err);
    end_write(f, n);
    return fails && rc == 0 ? refuse(f, key, err) : rc;
}

static int
fault_remove(struct store *s, const char *key, uint64_t expect_rev,
             uint64_t *ret_rev, struct err *err)
{
    struct fault *f = from_base(s);
    unsigned n;
    bool fails = begin_write(f, &n);
    int rc = 0;

    if (!fails || f->plan.is_done_anyway)
        rc = f->inner->ops->remove(f->inner, key, expect_rev, ret_rev, err);
    end_write(f, n);
    return fails && rc == 0 ? refuse(f, key, err) : rc;
}

static bool
begin_read(struct fault *f)
{
    unsigned n = atomic_fetch_add(&f->reads, 1) + 1;

    if (f->plan.delay_ms != 0)
        clock_sleep_ms(f->plan.delay_ms);
    return is_due(f, n, f->plan.fail_reads_at);
}

static int
fault_get(struct store *s, const char *key, struct store_item *ret_item,
          uint64_t *ret_head_rev, struct err *err)
{
    struct fault *f = from_base(s);

    if (begin_read(f))
        return refuse(f, key, err);
    return f->inner->ops->get(f->inner, key, ret_item, ret_head_rev, err);
}

static int
fault_list(struct store *s, const struct store_query *query,
           struct store_items *ret_items, struct err *err)
{
    struct fault *f = from_base(s);

    if (begin_read(f))
        return refuse(f, query->prefix, err);
    return f->inner->ops->list(f->inner, query, ret_items, err);
}

static int
fault_watch(struct store *s, uint64_t after_rev, store_watch_fn fn, void *arg,
            struct err *err)
{
    struct fault *f = from_base(s);

    return f->inner->ops->watch(f->inner, after_rev, fn, arg, err);
}

static void
fault_watch_stop(struct store *s)
{
    struct fault *f = from_base(s);

    f->inner->ops->watch_stop(f->inner);
}

static int
fault_compact(struct store *s, uint64_t rev, struct err *err)
{
    struct fault *f = from_base(s);

    return f->inner->ops->compact(f->inner, rev, err);
}

static void
fault_close(struct store *s)
{
    struct fault *f = from_base(s);

    f->inner->ops->close(f->inner);
    free(f);
}

static const struct store_ops fault_ops = {
    .name = "fault",
    .create = fault_create,
    .update = fault_update,
    .remove = fault_remove,
    .get = fault_get,
    .list = fault_list,
    .watch = fault_watch,
    .watch_stop = fault_watch_stop,
    .compact = fault_compact,
    .close = fault_close,
};

struct store *
storefault_new(struct store *inner, const struct storefault_plan *plan)
{
    struct fault *f = xcalloc(1, sizeof *f);

    f->base.ops = &fault_ops;
    f->inner = inner;
    f->plan = *plan;
    return &f->base;
}
