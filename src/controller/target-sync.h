/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-sync.h: what a repository holds, and what the objects say.
 *
 * Threads: any, one per target. Blocks on the repository and the store.
 * source  DESIGN 4 (layering), 9; spec harvester 2.8
 */
#pragma once
#include "controller/target.h"

/* What was there at the last look. */
struct target_sync_seen {
    size_t n, damage;
    uint64_t stored_bytes;
    char **uids; /* object UIDs of the backups, n of them */
};
void target_sync_seen_fini(struct target_sync_seen *s);

/* List the repository. errors: nothing is known then */
int target_sync_list(struct target_ref *ref, struct target_sync_seen *ret_seen,
                     struct err *err) NODISCARD;

/* Objects of backups in this repository whose BackupTarget is gone become this
 * one's. Then make a VirtualMachineBackup for each backup that no object knows.
 * One that cannot be read does not stop the others: *ret_trouble (caller frees;
 * NULL: none) says what the first was.
 *
 *   endpoint  for the status */
int target_sync_adopt(struct ctl *ctl, struct target_ref *ref,
                      const char *endpoint, char **ret_trouble, struct err *err)
    NODISCARD;

/* Delete the backups of this object UID in the repository; none is success.
 *
 *   hold    a hold with this reason is released first; NULL: none is
 *   errors  CONFLICT (another hold) */
int target_sync_delete(struct repo *repo, const char *object_uid,
                       const char *hold, struct err *err) NODISCARD;
