/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/backup-verify.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/job.h"
#include "controller/objutil.h"
#include "controller/target.h"

#define ANNOTATION "vmkeep.io/verify"

struct verify_job {
    struct ctl *ctl;
    struct job *job;
    char *uid, *target;
    struct job_progress progress;
    uint64_t before; /* bytes of the disks that are done */
};

static void
verify_job_free(void *arg)
{
    struct verify_job *v = arg;

    free(v->uid);
    free(v->target);
    free(v);
}

static char *
key_of(const char *uid)
{
    return xasprintf("%s/verify", uid);
}

/* ---- the job ---- */

/* Reading is all: the view checks every digest. */
static int
sink_write(void *arg, uint64_t off, const void *data, size_t len,
           struct err *err)
{
    (void)arg;
    (void)off;
    (void)data;
    (void)len;
    (void)err;
    return 0;
}

static int
sink_progress(void *arg, uint64_t done_bytes)
{
    struct verify_job *v = arg;

    v->progress.done_bytes = v->before + done_bytes;
    job_progress_set(v->job, &v->progress);
    return job_is_cancelled(v->job);
}

static int
read_view(struct verify_job *v, struct repo_view *view, struct err *err)
{
    struct repo_sink sink = { .write = sink_write,
                              .progress = sink_progress,
                              .arg = v };
    unsigned n = repo_view_disk_count(view);

    for (unsigned i = 0; i < n; i++)
        v->progress.all_bytes += repo_view_disk(view, i).size;
    for (unsigned i = 0; i < n; i++) {
        struct repo_disk d = repo_view_disk(view, i);

        if (d.size > 0 &&
            repo_view_restore(view, i, 0, d.size, 0, &sink, err) < 0)
            return err_wrap(err, "disk %s", d.name);
        v->before += d.size;
    }
    return 0;
}

static int
verify_run(struct job *job, void *arg, struct err *err)
{
    struct verify_job *v = arg;
    CLEANUP(target_release) struct target_ref *ref = NULL;
    CLEANUP(repo_view_close) struct repo_view *view = NULL;
    struct repo_entry entry;
    bool is_there = false;

    v->job = job;
    if (target_open(v->ctl, v->target, &ref, err) < 0 ||
        repo_find_uid(target_repo(ref), v->uid, &is_there, &entry, err) < 0)
        return -1;
    if (!is_there)
        return err_set(err, ERR_NOT_FOUND, "it is not on its target");
    if (repo_view_open(target_repo(ref), entry.id, &view, err) < 0 ||
        repo_view_pin(view, err) < 0)
        return -1;
    return read_view(v, view, err);
}

static int
start(struct ctl *ctl, const char *uid, const char *target, struct queue *queue,
      const char *key, struct err *err)
{
    CLEANUP(mem_free) char *job_key = key_of(uid);
    struct verify_job *v = xcalloc(1, sizeof *v);
    struct job_spec spec = { .key = job_key,
                             .group = target,
                             .fn = verify_run,
                             .arg = v,
                             .free_arg = verify_job_free,
                             .queue = queue,
                             .queue_key = key };

    v->ctl = ctl;
    v->uid = xstrdup(uid);
    v->target = xstrdup(target);
    return job_start(ctl->jobs, &spec, err);
}

/* ---- the answer ---- */

static void
answer(json_t *object, const char *asked, const struct err *why)
{
    (void)ctl_condition_set(
        object, "Verified", why == NULL ? "True" : "False",
        why == NULL ? "Whole" : err_code_name(why->code),
        why == NULL ? "Everything was read and checked" : why->msg, 0);
    jsonx_set_str(object, "status.vmkeep.lastVerify", asked);
    jsonx_set(object, "status.vmkeep.verifyTime", objutil_time(clock_wall_s()));
}

int
backup_verify_step(struct ctl *ctl, json_t *object, const char *target,
                   struct queue *queue, const char *key, bool *ret_is_changed,
                   struct err *err)
{
    const char *uid = jsonx_str_or(object, "metadata.uid", "");
    const char *asked = json_string_value(
        json_object_get(jsonx_get(object, "metadata.annotations"), ANNOTATION));
    CLEANUP(mem_free) char *job_key = key_of(uid);
    struct job_progress p = { 0 };
    struct err why;

    *ret_is_changed = false;
    if (asked == NULL ||
        strcmp(asked, jsonx_str_or(object, "status.vmkeep.lastVerify", "")) ==
            0)
        return 0;
    switch (job_look(ctl->jobs, job_key, &p, &why)) {
    case JOB_NONE:
        if (start(ctl, uid, target, queue, key, err) < 0)
            return err->code == ERR_CANCELLED ? 0 : -1;
        return 0;
    case JOB_DONE:
        answer(object, asked, NULL);
        break;
    case JOB_FAILED:
        if (why.code == ERR_CANCELLED)
            return 0;
        answer(object, asked, &why);
        break;
    case JOB_WAITING:
    case JOB_RUNNING:
    case JOB_ABANDONED:
    default:
        return 0;
    }
    *ret_is_changed = true;
    (void)job_forget(ctl->jobs, job_key);
    return 0;
}

bool
backup_verify_stop(struct ctl *ctl, const char *uid, bool must_not_wait)
{
    CLEANUP(mem_free) char *job_key = key_of(uid);

    if (must_not_wait) {
        job_abandon(ctl->jobs, job_key);
        return true;
    }
    job_cancel(ctl->jobs, job_key);
    return job_forget(ctl->jobs, job_key);
}
