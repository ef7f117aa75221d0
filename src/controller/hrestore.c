/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore.c: VirtualMachineRestore of harvesterhci.io.
 *
 * One request, end to end (`kubectl create -f restore.yaml`):
 *
 *   api/          admission (types/kind-hrestore.c), obj_create()
 *   store/, loop  hrestore_work()
 *   observe       hrestore-pass.c: restore, backup, target VM, the job, and
 *                 from libvirt whether the domain names our new disks already
 *   plan          hrestore-plan.c, pure: the words to have, the one step
 *   step          BEGIN       finalizer
 *                 PREFLIGHT   hrestore-work.c: everything that could refuse it;
 *                             a dry run ends here
 *                 LOCK        VM.status.restoreInProgress = us
 *                 START_JOB   restore_apply() with the VM's lock, in a job:
 *                             hrestore-source.c opens the backup,
 *                             hrestore-fill.c makes the disks, the rest is the
 *                             path of all restores
 *                 WATCH_JOB   progress
 *                 END_JOB     its outcome: an error is noted, and tried again
 *                             after a pause, HRESTORE_TRIES times
 *                 MARK        VM and claims get their annotations and names
 *                 START_VM    unless haltAfterRestore
 *                 COMPLETE    unlock
 *
 * Deletion is possible at any time: the job is cancelled and waited for, what
 * it made is removed, and if the domain names the new disks already it keeps
 * them. A failed restore has removed what it made and blocks nobody.
 *
 * Crash: jobs die with the process. volume_recover(), called by whoever takes
 * the VM's lock first, removes the new files unless the domain names them; the
 * next pass sees which, and starts the job again or goes on with MARK.
 */
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/mem.h"
#include "controller/firmware.h"
#include "controller/hrestore-fill.h"
#include "controller/hrestore-status.h"
#include "controller/hrestore-work.h"
#include "controller/job.h"
#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/restore-mark.h"
#include "controller/target.h"

#define CLAIM_MS      300
#define CLAIM_WAIT_MS (10 * 1000) /* for the projection of restored claims */
#define WATCH_MS      5000        /* without progress */
#define TARGET_MS     200         /* until the target was looked at */

/* ---- errors and outcomes ---- */

/* What is away or in use may come back: that is no reason to give up for as
 * long as others are waited for. */
static bool
is_passing(const struct hrestore_pass *p, enum err_code code)
{
    return (code == ERR_UNAVAILABLE || code == ERR_TIMEOUT ||
            code == ERR_BUSY) &&
           p->seen.now_ms < p->seen.created_ms + HRESTORE_WAIT_MS;
}

/* `try`: "tries" or "startTries". */
static int
note_failure(struct hrestore_pass *p, const char *try, const struct err *why,
             struct err *err)
{
    bool is_final = restore_apply_is_final(why->code) || p->seen.is_dry_run;
    int64_t attempts = jsonx_int(p->json, "status.vmkeep.attempts", 0) + 1;
    int64_t n = jsonx_int(p->state, try, 0) + 1;
    CLEANUP(json_decref) json_t *patch = NULL;

    if (is_passing(p, why->code) && n >= HRESTORE_TRIES)
        n = HRESTORE_TRIES - 1;
    patch = json_pack("{s:{s:{s:s, s:b, s:o, s:I, s:n}}}", "vmkeep", "state",
                      "error", why->msg, "isErrorFinal", is_final,
                      "lastTryTime", objutil_time(clock_wall_s()), try,
                      (json_int_t)n, "isChecked");

    if (strcmp(try, "tries") == 0)
        jsonx_set(patch, "vmkeep.attempts", json_integer(attempts));
    eventrec_warn(p->ctl->events, p->restore, "VirtualMachineRestoreError",
                  "%s", why->msg);
    return objutil_merge_status(p->ctl, &p->restore, patch, err);
}

/* After the start the target is looked at first. */
static bool
is_too_early(const struct hrestore_pass *p, int64_t *ret_again_ms)
{
    const char *target = jsonx_str(p->backup_json, "status.vmkeep.target");

    *ret_again_ms = TARGET_MS;
    return target != NULL && target_state(p->ctl, target) == TARGET_IS_UNKNOWN;
}

/* Nothing that reads the target is begun while it is away. */
static int
check_target(struct hrestore_pass *p, struct err *err)
{
    const char *target = jsonx_str(p->backup_json, "status.vmkeep.target");
    CLEANUP(target_release) struct target_ref *ref = NULL;

    return target == NULL ? 0 : target_open(p->ctl, target, &ref, err);
}

