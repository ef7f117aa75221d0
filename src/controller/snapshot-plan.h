/* SPDX-License-Identifier: Apache-2.0 */
/* controller/snapshot-plan.h: what to do next for a VirtualMachineSnapshot.
 *
 * Pure: from what was observed (struct snapshot_seen) to the status that the
 * object must have and the one step to take. No I/O, no clock, no libvirt;
 * controller/snapshot.c observes and applies.
 *
 * States (phase) and their only moves:
 *   ""         -> InProgress
 *   InProgress -> Succeeded (its content is there) | Failed (deadline)
 *   any        -> Deleting -> gone
 * Failed and Succeeded are final but for Deleting. Nothing is remembered
 * between two calls but the objects themselves, so a wiped status, a restart
 * or a crash lead to the same plan.
 * Threads: pure functions.
 * source  spec kubevirt 1.1, 2.1, 2.2, 2.7; DESIGN 5
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define SNAPSHOT_REASON_SIZE 512
#define SNAPSHOT_RETRY_MS    5000
#define SNAPSHOT_DEADLINE_MS (5 * 60 * 1000)
/* The first try and three more, that far after the one before. */
#define SNAPSHOT_FREEZE_TRIES 4

struct snapshot_seen {
    const char *ns, *name;
    int64_t now_ms;      /* created_ms and its age (controller/age.h) */
    int64_t created_ms;  /* metadata.creationTimestamp */
    int64_t deadline_ms; /* spec.failureDeadline; 0: never; < 0: expired */
    bool is_deleting;
    bool has_finalizer;
    bool is_retain; /* deletionPolicy: anything but nil and Delete */
    /* its status, as it is now */
    bool has_failed;    /* Failure condition, or phase Failed */
    bool has_succeeded; /* creationTime is set, or phase Succeeded */
    bool is_ready;      /* readyToUse as it is now */
    const char *error;  /* of the last try; NULL: none */
    unsigned freeze_failures;
    int64_t last_try_ms; /* of the last failed try; 0: none */
    /* its content */
    bool has_content;
    bool is_content_cut; /* it says when it was cut */
    bool is_content_ready;
    bool is_content_deleting;
    const char *content_error; /* NULL: none */
    /* the VM */
    const char *source_name;
    bool has_vm;             /* the object, and its domain */
    const char *vm_trouble;  /* "volume doesnt exist: c1"; NULL: none */
    const char *vm_snapshot; /* status.snapshotInProgress; NULL: none */
    const char *vm_restore;  /* status.restoreInProgress; NULL: none */
};

enum snapshot_step {
    SNAPSHOT_NOTHING, /* wait for `again_ms` or for a change */
    SNAPSHOT_ADD_FINALIZER,
    SNAPSHOT_LOCK,           /* VM.status.snapshotInProgress = us */
    SNAPSHOT_CUT,            /* the snapshot itself, and its content */
    SNAPSHOT_DELETE_CONTENT, /* asked for; its controller does it */
    SNAPSHOT_UNDO_UNLOCK,    /* remove what a try left, then unlock */
    SNAPSHOT_UNLOCK,
    SNAPSHOT_REMOVE_FINALIZER,
};

struct snapshot_plan {
    enum snapshot_step step;
    int64_t again_ms; /* with SNAPSHOT_NOTHING; -1: when something changes */
    /* The status that must be written before the step. */
    const char *phase; /* static text */
    bool is_ready;
    bool is_progressing;
    bool has_failure; /* Failure True is there, or comes */
    char progressing[SNAPSHOT_REASON_SIZE]; /* the condition's reason */
    const char *ready;                      /* the condition's reason; static */
    const char *error; /* status.error.message, borrowed; NULL: none */
    char waited_for[SNAPSHOT_REASON_SIZE]; /* where `error` may point to */
};

void snapshot_plan_make(const struct snapshot_seen *seen,
                        struct snapshot_plan *ret_plan);

/* How the guest was when it was cut. */
struct snapshot_moment {
    bool is_online;          /* running or paused */
    bool is_paused;          /* before we came */
    bool has_agent;          /* connected */
    bool is_quiesced;        /* freeze and thaw agree */
    bool is_foreign;         /* frozen already by somebody else */
    unsigned frozen, thawed; /* file systems */
    bool is_partial;         /* a disk that can be snapshotted was left out */
};

struct snapshot_indication {
    const char *name; /* static */
    char message[160];
};
#define SNAPSHOT_INDICATIONS_MAX 5

/* Alphabetical, PartialSnapshot last. Returns how many. A freeze that did not
 * hold until the cut is QuiesceTimeout beside GuestAgent: the agent was there,
 * its promise is not. */
unsigned snapshot_plan_indications(
    const struct snapshot_moment *moment,
    struct snapshot_indication ret[SNAPSHOT_INDICATIONS_MAX]);
