/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/userfreeze.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "controller/recover.h"

struct held {
    struct freeze_hold hold;
    uint64_t until_ms; /* monotonic */
};

struct userfreeze {
    struct ctl *ctl; /* [C] */
    pthread_mutex_t mutex;
    struct map *held GUARDED_BY(userfreeze_lock); /* uuid -> struct held */
};

static void
lock(struct userfreeze *u) ACQUIRE(userfreeze_lock) NO_TSA
{
    pthread_mutex_lock(&u->mutex);
}

static void
unlock(struct userfreeze *u) RELEASE(userfreeze_lock) NO_TSA
{
    pthread_mutex_unlock(&u->mutex);
}

struct userfreeze *NO_TSA
userfreeze_new(struct ctl *ctl)
{
    struct userfreeze *u = xcalloc(1, sizeof *u);

    u->ctl = ctl;
    u->held = map_new();
    (void)pthread_mutex_init(&u->mutex, NULL);
    return u;
}

void
userfreeze_free(struct userfreeze *u) NO_TSA
{
    const char *uuid;
    void *value;

    if (u == NULL)
        return;
    for (size_t i = 0; map_next(u->held, &i, &uuid, &value);) {
        struct held *h = value;

        freeze_end(recover_freeze(u->ctl), &h->hold);
        free(h);
    }
    map_free(u->held);
    (void)pthread_mutex_destroy(&u->mutex);
    free(u);
}

/* How long the hold has left; UINT64_MAX: there is none. */
static uint64_t
left_ms(struct userfreeze *u, const char *uuid)
{
    uint64_t now_ms = clock_mono_ms();
    uint64_t left = UINT64_MAX;
    const struct held *h;

    lock(u);
    h = map_get(u->held, uuid);
    if (h != NULL)
        left = h->until_ms > now_ms ? h->until_ms - now_ms : 0;
    unlock(u);
    return left;
}

static int
put_frozen(void *arg, json_t *object, struct err *err)
{
    (void)err;
    jsonx_set_str(object, "status.fsFreezeStatus", arg);
    return 0;
}

/* What clients look at; an instance that is gone says nothing. */
static void
tell(struct userfreeze *u, const struct object *vm, const char *status)
{
    static const struct obj_write how = { .part = OBJ_STATUS };
    struct obj_ref ref = { &kind_vmi.gvr, object_ns(vm), object_name(vm) };
    struct err err;

    if (obj_update(u->ctl->store, &ref, &how, put_frozen,
                   (void *)(uintptr_t)status, NULL, NULL, &err) < 0 &&
        err.code != ERR_NOT_FOUND)
        eventrec_warn(u->ctl->events, vm, "StatusNotWritten", "%s", err.msg);
}

int
userfreeze_begin(struct userfreeze *u, const struct object *vm,
                 uint64_t timeout_ms, uint64_t *ret_left_ms, struct err *err)
{
    uint64_t left = left_ms(u, object_uid(vm));
    struct held *h;

    if (left != UINT64_MAX) {
        *ret_left_ms = left;
        return 0;
    }
    if (timeout_ms == 0 || timeout_ms > USERFREEZE_MAX_MS)
        timeout_ms = USERFREEZE_MAX_MS;
    h = xcalloc(1, sizeof *h);
    if (freeze_begin(recover_freeze(u->ctl), object_uid(vm), timeout_ms,
                     &h->hold, err) < 0) {
        free(h);
        return -1;
    }
    if (h->hold.is_foreign) {
        free(h);
        return err_set(err, ERR_CONFLICT,
                       "the guest is frozen already, by somebody else");
    }
    h->until_ms = clock_mono_ms() + timeout_ms;
    lock(u);
    (void)map_put(u->held, object_uid(vm), h);
    unlock(u);
    tell(u, vm, "frozen");
    *ret_left_ms = timeout_ms;
    return 0;
}

void
userfreeze_end(struct userfreeze *u, const struct object *vm)
{
    struct held *h;

    lock(u);
    h = map_remove(u->held, object_uid(vm));
    unlock(u);
    if (h == NULL)
        return;
    freeze_end(recover_freeze(u->ctl), &h->hold);
    free(h);
    tell(u, vm, NULL);
}

void
userfreeze_expire(struct userfreeze *u, const struct object *vm,
                  uint64_t *ret_left_ms)
{
    uint64_t left = left_ms(u, object_uid(vm));

    *ret_left_ms = left == UINT64_MAX ? 0 : left;
    if (left == 0) {
        userfreeze_end(u, vm);
        eventrec_warn(u->ctl->events, vm, "FreezeTimeout",
                      "thawed: the time of the freeze request was over");
    }
}
