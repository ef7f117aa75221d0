/* SPDX-License-Identifier: Apache-2.0 */
/* controller/vmbackup.c: VirtualMachineBackup.
 *
 * One request, end to end (`kubectl create -f backup.yaml`, type backup):
 *
 *   observe()   the object, the VM, the target, the running job
 *   backup_plan_make()   pure: the one step to take
 *   apply()     takes it and looks again, until the plan says "nothing"
 *
 *   ADD_FINALIZER, BEGIN   the first status: Pending
 *   TAKE_TURN    VM.status.backupInProgress = us: one backup of a VM at a time,
 *                for the bitmaps of one are the next one's
 *   CUT          backup-cut.c, with the VM's lock (CUT): freeze, checkpoint,
 *                cut, thaw; the record goes into status.vmkeep.cut
 *   READ         backup-read.c: a job; the VM's lock as READ while it runs, so
 *                that snapshots, start and stop go on
 *   WATCH        its progress, into the status; and whether there is room for
 *                what the guest writes meanwhile: if not, the backup fails and
 *                its layers are merged back while they can be
 *   COMPLETE     the status of a finished backup, made from what was committed
 *   CLEAN        backup_cut_undo() with the lock (MERGE): bitmap committed or
 *                removed, the cut's references dropped (tidy.c merges the
 *                layers back), firmware and definition removed; the turn ends
 *   END          deletion: the data on the target (target.c: at once, or when
 *                it is back), then the finalizer
 *
 * Nothing is remembered between two passes but the objects, so a crash at any
 * point is a restart of this loop: before CUT's record the cut is undone and
 * made anew, after it the same cut is read again (with what the dead session
 * had stored), after the commit the backup is found by its UID.
 * status.vmkeep.cut is both the record and the mark that there may be traces;
 * it is written, empty, before the first try and removed by CLEAN.
 *
 * Type snapshot is controller/backup-snapshot.c.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/mem.h"
#include "controller/backup-cut.h"
#include "controller/backup-find.h"
#include "controller/backup-hold.h"
#include "controller/backup-meta.h"
#include "controller/backup-plan.h"
#include "controller/backup-progress.h"
#include "controller/backup-read.h"
#include "controller/backup-snapshot.h"
#include "controller/backup-status.h"
#include "controller/backup-verify.h"
#include "controller/job.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/recover.h"
#include "controller/target-delete.h"
#include "controller/target.h"
#include "controller/tidy.h"

#define TURN           "backupInProgress" /* in the VM's status */
#define SOON_MS        200
#define WATCH_MS       1000 /* for the room on the disks' file systems */
#define ASK_AGAIN_MS   5000
#define DELETE_WAIT_MS 15000 /* for a target that does not answer */

/* One pass: what was read, and what the plan sees of it. */
struct pass {
    struct loop *loop;
    struct ctl *ctl;
    const char *key;
    struct object *object, *vm;
    json_t *json, *vm_json;
    struct err trouble, job_err;
    struct backup_plan_seen seen;
};

static void
pass_clear(struct pass *p)
{
    object_unref(p->object);
    object_unref(p->vm);
    json_decref(p->json);
    json_decref(p->vm_json);
    p->object = p->vm = NULL;
    p->json = p->vm_json = NULL;
}

static void
pass_clear_p(struct pass *p)
{
    pass_clear(p);
}

static const char *
uid_of(const struct pass *p)
{
    return object_uid(p->object);
}

static const char *
note_of(const struct pass *p, const char *key)
{
    return json_string_value(
        json_object_get(jsonx_get(p->json, "metadata.annotations"), key));
}

/* Recorded at the beginning; an annotation that changes later is nothing. */
static const char *
target_of(const struct pass *p)
{
    const char *recorded = jsonx_str(p->json, "status.vmkeep.target");
    const char *wanted = note_of(p, TARGET_ANNOTATION);

    if (recorded != NULL)
        return recorded;
    return wanted != NULL && wanted[0] != 0 ? wanted : TARGET_DEFAULT;
}

