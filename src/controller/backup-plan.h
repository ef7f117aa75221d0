/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-plan.h: what to do next for a VirtualMachineBackup of type
 * backup.
 *
 * Pure: from what was observed to the one step to take. No I/O, no clock;
 * controller/vmbackup.c observes and applies.
 *
 *   ""       -> Pending
 *   Pending  -> Cutting (it is the VM's turn; traces are possible from here on)
 *   Cutting  -> Reading (the cut is recorded) | Pending (again) | Failed
 *   Reading  -> Ready | Reading (again, the same cut) | Failed
 *   Ready, Failed: the traces are removed; then at rest
 *   any      -> Deleting -> gone
 * Nothing is remembered between two calls but the objects, the running job and
 * what the repository holds.
 * Threads: pure functions.
 * source  spec harvester 2.1, 10.3; DESIGN 6
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "controller/job.h"

#define BACKUP_PLAN_REST_MS (10 * 60 * 1000)
#define BACKUP_PLAN_TURN_MS 2000
#define BACKUP_PLAN_LOOK_MS 100 /* until the target was looked at */

struct backup_plan_seen {
    int64_t now_ms;
    bool is_deleting, has_finalizer;
    bool is_begun; /* it has a status of ours */
    bool is_done;  /* it was ready once */
    bool has_failed;
    bool has_traces;  /* status.vmkeep.cut is there */
    bool is_cut;      /* and says when */
    int64_t retry_ms; /* not tried before; 0: at once */
    enum job_state job;
    bool is_job_cancelled;  /* JOB_FAILED because of a cancel */
    const char *trouble;    /* why it cannot be cut now; NULL: it can */
    bool has_turn;          /* of the VM's backups, it is ours to go on */
    bool is_turn_taken;     /* it is another's */
    bool is_target_unknown; /* not looked at since the start: a moment */
    bool is_target_away;    /* nothing that uses it may end */
};

enum backup_plan_step {
    BACKUP_NOTHING, /* wait for `again_ms` or a change */
    BACKUP_ADD_FINALIZER,
    BACKUP_BEGIN,     /* write the first status */
    BACKUP_TROUBLE,   /* a try that failed before it began */
    BACKUP_TAKE_TURN, /* VM.status.backupInProgress = us */
    BACKUP_CUT,
    BACKUP_READ,        /* start the job */
    BACKUP_WATCH,       /* write down how far it is */
    BACKUP_COMPLETE,    /* the job is done */
    BACKUP_READ_FAILED, /* the job is not */
    BACKUP_CANCEL,      /* the job, and wait for its end */
    BACKUP_ABANDON,     /* the job, which hangs: it ends when it can */
    BACKUP_FORGET,      /* an ended job that nobody needs */
    BACKUP_CLEAN,       /* cut, bitmap, firmware, secrets, the turn */
    BACKUP_CHECK,       /* is it still on the target? */
    BACKUP_END,         /* the data on the target, then the finalizer */
};

struct backup_plan {
    enum backup_plan_step step;
    int64_t again_ms; /* BACKUP_NOTHING; < 0: only a change */
};

struct backup_plan backup_plan_make(const struct backup_plan_seen *seen);

/* After the `failures`-th failed try in a row, by this error. */
struct backup_plan_retry {
    bool is_final;
    int64_t pause_ms;
};
struct backup_plan_retry backup_plan_retry_after(unsigned failures,
                                                 enum err_code code);
