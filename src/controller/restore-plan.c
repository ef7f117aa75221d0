/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-plan.c: the state machine of a restore, as a function.
 *
 * One question after the other; the first that applies decides. Whether the
 * domain names the new disks (is_applied) is asked before everything that
 * could fail: what is applied is completed, whatever the snapshot, the policy
 * or the target's power state say by then.
 */
#include "controller/restore-plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"

#define WAITING                                                                \
    "Waiting for target VM to be powered off. Please stop the restore target to proceed with restore"

static void say(struct restore_plan *p, bool is_progressing, const char *fmt,
                ...) PRINTF(3, 4);

static void
say(struct restore_plan *p, bool is_progressing, const char *fmt, ...)
{
    va_list ap;

    p->is_progressing = is_progressing;
    va_start(ap, fmt);
    (void)vsnprintf(p->reason, sizeof p->reason, fmt, ap);
    va_end(ap);
}

static bool
is_locked(const struct restore_seen *s)
{
    return s->vm_restore != NULL && strcmp(s->vm_restore, s->name) == 0;
}

static void
fail(const struct restore_seen *s, struct restore_plan *p)
{
    p->has_failure = true;
    if (is_locked(s) || s->has_traces)
        p->step = RESTORE_UNDO_UNLOCK;
}

static void
plan_deleting(const struct restore_seen *s, struct restore_plan *p)
{
    say(p, false, "VM restore is deleting");
    p->is_ready = s->has_completed;
    p->has_failure = s->has_failed;
    if (!s->has_completed && (is_locked(s) || s->has_traces))
        p->step = RESTORE_UNDO_UNLOCK;
    else if (s->has_finalizer)
        p->step = RESTORE_REMOVE_FINALIZER;
}

/* The target runs. */
static void
plan_active(const struct restore_seen *s, struct restore_plan *p)
{
    int64_t left_ms = s->created_ms + RESTORE_GRACE_MS - s->now_ms;

    p->is_target_late = true;
    p->again_ms = RESTORE_RETRY_MS;
    switch (s->readiness) {
    case RESTORE_WAIT_EVENTUALLY:
        say(p, false, "%s", WAITING);
        break;
    case RESTORE_STOP_TARGET:
        say(p, false,
            "Automatically stopping restore target for restore operation");
        p->is_target_late = false;
        p->again_ms = 1000;
        if (s->stop_asked_ms == 0)
            p->step = RESTORE_ASK_STOP;
        else if (s->now_ms >= s->stop_asked_ms + RESTORE_STOP_MS)
            p->step = RESTORE_POWER_OFF;
        break;
    case RESTORE_FAIL_IMMEDIATE:
        say(p, false,
            "Restore target VMI must be powered off before restore operation");
        fail(s, p);
        break;
    case RESTORE_WAIT_GRACE_PERIOD:
    default:
        if (left_ms <= 0) {
            say(p, false,
                "Restore target failed to be ready within 5m0s. Please power off the target VM before attempting restore");
            fail(s, p);
            break;
        }
        say(p, false, "%s or the operation will fail after 5m0s", WAITING);
        if (left_ms < p->again_ms)
            p->again_ms = left_ms;
        break;
    }
}

/* Is there something to restore from? If not, why is said. */
static bool
has_source(const struct restore_seen *s, struct restore_plan *p)
{
    const char *what = NULL;

    if (!s->has_snapshot)
        what = "does not exist";
    else if (s->is_snapshot_failed)
        what = "failed and is invalid to use";
    else if (s->content_name == NULL)
        what = "has no snapshot content name";
    else if (!s->is_snapshot_ready)
        what = "not ready";
    if (what != NULL) {
        say(p, false, "VMSnapshot %s/%s %s", s->ns, s->snapshot_name, what);
        return false;
    }
    if (!s->has_content || !s->is_content_ready) {
        say(p, false, "VMSnapshotContent %s/%s %s", s->ns, s->content_name,
            s->has_content ? "not ready" : "does not exist");
        return false;
    }
    return true;
}

/* May this target be restored from that source now? */
static bool
is_target_free(const struct restore_seen *s, struct restore_plan *p)
{
    bool is_same = s->source_uid != NULL && s->target_uid != NULL &&
                   strcmp(s->source_uid, s->target_uid) == 0;

    if (s->has_target && !is_same)
        say(p, false,
            "restore source and restore target are different but restore target already exists");
    else if (s->vm_restore != NULL && !is_locked(s))
        say(p, false, "vm restore %s in progress", s->vm_restore);
    else if (s->vm_snapshot != NULL)
        say(p, false, "vm snapshot %s in progress", s->vm_snapshot);
    else
        return true;
    return false;
}