/* NULL: never cut, no VM is concerned. */
static const char *
vm_uuid_of(const struct pass *p)
{
    return jsonx_str(p->json, "status.sourceUID");
}

/* ---- observe ---- */

static void
see_object(struct pass *p)
{
    struct backup_plan_seen *s = &p->seen;
    const char *phase = jsonx_str_or(p->json, "status.vmkeep.phase", "");

    memset(s, 0, sizeof *s);
    s->now_ms = clock_wall_s() * 1000;
    s->is_deleting = object_is_deleting(p->object);
    s->has_finalizer = objutil_has_finalizer(p->json, BACKUP_STATUS_FINALIZER);
    s->is_begun = phase[0] != 0;
    s->is_done = strcmp(phase, "Ready") == 0;
    s->has_failed = strcmp(phase, "Failed") == 0;
    s->has_traces = jsonx_get(p->json, "status.vmkeep.cut") != NULL;
    s->is_cut = jsonx_str(p->json, "status.vmkeep.cut.time") != NULL;
    s->retry_ms = objutil_time_ms(p->json, "status.vmkeep.retryTime");
    s->job = job_look(p->ctl->jobs, uid_of(p), NULL, &p->job_err);
    s->is_target_unknown =
        target_state(p->ctl, target_of(p)) == TARGET_IS_UNKNOWN;
    s->is_target_away = target_state(p->ctl, target_of(p)) == TARGET_IS_AWAY;
    s->is_job_cancelled =
        s->job == JOB_FAILED && p->job_err.code == ERR_CANCELLED;
}

/* Why the cut cannot be made now. Only looked at before it. */
static int
see_trouble(struct pass *p)
{
    CLEANUP(target_release) struct target_ref *ref = NULL;
    const char *state = jsonx_str_or(p->vm_json, "status.printableStatus", "");

    if (p->vm == NULL || strcmp(state, "Undefined") == 0)
        return err_set(&p->trouble, ERR_NOT_FOUND,
                       "virtualmachines.kubevirt.io \"%s\" not found",
                       jsonx_str_or(p->json, "spec.source.name", ""));
    return target_open(p->ctl, target_of(p), &ref, &p->trouble);
}

/* Whose turn is it? A holder that is no more has left none behind. */
static int
see_turn(struct pass *p, struct err *err)
{
    const char *holder = jsonx_str(p->vm_json, "status." TURN);
    CLEANUP(object_unref) struct object *other = NULL;

    if (holder == NULL)
        return 0;
    p->seen.has_turn = strcmp(holder, object_name(p->object)) == 0;
    if (p->seen.has_turn)
        return 0;
    if (objutil_find(p->ctl, &kind_vmbackup, object_ns(p->object), holder,
                     &other, err) < 0)
        return -1;
    p->seen.is_turn_taken = other != NULL;
    if (other != NULL)
        return 0;
    return project_mark(p->ctl, object_ns(p->object), object_name(p->vm), TURN,
                        NULL, holder, err);
}

static int
see_vm(struct pass *p, struct err *err)
{
    if (objutil_find(p->ctl, &kind_vm, object_ns(p->object),
                     jsonx_str_or(p->json, "spec.source.name", ""), &p->vm,
                     err) < 0)
        return -1;
    if (p->vm == NULL)
        return 0;
    p->vm_json = object_json(p->vm);
    return see_turn(p, err);
}

static bool
is_before_cut(const struct backup_plan_seen *s)
{
    return s->is_begun && !s->is_deleting && !s->is_done && !s->has_failed &&
           !s->is_cut;
}

static int
observe(struct pass *p, bool *ret_is_there, struct err *err)
{
    struct loop_key at;

    pass_clear(p);
    loop_key_parse(p->key, &at);
    if (objutil_find(p->ctl, &kind_vmbackup, at.ns, at.name, &p->object, err) <
        0)
        return -1;
    *ret_is_there = p->object != NULL;
    if (p->object == NULL)
        return 0;
    p->json = object_json(p->object);
    see_object(p);
    if (see_vm(p, err) < 0)
        return -1;
    if (is_before_cut(&p->seen) && p->seen.now_ms >= p->seen.retry_ms &&
        see_trouble(p) < 0)
        p->seen.trouble = p->trouble.msg;
    return 0;
}

