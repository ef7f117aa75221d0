/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-plan.c: the state machine, as a function.
 *
 * One question after the other; the first that applies decides. What differs
 * from Harvester: a failure ends (after HRESTORE_TRIES, or at once where
 * trying again is of no use) and then blocks nobody; a restore is deleted in
 * every state; the target is compared by UID, not by name; nothing is retried
 * without a pause.
 */
#include "controller/hrestore-plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"

static void say(struct hrestore_plan *p, const char *phase, const char *fmt,
                ...) PRINTF(3, 4);

static void
say(struct hrestore_plan *p, const char *phase, const char *fmt, ...)
{
    va_list ap;

    p->phase = phase;
    va_start(ap, fmt);
    (void)vsnprintf(p->message, sizeof p->message, fmt, ap);
    va_end(ap);
}

static bool
is_locked(const struct hrestore_seen *s)
{
    return s->vm_restore != NULL && strcmp(s->vm_restore, s->name) == 0;
}

static void
fail(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    p->phase = "Failed";
    p->is_failed = true;
    if (is_locked(s) || s->has_traces)
        p->step = HRESTORE_UNDO;
}

static void
plan_deleting(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    say(p, "Deleting", "VirtualMachineRestore is deleted");
    p->is_ready = s->has_completed;
    if (s->job == HRESTORE_JOB_ACTIVE)
        p->step =
            s->is_backup_away ? HRESTORE_ABANDON_JOB : HRESTORE_CANCEL_JOB;
    else if (s->job == HRESTORE_JOB_ABANDONED)
        p->step =
            s->has_finalizer ? HRESTORE_REMOVE_FINALIZER : HRESTORE_NOTHING;
    else if (s->job == HRESTORE_JOB_ENDED)
        p->step = HRESTORE_END_JOB;
    else if (!s->has_completed && (is_locked(s) || s->has_traces))
        p->step = HRESTORE_UNDO;
    else if (s->has_finalizer)
        p->step = HRESTORE_REMOVE_FINALIZER;
}

/* The backup as it must be, or why not. */
static bool
has_source(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    const char *what = NULL;

    if (!s->has_backup)
        what = "can't get vmbackup";
    else if (s->is_backup_deleting)
        what = "this vmbackup is deleted:";
    else if (!s->is_backup_ready)
        what = "this VMBackup is not ready:";
    else
        return true;
    say(p, "Pending", "%s %s/%s", what, s->backup_ns, s->backup_name);
    if (s->has_backup && !s->is_backup_deleting &&
        s->now_ms < s->created_ms + HRESTORE_WAIT_MS)
        p->again_ms = HRESTORE_RETRY_MAX;
    else
        fail(s, p);
    return false;
}

/* May a VM of that name be made or replaced? What cannot get better ends it. */
static bool
is_target_right(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    const char *want = s->replace_uid != NULL ? s->replace_uid : s->source_uid;

    if (s->is_new && s->has_target && !s->is_target_ours)
        say(p, "Failed", "VM %s is already exists", s->target_name);
    else if (!s->is_new && !s->has_target)
        say(p, "Failed", "can't replace nonexistent vm %s: set spec.newVM",
            s->target_name);
    else if (!s->is_new && (want == NULL || strcmp(s->target_uid, want) != 0))
        say(p, "Failed",
            "the VM %s is another one than the backup is of: its UUID is %s, not %s; restore to a new VM, or set the annotation vmkeep.io/replace-uid",
            s->target_name, s->target_uid, want == NULL ? "known" : want);
    else if (!s->is_new && s->is_backup_snapshot && !s->is_retain)
        say(p, "Failed",
            "delete policy with backup type snapshot for replacing VM is not supported");
    else
        return true;
    fail(s, p);
    return false;
}

/* Is it in nobody's hands? Waited for, with an end. */
static bool
is_target_free(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    if (s->is_new || s->is_dry_run)
        return true;
    if (s->is_target_active)
        say(p, "Pending", "Please stop the VM \"%s\" before doing a restore",
            s->target_name);
    else if (s->vm_restore != NULL && !is_locked(s))
        say(p, "Pending",
            "Please wait for the previous VM restore on the %s/%s to be complete first: %s",
            s->ns, s->target_name, s->vm_restore);
    else if (s->vm_snapshot != NULL)
        say(p, "Pending", "vm snapshot %s in progress", s->vm_snapshot);
    else
        return true;
    p->again_ms = 5000;
    if (s->now_ms >= s->created_ms + HRESTORE_WAIT_MS)
        fail(s, p);
    return false;
}

