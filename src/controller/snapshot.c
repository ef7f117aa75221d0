/* SPDX-License-Identifier: Apache-2.0 */
/* controller/snapshot.c: VirtualMachineSnapshot.
 *
 * One request, end to end (`kubectl create -f snapshot.yaml`):
 *
 *   api/          admission (types/kind-vmsnapshot.c), obj_create()
 *   store/        the write is one revision; the cache sees it and wakes the
 *                 loop (controller/loop.c), whose worker calls snapshot_work()
 *   observe()     reads snapshot, content and VM from the store
 *   snapshot_plan_make()   pure: the status to have, the one step to take
 *   apply()       writes that status, takes the step, and looks again, until
 *                 the plan says "nothing": then the key sleeps
 *
 *   ADD_FINALIZER   vmsnapshot-protection
 *   LOCK            VM.status.snapshotInProgress = us, under the VM's lock
 *   CUT             snapshot-cut.c: snapshot_cut() with the lock held:
 *                   volume_cut_prepare, freeze_begin, volume_cut_commit,
 *                   freeze_end, volume_cut_finish, secrets_put, obj_create of
 *                   the content
 *   UNLOCK          the mark goes; waiting snapshots of the VM are woken
 *   UNDO_UNLOCK     guestcut_undo() first
 *   DELETE_CONTENT  controller/content.c does the rest
 *
 * Nothing is remembered between two passes but the objects, so a crash at any
 * point is a restart of this loop. "Locked" is the mark in the VM object; it
 * is taken before the first try and so is also the sign that a try may have
 * left something (UNDO_UNLOCK). The lock in memory (vmlock) is held for one
 * step only.
 *
 * Left out: KubeVirt's finalizer on the VM. Its purpose is that the VM is not
 * deleted meanwhile; a VM object cannot be deleted through the API here, and a
 * domain that is undefined under a snapshot is answered by the checks.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/map.h"
#include "base/mem.h"
#include "controller/age.h"
#include "controller/capture.h"
#include "controller/content.h"
#include "controller/guestcut.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/projection.h"
#include "controller/recover.h"
#include "controller/snapshot-cut.h"
#include "controller/snapshot-plan.h"

#define FINALIZER "snapshot.kubevirt.io/vmsnapshot-protection"
#define TEXT_SIZE 400
#define SOON_MS   200

extern struct role snapshot_lock;

struct snapshot_loop {
    struct ctl *ctl;   /* [C] */
    struct loop *loop; /* [C] */
    pthread_mutex_t mutex;
    /* Keys that wait for a VM that another snapshot holds. */
    struct map *waiting GUARDED_BY(snapshot_lock);
    struct age_table *ages; /* [C] */
};

/* One pass: what was read, and what the plan sees of it. Its strings are
 * borrowed from the JSON values here. */
struct pass {
    struct snapshot_loop *loop;
    struct ctl *ctl;
    const char *key;
    struct object *snapshot, *content, *vm;
    json_t *json, *content_json, *vm_json;
    char trouble[TEXT_SIZE];
    struct snapshot_seen seen;
};

static void
pass_clear(struct pass *p)
{
    object_unref(p->snapshot);
    object_unref(p->content);
    object_unref(p->vm);
    json_decref(p->json);
    json_decref(p->content_json);
    json_decref(p->vm_json);
    p->snapshot = p->content = p->vm = NULL;
    p->json = p->content_json = p->vm_json = NULL;
}

static void
pass_clear_p(struct pass *p)
{
    pass_clear(p);
}

/* ---- who waits for a VM ---- */

static void
lock(struct snapshot_loop *l) ACQUIRE(snapshot_lock) NO_TSA
{
    pthread_mutex_lock(&l->mutex);
}

static void
unlock(struct snapshot_loop *l) RELEASE(snapshot_lock) NO_TSA
{
    pthread_mutex_unlock(&l->mutex);
}

static void
wait_for_vm(struct snapshot_loop *l, const char *key)
{
    lock(l);
    (void)map_put(l->waiting, key, l);
    unlock(l);
}