/* ---- status ---- */

/* Write what `object` (a changed copy of p->json) says; p follows. */
static int
put_status(struct pass *p, json_t *object, struct err *err)
{
    if (objutil_set_status(p->ctl, &p->object,
                           json_object_get(object, "status"), err) < 0)
        return -1;
    json_decref(p->json);
    p->json = object_json(p->object);
    return 0;
}

static void
give_lock(struct pass *p)
{
    if (vm_uuid_of(p) != NULL)
        loop_give_vm(p->loop, vm_uuid_of(p), p->key);
}

static int
note_try(struct pass *p, const struct err *why, int64_t n,
         struct backup_plan_retry retry, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);

    jsonx_set(object, "status.vmkeep.attempts", json_integer(n));
    if (retry.is_final) {
        jsonx_set_str(object, "status.vmkeep.phase", "Failed");
        jsonx_del(object, "status.vmkeep.retryTime");
        backup_status_failed(object, why->msg);
    } else {
        backup_status_error(object, why->msg);
        jsonx_set(object, "status.vmkeep.retryTime",
                  objutil_time(clock_wall_s() + retry.pause_ms / 1000));
        if (!p->seen.is_cut)
            jsonx_set_str(object, "status.vmkeep.phase", "Pending");
    }
    eventrec_warn(p->ctl->events, p->object,
                  retry.is_final ? "BackupFailed" : "BackupError", "%s",
                  why->msg);
    return put_status(p, object, err);
}

/* A try failed: again later, or for good. */
static int
note_failure(struct pass *p, const struct err *why, struct err *err)
{
    int64_t n = jsonx_int(p->json, "status.vmkeep.attempts", 0) + 1;

    return note_try(p, why, n, backup_plan_retry_after((unsigned)n, why->code),
                    err);
}

/* ---- steps ---- */

static struct backup_find
find_of(const struct pass *p)
{
    return (struct backup_find){ .uid = uid_of(p),
                                 .target = target_of(p),
                                 .queue = loop_queue(p->loop),
                                 .queue_key = p->key };
}

static int
take_turn(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    if (project_mark(p->ctl, object_ns(p->object), object_name(p->vm), TURN,
                     object_name(p->object), NULL, err) == 0)
        return 0;
    *ret_again_ms = BACKUP_PLAN_TURN_MS;
    return err->code == ERR_CONFLICT ? 1 : -1;
}

/* From here on a crash may leave something. */
static int
mark_cutting(struct pass *p, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);

    jsonx_set_str(object, "status.vmkeep.phase", "Cutting");
    jsonx_set_str(object, "status.sourceUID", object_uid(p->vm));
    if (jsonx_get(object, "status.vmkeep.cut") == NULL)
        jsonx_set(object, "status.vmkeep.cut", json_object());
    if (jsonx_get(object, "status.vmkeep.startTime") == NULL)
        jsonx_set(object, "status.vmkeep.startTime",
                  objutil_time(clock_wall_s()));
    return put_status(p, object, err);
}

static enum backup_cut_quiesce
quiesce_of(const struct pass *p)
{
    return backup_cut_quiesce(note_of(p, BACKUP_CUT_QUIESCE_ANNOTATION));
}

/* The guest could not be frozen and need not be: the next try does without. */
static int
note_freeze_failure(struct pass *p, const struct err *why, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);

    jsonx_set(object, "status.vmkeep.cut.freezeFailed", json_true());
    (void)ctl_condition_set(object, "Quiesced", "False", "FreezeFailed",
                            why->msg, 0);
    eventrec_warn(p->ctl->events, p->object, "FreezeError",
                  "%s; the backup goes on without a freeze", why->msg);
    return put_status(p, object, err);
}

