/* SPDX-License-Identifier: Apache-2.0 */
/* controller/snapshot-plan.c: the state machine of a snapshot, as a function.
 *
 * One question after the other, in the order of spec kubevirt 2.1; the first
 * that applies decides. "Locked" (VM.status.snapshotInProgress is us) is also
 * the mark that a try may have left something behind: it is taken before the
 * first try and given back only by UNLOCK (the content has everything) or
 * UNDO_UNLOCK (there is no content: undo whatever is there).
 */
#include "controller/snapshot-plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/macros.h"

static const int64_t freeze_pause_ms[SNAPSHOT_FREEZE_TRIES] = { 0, 5000, 20000,
                                                                60000 };

/* Is the deadline of something that is not done over? */
static bool
is_expired(const struct snapshot_seen *s)
{
    return s->deadline_ms != 0 && s->now_ms >= s->created_ms + s->deadline_ms;
}

static bool
is_locked(const struct snapshot_seen *s)
{
    return s->vm_snapshot != NULL && strcmp(s->vm_snapshot, s->name) == 0;
}

static void
say(struct snapshot_plan *p, bool is_progressing, const char *reason)
{
    p->is_progressing = is_progressing;
    (void)snprintf(p->progressing, sizeof p->progressing, "%s", reason);
}

/* Wait, but not beyond the deadline. */
static void
wait_for(const struct snapshot_seen *s, struct snapshot_plan *p, int64_t ms)
{
    p->step = SNAPSHOT_NOTHING;
    p->again_ms = ms;
    if (s->deadline_ms != 0) {
        int64_t left_ms = s->created_ms + s->deadline_ms - s->now_ms;

        if (left_ms < 0)
            left_ms = 0;
        if (ms < 0 || left_ms < ms)
            p->again_ms = left_ms;
    }
}

static void
plan_deleting(const struct snapshot_seen *s, struct snapshot_plan *p)
{
    bool is_kept = s->is_retain && s->has_content && s->is_content_cut &&
                   s->is_content_ready;

    p->phase = "Deleting";
    p->is_ready = s->is_ready;
    say(p, false, "VM snapshot is deleting");
    if (s->has_content && !is_kept && !s->is_content_deleting) {
        p->step = SNAPSHOT_DELETE_CONTENT;
    } else if (s->has_content && !is_kept) {
        p->step = SNAPSHOT_NOTHING; /* its end comes as an event */
        p->again_ms = SNAPSHOT_RETRY_MS;
    } else if (is_locked(s)) {
        p->step = is_kept ? SNAPSHOT_UNLOCK : SNAPSHOT_UNDO_UNLOCK;
    } else if (s->has_finalizer) {
        p->step = SNAPSHOT_REMOVE_FINALIZER;
    }
}

static void
plan_succeeded(const struct snapshot_seen *s, struct snapshot_plan *p)
{
    p->phase = "Succeeded";
    say(p, false, "Operation complete");
    p->is_ready =
        s->has_content && s->is_content_ready && !s->is_content_deleting;
    p->error = s->has_content ? s->content_error
                              : "VirtualMachineSnapshotContent does not exist";
    if (is_locked(s))
        p->step = SNAPSHOT_UNLOCK;
}

/* May the VM be locked now? If not, the reason is said. */
static bool
is_lockable(const struct snapshot_seen *s, struct snapshot_plan *p)
{
    char text[SNAPSHOT_REASON_SIZE];

    if (!s->has_vm) {
        say(p, false, "Source does not exist");
        return false;
    }
    if (s->vm_snapshot != NULL && !is_locked(s)) {
        (void)snprintf(text, sizeof text,
                       "Source not locked snapshot \"%s\" in progress",
                       s->vm_snapshot);
        say(p, false, text);
        return false;
    }
    if (s->vm_restore != NULL) {
        (void)snprintf(text, sizeof text,
                       "Source not locked restore \"%s\" in progress",
                       s->vm_restore);
        say(p, false, text);
        return false;
    }
    if (s->vm_trouble != NULL) {
        (void)snprintf(text, sizeof text, "Source not locked source %s/%s %s",
                       s->ns, s->source_name, s->vm_trouble);
        say(p, false, text);
        return false;
    }
    return true;
}

/* The deadline ended a wait, and nothing was tried: what was missing all the
 * time? */
static void
tell_wait(const struct snapshot_seen *s, struct snapshot_plan *p)
{
    if (is_lockable(s, p))
        return;
    if (s->has_vm)
        (void)snprintf(p->waited_for, sizeof p->waited_for, "%s",
                       p->progressing);
    else
        (void)snprintf(
            p->waited_for, sizeof p->waited_for,
            "Source does not exist: there is no virtual machine \"%s\" in the namespace \"%s\"",
            s->source_name, s->ns);
    p->error = p->waited_for;
}

