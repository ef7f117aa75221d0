/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-pass.c: what is observed.
 *
 * The target is found by its name until a try has chosen a UUID for a new VM,
 * and by that afterwards.
 */
#include "controller/hrestore-pass.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/job.h"
#include "controller/objutil.h"
#include "controller/restore-mark.h"
#include "controller/target.h"

void
hrestore_pass_clear(struct hrestore_pass *p)
{
    object_unref(p->restore);
    object_unref(p->vm);
    object_unref(p->backup);
    json_decref(p->json);
    json_decref(p->vm_json);
    json_decref(p->backup_json);
    p->restore = p->vm = p->backup = NULL;
    p->json = p->vm_json = p->backup_json = NULL;
    p->state = NULL;
}

char *
hrestore_pass_job_key(const struct hrestore_pass *p)
{
    return xasprintf("restore %s", object_uid(p->restore));
}

static const char *
note_of(const json_t *object, const char *key)
{
    return json_string_value(
        json_object_get(jsonx_get(object, "metadata.annotations"), key));
}

static void
see_spec(struct hrestore_pass *p)
{
    struct hrestore_seen *s = &p->seen;
    const json_t *j = p->json;
    const char *dry_run = note_of(j, HRESTORE_NOTE_DRY);
    const char *policy = jsonx_str_or(j, "spec.deletionPolicy", "");

    s->ns = jsonx_str_or(j, "metadata.namespace", "");
    s->name = jsonx_str_or(j, "metadata.name", "");
    s->now_ms = clock_wall_s() * 1000;
    s->created_ms = objutil_time_ms(j, "metadata.creationTimestamp");
    s->is_deleting = object_is_deleting(p->restore);
    s->has_finalizer = objutil_has_finalizer(j, HRESTORE_FINALIZER);
    s->is_new = jsonx_bool(j, "spec.newVM");
    s->is_halted = jsonx_bool(j, "spec.haltAfterRestore");
    s->is_retain = strcmp(policy, "retain") == 0;
    s->is_dry_run = dry_run != NULL && strcmp(dry_run, "true") == 0;
    s->replace_uid = note_of(j, HRESTORE_NOTE_TARGET);
    s->target_name = jsonx_str_or(j, "spec.target.name", "");
    s->backup_ns = jsonx_str_or(j, "spec.virtualMachineBackupNamespace", "");
    s->backup_name = jsonx_str_or(j, "spec.virtualMachineBackupName", "");
    (void)snprintf(p->last, sizeof p->last, "%s-%s", s->name,
                   object_uid(p->restore));
}

static bool
has_failed(const json_t *status)
{
    const json_t *c =
        jsonx_find(json_object_get(status, "conditions"), "type", "InProgress");

    return strcmp(jsonx_str_or(c, "reason", ""), "Error") == 0;
}

static void
see_status(struct hrestore_pass *p)
{
    struct hrestore_seen *s = &p->seen;
    const json_t *status = json_object_get(p->json, "status");

    s->has_completed = jsonx_bool(status, "complete");
    s->has_failed = has_failed(status);
    s->has_traces = jsonx_str(p->state, "step") != NULL;
    s->has_preflight = jsonx_bool(p->state, "isChecked");
    s->error = jsonx_str(p->state, "error");
    s->is_error_final = jsonx_bool(p->state, "isErrorFinal");
    s->tries = (unsigned)jsonx_int(p->state, "tries", 0);
    s->last_try_ms = objutil_time_ms(p->state, "lastTryTime");
    s->has_started = jsonx_bool(p->state, "started");
    s->start_tries = (unsigned)jsonx_int(p->state, "startTries", 0);
}

static void
see_backup(struct hrestore_pass *p)
{
    struct hrestore_seen *s = &p->seen;
    const json_t *b = p->backup_json;
    const char *target = jsonx_str(p->json, "status.vmkeep.target");

    s->is_backup_away =
        target != NULL && target_state(p->ctl, target) == TARGET_IS_AWAY;
    s->has_backup = p->backup != NULL;
    s->is_backup_deleting = p->backup != NULL && object_is_deleting(p->backup);
    s->is_backup_ready = jsonx_bool(b, "status.readyToUse");
    s->is_backup_snapshot =
        strcmp(jsonx_str_or(b, "spec.type", ""), "snapshot") == 0;
    s->source_uid = jsonx_str(b, "status.sourceUID");
}

