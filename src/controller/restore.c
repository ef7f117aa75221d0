/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore.c: VirtualMachineRestore.
 *
 * One request, end to end (`kubectl create -f restore.yaml`):
 *
 *   api/          admission (types/kind-vmrestore.c), obj_create()
 *   store/, loop  as for a snapshot (controller/snapshot.c); restore_work()
 *   observe()     restore, target VM, snapshot, content from the store; from
 *                 libvirt whether the domain names our new disks already
 *   restore_plan_make()   pure: the status to have, the one step to take
 *   apply()       writes that status, takes the step, looks again
 *
 *   ADD_FINALIZER  vmrestore-protection
 *   ASK_STOP       StopTarget: virt_shutdown(), later POWER_OFF
 *   LOCK           VM.status.restoreInProgress = us: nobody starts it now
 *   APPLY          restore-apply.c: restore_apply() with the source's lock
 *                  held: preflight (restore-define.c), volume_restore_prepare,
 *                  virt_define, volume_restore_finish
 *   MARK           restore-mark.c: the VM object gets the annotation, a new
 *                  one its labels too; the claims their names; we get our
 *                  owner
 *   COMPLETE       unlock, complete = true
 *   UNDO_UNLOCK    volume_recover() by recover_vm(); firmware put back; unlock
 *
 * Crash: the try wrote its target and new files into our status before the
 * domain was defined, so observe() can ask the domain. If it names them the
 * restore goes on with MARK, else volume_recover() has removed the files and
 * the plan begins again. Nothing else is remembered.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/mem.h"
#include "controller/capture.h"
#include "controller/firmware.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/projection.h"
#include "controller/recover.h"
#include "controller/restore-apply.h"
#include "controller/restore-mark.h"
#include "controller/restore-plan.h"

#define FINALIZER     "snapshot.kubevirt.io/vmrestore-protection"
#define CLAIM_MS      300
#define CLAIM_WAIT_MS (10 * 1000) /* for the projection of restored claims */

struct pass {
    struct loop *loop;
    struct ctl *ctl;
    const char *key;
    struct object *restore, *vm, *snapshot, *content;
    json_t *json, *vm_json, *snapshot_json, *content_json;
    char last[600]; /* our mark: "<name>-<uid>" */
    struct restore_seen seen;
};

static void
pass_clear(struct pass *p)
{
    object_unref(p->restore);
    object_unref(p->vm);
    object_unref(p->snapshot);
    object_unref(p->content);
    json_decref(p->json);
    json_decref(p->vm_json);
    json_decref(p->snapshot_json);
    json_decref(p->content_json);
    p->restore = p->vm = p->snapshot = p->content = NULL;
    p->json = p->vm_json = p->snapshot_json = p->content_json = NULL;
}

static void
pass_clear_p(struct pass *p)
{
    pass_clear(p);
}

/* ---- observe ---- */

static void
see_restore(struct pass *p)
{
    struct restore_seen *s = &p->seen;
    const json_t *j = p->json;
    const char *failure =
        objutil_condition_status(json_object_get(j, "status"), "Failure");

    s->ns = jsonx_str_or(j, "metadata.namespace", "");
    s->name = jsonx_str_or(j, "metadata.name", "");
    s->now_ms = clock_wall_s() * 1000;
    s->created_ms = objutil_time_ms(j, "metadata.creationTimestamp");
    s->is_deleting = object_is_deleting(p->restore);
    s->has_finalizer = objutil_has_finalizer(j, FINALIZER);
    s->readiness =
        restore_plan_readiness(jsonx_str(j, "spec.targetReadinessPolicy"));
    s->has_completed = jsonx_bool(j, "status.complete");
    s->has_failed = failure != NULL && strcmp(failure, "True") == 0;
    s->has_traces = jsonx_str(j, "status.vmkeep.step") != NULL;
    s->error = jsonx_str(j, "status.vmkeep.error");
    s->is_error_final = jsonx_bool(j, "status.vmkeep.isErrorFinal");
    s->last_try_ms = objutil_time_ms(j, "status.vmkeep.lastTryTime");
    s->taken_since_ms = objutil_time_ms(j, "status.vmkeep.takenTime");
    s->stop_asked_ms = objutil_time_ms(j, "status.vmkeep.stopTime");
    s->snapshot_name = jsonx_str_or(j, "spec.virtualMachineSnapshotName", "");
    (void)snprintf(p->last, sizeof p->last, "%s-%s", s->name,
                   object_uid(p->restore));
}

