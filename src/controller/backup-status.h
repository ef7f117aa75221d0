/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-status.h: the status of a VirtualMachineBackup, in
 * Harvester's words.
 *
 * The functions change `object`.status; what they do not name stays.
 * Threads: pure functions, but for the clock.
 * source  spec harvester 1.1 (conditions and transitions)
 */
#pragma once
#include "controller/backup-meta.h"

#define BACKUP_STATUS_FINALIZER "vmkeep.io/vmbackup-protection"

/* Where a committed backup is. */
struct backup_status_place {
    const char *target;   /* the BackupTarget's name */
    const char *endpoint; /* "file:///srv/b" */
    const char *repo_uuid;
    const struct repo_entry *entry;
};

/* The beginning: not ready, in progress. */
void backup_status_begin(json_t *object);
/* An error that is not the last word: it is tried again. NULL: none. */
void backup_status_error(json_t *object, const char *message);
/* The last word. */
void backup_status_failed(json_t *object, const char *message);
/* Committed: everything that its metadata says. Keeps status.vmkeep. */
void backup_status_complete(json_t *object, const struct backup_meta *meta,
                            const struct backup_status_place *place);
/* Type snapshot: it is kept. `time` may be NULL. */
void backup_status_kept(json_t *object, const char *time);
/* Ready no more: `cause` is one word, `message` a sentence. */
void backup_status_lost(json_t *object, const char *cause, const char *message);
/* It is back. */
void backup_status_found(json_t *object);

/* A VirtualMachineBackup for a backup that no object knows, complete with
 * status; the caller's. */
json_t *backup_status_object(const struct backup_meta *meta, const char *name,
                             const struct backup_status_place *place) NODISCARD;

/* What is in a repository was written by whoever can write there. Is this a
 * VirtualMachineBackup of type backup, by the published schema? Clients cannot
 * decode a list with one that is not.
 *   errors  CORRUPT, with the field */
int backup_status_check(const json_t *object, struct err *err) NODISCARD;