static void
plan_failed(const struct snapshot_seen *s, struct snapshot_plan *p)
{
    p->error = s->error;
    if (s->error == NULL && !s->has_failed)
        tell_wait(s, p);
    p->phase = "Failed";
    p->has_failure = true;
    say(p, false, "Operation failed");
    if (s->has_content && !s->is_content_deleting)
        p->step = SNAPSHOT_DELETE_CONTENT;
    else if (is_locked(s))
        p->step = SNAPSHOT_UNDO_UNLOCK;
}

/* After a try that failed: again when? */
static void
plan_retry(const struct snapshot_seen *s, struct snapshot_plan *p)
{
    int64_t pause_ms = SNAPSHOT_RETRY_MS;

    p->error = s->error;
    say(p, false, "In error state");
    if (s->freeze_failures >= SNAPSHOT_FREEZE_TRIES && s->deadline_ms != 0) {
        wait_for(s, p, -1);
        return;
    }
    if (s->freeze_failures > 0)
        pause_ms = freeze_pause_ms[s->freeze_failures < SNAPSHOT_FREEZE_TRIES
                                       ? s->freeze_failures
                                       : SNAPSHOT_FREEZE_TRIES - 1];
    /* A try in the future: of before a restart, and the clock was set back. */
    if (s->last_try_ms <= s->now_ms && s->now_ms < s->last_try_ms + pause_ms)
        wait_for(s, p, s->last_try_ms + pause_ms - s->now_ms);
    else
        p->step = SNAPSHOT_CUT;
}

static void
plan_in_progress(const struct snapshot_seen *s, struct snapshot_plan *p)
{
    p->phase = "InProgress";
    if (!is_lockable(s, p)) {
        wait_for(s, p, SNAPSHOT_RETRY_MS);
        return;
    }
    say(p, true, "Source locked and operation in progress");
    if (!is_locked(s))
        p->step = SNAPSHOT_LOCK;
    else if (s->error != NULL)
        plan_retry(s, p);
    else
        p->step = SNAPSHOT_CUT;
}

void
snapshot_plan_make(const struct snapshot_seen *s, struct snapshot_plan *p)
{
    memset(p, 0, sizeof *p);
    p->step = SNAPSHOT_NOTHING;
    p->again_ms = -1;
    p->phase = "InProgress";

    bool is_done = s->has_succeeded || (s->has_content && s->is_content_cut);

    if (s->is_deleting)
        plan_deleting(s, p);
    else if (s->has_failed || (!is_done && is_expired(s)))
        plan_failed(s, p);
    else if (is_done)
        plan_succeeded(s, p);
    else
        plan_in_progress(s, p);
    if (!s->is_deleting && !s->has_finalizer)
        p->step = SNAPSHOT_ADD_FINALIZER;
    p->has_failure = p->has_failure || s->has_failed;
    p->ready = p->is_ready ? "Ready" : "Not ready";
}

struct indications {
    struct snapshot_indication *v;
    unsigned n;
};

static void indicate(struct indications *to, const char *name, const char *fmt,
                     ...) PRINTF(3, 4);

static void
indicate(struct indications *to, const char *name, const char *fmt, ...)
{
    struct snapshot_indication *i = &to->v[to->n++];
    va_list ap;

    i->name = name;
    va_start(ap, fmt);
    (void)vsnprintf(i->message, sizeof i->message, fmt, ap);
    va_end(ap);
}

unsigned
snapshot_plan_indications(
    const struct snapshot_moment *m,
    struct snapshot_indication ret[SNAPSHOT_INDICATIONS_MAX])
{
    struct indications to = { ret, 0 };
    bool is_running = m->is_online && !m->is_paused;

    if (is_running && m->has_agent)
        indicate(&to, "GuestAgent",
                 "the guest agent was connected; %u file systems were frozen",
                 m->frozen);
    if (is_running && !m->has_agent)
        indicate(
            &to, "NoGuestAgent",
            "no guest agent was connected: crash-consistent, as after a power cut; install and start qemu-guest-agent in the guest");
    if (m->is_online)
        indicate(&to, "Online", "taken while the virtual machine was %s",
                 m->is_paused ? "paused" : "running");
    if (m->is_paused)
        indicate(
            &to, "Paused",
            "the virtual machine was paused: what its guest had not yet written is not in it");
    if (is_running && m->has_agent && !m->is_quiesced && m->is_foreign)
        indicate(
            &to, "QuiesceTimeout",
            "the guest was frozen already, not by vmkeep: whether it really was quiesced is not known");
    if (is_running && m->has_agent && !m->is_quiesced && !m->is_foreign)
        indicate(
            &to, "QuiesceTimeout",
            "%u of %u frozen file systems were still frozen after the cut: crash-consistent only",
            m->thawed, m->frozen);
    if (m->is_partial)
        indicate(
            &to, "PartialSnapshot",
            "a disk that can be snapshotted was left out: see excludedVolumes");
    return to.n;
}