/* After an error: false while it is not time for the next try. */
static bool
is_time(const struct restore_seen *s, struct restore_plan *p)
{
    bool is_taken = s->taken_since_ms != 0;

    say(p, false, "%s", s->error);
    p->is_error = true;
    if (s->is_error_final || s->now_ms >= s->created_ms + RESTORE_GIVE_UP_MS ||
        (is_taken && s->now_ms >= s->taken_since_ms + RESTORE_GRACE_MS)) {
        fail(s, p);
        return false;
    }
    if (is_taken)
        say(p, false, "%s, or the operation will fail after 5m0s", s->error);
    p->again_ms = s->last_try_ms + RESTORE_RETRY_MS - s->now_ms;
    return p->again_ms <= 0;
}

static void
plan_waiting(const struct restore_seen *s, struct restore_plan *p)
{
    p->again_ms = RESTORE_RETRY_MS;
    if (s->is_target_active) {
        plan_active(s, p);
        return;
    }
    if (!has_source(s, p) || !is_target_free(s, p)) {
        p->is_error = true;
        return;
    }
    if (s->error == NULL)
        say(p, true, "Creating new PVCs");
    else if (!is_time(s, p))
        return;
    p->step = s->has_target && !is_locked(s) ? RESTORE_LOCK : RESTORE_APPLY;
}

static void
plan_applied(const struct restore_seen *s, struct restore_plan *p)
{
    say(p, true, "Updating target spec");
    if (s->is_marked) {
        p->step = RESTORE_COMPLETE;
    } else if (s->has_target) {
        p->step = RESTORE_MARK;
    } else {
        say(p, true, "Waiting for target update");
        p->again_ms = 500; /* until libvirt's event has made the object */
    }
}

void
restore_plan_make(const struct restore_seen *s, struct restore_plan *p)
{
    memset(p, 0, sizeof *p);
    p->step = RESTORE_NOTHING;
    p->again_ms = -1;
    if (s->is_deleting && (!s->is_applied || s->has_completed)) {
        plan_deleting(s, p);
    } else if (s->has_completed) {
        say(p, false, "Operation complete");
        p->is_ready = true;
    } else if (s->has_failed) {
        fail(s, p);
    } else if (!s->has_finalizer && !s->is_deleting) {
        say(p, true, "Initializing VirtualMachineRestore");
        p->step = RESTORE_ADD_FINALIZER;
    } else if (s->is_applied) {
        plan_applied(s, p);
    } else {
        plan_waiting(s, p);
    }
}

enum restore_naming
restore_plan_naming(const char *word)
{
    if (word != NULL && strcmp(word, "InPlace") == 0)
        return RESTORE_IN_PLACE;
    if (word != NULL && strcmp(word, "PrefixTargetName") == 0)
        return RESTORE_PREFIX_TARGET_NAME;
    return RESTORE_RANDOMIZE_NAMES;
}

enum restore_readiness
restore_plan_readiness(const char *word)
{
    if (word != NULL && strcmp(word, "WaitEventually") == 0)
        return RESTORE_WAIT_EVENTUALLY;
    if (word != NULL && strcmp(word, "StopTarget") == 0)
        return RESTORE_STOP_TARGET;
    if (word != NULL && strcmp(word, "FailImmediate") == 0)
        return RESTORE_FAIL_IMMEDIATE;
    return RESTORE_WAIT_GRACE_PERIOD;
}

void
restore_plan_claim(enum restore_naming naming, const char *override,
                   const char *restore_uid, const char *target,
                   const char *volume, const char *old_claim,
                   char ret_claim[RESTORE_CLAIM_SIZE])
{
    if (override != NULL)
        (void)snprintf(ret_claim, RESTORE_CLAIM_SIZE, "%s", override);
    else if (naming == RESTORE_IN_PLACE && old_claim != NULL)
        (void)snprintf(ret_claim, RESTORE_CLAIM_SIZE, "%s", old_claim);
    else if (naming == RESTORE_PREFIX_TARGET_NAME)
        (void)snprintf(ret_claim, 64, "%s-%s", target, volume);
    else
        (void)snprintf(ret_claim, RESTORE_CLAIM_SIZE, "restore-%s-%s",
                       restore_uid, volume);
}