static void
see_vm(struct hrestore_pass *p)
{
    struct hrestore_seen *s = &p->seen;
    const char *state = jsonx_str_or(p->vm_json, "status.printableStatus", "");
    const char *last = json_string_value(json_object_get(
        jsonx_get(p->vm_json, "metadata.annotations"), RESTORE_MARK_HARVESTER));
    const char *planned = jsonx_str(p->state, "target.uid");

    s->target_uid = p->vm == NULL ? NULL : object_uid(p->vm);
    /* The object of a domain that is gone is only a memory of it. */
    s->has_target = p->vm != NULL && strcmp(state, "Undefined") != 0;
    s->vm_snapshot = jsonx_str(p->vm_json, "status.snapshotInProgress");
    s->vm_restore = jsonx_str(p->vm_json, "status.restoreInProgress");
    s->is_marked = last != NULL && strcmp(last, p->last) == 0;
    s->is_target_ours = s->target_uid != NULL && planned != NULL &&
                        strcmp(planned, s->target_uid) == 0 &&
                        jsonx_bool(p->state, "target.isNew");
}

static void
see_job(struct hrestore_pass *p)
{
    CLEANUP(mem_free) char *key = hrestore_pass_job_key(p);
    struct job_progress moved = { .all_bytes = 0 };

    switch (job_look(p->ctl->jobs, key, &moved, NULL)) {
    case JOB_WAITING:
    case JOB_RUNNING:
        p->seen.job = HRESTORE_JOB_ACTIVE;
        p->seen.is_writing = moved.all_bytes > 0;
        return;
    case JOB_DONE:
    case JOB_FAILED:
        p->seen.job = HRESTORE_JOB_ENDED;
        return;
    case JOB_ABANDONED:
        p->seen.job = HRESTORE_JOB_ABANDONED;
        return;
    case JOB_NONE:
    default:
        p->seen.job = HRESTORE_JOB_NONE;
    }
}

/* The domain knows best what it names and whether it runs. */
static int
see_domain(struct hrestore_pass *p, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;
    struct err gone;

    if (p->seen.has_completed || p->seen.job != HRESTORE_JOB_NONE)
        return 0;
    if (p->vm != NULL) {
        vm = virt_vm_get(p->ctl->virt, object_uid(p->vm), &gone);
        if (vm == NULL && gone.code != ERR_NOT_FOUND) {
            *err = gone;
            return -1;
        }
        p->seen.is_target_active = vm != NULL && vm->live != NULL;
        p->seen.has_target = p->seen.has_target && vm != NULL;
    }
    return restore_apply_is_done(p->ctl, p->state, &p->seen.is_applied, err);
}

static int
read_objects(struct hrestore_pass *p, const char *ns, struct err *err)
{
    const char *uid = jsonx_str(p->state, "target.uid");
    const json_t *j = p->json;

    if (uid != NULL && jsonx_bool(p->state, "target.isNew"))
        p->vm = ctl_vm_by_uid(p->ctl, uid);
    if (p->vm == NULL &&
        objutil_find(p->ctl, &kind_vm, ns,
                     jsonx_str_or(j, "spec.target.name", ""), &p->vm, err) < 0)
        return -1;
    if (objutil_find(p->ctl, &kind_vmbackup,
                     jsonx_str_or(j, "spec.virtualMachineBackupNamespace", ""),
                     jsonx_str_or(j, "spec.virtualMachineBackupName", ""),
                     &p->backup, err) < 0)
        return -1;
    p->vm_json = p->vm == NULL ? NULL : object_json(p->vm);
    p->backup_json = p->backup == NULL ? NULL : object_json(p->backup);
    return 0;
}

int
hrestore_pass_look(struct hrestore_pass *p, bool *ret_is_there, struct err *err)
{
    struct loop_key at;

    hrestore_pass_clear(p);
    memset(&p->seen, 0, sizeof p->seen);
    loop_key_parse(p->key, &at);
    if (objutil_find(p->ctl, &kind_hrestore, at.ns, at.name, &p->restore, err) <
        0)
        return -1;
    *ret_is_there = p->restore != NULL;
    if (p->restore == NULL)
        return 0;
    p->json = object_json(p->restore);
    p->state = jsonx_get(p->json, "status.vmkeep.state");
    if (read_objects(p, at.ns, err) < 0)
        return -1;
    see_spec(p);
    see_status(p);
    see_backup(p);
    see_vm(p);
    see_job(p);
    return see_domain(p, err);
}