static void
see_vm(struct pass *p)
{
    struct restore_seen *s = &p->seen;
    const char *state = jsonx_str_or(p->vm_json, "status.printableStatus", "");
    const char *last = json_string_value(json_object_get(
        jsonx_get(p->vm_json, "metadata.annotations"), RESTORE_MARK_NOTE));
    const char *planned = jsonx_str(p->json, "status.vmkeep.target.uid");

    s->has_target = p->vm != NULL;
    s->target_uid = p->vm == NULL ? NULL : object_uid(p->vm);
    s->vm_snapshot = jsonx_str(p->vm_json, "status.snapshotInProgress");
    s->vm_restore = jsonx_str(p->vm_json, "status.restoreInProgress");
    s->is_marked = last != NULL && strcmp(last, p->last) == 0;
    s->is_target_ours = s->target_uid != NULL && planned != NULL &&
                        strcmp(planned, s->target_uid) == 0 &&
                        jsonx_bool(p->json, "status.vmkeep.target.isNew");
    /* The object of a domain that is gone is only a memory of it. */
    if (strcmp(state, "Undefined") == 0)
        s->is_target_active = false;
}

/* The domain knows best whether it runs. */
static int
see_domain(struct pass *p, struct err *err)
{
    struct err gone;
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;

    if (p->seen.has_completed || p->seen.has_failed)
        return 0;
    if (p->vm != NULL) {
        vm = virt_vm_get(p->ctl->virt, object_uid(p->vm), &gone);
        if (vm == NULL && gone.code != ERR_NOT_FOUND) {
            *err = gone;
            return -1;
        }
        p->seen.is_target_active = vm != NULL && vm->live != NULL;
    }
    return restore_apply_is_done(p->ctl, jsonx_get(p->json, "status.vmkeep"),
                                 &p->seen.is_applied, err);
}

static void
see_source(struct pass *p)
{
    struct restore_seen *s = &p->seen;
    const char *phase = jsonx_str_or(p->snapshot_json, "status.phase", "");

    s->has_snapshot = p->snapshot != NULL && !object_is_deleting(p->snapshot);
    s->is_snapshot_failed = strcmp(phase, "Failed") == 0;
    s->is_snapshot_ready = jsonx_bool(p->snapshot_json, "status.readyToUse");
    s->content_name =
        jsonx_str(p->snapshot_json, "status.virtualMachineSnapshotContentName");
    s->has_content = p->content != NULL && !object_is_deleting(p->content);
    s->is_content_ready = jsonx_bool(p->content_json, "status.readyToUse");
    s->source_uid =
        jsonx_str(p->content_json, "spec.source.virtualMachine.metadata.uid");
}

static int
read_objects(struct pass *p, const char *ns, struct err *err)
{
    struct ctl *ctl = p->ctl;
    const char *content;

    if (objutil_find(ctl, &kind_vm, ns,
                     jsonx_str_or(p->json, "spec.target.name", ""), &p->vm,
                     err) < 0 ||
        objutil_find(
            ctl, &kind_vmsnapshot, ns,
            jsonx_str_or(p->json, "spec.virtualMachineSnapshotName", ""),
            &p->snapshot, err) < 0)
        return -1;
    p->vm_json = p->vm == NULL ? NULL : object_json(p->vm);
    p->snapshot_json = p->snapshot == NULL ? NULL : object_json(p->snapshot);
    content =
        jsonx_str(p->snapshot_json, "status.virtualMachineSnapshotContentName");
    if (content != NULL && objutil_find(ctl, &kind_vmsnapshotcontent, ns,
                                        content, &p->content, err) < 0)
        return -1;
    p->content_json = p->content == NULL ? NULL : object_json(p->content);
    return 0;
}

