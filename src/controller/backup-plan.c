/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/backup-plan.h"

#include "base/macros.h"

static bool
is_job_alive(const struct backup_plan_seen *s)
{
    return s->job == JOB_WAITING || s->job == JOB_RUNNING;
}

static struct backup_plan
do_step(enum backup_plan_step step)
{
    return (struct backup_plan){ .step = step, .again_ms = -1 };
}

static struct backup_plan
wait_for(int64_t ms)
{
    return (struct backup_plan){ .step = BACKUP_NOTHING, .again_ms = ms };
}

/* A step that needs the target: after the start it is looked at first. */
static struct backup_plan
ask_target(const struct backup_plan_seen *s, enum backup_plan_step step)
{
    return s->is_target_unknown ? wait_for(BACKUP_PLAN_LOOK_MS) : do_step(step);
}

/* Nobody wants the job's outcome. */
static struct backup_plan
end_job(const struct backup_plan_seen *s)
{
    if (!is_job_alive(s))
        return do_step(BACKUP_FORGET);
    return do_step(s->is_target_away ? BACKUP_ABANDON : BACKUP_CANCEL);
}

static bool
has_job(const struct backup_plan_seen *s)
{
    return s->job != JOB_NONE && s->job != JOB_ABANDONED;
}

static struct backup_plan
plan_deleting(const struct backup_plan_seen *s)
{
    if (!s->has_finalizer)
        return wait_for(-1);
    if (has_job(s))
        return end_job(s);
    if (s->has_traces || s->has_turn)
        return do_step(BACKUP_CLEAN);
    return ask_target(s, BACKUP_END);
}

/* Ready or failed: nothing is left behind. */
static struct backup_plan
plan_ended(const struct backup_plan_seen *s)
{
    if (has_job(s))
        return end_job(s);
    if (s->has_traces || s->has_turn)
        return do_step(BACKUP_CLEAN);
    return s->has_failed ? wait_for(-1) : do_step(BACKUP_CHECK);
}

static struct backup_plan
plan_reading(const struct backup_plan_seen *s)
{
    switch (s->job) {
    case JOB_NONE:
        if (s->now_ms < s->retry_ms)
            return wait_for(s->retry_ms - s->now_ms);
        return ask_target(s, BACKUP_READ);
    case JOB_ABANDONED: /* by a daemon that stops */
        return wait_for(BACKUP_PLAN_TURN_MS);
    case JOB_WAITING:
    case JOB_RUNNING:
        return do_step(BACKUP_WATCH);
    case JOB_DONE:
        return do_step(BACKUP_COMPLETE);
    case JOB_FAILED:
        break;
    }
    /* Nobody cancels but a deletion, and the end of the daemon. */
    return s->is_job_cancelled ? wait_for(-1) : do_step(BACKUP_READ_FAILED);
}

static struct backup_plan
plan_cutting(const struct backup_plan_seen *s)
{
    if (s->now_ms < s->retry_ms)
        return wait_for(s->retry_ms - s->now_ms);
    if (s->is_target_unknown)
        return wait_for(BACKUP_PLAN_LOOK_MS);
    if (s->trouble != NULL)
        return do_step(BACKUP_TROUBLE);
    if (s->has_turn)
        return do_step(BACKUP_CUT);
    return s->is_turn_taken ? wait_for(BACKUP_PLAN_TURN_MS)
                            : do_step(BACKUP_TAKE_TURN);
}

struct backup_plan
backup_plan_make(const struct backup_plan_seen *s)
{
    if (s->is_deleting)
        return plan_deleting(s);
    if (!s->has_finalizer)
        return do_step(BACKUP_ADD_FINALIZER);
    if (!s->is_begun)
        return ask_target(s, BACKUP_BEGIN);
    if (s->is_done || s->has_failed)
        return plan_ended(s);
    return s->is_cut ? plan_reading(s) : plan_cutting(s);
}

struct backup_plan_retry
backup_plan_retry_after(unsigned failures, enum err_code code)
{
    static const int64_t pauses_ms[] = { 5000, 20000, 60000, 120000, 300000 };
    unsigned most = err_code_is_retryable(code) || code == ERR_NO_SPACE
                        ? ARRAY_SIZE(pauses_ms)
                        : 1;

    if (failures == 0)
        failures = 1;
    if (failures > most)
        return (struct backup_plan_retry){ .is_final = true };
    return (struct backup_plan_retry){ .pause_ms = pauses_ms[failures - 1] };
}