/* One of them, taken out; the caller frees. NULL: none. */
static char *
take_waiting(struct snapshot_loop *l)
{
    const char *key;
    void *value;
    size_t at = 0;
    char *taken = NULL;

    lock(l);
    if (map_next(l->waiting, &at, &key, &value)) {
        taken = xstrdup(key);
        (void)map_remove(l->waiting, taken);
    }
    unlock(l);
    return taken;
}

static void
wake_waiting(struct snapshot_loop *l)
{
    char *key;

    while ((key = take_waiting(l)) != NULL) {
        loop_add_key(l->loop, key, 0);
        free(key);
    }
}

/* ---- observe ---- */

static int64_t
deadline_of(const json_t *snapshot)
{
    const char *text = jsonx_str(snapshot, "spec.failureDeadline");
    struct err err;
    int64_t ms;

    if (text == NULL || clock_parse_duration(text, &ms, &err) < 0)
        return SNAPSHOT_DEADLINE_MS;
    return ms;
}

static void
see_snapshot(struct pass *p)
{
    struct snapshot_seen *s = &p->seen;
    const json_t *j = p->json;
    const char *policy = jsonx_str(j, "spec.deletionPolicy");
    const char *phase = jsonx_str_or(j, "status.phase", "");
    const char *failure =
        objutil_condition_status(json_object_get(j, "status"), "Failure");

    s->ns = jsonx_str_or(j, "metadata.namespace", "");
    s->name = jsonx_str_or(j, "metadata.name", "");
    s->created_ms = objutil_time_ms(j, "metadata.creationTimestamp");
    s->now_ms =
        s->created_ms +
        age_of_ms(p->loop->ages, object_uid(p->snapshot), s->created_ms);
    s->deadline_ms = deadline_of(j);
    s->is_deleting = object_is_deleting(p->snapshot);
    s->has_finalizer = objutil_has_finalizer(j, FINALIZER);
    s->is_retain = policy != NULL && strcmp(policy, "Delete") != 0;
    s->has_failed = (failure != NULL && strcmp(failure, "True") == 0) ||
                    strcmp(phase, "Failed") == 0;
    s->has_succeeded = jsonx_str(j, "status.creationTime") != NULL ||
                       strcmp(phase, "Succeeded") == 0;
    s->is_ready = jsonx_bool(j, "status.readyToUse");
    s->error = jsonx_str(j, "status.error.message");
    s->freeze_failures =
        (unsigned)jsonx_int(j, "status.vmkeep.freezeFailures", 0);
    s->last_try_ms = objutil_time_ms(j, "status.vmkeep.lastTryTime");
    s->source_name = jsonx_str_or(j, "spec.source.name", "");
    if (s->is_deleting || s->has_failed || s->has_succeeded)
        age_forget(p->loop->ages, object_uid(p->snapshot));
}

static void
see_content(struct pass *p)
{
    struct snapshot_seen *s = &p->seen;

    s->has_content = p->content != NULL;
    if (!s->has_content)
        return;
    s->is_content_cut =
        jsonx_str(p->content_json, "spec.vmkeep.cut.time") != NULL;
    s->is_content_ready = jsonx_bool(p->content_json, "status.readyToUse");
    s->is_content_deleting = object_is_deleting(p->content);
    s->content_error = jsonx_str(p->content_json, "status.error.message");
}

static void
see_vm(struct pass *p)
{
    struct snapshot_seen *s = &p->seen;
    const char *state = jsonx_str_or(p->vm_json, "status.printableStatus", "");

    s->has_vm = p->vm != NULL && strcmp(state, "Undefined") != 0;
    s->vm_snapshot = jsonx_str(p->vm_json, "status.snapshotInProgress");
    s->vm_restore = jsonx_str(p->vm_json, "status.restoreInProgress");
}

/* A disk that should be in the snapshot and is not there. Asked only while it
 * matters: before the VM is locked. */