static int
cut_locked(struct pass *p, struct err *why, bool *ret_is_freeze_failure,
           struct err *err)
{
    CLEANUP(target_release) struct target_ref *ref = NULL;
    CLEANUP(json_decref) json_t *object = NULL;
    struct backup_cut_job job = { .backup = p->object, .vm_json = p->vm_json };

    if (target_open(p->ctl, target_of(p), &ref, why) < 0)
        return 1;
    if (mark_cutting(p, err) < 0)
        return -1;
    object = json_deep_copy(p->json);
    job.backup = p->object;
    job.backup_json = p->json;
    job.repo_uuid = target_uuid(ref);
    job.never_freezes = quiesce_of(p) == BACKUP_CUT_QUIESCE_NONE ||
                        jsonx_bool(p->json, "status.vmkeep.cut.freezeFailed");
    if (backup_cut(p->ctl, &job, json_object_get(object, "status"),
                   ret_is_freeze_failure, why) < 0)
        return 1;
    jsonx_set_str(object, "status.vmkeep.phase", "Reading");
    jsonx_set_str(object, "status.vmkeep.repositoryUUID", job.repo_uuid);
    jsonx_del(object, "status.vmkeep.attempts");
    jsonx_del(object, "status.vmkeep.retryTime");
    backup_status_error(object, NULL);
    return put_status(p, object, err);
}

static int
cut(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    const char *vm_uuid = object_uid(p->vm);
    bool is_freeze_failure = false;
    struct err why;
    int rc =
        loop_take_vm(p->loop, vm_uuid, VMLOCK_CUT, p->key, ret_again_ms, err);

    if (rc != 0)
        return rc;
    /* What an earlier run left is no failure of this try: wait for it. */
    if (recover_vm(p->ctl, vm_uuid, &why) < 0 &&
        (why.code == ERR_BUSY || why.code == ERR_UNAVAILABLE)) {
        loop_give_vm(p->loop, vm_uuid, p->key);
        *ret_again_ms = SOON_MS;
        return 1;
    }
    rc = cut_locked(p, &why, &is_freeze_failure, err);
    loop_give_vm(p->loop, vm_uuid, p->key);
    project_poke(p->ctl, vm_uuid);
    if (rc != 1)
        return rc;
    if (is_freeze_failure && quiesce_of(p) == BACKUP_CUT_QUIESCE_PREFERRED)
        return note_freeze_failure(p, &why, err);
    return note_failure(p, &why, err);
}

static int
start_read(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    CLEANUP(mem_free)
    char *parent = backup_read_parent(
        p->ctl, vm_uuid_of(p),
        jsonx_str_or(p->json, "status.vmkeep.repositoryUUID", ""));
    struct err why;
    int rc =
        loop_take_vm(p->loop, vm_uuid_of(p),
                     backup_cut_is_pulled(p->json) ? VMLOCK_PULL : VMLOCK_READ,
                     p->key, ret_again_ms, err);

    if (rc != 0)
        return rc;
    if (recover_vm(p->ctl, vm_uuid_of(p), &why) < 0 &&
        (why.code == ERR_BUSY || why.code == ERR_UNAVAILABLE)) {
        give_lock(p);
        *ret_again_ms = LOOP_LATER_MS;
        return 1;
    }
    rc = backup_read_start(p->ctl, uid_of(p), p->json, parent,
                           loop_queue(p->loop), p->key, err);
    if (rc == 0)
        return 0;
    give_lock(p);
    *ret_again_ms = QUEUE_DONE;
    return err->code == ERR_CANCELLED ? 1 : -1; /* the daemon stops */
}

static int
watch(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);
    CLEANUP(json_decref) json_t *note = job_note_get(p->ctl->jobs, uid_of(p));
    struct job_progress progress = { 0 };
    struct err why;

    if (backup_cut_room(p->ctl, p->json, &why) < 0 && why.code == ERR_NO_SPACE)
        return note_try(p, &why, 1,
                        (struct backup_plan_retry){ .is_final = true }, err);
    *ret_again_ms = WATCH_MS;
    (void)job_look(p->ctl->jobs, uid_of(p), &progress, NULL);
    backup_progress_target(p->ctl, object, target_of(p));
    if (progress.all_bytes > 0)
        backup_progress_tell(object, &progress, note);
    return put_status(p, object, err) < 0 ? -1 : 1;
}