static int
observe(struct pass *p, bool *ret_is_there, struct err *err)
{
    struct loop_key at;

    pass_clear(p);
    memset(&p->seen, 0, sizeof p->seen);
    loop_key_parse(p->key, &at);
    if (objutil_find(p->ctl, &kind_vmrestore, at.ns, at.name, &p->restore,
                     err) < 0)
        return -1;
    *ret_is_there = p->restore != NULL;
    if (p->restore == NULL)
        return 0;
    p->json = object_json(p->restore);
    if (read_objects(p, at.ns, err) < 0)
        return -1;
    see_restore(p);
    see_vm(p);
    see_source(p);
    return see_domain(p, err);
}

/* ---- status ---- */

static json_t *
status_of(struct pass *p, const struct restore_plan *plan)
{
    const json_t *old = json_object_get(p->json, "status");
    json_t *status = old == NULL ? json_object() : json_deep_copy(old);
    int64_t now_s = p->seen.now_ms / 1000;
    CLEANUP(mem_free)
    char *failure = xstrdup(objutil_condition_reason(
        json_object_get(p->json, "status"), "Failure"));
    /* Failed stays failed, with the words it failed with. */
    const char *reason =
        p->seen.has_failed && !p->seen.is_deleting && failure != NULL
            ? failure
            : plan->reason;

    if (json_object_get(status, "complete") == NULL)
        (void)json_object_set_new(status, "complete", json_false());
    objutil_condition(status, "Progressing", plan->is_progressing, reason,
                      now_s);
    objutil_condition(status, "Ready", plan->is_ready, reason, now_s);
    if (plan->has_failure)
        objutil_condition(status, "Failure", true,
                          failure != NULL ? failure : reason, now_s);
    return status;
}

static void
tell(struct pass *p, const struct restore_plan *plan)
{
    const char *was = objutil_condition_reason(
        json_object_get(p->json, "status"), "Progressing");
    bool is_news = was == NULL || strcmp(was, plan->reason) != 0;

    if (plan->has_failure && !p->seen.has_failed) {
        eventrec_warn(p->ctl->events, p->restore, "Operation failed",
                      "VirtualMachineRestore failed %s", plan->reason);
        return;
    }
    if (plan->is_error && is_news)
        eventrec_warn(p->ctl->events, p->restore, "VirtualMachineRestoreError",
                      "VirtualMachineRestore encountered error %s",
                      plan->reason);
    if (plan->is_target_late && is_news)
        eventrec_warn(p->ctl->events, p->restore, "RestoreTargetNotReady", "%s",
                      plan->reason);
}

/* ---- apply ---- */

static int
take(struct pass *p, const char *vm_uuid, int64_t *ret_again_ms,
     struct err *err)
{
    return loop_take_vm(p->loop, vm_uuid, VMLOCK_RESTORE, p->key, ret_again_ms,
                        err);
}

/* For another VM than the snapshot's own the source is only read. */
static int
take_source(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    bool is_same = p->seen.target_uid != NULL &&
                   strcmp(p->seen.target_uid, p->seen.source_uid) == 0;

    return loop_take_vm(p->loop, p->seen.source_uid,
                        is_same ? VMLOCK_RESTORE : VMLOCK_COPY, p->key,
                        ret_again_ms, err);
}

static int
halt(void *arg, json_t *vm, struct err *err)
{
    (void)arg, (void)err;
    if (strcmp(jsonx_str_or(vm, "spec.runStrategy", ""), "Always") != 0)
        return 1;
    jsonx_set_str(vm, "spec.runStrategy", "Halted");
    return 0;
}

static int
ask_stop(struct pass *p, struct err *err)
{
    struct obj_ref ref = objutil_ref(&kind_vm, p->seen.ns, object_name(p->vm));
    struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(object_unref) struct object *vm = NULL;
    CLEANUP(json_decref) json_t *json = object_json(p->restore);
    json_t *status = json_object_get(json, "status");

    if (obj_update(p->ctl->store, &ref, &how, halt, NULL, &vm, NULL, err) < 0)
        return -1;
    jsonx_set(status, "vmkeep.stopTime", objutil_time(clock_wall_s()));
    jsonx_set(status, "vmkeep.stoppedTarget", json_true());
    if (objutil_set_status(p->ctl, &p->restore, status, err) < 0)
        return -1;
    if (virt_shutdown(p->ctl->virt, object_uid(p->vm), err) < 0 &&
        err->code != ERR_CONFLICT)
        return -1;
    return 0;
}