static int
do_preflight(struct hrestore_pass *p, int64_t *ret_again_ms, struct err *err)
{
    struct err why;
    int rc;

    if (is_too_early(p, ret_again_ms))
        return 1;
    rc = check_target(p, &why) < 0 ? -1 : hrestore_work_preflight(p, &why);
    if (rc >= 0)
        return rc;
    return why.code == ERR_CANCELLED ? 0 : note_failure(p, "tries", &why, err);
}

static int
start_job(struct hrestore_pass *p, int64_t *ret_again_ms, struct err *err)
{
    struct err why;

    if (is_too_early(p, ret_again_ms))
        return 1;
    if (check_target(p, &why) < 0)
        return note_failure(p, "tries", &why, err);
    return hrestore_work_start(p, ret_again_ms, err);
}

static int
end_job(struct hrestore_pass *p, struct err *err)
{
    CLEANUP(mem_free) char *key = hrestore_pass_job_key(p);
    CLEANUP(json_decref) json_t *patch = NULL;
    struct err why;
    enum job_state state = job_look(p->ctl->jobs, key, NULL, &why);

    (void)job_forget(p->ctl->jobs, key);
    if (state == JOB_FAILED)
        return why.code == ERR_CANCELLED ? 0
                                         : note_failure(p, "tries", &why, err);
    patch = json_pack("{s:{s:{s:n, s:n, s:n}}}", "vmkeep", "state", "error",
                      "tries", "isErrorFinal");
    return objutil_merge_status(p->ctl, &p->restore, patch, err);
}

static int
watch_job(struct hrestore_pass *p, struct err *err)
{
    CLEANUP(mem_free) char *key = hrestore_pass_job_key(p);
    const json_t *status = json_object_get(p->json, "status");
    CLEANUP(json_decref) json_t *volumes = job_note_get(p->ctl->jobs, key);
    CLEANUP(json_decref) json_t *patch = NULL;
    struct job_progress moved = { .all_bytes = 0 };
    struct hrestore_status_moved m = { .volumes = volumes };

    (void)job_look(p->ctl->jobs, key, &moved, NULL);
    if (moved.all_bytes == 0)
        return 0;
    m.done = moved.done_bytes;
    m.all = moved.all_bytes;
    m.now_s = clock_wall_s();
    m.since_s = objutil_time_ms(status, "vmkeep.startTime") / 1000;
    patch = hrestore_status_progress(status, &m);
    return objutil_merge_status(p->ctl, &p->restore, patch, err);
}

/* ---- the VM ---- */

static int
lock_vm(struct hrestore_pass *p, struct err *err)
{
    int rc = project_mark(p->ctl, p->seen.ns, object_name(p->vm),
                          "restoreInProgress", p->seen.name, NULL, err);

    return rc < 0 && err->code != ERR_CONFLICT ? -1 : 0;
}

static int
unlock_vm(struct hrestore_pass *p, struct err *err)
{
    if (p->vm == NULL)
        return 0;
    return project_mark(p->ctl, object_ns(p->vm), object_name(p->vm),
                        "restoreInProgress", NULL, p->seen.name, err);
}

/* Since when are the claims waited for? Written down at the first time. */
static int
mark_since(struct hrestore_pass *p, int64_t *ret_ms, struct err *err)
{
    CLEANUP(json_decref) json_t *patch = NULL;

    *ret_ms = objutil_time_ms(p->state, "markTime");
    if (*ret_ms != 0)
        return 0;
    *ret_ms = clock_wall_s() * 1000;
    patch =
        json_pack("{s:s, s:{s:{s:o}}}", "targetUID", object_uid(p->vm),
                  "vmkeep", "state", "markTime", objutil_time(clock_wall_s()));
    project_poke(p->ctl, object_uid(p->vm));
    return objutil_merge_status(p->ctl, &p->restore, patch, err);
}