static void
see_trouble(struct pass *p)
{
    struct err err;
    CLEANUP(virt_vm_free)
    struct virt_vm *vm = virt_vm_get(p->ctl->virt, object_uid(p->vm), &err);
    struct capture_disks disks;

    if (vm == NULL)
        return; /* the try will say it */
    capture_choose(vm, NULL, false, &disks);
    for (size_t i = 0; i < disks.n_targets; i++) {
        const struct domxml_disk *d = domxml_disk(
            vm->live != NULL ? vm->live : vm->inactive, disks.targets[i]);
        const char *claim = projection_claim_of(p->vm_json, disks.targets[i]);

        if (d == NULL || d->chain_len == 0 || d->chain[0].path == NULL ||
            access(d->chain[0].path, F_OK) == 0)
            continue;
        (void)snprintf(p->trouble, sizeof p->trouble,
                       "volume doesnt exist: %.200s: there is no file %s",
                       claim == NULL ? disks.targets[i] : claim,
                       d->chain[0].path);
        p->seen.vm_trouble = p->trouble;
        break;
    }
    capture_disks_fini(&disks);
}

/* false: the snapshot is gone. */
static int
observe(struct pass *p, bool *ret_is_there, struct err *err)
{
    struct ctl *ctl = p->ctl;
    struct loop_key at;

    pass_clear(p);
    memset(&p->seen, 0, sizeof p->seen);
    loop_key_parse(p->key, &at);
    if (objutil_find(ctl, &kind_vmsnapshot, at.ns, at.name, &p->snapshot, err) <
        0)
        return -1;
    *ret_is_there = p->snapshot != NULL;
    if (p->snapshot == NULL)
        return 0;
    p->json = object_json(p->snapshot);
    see_snapshot(p);

    CLEANUP(mem_free)
    char *content = capture_content_name(object_uid(p->snapshot));

    if (objutil_find(ctl, &kind_vmsnapshotcontent, at.ns, content, &p->content,
                     err) < 0 ||
        objutil_find(ctl, &kind_vm, at.ns, p->seen.source_name, &p->vm, err) <
            0)
        return -1;
    p->content_json = p->content == NULL ? NULL : object_json(p->content);
    p->vm_json = p->vm == NULL ? NULL : object_json(p->vm);
    see_content(p);
    see_vm(p);
    if (p->seen.has_vm && p->seen.vm_snapshot == NULL && !p->seen.is_deleting &&
        !p->seen.has_failed && !p->seen.has_content)
        see_trouble(p);
    return 0;
}

/* ---- status ---- */

/* What the content says about the cut, as the status shows it. */
static void
tell_cut(struct pass *p, json_t *status)
{
    const json_t *cut = jsonx_get(p->content_json, "spec.vmkeep.cut");
    const json_t *list = json_object_get(cut, "indications");
    json_t *names = json_array(), *excluded = json_array();
    static const char *const copied[] = { "driver", "frozenMilliseconds",
                                          "pausedMilliseconds", "attempts",
                                          "excluded" };

    for (size_t i = 0; i < json_array_size(list); i++)
        (void)json_array_append(
            names, json_object_get(json_array_get(list, i), "indication"));
    for (size_t i = 0; i < json_array_size(json_object_get(cut, "excluded"));
         i++)
        (void)json_array_append(
            excluded,
            json_object_get(json_array_get(json_object_get(cut, "excluded"), i),
                            "volume"));
    jsonx_set_str(status, "creationTime", jsonx_str(cut, "time"));
    jsonx_set_str(
        status, "sourceUID",
        jsonx_str(p->content_json, "spec.source.virtualMachine.metadata.uid"));
    jsonx_set_str(status, "virtualMachineSnapshotContentName",
                  object_name(p->content));
    (void)json_object_set_new(status, "indications", names);
    (void)json_object_set_new(status, "sourceIndications",
                              json_deep_copy(list));
    (void)json_object_set_new(status, "snapshotVolumes",
                              json_pack("{s:O, s:o}", "includedVolumes",
                                        json_object_get(cut, "included"),
                                        "excludedVolumes", excluded));
    for (size_t i = 0; i < ARRAY_SIZE(copied); i++) {
        char path[64];
        json_t *v = json_object_get(cut, copied[i]);

        (void)snprintf(path, sizeof path, "vmkeep.%s", copied[i]);
        if (v != NULL)
            jsonx_set(status, path, json_deep_copy(v));
    }
    jsonx_del(status, "vmkeep.freezeFailures");
    jsonx_del(status, "vmkeep.lastTryTime");
}