static int64_t
pause_ms(unsigned tries)
{
    int64_t ms = HRESTORE_RETRY_MS;

    for (unsigned i = 1; i < tries && ms < HRESTORE_RETRY_MAX; i++)
        ms *= 2;
    return ms < HRESTORE_RETRY_MAX ? ms : HRESTORE_RETRY_MAX;
}

/* After an error: false while it is not time for the next try. */
static bool
is_time(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    int64_t left_ms = s->last_try_ms + pause_ms(s->tries) - s->now_ms;

    if (s->error == NULL)
        return true;
    say(p, "Pending", "%s", s->error);
    if (s->is_error_final || s->tries >= HRESTORE_TRIES) {
        fail(s, p);
        return false;
    }
    p->again_ms = left_ms;
    return left_ms <= 0;
}

static void
plan_work(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    if (!has_source(s, p) || !is_target_right(s, p) || !is_target_free(s, p) ||
        !is_time(s, p))
        return;
    p->again_ms = -1;
    say(p, "Checking", "Initializing VirtualMachineRestore");
    if (!s->has_preflight) {
        p->step = HRESTORE_PREFLIGHT;
    } else if (s->is_dry_run) {
        p->step = HRESTORE_COMPLETE;
    } else {
        say(p, "Preparing", "Creating new PVCs");
        p->step =
            !s->is_new && !is_locked(s) ? HRESTORE_LOCK : HRESTORE_START_JOB;
    }
}

static void
plan_applied(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    say(p, s->is_marked ? "Starting" : "Defining",
        "Waiting for target vm to be ready");
    if (!s->has_target) {
        p->again_ms = HRESTORE_LOOK_MS; /* libvirt's event makes the object */
    } else if (!s->is_marked) {
        p->step = HRESTORE_MARK;
    } else if (s->is_halted || s->has_started || s->is_target_active) {
        say(p, "Finishing", "Waiting for target vm to be ready");
        p->step = HRESTORE_COMPLETE;
    } else if (s->start_tries == 0) {
        p->step = HRESTORE_START_VM;
    } else if (s->start_tries >= HRESTORE_START_TRIES) {
        say(p, "Failed", "the VM was restored, but: %s", s->error);
        fail(s, p);
    } else if (is_time(s, p)) {
        p->again_ms = -1;
        p->step = HRESTORE_START_VM;
    }
}

static void
plan_job(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    if (s->job == HRESTORE_JOB_ENDED) {
        say(p, "Defining", "Creating new PVCs");
        p->step = HRESTORE_END_JOB;
        return;
    }
    say(p, s->is_writing ? "Writing" : "Preparing", "Creating new PVCs");
    p->step = HRESTORE_WATCH_JOB;
}

void
hrestore_plan_done(bool is_dry_run, struct hrestore_plan *p)
{
    memset(p, 0, sizeof *p);
    p->step = HRESTORE_NOTHING;
    p->again_ms = -1;
    p->is_ready = true;
    say(p, "Complete", "%s",
        is_dry_run ? "Dry run complete: nothing was changed"
                   : "Operation complete");
}

void
hrestore_plan_make(const struct hrestore_seen *s, struct hrestore_plan *p)
{
    memset(p, 0, sizeof *p);
    p->step = HRESTORE_NOTHING;
    p->again_ms = -1;
    if (s->is_deleting) {
        plan_deleting(s, p);
    } else if (s->has_completed) {
        hrestore_plan_done(s->is_dry_run, p);
    } else if (s->has_failed) {
        fail(s, p);
    } else if (!s->has_finalizer) {
        say(p, "Pending", "Initializing VirtualMachineRestore");
        p->step = HRESTORE_BEGIN;
    } else if (s->job != HRESTORE_JOB_NONE) {
        plan_job(s, p);
    } else if (s->is_applied) {
        plan_applied(s, p);
    } else {
        plan_work(s, p);
    }
}
