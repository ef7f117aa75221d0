/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-plan.h: what to do next for a VirtualMachineRestore.
 *
 * Pure: from what was observed (struct restore_seen) to the status that the
 * object must have and the one step to take. No I/O, no clock, no libvirt;
 * controller/restore.c observes and applies.
 *
 *   waiting (target runs, snapshot not ready) -> locked -> applied -> marked
 *   -> complete         any of them -> failed (final) | deleted (undone)
 *
 * "Applied" is what the domain itself says: its XML names the new disks.
 * Until then the VM is as it was; from then on the restore can only be
 * completed. That one fact decides after every crash.
 * Threads: pure functions.
 * source  spec kubevirt 1.3, 3; DESIGN 7
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESTORE_REASON_SIZE 512
#define RESTORE_RETRY_MS    5000
#define RESTORE_GRACE_MS    (5 * 60 * 1000)
/* How long a guest may take to shut down before it is powered off: KubeVirt's
 * terminationGracePeriodSeconds. */
#define RESTORE_STOP_MS (180 * 1000)
/* Errors that may pass (no space, a busy disk) are retried that long; what
 * only passes if somebody else gives way, for RESTORE_GRACE_MS. */
#define RESTORE_GIVE_UP_MS (60 * 60 * 1000)

enum restore_readiness {
    RESTORE_WAIT_GRACE_PERIOD,
    RESTORE_WAIT_EVENTUALLY,
    RESTORE_STOP_TARGET,
    RESTORE_FAIL_IMMEDIATE,
};

struct restore_seen {
    const char *ns, *name;
    int64_t now_ms;     /* wall clock */
    int64_t created_ms; /* metadata.creationTimestamp */
    bool is_deleting;
    bool has_finalizer;
    enum restore_readiness readiness;
    /* its status, as it is now */
    bool has_completed; /* complete */
    bool has_failed;    /* Failure condition */
    bool has_traces;    /* a try began: files may be there */
    const char *error;  /* of the last try; NULL: none */
    bool is_error_final;
    int64_t last_try_ms;
    int64_t taken_since_ms; /* name, UUID or MAC are another's; 0: no */
    int64_t stop_asked_ms;  /* 0: we have not asked the target to stop */
    /* the target */
    bool has_target;                      /* the VM object */
    bool is_target_active;                /* running, paused or about to end */
    bool is_target_ours;                  /* made by this restore */
    const char *target_uid;               /* NULL: no such VM */
    const char *vm_snapshot, *vm_restore; /* ...InProgress; NULL: none */
    /* its source */
    const char *snapshot_name;
    bool has_snapshot, is_snapshot_failed, is_snapshot_ready;
    const char *content_name; /* NULL: none yet */
    bool has_content, is_content_ready;
    const char *source_uid;
    /* the domain */
    bool is_applied; /* its inactive XML names the new disks */
    bool is_marked;  /* the VM object says so */
};

enum restore_step {
    RESTORE_NOTHING, /* wait for `again_ms` or for a change */
    RESTORE_ADD_FINALIZER,
    RESTORE_ASK_STOP, /* shut the target down */
    RESTORE_POWER_OFF,
    RESTORE_LOCK,        /* VM.status.restoreInProgress = us */
    RESTORE_APPLY,       /* preflight, new disks, define, old disks */
    RESTORE_MARK,        /* VM object: annotation, labels, owner */
    RESTORE_COMPLETE,    /* unlock, then complete = true */
    RESTORE_UNDO_UNLOCK, /* remove what a try left, then unlock */
    RESTORE_REMOVE_FINALIZER,
};

struct restore_plan {
    enum restore_step step;
    int64_t again_ms; /* with RESTORE_NOTHING; -1: when something changes */
    /* The status that must be written before the step. */
    bool is_progressing;
    bool is_ready;
    bool has_failure;    /* Failure True, reason as the others */
    bool is_target_late; /* the event RestoreTargetNotReady is due */
    bool is_error;       /* the event VirtualMachineRestoreError is due */
    char reason[RESTORE_REASON_SIZE];
};

void restore_plan_make(const struct restore_seen *seen,
                       struct restore_plan *ret_plan);

/* ---- names of restored disks ---- */

enum restore_naming {
    RESTORE_RANDOMIZE_NAMES,
    RESTORE_IN_PLACE,
    RESTORE_PREFIX_TARGET_NAME,
};
/* NULL and unknown words: the default of each. */
enum restore_naming restore_plan_naming(const char *word);
enum restore_readiness restore_plan_readiness(const char *word);

#define RESTORE_CLAIM_SIZE 254
/* The claim's name: `override` if there is one, else as `naming` says.
 * source  spec kubevirt 1.4 */
void restore_plan_claim(enum restore_naming naming, const char *override,
                        const char *restore_uid, const char *target,
                        const char *volume, const char *old_claim,
                        char ret_claim[RESTORE_CLAIM_SIZE]);
