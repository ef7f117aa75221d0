/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-session.h: a backup of an object is begun in a repository,
 * once, however often its controller is torn away.
 *
 * Threads: any. Blocks on the store.
 */
#pragma once
#include "repo/repo.h"

struct backup_session_want {
    const char *uid;     /* of the object */
    const char *parent;  /* a backup's id; NULL: none */
    const char *session; /* of an earlier try, never known to have been
                          * committed; NULL: none */
    bool checks_all;     /* repo_backup_options */
};

/* Begin, with what the earlier session stored.
 *
 *   ret_backup  NULL: the object's backup is there already, committed by the
 *               earlier session; nothing was begun
 *   errors      those of repo_backup_begin() that do not come of `session`
 */
int backup_session_begin(struct repo *repo,
                         const struct backup_session_want *want,
                         struct repo_backup **ret_backup, struct err *err)
    NODISCARD NONNULL(1, 2, 3, 4);
