/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-delete.h: the data of a backup go, now or when the target
 * is back.
 *
 * Threads: any.
 * source  DESIGN 9
 */
#pragma once
#include "controller/job.h"
#include "controller/target.h"

struct target_delete {
    const char *target;     /* the BackupTarget's name */
    const char *object_uid; /* of the VirtualMachineBackup */
    const char *ns, *name;  /* its, for the record */
    const char *hold;       /* that ends with it (backup-hold.h), or NULL */
    struct queue *queue;    /* who is told when the target has answered */
    const char *queue_key;
    bool may_wait; /* false: long enough */
};

/* Delete the backup from the target, in a job; what cannot be done now is
 * written into the BackupTarget's status (pendingDeletions), to be done when
 * the target is back. A BackupTarget or a backup that is not there is success.
 *
 *   ret_why  why it is written down and not done; the caller's; NULL: it is
 *            done
 *   returns     0; 1: the target has not answered yet, call again; -1
 */
int target_delete_backup(struct ctl *ctl, const struct target_delete *d,
                         char **ret_why, struct err *err) NODISCARD;