static void
tell_usage(struct pass *p, json_t *status)
{
    const char *vm_uuid = jsonx_str(status, "sourceUID");
    uint64_t own = 0, total = 0;
    struct err err;

    if (vm_uuid == NULL ||
        json_array_size(jsonx_get(p->content_json, "spec.vmkeep.layers")) ==
            0 ||
        volume_cut_usage(p->ctl->volume, vm_uuid, object_uid(p->snapshot), &own,
                         &total, &err) < 0)
        return;
    jsonx_set(status, "vmkeep.bytes", json_integer((json_int_t)own));
    jsonx_set(status, "vmkeep.totalBytes", json_integer((json_int_t)total));
}

static json_t *
status_of(struct pass *p, const struct snapshot_plan *plan)
{
    const json_t *old = json_object_get(p->json, "status");
    json_t *status = old == NULL ? json_object() : json_deep_copy(old);
    int64_t now_s = p->seen.now_ms / 1000;

    jsonx_set_str(status, "phase", plan->phase);
    (void)json_object_set_new(status, "readyToUse",
                              json_boolean(plan->is_ready));
    objutil_condition(status, "Progressing", plan->is_progressing,
                      plan->progressing, now_s);
    objutil_condition(status, "Ready", plan->is_ready, plan->ready, now_s);
    if (plan->has_failure)
        objutil_condition(status, "Failure", true, "snapshot deadline exceeded",
                          now_s);
    if (!p->seen.is_deleting)
        objutil_error(status, plan->error, now_s);
    if (p->seen.has_content && p->seen.is_content_cut &&
        !p->seen.is_content_deleting && !plan->has_failure) {
        tell_cut(p, status);
        /* It reads the maps of all files: not for one that goes. */
        if (!p->seen.is_deleting)
            tell_usage(p, status);
    }
    if (plan->step == SNAPSHOT_CUT && p->vm != NULL)
        jsonx_set_str(status, "sourceUID", object_uid(p->vm));
    return status;
}

/* ---- apply ---- */

/* A try failed: say so, and remember when. */
static int
note_failure(struct pass *p, bool is_freeze_failure, const struct err *why,
             struct err *err)
{
    CLEANUP(json_decref) json_t *json = object_json(p->snapshot);
    json_t *status = json_object_get(json, "status");
    int64_t now_s = p->seen.now_ms / 1000;

    if (status == NULL)
        return 0; /* wiped meanwhile: the next pass begins again */
    objutil_error(status, why->msg, now_s);
    objutil_condition(status, "Progressing", false, "In error state", now_s);
    jsonx_set(status, "vmkeep.attempts",
              json_integer(jsonx_int(status, "vmkeep.attempts", 0) + 1));
    jsonx_set(status, "vmkeep.lastTryTime", objutil_time(now_s));
    if (is_freeze_failure) {
        struct obj_ref ref =
            objutil_ref(&kind_vmi, p->seen.ns, p->seen.source_name);
        CLEANUP(object_unref)
        struct object *vmi = cache_get(p->ctl->cache, &ref);

        jsonx_set(status, "vmkeep.freezeFailures",
                  json_integer(p->seen.freeze_failures + 1));
        eventrec_warn(p->ctl->events, vmi != NULL ? vmi : p->vm, "FreezeError",
                      "%s", why->msg);
    }
    eventrec_warn(p->ctl->events, p->snapshot, "VirtualMachineSnapshotError",
                  "%s", why->msg);
    return objutil_set_status(p->ctl, &p->snapshot, status, err);
}

/* Take the VM's lock for one step; 1: somebody has it, come again. */
static int
take(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    return loop_take_vm(p->loop->loop, object_uid(p->vm), VMLOCK_CUT, p->key,
                        ret_again_ms, err);
}

static void
give(struct pass *p)
{
    loop_give_vm(p->loop->loop, object_uid(p->vm), p->key);
}

/* Mark the VM as ours. Under its lock the mark is read again: two snapshots
 * that saw it free are told apart here. */
