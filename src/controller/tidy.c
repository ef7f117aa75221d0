/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tidy.c: a queue of VMs.
 *
 * The merge of a layer can be refused for a while (a VM that is about to stop,
 * a backup, another snapshot's cut): the key comes again, and is poked when
 * the VM's state has changed. A step takes the VM's lock as MERGE, so it never
 * runs beside a cut or a restore.
 */
#include "controller/tidy.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/mem.h"
#include "controller/recover.h"
#include "controller/tracking.h"

#define TIDY_WORKERS  2
#define TIDY_EVERY_MS (10 * 60 * 1000)
#define TIDY_LATER_MS 5000
#define TIDY_STUCK_MS 10000
#define HOLDER        "removing old layers"

/* One per process; [C] while parts run. */
static struct queue *tidy_queue;
static struct ctl *tidy_ctl;
/* Pokes come from threads that began before us (owed thaws) and end after us:
 * shared while one is handed on, alone while the queue comes or goes. */
static pthread_rwlock_t tidy_rwlock = PTHREAD_RWLOCK_INITIALIZER;

static void
tidy_queue_set(struct queue *q)
{
    pthread_rwlock_wrlock(&tidy_rwlock);
    tidy_queue = q;
    pthread_rwlock_unlock(&tidy_rwlock);
}

static int
tidy_locked(struct ctl *ctl, const char *uuid, struct err *err)
{
    size_t left = 0;

    if (recover_vm(ctl, uuid, err) < 0 ||
        volume_trash_empty(ctl->volume, uuid, clock_patient_s(), err) < 0 ||
        tracking_recover(ctl, uuid, err) < 0)
        return -1;
    return tracking_collect(ctl, uuid, &left, err);
}

/* Nobody waits for a merge: who looks at the VM shall see why it does not come
 * to an end. */
static void
tell(struct ctl *ctl, const char *uuid, const struct err *why)
{
    struct object_list all;

    cache_list(ctl->cache, &kind_vm.gvr, NULL, &all);
    for (size_t i = 0; i < all.n; i++)
        if (strcmp(object_uid(all.v[i]), uuid) == 0)
            eventrec_warn(ctl->events, all.v[i], "MergeWaits", "%s", why->msg);
    object_list_fini(&all);
}

static int
tidy(void *arg, const char *uuid, int64_t *ret_again_ms, struct err *err)
{
    struct ctl *ctl = arg;

    effect_flow_set("snapshot-delete");
    *ret_again_ms = TIDY_EVERY_MS;
    if (!virt_is_connected(ctl->virt)) {
        *ret_again_ms = TIDY_LATER_MS;
        return 0;
    }
    if (vmlock_take(ctl->locks, uuid, VMLOCK_MERGE, HOLDER, tidy_queue, uuid,
                    err) < 0) {
        *ret_again_ms = TIDY_LATER_MS;
        return err->code == ERR_BUSY ? 0 : -1;
    }

    int rc = tidy_locked(ctl, uuid, err);

    vmlock_release(ctl->locks, uuid, HOLDER);
    if (rc < 0 && err->code == ERR_NOT_FOUND)
        return 0; /* no domain, or no layers: nothing to do here */
    if (rc < 0 && err->code == ERR_BUSY) {
        *ret_again_ms = TIDY_LATER_MS;
        return 0;
    }
    if (rc < 0 && (err->code == ERR_NO_SPACE || err->code == ERR_CONFLICT)) {
        tell(ctl, uuid, err);
        *ret_again_ms = TIDY_STUCK_MS;
        return 0;
    }
    return rc < 0 ? err_wrap(err, "VM %s", uuid) : 0;
}

void
tidy_poke_later(struct ctl *ctl, const char *vm_uuid, uint64_t after_ms)
{
    (void)ctl;
    pthread_rwlock_rdlock(&tidy_rwlock);
    if (tidy_queue != NULL)
        queue_add_after(tidy_queue, vm_uuid, after_ms);
    pthread_rwlock_unlock(&tidy_rwlock);
}

void
tidy_poke(struct ctl *ctl, const char *vm_uuid)
{
    tidy_poke_later(ctl, vm_uuid, 0);
}

static void *
tidy_start(struct ctl *ctl, struct err *err)
{
    char **uuids = NULL;
    size_t n = 0;

    if (volume_list_vms(ctl->volume, &uuids, &n, err) < 0)
        return NULL;
    tidy_ctl = ctl;
    tidy_queue_set(queue_new("tidy", TIDY_WORKERS, tidy, ctl));
    for (size_t i = 0; i < n; i++) {
        queue_add(tidy_queue, uuids[i]);
        free(uuids[i]);
    }
    free(uuids);
    queue_start(tidy_queue);
    return tidy_queue;
}

static void
tidy_stop(void *state)
{
    struct queue *q = state;

    queue_stop(q);
    vmlock_forget_queue(tidy_ctl->locks, q);
    tidy_queue_set(NULL);
    queue_free(q);
}

const struct ctl_part tidy_part = { .name = "tidy",
                                    .start = tidy_start,
                                    .stop = tidy_stop };