/* ---- the end of a job ---- */

/* The backup is committed: its status is what was committed, and what the job
 * has to tell besides. 1: the target has not answered yet. */
static int
complete(struct pass *p, bool must_exist, bool *ret_is_there, struct err *err)
{
    const struct backup_find ask = find_of(p);
    CLEANUP(backup_find_free) struct backup_found *found = NULL;
    CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);
    CLEANUP(json_decref) json_t *note = job_note_get(p->ctl->jobs, uid_of(p));
    struct backup_status_place place = { .target = target_of(p) };
    int rc = backup_find_ask(p->ctl, &ask, &found, err);

    *ret_is_there = found != NULL && found->is_there;
    if (rc != 0)
        return rc;
    if (!*ret_is_there)
        return must_exist ? err_set(err, ERR_NOT_FOUND,
                                    "the backup is not on the target any more")
                          : 0;
    place.endpoint = target_endpoint(found->ref);
    place.repo_uuid = target_uuid(found->ref);
    place.entry = &found->entry;
    backup_progress_result(object, note);
    backup_status_complete(object, found->meta, &place);
    backup_progress_end(object);
    if (put_status(p, object, err) < 0)
        return -1;
    eventrec_normal(p->ctl->events, p->object, "BackupReady",
                    "backup %s is on the BackupTarget %s", found->entry.id,
                    target_name(found->ref));
    target_poke(p->ctl, target_name(found->ref));
    return 0;
}

static int
begin(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    bool is_there = false;
    struct err why;
    int rc = complete(p, false, &is_there, &why);

    /* A status that was wiped: what is on the target is not cut again. */
    if (rc == 0 && is_there)
        return 0;
    if (rc > 0) {
        *ret_again_ms = ASK_AGAIN_MS;
        return 1;
    }

    CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);

    backup_status_begin(object);
    jsonx_set_str(object, "status.vmkeep.phase", "Pending");
    jsonx_set_str(object, "status.vmkeep.target", target_of(p));
    return put_status(p, object, err);
}

static void
forget(struct pass *p)
{
    if (job_forget(p->ctl->jobs, uid_of(p)))
        give_lock(p);
}

static int
read_failed(struct pass *p, struct err *err)
{
    if (backup_cut_is_pulled(p->json)) {
        CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);

        backup_cut_drop(p->ctl, object);
        if (put_status(p, object, err) < 0)
            return -1;
        p->seen.is_cut = false;
    }
    if (note_failure(p, &p->job_err, err) < 0)
        return -1;
    forget(p);
    return 0;
}

static int
end_of_job(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    bool is_there;
    int rc = complete(p, true, &is_there, &p->job_err);

    if (rc < 0)
        return read_failed(p, err);
    if (rc > 0) {
        *ret_again_ms = ASK_AGAIN_MS;
        return 1;
    }
    forget(p);
    return 0;
}

/* ---- the end ---- */

static int
clean_locked(struct pass *p, struct err *err)
{
    const char *entry = p->seen.is_done && !p->seen.is_deleting
                            ? jsonx_str(p->json, "status.vmkeep.backupID")
                            : NULL;

    if (backup_read_sweep(p->ctl, uid_of(p), err) < 0)
        return -1;
    return backup_cut_undo(p->ctl, vm_uuid_of(p), uid_of(p), entry, err);
}

