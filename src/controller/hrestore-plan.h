/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-plan.h: what to do next for a VirtualMachineRestore of
 * harvesterhci.io.
 *
 * Pure: from what was observed (struct hrestore_seen) to the words that the
 * status must have and the one step to take; controller/hrestore.c observes
 * and applies.
 *
 *   Pending -> Checking -> Preparing, Writing -> Defining -> Starting
 *           -> Complete;  any before Complete -> Failed (final) | deleted
 *
 * "Applied" is what the domain itself says: its XML names the new disks. Until
 * then the VM is as it was and a restore that ends leaves nothing.
 * Threads: pure functions.
 * source  spec harvester 1.2, 3; DESIGN 7, 9
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HRESTORE_TEXT_SIZE 512
#define HRESTORE_LOOK_MS   500 /* for what comes by an event soon */
/* A try that failed is repeated after 2, 4, 8, ... 60 s. */
#define HRESTORE_TRIES       8
#define HRESTORE_RETRY_MS    2000
#define HRESTORE_RETRY_MAX   (60 * 1000)
#define HRESTORE_START_TRIES 3
/* Others' snapshots and restores of the target are waited for that long. */
#define HRESTORE_WAIT_MS (60 * 60 * 1000)

enum hrestore_job { /* of this process, for this restore */
    HRESTORE_JOB_NONE,
    HRESTORE_JOB_ACTIVE,
    HRESTORE_JOB_ENDED,
    HRESTORE_JOB_ABANDONED,
};

struct hrestore_seen {
    const char *ns, *name;
    int64_t now_ms; /* wall clock */
    int64_t created_ms;
    bool is_deleting, has_finalizer;
    /* its spec */
    bool is_new, is_halted, is_dry_run, is_retain;
    const char *target_name;
    const char *replace_uid; /* the other VM that may be replaced, or NULL */
    /* its status */
    bool has_completed, has_failed;
    bool has_traces; /* a try began: files may be there */
    bool has_preflight;
    const char *error; /* of the last try; NULL: none */
    bool is_error_final;
    unsigned tries;
    int64_t last_try_ms;
    bool has_started; /* we have started the VM */
    unsigned start_tries;
    /* the target */
    bool has_target;       /* a VM object that has its domain */
    bool is_target_active; /* running, paused or about to end */
    bool is_target_ours;   /* made by this restore */
    const char *target_uid;
    const char *vm_snapshot, *vm_restore; /* ...InProgress; NULL: none */
    /* the backup */
    const char *backup_ns, *backup_name;
    bool has_backup, is_backup_deleting, is_backup_ready, is_backup_snapshot;
    bool is_backup_away;    /* its target: nothing that reads it may end */
    const char *source_uid; /* of the VM that was backed up */
    /* the work */
    enum hrestore_job job;
    bool is_writing; /* the job moves bytes */
    bool is_applied; /* the domain names the new disks */
    bool is_marked;  /* the VM object says so */
};

enum hrestore_step {
    HRESTORE_NOTHING, /* wait for `again_ms` or for a change */
    HRESTORE_BEGIN,   /* finalizer */
    HRESTORE_PREFLIGHT,
    HRESTORE_LOCK, /* VM.status.restoreInProgress = us */
    HRESTORE_START_JOB,
    HRESTORE_WATCH_JOB, /* write its progress */
    HRESTORE_CANCEL_JOB,
    HRESTORE_ABANDON_JOB, /* it hangs: it ends, and cleans up, when it can */
    HRESTORE_END_JOB,     /* take its outcome */
    HRESTORE_MARK,
    HRESTORE_START_VM,
    HRESTORE_COMPLETE,
    HRESTORE_UNDO, /* remove what a try left, unlock */
    HRESTORE_REMOVE_FINALIZER,
};

struct hrestore_plan {
    enum hrestore_step step;
    int64_t again_ms;  /* with NOTHING; -1: when something changes */
    const char *phase; /* status.vmkeep.phase */
    bool is_ready, is_failed;
    char message[HRESTORE_TEXT_SIZE]; /* of both conditions */
};

/* Of a restore that is complete. */
void hrestore_plan_done(bool is_dry_run, struct hrestore_plan *ret_plan);
void hrestore_plan_make(const struct hrestore_seen *seen,
                        struct hrestore_plan *ret_plan);