static int
lock_vm(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    CLEANUP(object_unref) struct object *now = NULL;
    CLEANUP(json_decref) json_t *json = NULL;
    int rc = take(p, ret_again_ms, err);

    if (rc != 0)
        return rc;
    rc = objutil_find(p->ctl, &kind_vm, p->seen.ns, p->seen.source_name, &now,
                      err);
    json = now == NULL ? NULL : object_json(now);
    if (rc == 0 && now != NULL &&
        jsonx_str(json, "status.snapshotInProgress") == NULL &&
        jsonx_str(json, "status.restoreInProgress") == NULL)
        rc = project_mark(p->ctl, p->seen.ns, p->seen.source_name,
                          "snapshotInProgress", p->seen.name, NULL, err);
    give(p);
    return rc;
}

static int
cut(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    struct snapshot_cut_job job = {
        .snapshot = p->snapshot,
        .snapshot_json = p->json,
        .vm_json = p->vm_json,
        .attempts =
            (unsigned)jsonx_int(p->json, "status.vmkeep.attempts", 0) + 1,
    };
    int64_t left_ms = p->seen.created_ms + p->seen.deadline_ms - p->seen.now_ms;
    bool is_freeze_failure = false;
    struct err why;
    int rc = take(p, ret_again_ms, err);

    if (rc != 0)
        return rc;
    if (p->seen.deadline_ms != 0)
        job.expires_ms =
            clock_mono_ms() + (uint64_t)(left_ms > 0 ? left_ms : 1);
    /* What an earlier run left is no failure of this try: wait for it. */
    if (recover_vm(p->ctl, object_uid(p->vm), &why) < 0 &&
        (why.code == ERR_BUSY || why.code == ERR_UNAVAILABLE)) {
        give(p);
        *ret_again_ms = SOON_MS;
        return 1;
    }
    rc = snapshot_cut(p->ctl, &job, &is_freeze_failure, &why);
    give(p);
    project_poke(p->ctl, object_uid(p->vm));
    return rc == 0 ? 0 : note_failure(p, is_freeze_failure, &why, err);
}

static int
unlock_vm(struct pass *p, bool undo, int64_t *ret_again_ms, struct err *err)
{
    if (undo) {
        int rc = take(p, ret_again_ms, err);

        if (rc != 0)
            return rc;
        rc = recover_vm(p->ctl, object_uid(p->vm), err);
        if (rc == 0)
            rc = guestcut_undo(p->ctl, object_uid(p->vm),
                               object_uid(p->snapshot), err);
        give(p);
        if (rc < 0 && err->code == ERR_BUSY) {
            *ret_again_ms = LOOP_LATER_MS;
            return 1;
        }
        if (rc < 0)
            return rc;
    }
    if (project_mark(p->ctl, p->seen.ns, p->seen.source_name,
                     "snapshotInProgress", NULL, p->seen.name, err) < 0)
        return -1;
    wake_waiting(p->loop);
    return 0;
}

