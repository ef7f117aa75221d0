/* SPDX-License-Identifier: Apache-2.0 */
/* controller/recover.c: the once-per-VM settling after a start.
 *
 * "Settled" is a set of UUIDs in memory: empty at start, so a crash can never
 * leave a VM marked as settled that is not. A VM is settled under its lock, by
 * the first controller that takes it; nobody has to wait for VMs that he does
 * not need, and a libvirtd that is away delays only its own VMs.
 */
#include "controller/recover.h"

#include "base/map.h"
#include "base/mem.h"
#include "controller/project.h"
#include "controller/tidy.h"
#include "controller/tracking.h"

extern struct role recover_lock;

struct recover {
    struct ctl *ctl;           /* [C] */
    struct guardclient *guard; /* [C] */
    struct freeze *freeze;     /* [C] */
    struct secrets *secrets;   /* [C] */
    pthread_mutex_t mutex;
    struct map *settled GUARDED_BY(recover_lock); /* uuid -> this */
};

static void
lock(struct recover *r) ACQUIRE(recover_lock) NO_TSA
{
    pthread_mutex_lock(&r->mutex);
}

static void
unlock(struct recover *r) RELEASE(recover_lock) NO_TSA
{
    pthread_mutex_unlock(&r->mutex);
}

static bool
is_settled(struct recover *r, const char *uuid)
{
    lock(r);

    bool is = map_get(r->settled, uuid) != NULL;

    unlock(r);
    return is;
}

static void
set_settled(struct recover *r, const char *uuid, bool is)
{
    lock(r);
    if (is)
        (void)map_put(r->settled, uuid, r);
    else
        (void)map_remove(r->settled, uuid);
    unlock(r);
}

/* A background thaw succeeded: whoever waits for that VM may go on. */
static void
thawed(void *arg, const char *uuid)
{
    struct recover *r = arg;

    project_poke(r->ctl, uuid);
    tidy_poke(r->ctl, uuid);
}

struct recover *
recover_open(struct ctl *ctl, struct err *err)
{
    CLEANUP(recover_close) struct recover *r = xcalloc(1, sizeof *r);
    const struct ctl_config *c = &ctl->config;

    r->ctl = ctl;
    pthread_mutex_init(&r->mutex, NULL);
    lock(r);
    r->settled = map_new();
    unlock(r);
    r->secrets = secrets_open(c->state_dir, err);
    if (r->secrets == NULL)
        return NULL;
    r->guard = guardclient_new(c->guard, c->libvirt_uri);
    r->freeze =
        freeze_new(c->state_dir, ctl->virt, r->guard, c->agent_timeout_ms, err);
    if (r->freeze == NULL || freeze_recover(r->freeze, thawed, r, err) < 0)
        return NULL;
    return TAKE(r);
}

void
recover_close(struct recover *r)
{
    if (r == NULL)
        return;
    freeze_free(r->freeze);
    guardclient_free(r->guard);
    secrets_close(r->secrets);
    lock(r);
    map_free(r->settled);
    unlock(r);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

struct freeze *
recover_freeze(struct ctl *ctl)
{
    return ctl->recover->freeze;
}

struct secrets *
recover_secrets(struct ctl *ctl)
{
    return ctl->recover->secrets;
}

int
recover_vm(struct ctl *ctl, const char *vm_uuid, struct err *err)
{
    struct recover *r = ctl->recover;

    if (freeze_is_owed(r->freeze, vm_uuid))
        return err_set(
            err, ERR_BUSY,
            "the guest still waits for the thaw after an earlier freeze; it is being tried");
    if (!virt_is_connected(ctl->virt))
        return err_set(err, ERR_UNAVAILABLE, "libvirtd does not answer");
    if (is_settled(r, vm_uuid))
        return 0;
    if (volume_recover(ctl->volume, vm_uuid, err) < 0)
        return err_wrap(err, "settling what an earlier run left");
    if (tracking_recover(ctl, vm_uuid, err) < 0)
        return err_wrap(err, "settling the bitmaps that an earlier run left");
    set_settled(r, vm_uuid, true);
    return 0;
}

void
recover_again(struct ctl *ctl, const char *vm_uuid)
{
    set_settled(ctl->recover, vm_uuid, false);
}
