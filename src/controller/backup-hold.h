/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-hold.h: the annotation vmkeep.io/hold of a finished backup
 * becomes a HOLD in its repository, so that no host and no program deletes it.
 *
 * status.vmkeep.repositoryHold is the reason that this host put there: written
 * before the repository hears of it, taken away after it was released. A hold
 * that somebody else set (vmkeep repo hold) has another reason and is left
 * alone, also when the annotation goes. The condition Held tells.
 *
 * Threads: any, one per object; blocks on nothing: the repository is asked in a
 * job.
 */
#pragma once
#include "controller/backup-find.h"

/* What is to be done in the repository. Pure.
 *   want  by the annotation; NULL: no hold
 *   put   what this host put there; NULL: nothing
 *   have  what is there; NULL: nothing */
enum backup_hold_deed {
    BACKUP_HOLD_NOTHING, /* it is as it should be, or somebody else's */
    BACKUP_HOLD_SET,
    BACKUP_HOLD_CLEAR,
};
enum backup_hold_deed backup_hold_decide(const char *want, const char *put,
                                         const char *have);

/* The reason that the annotation says, as a repository takes it; NULL: it is
 * not on hold. The caller frees. */
char *backup_hold_wanted(const json_t *backup) NODISCARD;

/* One step: `object`.status is set right, to be written by the caller; that
 * write, or the end of the job, makes the next step.
 *   about         for events
 *   ret_again_ms  lowered if it is to be tried again */
void backup_hold_step(struct ctl *ctl, const struct backup_find *f,
                      const struct object *about, json_t *object,
                      int64_t *ret_again_ms);

/* The object goes: the hold that goes with it; NULL: none of ours, or it is
 * still wanted. Borrowed. */
const char *backup_hold_mine(const json_t *backup);
/* Nobody waits for the job any more. */
void backup_hold_drop(struct ctl *ctl, const char *uid);
/* May it still run? */
bool backup_hold_runs(struct ctl *ctl, const char *uid);