static int
clean(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    int rc;

    if (p->seen.has_traces && vm_uuid_of(p) != NULL) {
        give_lock(p); /* READ, of a job that ended before the daemon did */
        rc = loop_take_vm(p->loop, vm_uuid_of(p), VMLOCK_MERGE, p->key,
                          ret_again_ms, err);
        if (rc != 0)
            return rc;
        rc = clean_locked(p, err);
        give_lock(p);
        if (rc < 0) {
            *ret_again_ms = LOOP_LATER_MS;
            return err->code == ERR_BUSY ? 1 : -1;
        }
        tidy_poke(p->ctl, vm_uuid_of(p));
        project_poke(p->ctl, vm_uuid_of(p));
    }
    if (p->vm != NULL &&
        project_mark(p->ctl, object_ns(p->object), object_name(p->vm), TURN,
                     NULL, object_name(p->object), err) < 0)
        return -1;

    CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);

    jsonx_del(object, "status.vmkeep.cut");
    return put_status(p, object, err);
}

/* What was asked of the target for it; false: a job has not ended yet. */
static bool
end_asking(struct pass *p)
{
    bool is_away = target_state(p->ctl, target_of(p)) == TARGET_IS_AWAY;

    backup_find_drop(p->ctl, uid_of(p));
    backup_hold_drop(p->ctl, uid_of(p));
    return backup_verify_stop(p->ctl, uid_of(p), is_away);
}

static int
end(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    int64_t since_ms = objutil_time_ms(p->json, "metadata.deletionTimestamp");
    const struct target_delete d = {
        .target = target_of(p),
        .object_uid = uid_of(p),
        .ns = object_ns(p->object),
        .name = object_name(p->object),
        .hold = backup_hold_mine(p->json),
        .queue = loop_queue(p->loop),
        .queue_key = p->key,
        .may_wait = p->seen.now_ms < since_ms + DELETE_WAIT_MS,
    };
    CLEANUP(mem_free) char *why = NULL;
    int rc;

    *ret_again_ms = SOON_MS;
    if (!end_asking(p))
        return 1;
    *ret_again_ms = LOOP_LATER_MS;
    rc = target_delete_backup(p->ctl, &d, &why, err);
    if (rc != 0)
        return rc;
    if (why != NULL)
        eventrec_warn(p->ctl->events, p->object, "DeletionQueued",
                      "its data on the BackupTarget %s are deleted later: %s",
                      target_of(p), why);
    if (vm_uuid_of(p) != NULL)
        tidy_poke(p->ctl, vm_uuid_of(p)); /* copies that were kept for it */
    return objutil_finalizer(p->ctl, &p->object, BACKUP_STATUS_FINALIZER, false,
                             err);
}

/* A finished backup. */
static int
check(struct pass *p, int64_t *ret_again_ms, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_deep_copy(p->json);
    const struct backup_find ask = find_of(p);
    bool is_changed;

    *ret_again_ms = BACKUP_PLAN_REST_MS;
    if (backup_find_check(p->ctl, &ask, object))
        eventrec_warn(p->ctl->events, p->object, "BackupLost",
                      "the backup cannot be restored: see its condition Ready");
    backup_hold_step(p->ctl, &ask, p->object, object, ret_again_ms);
    if (backup_verify_step(p->ctl, object, target_of(p), loop_queue(p->loop),
                           p->key, &is_changed, err) < 0 ||
        put_status(p, object, err) < 0)
        return -1;
    return is_changed ? 0 : 1;
}

/* ---- the loop ---- */

