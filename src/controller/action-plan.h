/* SPDX-License-Identifier: Apache-2.0 */
/* controller/action-plan.h: what to do next for a VirtualMachineAction.
 *
 * Pure: from what is seen of action, VM and domain to one step.
 *
 * Phases: "" -> Running -> Succeeded | Failed. What is refused is refused
 * while the phase is ""; a begun action only waits, goes on or times out.
 * A restart that has seen the guest off remembers it (is_stopped), so that a
 * crash after its start does not stop the guest again.
 * Threads: pure functions.
 * source  spec kubevirt 5.3, 2.3, 3.6; DESIGN 4
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "virt/virt.h"

/* KubeVirt's terminationGracePeriodSeconds of a VM. */
#define ACTION_GRACE_MS (180 * 1000)

struct action_seen {
    const char *action;    /* "start" ... */
    bool is_begun;         /* phase Running */
    bool is_stopped;       /* restart: the guest was seen off */
    bool is_paused_wanted; /* start: leave it paused */
    bool has_timeout;      /* freeze: unfreezeTimeout is given */
    int64_t grace_s;       /* < 0: not said */
    int64_t running_ms;    /* since it was begun */
    const char *strategy;  /* the VM's runStrategy */
    const char *snapshot;  /* in progress; NULL: none */
    const char *restore;   /* in progress; NULL: none */
    size_t n_snapshots;    /* of this VM, whatever their state but Failed */
    enum virt_state state;
    bool is_active; /* there is a live domain */
};

enum action_step {
    ACTION_FAIL,
    ACTION_DONE,
    ACTION_WAIT, /* look again in a second */
    ACTION_START,
    ACTION_START_PAUSED,
    ACTION_SHUTDOWN, /* ask the guest, then wait */
    ACTION_DESTROY,
    ACTION_REBOOT,
    ACTION_SUSPEND,
    ACTION_RESUME,
    ACTION_RELEASE,
    ACTION_FREEZE,
    ACTION_THAW,
};

struct action_plan {
    enum action_step step;
    const char *strategy; /* runStrategy to set first; NULL: as it is */
    bool is_stopped;      /* to be remembered before the step */
    /* ACTION_FAIL */
    int code;
    const char *reason;
    char message[300];
};

void action_plan_make(const struct action_seen *seen,
                      struct action_plan *ret_plan);
