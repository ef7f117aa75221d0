/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/action-plan.h"
#include "test.h"

static struct action_plan
plan(struct action_seen seen)
{
    struct action_plan p;

    if (seen.strategy == NULL)
        seen.strategy = "Manual";
    seen.is_active = seen.state != VIRT_OFF;
    action_plan_make(&seen, &p);
    return p;
}

static void
refused(struct action_seen seen, int code, const char *message)
{
    struct action_plan p = plan(seen);

    CHECK_INT(p.step, ==, ACTION_FAIL);
    CHECK_INT(p.code, ==, code);
    if (strcmp(p.message, message) != 0)
        test_fail(__FILE__, __LINE__, message, p.message);
}

static void
does(struct action_seen seen, enum action_step step, const char *strategy)
{
    struct action_plan p = plan(seen);

    if (p.step == ACTION_FAIL)
        test_fail(__FILE__, __LINE__, seen.action, p.message);
    CHECK_INT(p.step, ==, step);
    CHECK((p.strategy == NULL) == (strategy == NULL));
    CHECK(strategy == NULL || strcmp(p.strategy, strategy) == 0);
}

#define SEEN(...) ((struct action_seen){ .grace_s = -1, __VA_ARGS__ })

static void
start_starts_what_is_off(void)
{
    does(SEEN(.action = "start"), ACTION_START, NULL);
    does(SEEN(.action = "start", .is_paused_wanted = true), ACTION_START_PAUSED,
         NULL);
    does(SEEN(.action = "start", .strategy = "Halted"), ACTION_START, "Always");
    does(SEEN(.action = "start", .strategy = "Always"), ACTION_START, NULL);
    does(SEEN(.action = "start", .is_begun = true, .state = VIRT_RUNNING),
         ACTION_DONE, NULL);
    refused(SEEN(.action = "start", .state = VIRT_RUNNING), 409,
            "VM is already running");
    refused(SEEN(.action = "start", .restore = "r1"), 409,
            "Cannot update VM runStrategy until restore \"r1\" completes");
    refused(SEEN(.action = "start", .snapshot = "s1", .strategy = "Halted"),
            409,
            "Cannot update vm running state until snapshot \"s1\" completes");
}

static void
stop_asks_waits_and_then_pulls_the_plug(void)
{
    does(SEEN(.action = "stop", .state = VIRT_RUNNING), ACTION_SHUTDOWN, NULL);
    does(SEEN(.action = "stop", .state = VIRT_RUNNING, .strategy = "Always"),
         ACTION_SHUTDOWN, "Halted");
    does(SEEN(.action = "stop", .state = VIRT_RUNNING, .is_begun = true,
              .running_ms = 1000),
         ACTION_WAIT, NULL);
    does(SEEN(.action = "stop", .state = VIRT_RUNNING, .is_begun = true,
              .running_ms = ACTION_GRACE_MS),
         ACTION_DESTROY, NULL);
    does((struct action_seen){ .action = "stop", .state = VIRT_RUNNING },
         ACTION_DESTROY, NULL);
    does(SEEN(.action = "stop", .is_begun = true), ACTION_DONE, NULL);
    refused(SEEN(.action = "stop"), 409, "VM is not running");
    refused(SEEN(.action = "stop", .state = VIRT_RUNNING, .strategy = "Always",
                 .snapshot = "s1"),
            409,
            "Cannot update vm running state until snapshot \"s1\" completes");
}

static void
restart_starts_once(void)
{
    does(SEEN(.action = "restart", .state = VIRT_RUNNING), ACTION_SHUTDOWN,
         NULL);
    does(SEEN(.action = "restart", .is_begun = true), ACTION_START, NULL);
    does(SEEN(.action = "restart", .is_begun = true, .is_stopped = true),
         ACTION_START, NULL);
    does(SEEN(.action = "restart", .is_begun = true, .is_stopped = true,
              .state = VIRT_RUNNING),
         ACTION_DONE, NULL);
    CHECK(plan(SEEN(.action = "restart", .is_begun = true)).is_stopped);
    refused(
        SEEN(.action = "restart", .state = VIRT_RUNNING, .strategy = "Halted"),
        409, "RunStategy Halted does not support manual restart requests");
    refused(SEEN(.action = "restart"), 409, "VM is not running");
}

static void
pause_and_unpause_mind_the_state(void)
{
    does(SEEN(.action = "pause", .state = VIRT_RUNNING), ACTION_SUSPEND, NULL);
    refused(SEEN(.action = "pause", .state = VIRT_PAUSED), 409,
            "VMI is already paused");
    refused(SEEN(.action = "pause"), 409, "VMI is not running");
    does(SEEN(.action = "unpause", .state = VIRT_PAUSED), ACTION_RESUME, NULL);
    refused(SEEN(.action = "unpause", .state = VIRT_RUNNING), 409,
            "VMI is not paused");
    refused(SEEN(.action = "unpause", .state = VIRT_PAUSED, .snapshot = "s"),
            409, "VM snapshot is in progress");
}

static void
a_freeze_needs_a_timeout_and_a_running_guest(void)
{
    does(SEEN(.action = "freeze", .state = VIRT_RUNNING, .has_timeout = true),
         ACTION_FREEZE, NULL);
    does(SEEN(.action = "unfreeze", .state = VIRT_RUNNING), ACTION_THAW, NULL);
    refused(SEEN(.action = "freeze", .state = VIRT_RUNNING), 400,
            "Unfreeze timeout in freeze request is not set");
    refused(SEEN(.action = "freeze", .has_timeout = true), 409,
            "VMI is not running");
}

static void
what_has_snapshots_is_not_released(void)
{
    does(SEEN(.action = "release"), ACTION_RELEASE, NULL);
    refused(SEEN(.action = "release", .n_snapshots = 2), 409,
            "the VM has 2 snapshots; delete them first");
    refused(SEEN(.action = "release", .restore = "r"), 409,
            "Cannot update VM runStrategy until restore \"r\" completes");
}

static void
what_cannot_be_done_is_said(void)
{
    refused(SEEN(.action = "reset"), 501,
            "the action reset cannot be done on this host");
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "start starts what is off", start_starts_what_is_off },
        { "stop asks, waits, and then pulls the plug",
          stop_asks_waits_and_then_pulls_the_plug },
        { "restart starts once", restart_starts_once },
        { "pause and unpause mind the state",
          pause_and_unpause_mind_the_state },
        { "a freeze needs a timeout and a running guest",
          a_freeze_needs_a_timeout_and_a_running_guest },
        { "what has snapshots is not released",
          what_has_snapshots_is_not_released },
        { "what cannot be done is said", what_cannot_be_done_is_said },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
