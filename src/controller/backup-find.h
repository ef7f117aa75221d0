/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-find.h: is the backup of an object on its target, and what
 * was committed there? Asked in a job, for the target may hang.
 *
 * Threads: any, one per object.
 */
#pragma once
#include "controller/backup-status.h"
#include "controller/job.h"
#include "controller/target.h"

struct backup_find {
    const char *uid;     /* of the VirtualMachineBackup */
    const char *target;  /* the BackupTarget's name */
    struct queue *queue; /* who is told when the target has answered late */
    const char *queue_key;
};

struct backup_found {
    struct target_ref *ref;
    char *uid;
    bool is_there;
    struct repo_entry entry;  /* if it is there */
    struct backup_meta *meta; /* then */
};
void backup_find_free(struct backup_found *found); /* NULL is fine */
DEFINE_CLEANUP(backup_find_free, struct backup_found *)

/* Ask.
 *
 *   ret_found  the caller's: backup_find_free()
 *   returns    0; 1: the target has not answered yet, call again; -1
 *   errors     those of target_open() and of the repository */
int backup_find_ask(struct ctl *ctl, const struct backup_find *f,
                    struct backup_found **ret_found, struct err *err) NODISCARD;

/* Is a finished backup where it was? `object`.status is set right; true: it was
 * ready and is not any more. */
bool backup_find_check(struct ctl *ctl, const struct backup_find *f,
                       json_t *object);

/* Nobody wants to know any more. */
void backup_find_drop(struct ctl *ctl, const char *uid);