/* 0: look again, 1: wait for *ret_again_ms. */
static int
step(struct pass *p, const struct backup_plan *plan, int64_t *ret_again_ms,
     struct err *err)
{
    switch (plan->step) {
    case BACKUP_ADD_FINALIZER:
        return objutil_finalizer(p->ctl, &p->object, BACKUP_STATUS_FINALIZER,
                                 true, err);
    case BACKUP_BEGIN:
        return begin(p, ret_again_ms, err);
    case BACKUP_TROUBLE:
        return note_failure(p, &p->trouble, err);
    case BACKUP_TAKE_TURN:
        return take_turn(p, ret_again_ms, err);
    case BACKUP_CUT:
        return cut(p, ret_again_ms, err);
    case BACKUP_READ:
        return start_read(p, ret_again_ms, err);
    case BACKUP_WATCH:
        return watch(p, ret_again_ms, err);
    case BACKUP_COMPLETE:
        return end_of_job(p, ret_again_ms, err);
    case BACKUP_READ_FAILED:
        return read_failed(p, err);
    case BACKUP_CANCEL:
        job_cancel(p->ctl->jobs, uid_of(p));
        *ret_again_ms = LOOP_LATER_MS;
        return 1;
    case BACKUP_ABANDON:
        job_abandon(p->ctl->jobs, uid_of(p));
        give_lock(p);
        return 0;
    case BACKUP_FORGET:
        forget(p);
        return 0;
    case BACKUP_CLEAN:
        return clean(p, ret_again_ms, err);
    case BACKUP_CHECK:
        return check(p, ret_again_ms, err);
    case BACKUP_END:
        return end(p, ret_again_ms, err);
    case BACKUP_NOTHING:
    default:
        *ret_again_ms = plan->again_ms < 0 ? QUEUE_DONE : plan->again_ms;
        return 1;
    }
}

static int
look_and_step(void *pass, int64_t *ret_again_ms, struct err *err)
{
    struct pass *p = pass;
    struct backup_plan plan;
    bool is_there = false;

    if (observe(p, &is_there, err) < 0)
        return -1;
    if (!is_there)
        return 1;
    effect_flow_set(p->seen.is_deleting ? "backup-delete" : "backup");
    if (strcmp(jsonx_str_or(p->json, "spec.type", "backup"), "snapshot") == 0)
        return backup_snapshot_step(p->ctl, &p->object, ret_again_ms, err);
    plan = backup_plan_make(&p->seen);
    return step(p, &plan, ret_again_ms, err);
}

static int
backup_work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct loop *l = arg;
    CLEANUP(pass_clear)
    struct pass p = { .loop = l, .ctl = loop_ctl(l), .key = key };

    return loop_steps(look_and_step, &p, "VirtualMachineBackup", key,
                      ret_again_ms, err);
}

/* An object that went although its job runs: somebody took the finalizer away.
 * Nobody waits for that job any more, and its lock must not stay. */
static void
end_orphan(struct loop *l, const struct object *object)
{
    struct ctl *ctl = loop_ctl(l);
    CLEANUP(json_decref) json_t *json = NULL;
    CLEANUP(mem_free) char *key = NULL;
    const char *vm_uuid;

    if (job_look(ctl->jobs, object_uid(object), NULL, NULL) == JOB_NONE)
        return;
    job_abandon(ctl->jobs, object_uid(object));
    json = object_json(object);
    vm_uuid = jsonx_str(json, "status.sourceUID");
    key = xasprintf("%s/%s", object_ns(object), object_name(object));
    if (vm_uuid != NULL)
        loop_give_vm(l, vm_uuid, key);
}

/* A target concerns all its backups; a snapshot the backup of its name. */
static void
map(void *arg, struct loop *l, const struct cache_event *ev)
{
    struct object_list list;

    (void)arg;
    if (ev->type == CACHE_DELETED &&
        object_gvr(ev->object) == &kind_vmbackup.gvr)
        end_orphan(l, ev->object);
    if (object_gvr(ev->object) != &kind_backuptarget.gvr) {
        loop_add(l, object_ns(ev->object), object_name(ev->object));
        return;
    }
    cache_list(loop_ctl(l)->cache, &kind_vmbackup.gvr, NULL, &list);
    for (size_t i = 0; i < list.n; i++)
        loop_add(l, object_ns(list.v[i]), object_name(list.v[i]));
    object_list_fini(&list);
}

static const struct gvr *const followed[] = { &kind_vmbackup.gvr,
                                              &kind_vmsnapshot.gvr,
                                              &kind_backuptarget.gvr, NULL };
static const struct loop_spec spec = {
    .name = "backup",
    .flow = "backup",
    .workers = 8,
    .gvrs = followed,
    .map = map,
    .work = backup_work,
};

const struct ctl_part vmbackup_part = {
    .name = "backup",
    .loop = &spec,
};
