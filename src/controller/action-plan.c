/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/action-plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fail(struct action_plan *plan, int code, const char *reason,
                 const char *fmt, ...) PRINTF(4, 5);

static void
fail(struct action_plan *plan, int code, const char *reason, const char *fmt,
     ...)
{
    va_list ap;

    plan->step = ACTION_FAIL;
    plan->code = code;
    plan->reason = reason;
    va_start(ap, fmt);
    (void)vsnprintf(plan->message, sizeof plan->message, fmt, ap);
    va_end(ap);
}

static bool
is_one_of(const char *s, const char *a, const char *b)
{
    return strcmp(s, a) == 0 || strcmp(s, b) == 0;
}

/* Nobody changes the running state of a VM that a snapshot or restore holds.
 * `is_patch`: the action changes runStrategy (a snapshot minds only that). */
static bool
is_guarded(const struct action_seen *seen, bool is_patch,
           struct action_plan *plan)
{
    if (seen->restore != NULL)
        fail(plan, 409, "Conflict",
             "Cannot update VM runStrategy until restore \"%s\" completes",
             seen->restore);
    else if (seen->snapshot != NULL && is_patch)
        fail(plan, 409, "Conflict",
             "Cannot update vm running state until snapshot \"%s\" completes",
             seen->snapshot);
    else
        return false;
    return true;
}

static void
plan_start(const struct action_seen *seen, struct action_plan *plan)
{
    bool is_halted = strcmp(seen->strategy, "Halted") == 0;

    plan->step = seen->is_paused_wanted ? ACTION_START_PAUSED : ACTION_START;
    if (seen->is_begun) {
        if (seen->is_active)
            plan->step = ACTION_DONE;
        return;
    }
    if (seen->is_active)
        fail(plan, 409, "Conflict", "VM is already running");
    else if (!is_guarded(seen, is_halted, plan) && is_halted)
        plan->strategy = "Always";
}

/* The way to "off": asked once, waited for, then the plug. */
static void
plan_off(const struct action_seen *seen, struct action_plan *plan)
{
    int64_t grace_ms =
        seen->grace_s < 0 ? ACTION_GRACE_MS : seen->grace_s * 1000;

    if (grace_ms == 0 || seen->running_ms >= grace_ms)
        plan->step = ACTION_DESTROY;
    else
        plan->step = seen->is_begun ? ACTION_WAIT : ACTION_SHUTDOWN;
}

static void
plan_stop(const struct action_seen *seen, struct action_plan *plan)
{
    bool is_always = is_one_of(seen->strategy, "Always", "Once");

    if (seen->is_begun && !seen->is_active) {
        plan->step = ACTION_DONE;
        return;
    }
    if (!seen->is_begun) {
        if (!seen->is_active) {
            fail(plan, 409, "Conflict", "VM is not running");
            return;
        }
        if (is_guarded(seen, is_always, plan))
            return;
        if (is_always)
            plan->strategy = "Halted";
    }
    plan_off(seen, plan);
}

static void
plan_restart(const struct action_seen *seen, struct action_plan *plan)
{
    if (!seen->is_begun) {
        if (is_one_of(seen->strategy, "Halted", "Once"))
            fail(plan, 409, "Conflict",
                 "RunStategy %s does not support manual restart requests",
                 seen->strategy);
        else if (seen->grace_s > 0)
            fail(plan, 400, "BadRequest",
                 "For force restart, only gracePeriod=0 is supported for now");
        else if (!seen->is_active)
            fail(plan, 409, "Conflict", "VM is not running");
        else if (!is_guarded(seen, false, plan))
            plan_off(seen, plan);
        return;
    }
    if (seen->is_stopped) {
        plan->is_stopped = true;
        plan->step = seen->is_active ? ACTION_DONE : ACTION_START;
        return;
    }
    if (seen->is_active) {
        plan_off(seen, plan);
        return;
    }
    plan->is_stopped = true;
    plan->step = ACTION_START;
}

static bool
is_paused(const struct action_seen *seen)
{
    return seen->state == VIRT_PAUSED || seen->state == VIRT_IO_ERROR;
}

static void
plan_pause(const struct action_seen *seen, struct action_plan *plan)
{
    plan->step = ACTION_SUSPEND;
    if (is_paused(seen) && seen->is_begun)
        plan->step = ACTION_DONE;
    else if (!seen->is_active)
        fail(plan, 409, "Conflict", "VMI is not running");
    else if (is_paused(seen))
        fail(plan, 409, "Conflict", "VMI is already paused");
}

static void
plan_unpause(const struct action_seen *seen, struct action_plan *plan)
{
    plan->step = ACTION_RESUME;
    if (seen->state == VIRT_RUNNING && seen->is_begun)
        plan->step = ACTION_DONE;
    else if (!seen->is_active)
        fail(plan, 409, "Conflict", "VMI is not running");
    else if (!is_paused(seen))
        fail(plan, 409, "Conflict", "VMI is not paused");
    else if (seen->snapshot != NULL)
        fail(plan, 409, "Conflict", "VM snapshot is in progress");
}

static void
plan_softreboot(const struct action_seen *seen, struct action_plan *plan)
{
    plan->step = seen->is_begun ? ACTION_DONE : ACTION_REBOOT;
    if (!seen->is_active)
        fail(plan, 409, "Conflict", "VMI is not running");
    else if (is_paused(seen))
        fail(plan, 409, "Conflict", "VMI is paused");
    else
        (void)is_guarded(seen, false, plan);
}

static void
plan_freeze(const struct action_seen *seen, struct action_plan *plan)
{
    plan->step = ACTION_FREEZE;
    if (!seen->has_timeout)
        fail(plan, 400, "BadRequest",
             "Unfreeze timeout in freeze request is not set");
    else if (!seen->is_active || is_paused(seen))
        fail(plan, 409, "Conflict", "VMI is not running");
}

static void
plan_unfreeze(const struct action_seen *seen, struct action_plan *plan)
{
    plan->step = ACTION_THAW;
    if (!seen->is_active)
        fail(plan, 409, "Conflict", "VMI is not running");
}

/* Released under its snapshots, the machine would take their data along. */
static void
plan_release(const struct action_seen *seen, struct action_plan *plan)
{
    plan->step = ACTION_RELEASE;
    if (!is_guarded(seen, true, plan) && seen->n_snapshots > 0)
        fail(plan, 409, "Conflict",
             "the VM has %zu snapshot%s; delete %s first", seen->n_snapshots,
             seen->n_snapshots == 1 ? "" : "s",
             seen->n_snapshots == 1 ? "it" : "them");
}

void
action_plan_make(const struct action_seen *seen, struct action_plan *ret_plan)
{
    static const struct {
        const char *action;
        void (*plan)(const struct action_seen *, struct action_plan *);
    } table[] = {
        { "start", plan_start },     { "stop", plan_stop },
        { "restart", plan_restart }, { "pause", plan_pause },
        { "unpause", plan_unpause }, { "softreboot", plan_softreboot },
        { "freeze", plan_freeze },   { "unfreeze", plan_unfreeze },
        { "release", plan_release },
    };
    struct action_plan plan = { .step = ACTION_FAIL };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (strcmp(table[i].action, seen->action) != 0)
            continue;
        table[i].plan(seen, &plan);
        *ret_plan = plan;
        return;
    }
    fail(&plan, 501, "NotImplemented",
         "the action %.40s cannot be done on this host", seen->action);
    *ret_plan = plan;
}
