/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-delete.c
 *
 * A deletion that hangs is abandoned and queued: it may still happen when the
 * target is back, and is then found done. A backup that a job may yet commit
 * (one that hung in its read and was abandoned) is queued in any case: the
 * target works it off when that job has ended.
 */
#include "controller/target-delete.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/objutil.h"
#include "controller/target-sync.h"

#define ASK_MS 300 /* mostly it is done by then */

struct work {
    struct target_ref *ref;
    char *uid, *hold;
};

static void
work_free(void *arg)
{
    struct work *w = arg;

    if (w == NULL)
        return;
    target_release(w->ref);
    free(w->uid);
    free(w->hold);
    free(w);
}

static int
run(struct job *job, void *arg, struct err *err)
{
    const struct work *w = arg;

    (void)job;
    return target_sync_delete(target_repo(w->ref), w->uid, w->hold, err);
}

/* 0 done, 1 not yet, -1. */
static int
ask(struct ctl *ctl, const struct target_delete *d, struct err *err)
{
    CLEANUP(mem_free) char *key = xasprintf("%s/delete", d->object_uid);
    CLEANUP(target_release) struct target_ref *ref = NULL;
    struct job_spec spec = { .key = key,
                             .flow = "backup-delete",
                             .group = d->target,
                             .fn = run,
                             .free_arg = work_free,
                             .queue = d->queue,
                             .queue_key = d->queue_key };
    struct work *w;
    void *done = NULL;
    int rc;

    if (job_look(ctl->jobs, d->object_uid, NULL, NULL) != JOB_NONE)
        return err_set(err, ERR_BUSY, "the job that made it has not ended");
    if (target_open(ctl, d->target, &ref, err) < 0) {
        job_abandon(ctl->asks, key);
        return -1;
    }
    w = xcalloc(1, sizeof *w);
    w->ref = TAKE(ref);
    w->uid = xstrdup(d->object_uid);
    w->hold = d->hold == NULL ? NULL : xstrdup(d->hold);
    spec.arg = w;
    rc = job_ask(ctl->asks, &spec, ASK_MS, &done, err);
    work_free(done);
    if (rc > 0)
        target_poke(ctl, d->target); /* does it answer at all? */
    if (rc <= 0 || d->may_wait)
        return rc;
    job_abandon(ctl->asks, key);
    return err_set(err, ERR_TIMEOUT, "the target does not answer");
}

static int
put_pending(void *arg, json_t *object, struct err *err)
{
    const struct target_delete *d = arg;
    json_t *list = jsonx_get(object, "status.pendingDeletions");

    (void)err;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(jsonx_str_or(json_array_get(list, i), "backupUID", ""),
                   d->object_uid) == 0)
            return 1;
    if (list == NULL) {
        list = json_array();
        jsonx_set(object, "status.pendingDeletions", list);
    }
    (void)json_array_append_new(
        list,
        json_pack("{s:s, s:s, s:s, s:s*, s:o}", "backupUID", d->object_uid,
                  "namespace", d->ns, "name", d->name, "repositoryHold",
                  d->hold, "time", objutil_time(clock_wall_s())));
    return 0;
}

int
target_delete_backup(struct ctl *ctl, const struct target_delete *d,
                     char **ret_why, struct err *err)
{
    struct obj_ref at = objutil_ref(&kind_backuptarget, "", d->target);
    struct obj_write how = { .part = OBJ_STATUS };
    struct target_delete copy = *d;
    struct err why;
    int rc = ask(ctl, d, &why);

    *ret_why = NULL;
    if (rc >= 0) {
        if (rc == 0)
            target_poke(ctl, d->target);
        return rc;
    }
    if (why.code == ERR_NOT_FOUND)
        return 0;
    log_info("target %s: backup %s/%s is deleted later: %s", d->target, d->ns,
             d->name, why.msg);
    if (obj_update(ctl->store, &at, &how, put_pending, &copy, NULL, NULL, err) <
        0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    *ret_why = xstrdup(why.msg);
    target_poke(ctl, d->target);
    return 0;
}