static int
power_off(struct pass *p, struct err *err)
{
    eventrec_warn(p->ctl->events, p->restore, "RestoreTargetPoweredOff",
                  "the guest did not shut down within %d s: powered off",
                  RESTORE_STOP_MS / 1000);
    if (virt_destroy(p->ctl->virt, object_uid(p->vm), err) < 0 &&
        err->code != ERR_CONFLICT)
        return -1;
    return 0;
}

static int
lock_vm(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    int rc = take(p, object_uid(p->vm), ret_again_ms, err);

    if (rc != 0)
        return rc;
    rc = project_mark(p->ctl, p->seen.ns, object_name(p->vm),
                      "restoreInProgress", p->seen.name, NULL, err);
    loop_give_vm(p->loop, object_uid(p->vm), p->key);
    return rc < 0 && err->code != ERR_CONFLICT ? -1 : 0;
}

static int
note_failure(struct pass *p, const struct err *why, struct err *err)
{
    CLEANUP(json_decref) json_t *json = object_json(p->restore);
    json_t *status = json_object_get(json, "status");

    if (status == NULL)
        return 0;
    jsonx_set_str(status, "vmkeep.error", why->msg);
    jsonx_set(status, "vmkeep.isErrorFinal",
              json_boolean(restore_apply_is_final(why->code)));
    jsonx_set(status, "vmkeep.lastTryTime", objutil_time(clock_wall_s()));
    if (why->code != ERR_EXISTS)
        jsonx_del(status, "vmkeep.takenTime");
    else if (jsonx_get(status, "vmkeep.takenTime") == NULL)
        jsonx_set(status, "vmkeep.takenTime", objutil_time(clock_wall_s()));
    return objutil_set_status(p->ctl, &p->restore, status, err);
}

static const json_t *
override_of(const json_t *restore, const char *volume)
{
    return jsonx_find(jsonx_get(restore, "spec.volumeRestoreOverrides"),
                      "volumeName", volume);
}

static char *
claim_name(const struct restore_job *job, const char *volume)
{
    const json_t *r = job->restore_json;
    char claim[RESTORE_CLAIM_SIZE];

    restore_plan_claim(
        restore_plan_naming(jsonx_str(r, "spec.volumeRestorePolicy")),
        jsonx_str(override_of(r, volume), "restoreName"),
        jsonx_str_or(r, "metadata.uid", ""),
        jsonx_str_or(r, "spec.target.name", ""), volume,
        projection_claim_of(job->source->vm, volume), claim);
    return xstrdup(claim);
}

static json_t *
restores_row(const struct restore_job *job, const struct volume_new_disk *disk,
             const char *claim)
{
    CLEANUP(mem_free)
    char *snapshot =
        capture_volume_snapshot_name(job->source->id, disk->target);

    return json_pack("{s:s, s:s, s:s}", "volumeName", disk->target,
                     "persistentVolumeClaim", claim, "volumeSnapshotName",
                     snapshot);
}

static bool
has_target(const struct restore_source *source, const char *volume)
{
    for (size_t i = 0; i < source->n_targets; i++)
        if (strcmp(source->targets[i], volume) == 0)
            return true;
    return false;
}

/* What is said of a volume that is not restored would be said in vain. */
static int
check_overrides(const json_t *restore, const struct restore_source *source,
                struct err *err)
{
    const json_t *list = jsonx_get(restore, "spec.volumeRestoreOverrides");
    CLEANUP(buf_fini) struct buf held = BUF_INIT;

    for (size_t i = 0; i < source->n_targets; i++)
        buf_printf(&held, "%s%s", i > 0 ? ", " : "", source->targets[i]);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *volume =
            jsonx_str_or(json_array_get(list, i), "volumeName", "");

        if (!has_target(source, volume))
            return err_set(
                err, ERR_INVALID,
                "volumeRestoreOverrides: the snapshot holds no volume \"%s\"; it holds %s",
                volume, held.len > 0 ? buf_str(&held) : "none");
    }
    return 0;
}

