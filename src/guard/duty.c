/* SPDX-License-Identifier: Apache-2.0 */
/* Doing a duty: resume what was suspended, then thaw until the guest says yes.
 *
 * A thaw that succeeds is repeated once, SETTLE_MS later: the freeze of a
 * vmkeepd that was killed in the very moment of sending it may reach libvirtd
 * after our first thaw. A freeze that hangs in the agent is no such problem,
 * our thaw queues behind it there.
 *
 * It ends early when there is nothing left to thaw: the domain is gone or off.
 * An agent that does not answer, a libvirtd that is away are waited for, with
 * growing pauses, without end.
 */
#include "guard/duty.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    DUTIES_MAX = 1024,
    THAW_TIMEOUT_MS = 5000,
    SETTLE_MS = 500,
    PAUSE_MIN_MS = 100,
    PAUSE_MAX_MS = 3000,
};

struct duty {
    struct guardproto arm;
    uint64_t deadline_ms;     /* clock_mono_ms() */
    bool is_begun;            /* the thread exists */
    atomic_bool is_cancelled; /* [A] set by main */
    atomic_bool is_done;      /* [A] set by the thread, its last act */
    pthread_t thread;
    struct virt *virt;
};

struct duty_list {
    struct virt *virt;
    struct duty *v[DUTIES_MAX];
    size_t n;
};

/* Nothing can be frozen or suspended in a domain that does not run. */
static bool
is_pointless(struct duty *d)
{
    struct err err;
    CLEANUP(virt_vm_free)
    struct virt_vm *vm = virt_vm_get(d->virt, d->arm.uuid, &err);

    if (vm == NULL)
        return err.code == ERR_NOT_FOUND;
    return vm->state == VIRT_OFF || vm->state == VIRT_CRASHED;
}

static int
resume(struct duty *d, struct err *err)
{
    if (virt_resume(d->virt, d->arm.uuid, err) == 0) {
        log_info("guard: domain %s: resumed", d->arm.uuid);
        return 0;
    }
    return err->code == ERR_CONFLICT ? 0 : -1; /* it runs already */
}

static int
thaw(struct duty *d, struct err *err)
{
    unsigned n;

    if (virt_thaw(d->virt, d->arm.uuid, THAW_TIMEOUT_MS, &n, err) < 0)
        return -1;
    if (n > 0)
        log_warn("guard: domain %s: thawed %u file systems", d->arm.uuid, n);
    return 0;
}

static int
try_once(struct duty *d, struct err *err)
{
    if (d->arm.resume && resume(d, err) < 0)
        return -1;
    if (!d->arm.thaw)
        return 0;
    if (thaw(d, err) < 0)
        return -1;
    clock_sleep_ms(SETTLE_MS);
    return atomic_load(&d->is_cancelled) ? 0 : thaw(d, err);
}

static void *
run_duty(void *arg)
{
    struct duty *d = arg;
    uint64_t pause_ms = PAUSE_MIN_MS;
    struct err err;

    while (!atomic_load(&d->is_cancelled)) {
        if (try_once(d, &err) == 0 || is_pointless(d))
            break;
        log_info("guard: domain %s: again in %llu ms: %s", d->arm.uuid,
                 (unsigned long long)pause_ms, err.msg);
        clock_sleep_ms(pause_ms);
        pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
    }
    atomic_store(&d->is_done, true);
    return NULL;
}

static void
begin(struct duty *d)
{
    if (d->is_begun)
        return;
    if (pthread_create(&d->thread, NULL, run_duty, d) != 0) {
        log_error("guard: domain %s: no thread: trying again", d->arm.uuid);
        d->deadline_ms = clock_mono_ms() + PAUSE_MAX_MS;
        return;
    }
    d->is_begun = true;
}

static void
remove_at(struct duty_list *l, size_t i)
{
    if (l->v[i]->is_begun)
        pthread_join(l->v[i]->thread, NULL);
    free(l->v[i]);
    l->v[i] = l->v[--l->n];
}

static void
remove_done(struct duty_list *l)
{
    for (size_t i = l->n; i-- > 0;)
        if (atomic_load(&l->v[i]->is_done))
            remove_at(l, i);
}

struct duty_list *
duty_list_new(struct virt *virt)
{
    struct duty_list *l = xcalloc(1, sizeof *l);

    l->virt = virt;
    return l;
}

void
duty_list_free(struct duty_list *l)
{
    if (l == NULL)
        return;
    while (l->n > 0)
        remove_at(l, 0);
    free(l);
}

/* vmkeepd freezes a guest only after it has thawed it from the last time, so
 * a duty that it forgot to disarm must not thaw it in the midst of this one. */
static void
forget(struct duty_list *l, const char *uuid)
{
    for (size_t i = l->n; i-- > 0;)
        if (strcmp(l->v[i]->arm.uuid, uuid) == 0)
            duty_list_disarm(l, l->v[i]->arm.id);
}

int
duty_list_arm(struct duty_list *l, const struct guardproto *arm,
              struct err *err)
{
    struct duty *d;

    remove_done(l);
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i]->arm.id == arm->id)
            return err_set(err, ERR_EXISTS, "duty %llu is there already",
                           (unsigned long long)arm->id);
    if (l->n == DUTIES_MAX)
        return err_set(err, ERR_BUSY, "more than %d duties", DUTIES_MAX);
    forget(l, arm->uuid);
    d = xcalloc(1, sizeof *d);
    d->arm = *arm;
    d->deadline_ms = clock_mono_ms() + arm->deadline_ms;
    d->virt = l->virt;
    l->v[l->n++] = d;
    return 0;
}

void
duty_list_disarm(struct duty_list *l, uint64_t id)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i]->arm.id != id)
            continue;
        atomic_store(&l->v[i]->is_cancelled, true);
        if (!l->v[i]->is_begun)
            remove_at(l, i); /* else remove_done() collects it */
        return;
    }
}

int
duty_list_check(struct duty_list *l)
{
    uint64_t now_ms = clock_mono_ms(), next_ms = UINT64_MAX;

    remove_done(l);
    for (size_t i = 0; i < l->n; i++) {
        struct duty *d = l->v[i];

        if (!d->is_begun && d->deadline_ms <= now_ms) {
            log_warn("guard: domain %s: the deadline has passed", d->arm.uuid);
            begin(d);
        }
        if (!d->is_begun && d->deadline_ms < next_ms)
            next_ms = d->deadline_ms;
    }
    if (next_ms == UINT64_MAX)
        return -1;
    return next_ms <= now_ms ? 0 : (int)(next_ms - now_ms);
}

void
duty_list_finish(struct duty_list *l)
{
    while (l->n > 0) {
        for (size_t i = 0; i < l->n; i++)
            begin(l->v[i]);
        clock_sleep_ms(10);
        remove_done(l);
    }
}