static int
mark_vm(struct hrestore_pass *p, int64_t *ret_again_ms, struct err *err)
{
    struct restore_mark mark = {
        .ctl = p->ctl,
        .restore_json = p->json,
        .source_vm = jsonx_get(p->backup_json, "status.source"),
        .disks = jsonx_get(p->state, "disks"),
        .ns = object_ns(p->vm),
        .vm_name = object_name(p->vm),
        .note = RESTORE_MARK_HARVESTER,
        .name_note = RESTORE_MARK_HARVESTER_NAME,
        .last = p->last,
        .is_bare = true,
    };
    int64_t since_ms;
    int rc;

    if (mark_since(p, &since_ms, err) < 0)
        return -1;
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

/* It is started although it says Halted: from now on it is nobody's edge. */
static int
put_strategy(void *arg, json_t *vm, struct err *err)
{
    (void)arg, (void)err;
    if (strcmp(jsonx_str_or(vm, "spec.runStrategy", ""), "Halted") != 0)
        return 1;
    jsonx_set_str(vm, "spec.runStrategy", "Manual");
    return 0;
}

static int
start_vm(struct hrestore_pass *p, int64_t *ret_again_ms, struct err *err)
{
    const char *uid = object_uid(p->vm);
    struct obj_ref ref =
        objutil_ref(&kind_vm, object_ns(p->vm), object_name(p->vm));
    struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(object_unref) struct object *vm = NULL;
    CLEANUP(json_decref)
    json_t *patch = json_pack("{s:{s:{s:b}}}", "vmkeep", "state", "started", 1);
    struct err why;
    int rc =
        loop_take_vm(p->loop, uid, VMLOCK_POWER, p->key, ret_again_ms, err);

    if (rc != 0)
        return rc;
    rc = virt_start(p->ctl->virt, uid, false, &why);
    loop_give_vm(p->loop, uid, p->key);
    if (rc < 0 && why.code != ERR_CONFLICT) {
        err_do_wrap(&why, "failed to start vm");
        return note_failure(p, "startTries", &why, err);
    }
    if (obj_update(p->ctl->store, &ref, &how, put_strategy, NULL, &vm, NULL,
                   err) < 0)
        return -1;
    return objutil_merge_status(p->ctl, &p->restore, patch, err);
}

/* ---- the end ---- */

static int
forget_firmware(struct hrestore_pass *p, struct err *err)
{
    CLEANUP(mem_free) char *dir = hrestore_source_firmware_dir(p->ctl);
    const char *uid = object_uid(p->restore);

    if (firmware_delete(dir, uid, err) < 0)
        return -1;
    return firmware_delete(p->ctl->config.state_dir, uid, err);
}

static int
complete(struct hrestore_pass *p, struct err *err)
{
    const json_t *status = json_object_get(p->json, "status");
    CLEANUP(json_decref) json_t *patch = NULL;
    struct hrestore_plan done;
    int64_t began_ms = objutil_time_ms(status, "vmkeep.startTime");

    if (unlock_vm(p, err) < 0 || forget_firmware(p, err) < 0)
        return -1;
    hrestore_plan_done(p->seen.is_dry_run, &done);
    patch =
        hrestore_status_done(status, &done, p->seen.is_dry_run, clock_wall_s());
    jsonx_set(patch, "vmkeep.milliseconds",
              json_integer(clock_wall_s() * 1000 - began_ms));
    if (objutil_merge_status(p->ctl, &p->restore, patch, err) < 0)
        return -1;
    eventrec_normal(p->ctl->events, p->restore, "VirtualMachineRestoreComplete",
                    "%s", done.message);
    return 0;
}

static int
undo_locked(struct hrestore_pass *p, const char *table, struct err *err)
{
    const char *uid = object_uid(p->restore);

    if (hrestore_fill_sweep(p->ctl, uid, err) < 0)
        return -1;
    /* What the domain names already stays, with its firmware. */
    if (!p->seen.is_applied && restore_apply_undo(p->ctl, table, uid, err) < 0)
        return -1;
    return forget_firmware(p, err);
}

static int
undo(struct hrestore_pass *p, int64_t *ret_again_ms, struct err *err)
{
    const char *table = jsonx_str(p->state, "table");
    CLEANUP(json_decref) json_t *patch = NULL;
    int rc = 0;

    if (table != NULL) {
        rc = loop_take_vm(p->loop, table, VMLOCK_RESTORE, p->key, ret_again_ms,
                          err);
        if (rc != 0)
            return rc;
        rc = undo_locked(p, table, err);
        loop_give_vm(p->loop, table, p->key);
    }
    if (rc < 0 && (err->code == ERR_BUSY || err->code == ERR_UNAVAILABLE)) {
        *ret_again_ms = LOOP_LATER_MS;
        return 1;
    }
    if (rc < 0 || unlock_vm(p, err) < 0)
        return -1;
    patch = json_pack("{s:{s:{s:n, s:n, s:n}}}", "vmkeep", "state", "step",
                      "disks", "isChecked");
    return objutil_merge_status(p->ctl, &p->restore, patch, err);
}

/* It hangs. What it made it removes when it ends, and holds the VM's lock until
 * then; it defines nothing any more (hrestore-fill.c). */
static int
abandon_job(struct hrestore_pass *p, struct err *err)
{
    CLEANUP(mem_free) char *key = hrestore_pass_job_key(p);

    job_abandon(p->ctl->jobs, key);
    return unlock_vm(p, err);
}

static int
go(struct hrestore_pass *p, struct err *err)
{
    hrestore_work_drop(p);
    return objutil_finalizer(p->ctl, &p->restore, HRESTORE_FINALIZER, false,
                             err);
}

static int
cancel_job(struct hrestore_pass *p, int64_t *ret_again_ms)
{
    CLEANUP(mem_free) char *key = hrestore_pass_job_key(p);

    job_cancel(p->ctl->jobs, key);
    *ret_again_ms = HRESTORE_LOOK_MS;
    return 1;
}

/* ---- one pass ---- */

static int
step(struct hrestore_pass *p, const struct hrestore_plan *plan,
     int64_t *ret_again_ms, struct err *err)
{
    switch (plan->step) {
    case HRESTORE_BEGIN:
        return objutil_finalizer(p->ctl, &p->restore, HRESTORE_FINALIZER, true,
                                 err);
    case HRESTORE_PREFLIGHT:
        return do_preflight(p, ret_again_ms, err);
    case HRESTORE_LOCK:
        return lock_vm(p, err);
    case HRESTORE_START_JOB:
        return start_job(p, ret_again_ms, err);
    case HRESTORE_WATCH_JOB:
        *ret_again_ms = WATCH_MS;
        return watch_job(p, err) < 0 ? -1 : 1;
    case HRESTORE_CANCEL_JOB:
        return cancel_job(p, ret_again_ms);
    case HRESTORE_END_JOB:
        return end_job(p, err);
    case HRESTORE_MARK:
        return mark_vm(p, ret_again_ms, err);
    case HRESTORE_START_VM:
        return start_vm(p, ret_again_ms, err);
    case HRESTORE_COMPLETE:
        return complete(p, err);
    case HRESTORE_UNDO:
        return undo(p, ret_again_ms, err);
    case HRESTORE_ABANDON_JOB:
        return abandon_job(p, err);
    case HRESTORE_REMOVE_FINALIZER:
        return go(p, err);
    case HRESTORE_NOTHING:
    default:
        *ret_again_ms = plan->again_ms < 0 ? QUEUE_DONE : plan->again_ms;
        return 1;
    }
}

static int
write_words(struct hrestore_pass *p, const struct hrestore_plan *plan,
            struct err *err)
{
    const json_t *status = json_object_get(p->json, "status");
    CLEANUP(json_decref)
    json_t *patch = hrestore_status_plan(status, plan, p->seen.now_ms / 1000);
    CLEANUP(json_decref) json_t *now = NULL;

    if (plan->is_failed && !p->seen.has_failed)
        eventrec_warn(p->ctl->events, p->restore, "VirtualMachineRestoreFailed",
                      "%s", plan->message);
    if (objutil_merge_status(p->ctl, &p->restore, patch, err) < 0)
        return -1;
    now = object_json(p->restore);
    if (json_object_get(now, "status") != NULL)
        (void)json_object_set(p->json, "status",
                              json_object_get(now, "status"));
    p->state = jsonx_get(p->json, "status.vmkeep.state");
    return 0;
}

static int
look_and_step(void *arg, int64_t *ret_again_ms, struct err *err)
{
    struct hrestore_pass *p = arg;
    struct hrestore_plan plan;
    bool is_there = false;

    if (hrestore_pass_look(p, &is_there, err) < 0)
        return -1;
    if (!is_there)
        return 1;
    effect_flow_set(p->seen.is_new ? "hrestore-new" : "hrestore-replace");
    hrestore_plan_make(&p->seen, &plan);
    if (plan.step != HRESTORE_REMOVE_FINALIZER &&
        write_words(p, &plan, err) < 0)
        return -1;
    return step(p, &plan, ret_again_ms, err);
}

static int
hrestore_work(void *arg, const char *key, int64_t *ret_again_ms,
              struct err *err)
{
    struct loop *l = arg;
    CLEANUP(hrestore_pass_clear)
    struct hrestore_pass p = { .loop = l, .ctl = loop_ctl(l), .key = key };

    return loop_steps(look_and_step, &p, "VirtualMachineRestore", key,
                      ret_again_ms, err);
}

/* ---- the loop ---- */

static const struct gvr *const followed[] = { &kind_hrestore.gvr, NULL };
static const struct loop_spec spec = {
    .name = "hrestore",
    .flow = "hrestore-replace",
    .workers = 8,
    .gvrs = followed,
    .work = hrestore_work,
};

const struct ctl_part hrestore_part = {
    .name = "hrestore",
    .loop = &spec,
};