static int
apply_source(struct pass *p, struct err *err)
{
    static const struct restore_words words = { "vmkeep", claim_name,
                                                restores_row };
    CLEANUP(restore_source_fini) struct restore_source source = { .xml = NULL };
    const char *policy = jsonx_str(p->json, "spec.volumeRestorePolicy");
    const struct restore_job job = {
        .restore_json = p->json,
        .vm_json = p->vm_json,
        .source = &source,
        .words = &words,
        .table_uuid = p->seen.source_uid,
        .old = restore_plan_naming(policy) == RESTORE_IN_PLACE
                   ? VOLUME_OLD_TRASH
                   : VOLUME_OLD_RETAIN,
    };

    if (restore_source_snapshot(p->ctl, p->snapshot_json, p->content_json,
                                &source, err) < 0 ||
        check_overrides(p->json, &source, err) < 0)
        return -1;
    return restore_apply(p->ctl, &job, &p->restore, err);
}

static int
do_apply(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    struct err why;
    int rc = take_source(p, ret_again_ms, err);

    if (rc != 0)
        return rc;
    rc = apply_source(p, &why);
    loop_give_vm(p->loop, p->seen.source_uid, p->key);
    if (rc == 0)
        return 0;
    if (why.code == ERR_NOT_FOUND && !p->seen.has_snapshot)
        return 0; /* deleted under us: the next look says so */
    return note_failure(p, &why, err);
}

/* ---- the VM object after it was defined ---- */

static int
mark_vm(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    struct restore_mark mark = {
        .ctl = p->ctl,
        .restore_json = p->json,
        .source_vm = jsonx_get(p->content_json, "spec.source.virtualMachine"),
        .disks = jsonx_get(p->json, "status.vmkeep.disks"),
        .ns = p->seen.ns,
        .vm_name = object_name(p->vm),
        .note = RESTORE_MARK_NOTE,
        .name_note = RESTORE_MARK_NAME_NOTE,
        .last = p->last,
        .is_new = p->seen.is_target_ours
    };
    json_t *status = json_object_get(p->json, "status");
    int64_t since_ms = objutil_time_ms(status, "vmkeep.markTime");
    int rc;

    if (since_ms == 0) {
        jsonx_set(status, "vmkeep.markTime", objutil_time(clock_wall_s()));
        if (objutil_set_status(p->ctl, &p->restore, status, err) < 0)
            return -1;
        since_ms = clock_wall_s() * 1000;
        project_poke(p->ctl, object_uid(p->vm));
    }
    rc = restore_mark_claims(&mark, err);
    if (rc < 0)
        return -1;
    if (rc == 1 && p->seen.now_ms < since_ms + CLAIM_WAIT_MS) {
        *ret_again_ms = CLAIM_MS;
        return 1;
    }
    if (restore_mark_owner(p->ctl, &p->restore, p->vm, err) < 0)
        return -1;
    return restore_mark_vm(&mark, err);
}

/* ---- the end ---- */

static int
note_restored(void *arg, json_t *snapshot, struct err *err)
{
    (void)arg, (void)err;
    jsonx_set(snapshot, "status.vmkeep.restoredTime",
              objutil_time(clock_wall_s()));
    return 0;
}

static int
unlock_vm(struct pass *p, struct err *err)
{
    if (p->vm == NULL)
        return 0;
    return project_mark(p->ctl, p->seen.ns, object_name(p->vm),
                        "restoreInProgress", NULL, p->seen.name, err);
}

static int
complete(struct pass *p, struct err *err)
{
    CLEANUP(json_decref) json_t *json = object_json(p->restore);
    json_t *status = json_object_get(json, "status");
    struct obj_ref ref =
        objutil_ref(&kind_vmsnapshot, p->seen.ns, p->seen.snapshot_name);
    struct obj_write how = { .part = OBJ_STATUS };
    CLEANUP(object_unref) struct object *snapshot = NULL;
    int64_t now_s = clock_wall_s();
    static const char *const scaffold[] = {
        "vmkeep.error", "vmkeep.isErrorFinal", "vmkeep.lastTryTime",
        "vmkeep.takenTime", "vmkeep.markTime"
    };
    struct err ignored;

    if (unlock_vm(p, err) < 0 ||
        firmware_delete(p->ctl->config.state_dir, object_uid(p->restore), err) <
            0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(scaffold); i++)
        jsonx_del(status, scaffold[i]);
    jsonx_set_str(status, "vmkeep.step", "complete");
    (void)json_object_set_new(status, "complete", json_true());
    (void)json_object_set_new(status, "restoreTime", objutil_time(now_s));
    objutil_condition(status, "Progressing", false, "Operation complete",
                      now_s);
    objutil_condition(status, "Ready", true, "Operation complete", now_s);
    if (objutil_set_status(p->ctl, &p->restore, status, err) < 0)
        return -1;
    eventrec_normal(p->ctl->events, p->restore, "VirtualMachineRestoreComplete",
                    "Successfully completed VirtualMachineRestore %s",
                    p->seen.name);
    if (obj_update(p->ctl->store, &ref, &how, note_restored, NULL, &snapshot,
                   NULL, &ignored) < 0)
        return 0; /* a note for people only */
    return 0;
}

