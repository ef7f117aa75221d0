/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/backup-find.h"

#include <stdio.h>

#include "base/mem.h"

#define ASK_MS 300 /* mostly it has answered by then */

static char *
key_of(const char *uid)
{
    return xasprintf("%s/find", uid);
}

void
backup_find_free(struct backup_found *found)
{
    if (found == NULL)
        return;
    target_release(found->ref);
    backup_meta_free(found->meta);
    free(found->uid);
    free(found);
}

static void
free_arg(void *arg)
{
    backup_find_free(arg);
}

static int
run(struct job *job, void *arg, struct err *err)
{
    struct backup_found *f = arg;
    CLEANUP(repo_view_close) struct repo_view *view = NULL;
    struct repo *repo = target_repo(f->ref);

    (void)job;
    if (repo_find_uid(repo, f->uid, &f->is_there, &f->entry, err) < 0)
        return -1;
    if (!f->is_there)
        return 0;
    if (repo_view_open(repo, f->entry.id, &view, err) < 0)
        return -1;
    f->meta = backup_meta_read(view, err);
    return f->meta == NULL ? -1 : 0;
}

int
backup_find_ask(struct ctl *ctl, const struct backup_find *f,
                struct backup_found **ret_found, struct err *err)
{
    CLEANUP(mem_free) char *key = key_of(f->uid);
    CLEANUP(target_release) struct target_ref *ref = NULL;
    struct job_spec spec = { .key = key,
                             .flow = "backup",
                             .group = f->target,
                             .fn = run,
                             .free_arg = free_arg,
                             .queue = f->queue,
                             .queue_key = f->queue_key };
    struct backup_found *found;
    void *done = NULL;
    int rc;

    if (target_open(ctl, f->target, &ref, err) < 0)
        return -1;
    found = xcalloc(1, sizeof *found);
    found->ref = TAKE(ref);
    found->uid = xstrdup(f->uid);
    spec.arg = found;
    rc = job_ask(ctl->asks, &spec, ASK_MS, &done, err);
    if (rc == 0)
        *ret_found = done;
    if (rc > 0)
        target_poke(ctl, f->target); /* does it answer at all? */
    return rc;
}

/* ---- a finished backup ---- */

/* The table may be older than a backup that was just made. */
static bool
is_really_lost(struct ctl *ctl, const struct backup_find *f)
{
    CLEANUP(backup_find_free) struct backup_found *found = NULL;
    struct err err;

    return backup_find_ask(ctl, f, &found, &err) == 0 && !found->is_there;
}

bool
backup_find_check(struct ctl *ctl, const struct backup_find *f, json_t *object)
{
    bool is_ready = jsonx_bool(object, "status.readyToUse");

    switch (target_holds(ctl, f->target, f->uid)) {
    case TARGET_HOLDS_IT:
        if (!is_ready)
            backup_status_found(object);
        return false;
    case TARGET_HOLDS_NOT:
        if (!is_really_lost(ctl, f))
            return false;
        backup_status_lost(object, "BackupNotFound",
                           "the backup is not on its target any more");
        return is_ready;
    case TARGET_IS_GONE:
        backup_status_lost(
            object, "TargetDeleted",
            "its BackupTarget was deleted; the data is where it was");
        return is_ready;
    case TARGET_HOLDS_UNKNOWN:
    default:
        return false;
    }
}

void
backup_find_drop(struct ctl *ctl, const char *uid)
{
    CLEANUP(mem_free) char *key = key_of(uid);

    job_abandon(ctl->asks, key);
}
