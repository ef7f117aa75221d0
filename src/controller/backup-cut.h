/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-cut.h: the instant of a backup, and what is written down
 * of it.
 *
 * Threads: any; the caller holds the VM's lock as CUT.
 * source  DESIGN 6 step 1; spec harvester 2.2
 */
#pragma once
#include "controller/ctl.h"

#define BACKUP_CUT_QUIESCE_ANNOTATION "vmkeep.io/quiesce"

enum backup_cut_quiesce {
    BACKUP_CUT_QUIESCE_PREFERRED,
    BACKUP_CUT_QUIESCE_REQUIRED,
    BACKUP_CUT_QUIESCE_NONE
};
/* What the annotation says; NULL or nonsense: preferred. */
enum backup_cut_quiesce backup_cut_quiesce(const char *annotation);

struct backup_cut_job {
    struct object *backup;
    const json_t *backup_json, *vm_json;
    const char *repo_uuid; /* where it is going to */
    bool never_freezes;    /* annotation none; or one freeze has failed */
};

/* Cut. What was cut is put into `status` (sourceUID, source, volumeBackups,
 * secretBackups, vmkeep.cut, vmkeep.excluded, ...), to be written by the
 * caller. On an error nothing is left behind, or backup_cut_undo() finds it.
 *
 *   ret_is_freeze_failure  with an error: the guest agent was the reason */
int backup_cut(struct ctl *ctl, const struct backup_cut_job *job,
               json_t *status, bool *ret_is_freeze_failure, struct err *err)
    NODISCARD;

/* The cut is read, and the guest writes on: is there room for that?
 *
 *   errors  NO_SPACE: not for much longer; the backup should be given up while
 *           its layers can still be merged back
 */
int backup_cut_room(struct ctl *ctl, const json_t *backup, struct err *err)
    NODISCARD;

/* Remove what tries of this backup left, the bitmap included, or keep the
 * bitmap for the next backup (`entry`: the committed backup's id; NULL: there
 * is none). Idempotent; the caller holds the VM's lock as CUT or MERGE. */
int backup_cut_undo(struct ctl *ctl, const char *vm_uuid, const char *uid,
                    const char *entry, struct err *err) NODISCARD;

/* Has the VM disks that are pulled (controller/pull.h)? Then a read that failed
 * cannot be begun again. */
bool backup_cut_is_pulled(const json_t *backup);
/* So this cut goes: `backup`.status says that a new one is to be made. */
void backup_cut_drop(struct ctl *ctl, json_t *backup);