static int
undo_unlock(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    const char *uid =
        p->seen.source_uid != NULL ? p->seen.source_uid : p->seen.target_uid;
    CLEANUP(json_decref) json_t *json = object_json(p->restore);
    json_t *status = json_object_get(json, "status");
    int rc = 0;

    if (uid != NULL) {
        rc = take(p, uid, ret_again_ms, err);
        if (rc != 0)
            return rc;
        rc = restore_apply_undo(p->ctl, uid, object_uid(p->restore), err);
        loop_give_vm(p->loop, uid, p->key);
    }
    if (rc < 0 && (err->code == ERR_BUSY || err->code == ERR_UNAVAILABLE)) {
        *ret_again_ms = LOOP_LATER_MS;
        return 1;
    }
    if (rc < 0 || unlock_vm(p, err) < 0)
        return -1;
    jsonx_del(status, "vmkeep.step");
    jsonx_del(status, "vmkeep.target");
    jsonx_del(status, "vmkeep.disks");
    (void)json_object_del(status, "restores");
    return objutil_set_status(p->ctl, &p->restore, status, err);
}

/* 0: look again, 1: wait for *ret_again_ms. */
static int
step(struct pass *p, const struct restore_plan *plan, int64_t *ret_again_ms,
     struct err *err)
{
    switch (plan->step) {
    case RESTORE_ADD_FINALIZER:
        return objutil_finalizer(p->ctl, &p->restore, FINALIZER, true, err);
    case RESTORE_ASK_STOP:
        return ask_stop(p, err);
    case RESTORE_POWER_OFF:
        return power_off(p, err);
    case RESTORE_LOCK:
        return lock_vm(p, ret_again_ms, err);
    case RESTORE_APPLY:
        return do_apply(p, ret_again_ms, err);
    case RESTORE_MARK:
        return mark_vm(p, ret_again_ms, err);
    case RESTORE_COMPLETE:
        return complete(p, err);
    case RESTORE_UNDO_UNLOCK:
        return undo_unlock(p, ret_again_ms, err);
    case RESTORE_REMOVE_FINALIZER:
        return objutil_finalizer(p->ctl, &p->restore, FINALIZER, false, err);
    case RESTORE_NOTHING:
    default:
        *ret_again_ms = plan->again_ms < 0 ? QUEUE_DONE : plan->again_ms;
        return 1;
    }
}

static bool
is_into_new_vm(const struct pass *p)
{
    return p->seen.is_target_ours || !p->seen.has_target;
}

static int
apply(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    struct restore_plan plan;

    effect_flow_set(is_into_new_vm(p) ? "restore-new" : "restore-in-place");
    restore_plan_make(&p->seen, &plan);
    if (plan.step != RESTORE_REMOVE_FINALIZER) {
        CLEANUP(json_decref) json_t *status = status_of(p, &plan);

        tell(p, &plan);
        if (objutil_set_status(p->ctl, &p->restore, status, err) < 0)
            return -1;
        (void)json_object_set(p->json, "status", status);
    }
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
restore_work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct loop *l = arg;
    CLEANUP(pass_clear)
    struct pass p = { .loop = l, .ctl = loop_ctl(l), .key = key };

    return loop_steps(look_and_step, &p, "VirtualMachineRestore", key,
                      ret_again_ms, err);
}

/* ---- the loop ---- */

static const struct gvr *const followed[] = { &kind_vmrestore.gvr, NULL };
static const struct loop_spec spec = {
    .name = "restore",
    .flow = "restore-in-place",
    .workers = 8,
    .gvrs = followed,
    .work = restore_work,
};

const struct ctl_part restore_part = {
    .name = "restore",
    .loop = &spec,
};
