/* SPDX-License-Identifier: Apache-2.0 */
/* controller/vmlock.c: two short lists: who holds what, who wants to hear.
 *
 * A host has tens of VMs and few of them are worked on at a time: lists are
 * searched, not hashed.
 *
 * Lock order: vmlock_lock, then a queue's own (queue_add is called under it,
 * so that vmlock_forget_queue() can promise silence).
 */
#include "controller/vmlock.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

struct hold {
    char *uuid, *holder;
    enum vmlock_reason reason;
    uint64_t since_ms;
    struct hold *next;
};

struct waiter {
    char *uuid, *key;
    struct queue *queue;
    struct waiter *next;
};

struct vmlock {
    pthread_mutex_t mutex; /* what vmlock_lock stands for */
    struct hold *holds GUARDED_BY(vmlock_lock);
    struct waiter *waiters GUARDED_BY(vmlock_lock);
};

static const char *const reason_names[] = {
    [VMLOCK_CUT] = "a cut",
    [VMLOCK_MERGE] = "a merge",
    [VMLOCK_READ] = "a reading",
    [VMLOCK_POWER] = "a power action",
    [VMLOCK_RESTORE] = "a restore",
    [VMLOCK_COPY] = "a copy for another VM",
    [VMLOCK_PULL] = "a backup of block devices",
};

static void
lock(struct vmlock *t) ACQUIRE(vmlock_lock) NO_TSA
{
    pthread_mutex_lock(&t->mutex);
}

static void
unlock(struct vmlock *t) RELEASE(vmlock_lock) NO_TSA
{
    pthread_mutex_unlock(&t->mutex);
}

/* The table of vmlock.h. */
static bool
go_together(enum vmlock_reason a, enum vmlock_reason b)
{
    static const bool table[VMLOCK_PULL + 1][VMLOCK_PULL + 1] = {
        [VMLOCK_CUT] = { [VMLOCK_READ] = true },
        [VMLOCK_READ] = { [VMLOCK_CUT] = true,
                          [VMLOCK_READ] = true,
                          [VMLOCK_POWER] = true,
                          [VMLOCK_COPY] = true },
        [VMLOCK_POWER] = { [VMLOCK_READ] = true,
                           [VMLOCK_COPY] = true,
                           [VMLOCK_PULL] = true },
        [VMLOCK_PULL] = { [VMLOCK_POWER] = true },
        [VMLOCK_COPY] = { [VMLOCK_READ] = true, [VMLOCK_POWER] = true },
    };

    return table[a][b];
}

struct vmlock *
vmlock_new(void)
{
    struct vmlock *t = xcalloc(1, sizeof *t);

    (void)pthread_mutex_init(&t->mutex, NULL);
    return t;
}

static void
hold_free(struct hold *h)
{
    free(h->uuid);
    free(h->holder);
    free(h);
}

static void
waiter_free(struct waiter *w)
{
    free(w->uuid);
    free(w->key);
    free(w);
}

void
vmlock_free(struct vmlock *t) NO_TSA
{
    if (t == NULL)
        return;
    while (t->holds != NULL) {
        struct hold *h = t->holds;

        t->holds = h->next;
        hold_free(h);
    }
    while (t->waiters != NULL) {
        struct waiter *w = t->waiters;

        t->waiters = w->next;
        waiter_free(w);
    }
    (void)pthread_mutex_destroy(&t->mutex);
    free(t);
}

static void
wait_locked(struct vmlock *t, const char *uuid, struct queue *queue,
            const char *key) REQUIRES(vmlock_lock)
{
    struct waiter *w;

    for (w = t->waiters; w != NULL; w = w->next)
        if (w->queue == queue && strcmp(w->uuid, uuid) == 0 &&
            strcmp(w->key, key) == 0)
            return;
    w = xcalloc(1, sizeof *w);
    w->uuid = xstrdup(uuid);
    w->key = xstrdup(key);
    w->queue = queue;
    w->next = t->waiters;
    t->waiters = w;
}

/* Who is in the way; NULL: nobody. `*ret_mine`: the holder has it already. */
static const struct hold *
obstacle_locked(struct vmlock *t, const char *uuid, enum vmlock_reason reason,
                const char *holder, bool *ret_mine) REQUIRES(vmlock_lock)
{
    const struct hold *found = NULL;

    *ret_mine = false;
    for (const struct hold *h = t->holds; h != NULL; h = h->next) {
        if (strcmp(h->uuid, uuid) != 0)
            continue;
        if (strcmp(h->holder, holder) == 0 && h->reason == reason)
            *ret_mine = true;
        else if (!go_together(h->reason, reason))
            found = h;
    }
    return *ret_mine ? NULL : found;
}

int
vmlock_take(struct vmlock *t, const char *vm_uuid, enum vmlock_reason reason,
            const char *holder, struct queue *queue, const char *key,
            struct err *err)
{
    const struct hold *in_the_way;
    bool is_mine;
    int rc = 0;

    lock(t);
    in_the_way = obstacle_locked(t, vm_uuid, reason, holder, &is_mine);
    if (in_the_way != NULL) {
        rc = err_set(
            err, ERR_BUSY, "the VM is held by %s (%s) for %llu s",
            in_the_way->holder, reason_names[in_the_way->reason],
            (unsigned long long)(clock_mono_ms() - in_the_way->since_ms) /
                1000);
        if (queue != NULL)
            wait_locked(t, vm_uuid, queue, key);
    } else if (!is_mine) {
        struct hold *h = xcalloc(1, sizeof *h);

        h->uuid = xstrdup(vm_uuid);
        h->holder = xstrdup(holder);
        h->reason = reason;
        h->since_ms = clock_mono_ms();
        h->next = t->holds;
        t->holds = h;
    }
    unlock(t);
    return rc;
}

static void
wake_locked(struct vmlock *t, const char *uuid) REQUIRES(vmlock_lock)
{
    struct waiter **at = &t->waiters;

    while (*at != NULL) {
        struct waiter *w = *at;

        if (strcmp(w->uuid, uuid) != 0) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        queue_add(w->queue, w->key);
        waiter_free(w);
    }
}

void
vmlock_release(struct vmlock *t, const char *vm_uuid, const char *holder)
{
    struct hold **at;

    lock(t);
    at = &t->holds;
    while (*at != NULL) {
        struct hold *h = *at;

        if (strcmp(h->uuid, vm_uuid) != 0 || strcmp(h->holder, holder) != 0) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        hold_free(h);
        wake_locked(t, vm_uuid);
    }
    unlock(t);
}

void
vmlock_forget_queue(struct vmlock *t, const struct queue *queue)
{
    struct waiter **at;

    lock(t);
    at = &t->waiters;
    while (*at != NULL) {
        struct waiter *w = *at;

        if (w->queue != queue) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        waiter_free(w);
    }
    unlock(t);
}
