/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-session.c
 *
 * Whoever takes a session over ends it, by an entry of the log that only one of
 * the two, this end and the session's commit, can get. So a commit of an
 * earlier process that was under way when its answer was lost shows here as
 * CONFLICT, though nothing was found a moment before: the object then has its
 * backup, and a second one would be one too many. If it was deleted since, or
 * the session is another object's, the work is done anew.
 */
#include "controller/backup-session.h"

int
backup_session_begin(struct repo *repo, const struct backup_session_want *want,
                     struct repo_backup **ret_backup, struct err *err)
{
    struct repo_backup_options o = { .parent = want->parent,
                                     .resume = want->session,
                                     .checks_all = want->checks_all };
    struct repo_entry entry;
    bool is_there = false;

    *ret_backup = NULL;
    if (repo_backup_begin(repo, &o, ret_backup, err) == 0)
        return 0;
    if (want->session == NULL ||
        (err->code != ERR_CONFLICT && err->code != ERR_NOT_FOUND &&
         err->code != ERR_CORRUPT))
        return -1;
    if (err->code == ERR_CONFLICT &&
        repo_find_uid(repo, want->uid, &is_there, &entry, err) < 0)
        return -1;
    if (is_there)
        return 0;
    o.resume = NULL; /* only time is lost */
    return repo_backup_begin(repo, &o, ret_backup, err);
}