static int
delete_content(struct pass *p, struct err *err)
{
    struct obj_ref ref = objutil_ref(&kind_vmsnapshotcontent, p->seen.ns,
                                     object_name(p->content));
    struct obj_write how = { .part = OBJ_MAIN, .uid = object_uid(p->content) };

    if (obj_delete(p->ctl->store, &ref, &how, NULL, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return 0;
}

/* 0: look again, 1: wait for *ret_again_ms. */
static int
step(struct pass *p, const struct snapshot_plan *plan, int64_t *ret_again_ms,
     struct err *err)
{
    switch (plan->step) {
    case SNAPSHOT_ADD_FINALIZER:
        return objutil_finalizer(p->ctl, &p->snapshot, FINALIZER, true, err);
    case SNAPSHOT_LOCK:
        return lock_vm(p, ret_again_ms, err);
    case SNAPSHOT_CUT:
        return cut(p, ret_again_ms, err);
    case SNAPSHOT_DELETE_CONTENT:
        return delete_content(p, err);
    case SNAPSHOT_UNDO_UNLOCK:
        return unlock_vm(p, true, ret_again_ms, err);
    case SNAPSHOT_UNLOCK:
        return unlock_vm(p, false, ret_again_ms, err);
    case SNAPSHOT_REMOVE_FINALIZER:
        return objutil_finalizer(p->ctl, &p->snapshot, FINALIZER, false, err);
    case SNAPSHOT_NOTHING:
    default:
        *ret_again_ms = plan->again_ms < 0 ? QUEUE_DONE : plan->again_ms;
        return 1;
    }
}

static int
apply(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    struct snapshot_plan plan;
    bool had_failed = p->seen.has_failed;

    effect_flow_set(p->seen.is_deleting ? "snapshot-delete" : "snapshot");
    /* Ready is shown as soon as it is so. */
    if (p->seen.has_content && !p->seen.is_content_deleting &&
        jsonx_get(p->content_json, "status.readyToUse") == NULL) {
        struct err later;

        if (content_sync(p->ctl, &p->content, &later) == 0) {
            json_decref(p->content_json);
            p->content_json = object_json(p->content);
            see_content(p);
        }
    }
    snapshot_plan_make(&p->seen, &plan);

    CLEANUP(json_decref) json_t *status = status_of(p, &plan);

    if (plan.step == SNAPSHOT_NOTHING && plan.again_ms >= 0 &&
        !p->seen.is_deleting && p->seen.vm_snapshot != NULL)
        wait_for_vm(p->loop, p->key);
    if (plan.step != SNAPSHOT_REMOVE_FINALIZER &&
        objutil_set_status(p->ctl, &p->snapshot, status, err) < 0)
        return -1;
    if (plan.has_failure && !had_failed)
        eventrec_warn(
            p->ctl->events, p->snapshot, "VirtualMachineSnapshotFailed",
            "snapshot deadline exceeded%s%s", plan.error == NULL ? "" : ": ",
            plan.error == NULL ? "" : plan.error);
    return step(p, &plan, ret_again_ms, err);
}

static int
look_and_step(void *pass, int64_t *ret_again_ms, struct err *err)
{
    struct pass *p = pass;
    bool is_there = false;

    if (observe(p, &is_there, err) < 0)
        return -1;
    return is_there ? apply(p, ret_again_ms, err) : 1;
}

static int
snapshot_work(void *arg, const char *key, int64_t *ret_again_ms,
              struct err *err)
{
    struct snapshot_loop *l = arg;
    CLEANUP(pass_clear)
    struct pass p = { .loop = l, .ctl = l->ctl, .key = key };

    return loop_steps(look_and_step, &p, "VirtualMachineSnapshot", key,
                      ret_again_ms, err);
}

/* ---- the loop ---- */

/* A content concerns the snapshot that it names. */
static void
map(void *arg, struct loop *l, const struct cache_event *ev)
{
    (void)arg;
    if (object_gvr(ev->object) == &kind_vmsnapshot.gvr) {
        loop_add(l, object_ns(ev->object), object_name(ev->object));
        return;
    }
    CLEANUP(json_decref) json_t *content = object_json(ev->object);
    const char *name = jsonx_str(content, "spec.virtualMachineSnapshotName");

    if (name != NULL)
        loop_add(l, object_ns(ev->object), name);
}

static const struct gvr *const followed[] = { &kind_vmsnapshot.gvr,
                                              &kind_vmsnapshotcontent.gvr,
                                              NULL };
static const struct loop_spec spec = {
    .name = "snapshot",
    .flow = "snapshot",
    .workers = 8,
    .gvrs = followed,
    .map = map,
    .work = snapshot_work,
};

static void NO_TSA
snapshot_stop(void *state)
{
    struct snapshot_loop *l = state;

    loop_free(l->loop);
    map_free(l->waiting);
    age_table_free(l->ages);
    (void)pthread_mutex_destroy(&l->mutex);
    free(l);
}

static void *NO_TSA
snapshot_start(struct ctl *ctl, struct err *err)
{
    struct snapshot_loop *l = xcalloc(1, sizeof *l);

    l->ctl = ctl;
    l->waiting = map_new();
    l->ages = age_table_new();
    (void)pthread_mutex_init(&l->mutex, NULL);
    l->loop = loop_new(ctl, &spec, l);
    if (loop_start(l->loop, err) == 0)
        return l;
    snapshot_stop(l);
    return NULL;
}

const struct ctl_part snapshot_part = {
    .name = "snapshot",
    .start = snapshot_start,
    .stop = snapshot_stop,
};
