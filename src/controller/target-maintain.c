/* SPDX-License-Identifier: Apache-2.0 */
/* One pass: observe the target, take the outcome of jobs that ended, start the
 * one that is due, delete what retention does not keep, write the status. The
 * work itself is target-tasks.c's. Killed at any point: a scrub goes on at its
 * cursor, a collection begins again, a deletion is asked for again. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/target-due.h"
#include "controller/target-priv.h"
#include "controller/target-retain.h"
#include "controller/target-tasks.h"

#define REST_MS   60000
#define AWAY_MS   15000
#define SOON_MS   2000
#define RETRY_S   3600
#define RETAIN_MS 1000 /* mostly it is done by then */
#define STATUS    "status.maintenance"

struct maintain {
    struct ctl *ctl;
    struct loop *loop;
    struct jobs *jobs;
};

struct pass {
    struct maintain *m;
    const char *key;
    struct object *object;
    json_t *json;
    json_t *status; /* what status.maintenance becomes */
    struct target_ref *ref;
    int64_t now_s, again_ms;
    char *damage; /* of the condition Healthy, when a scrub has ended */
    bool has_scrubbed;
};

static void
pass_fini_p(struct pass *p)
{
    object_unref(p->object);
    json_decref(p->json);
    json_decref(p->status);
    target_release(p->ref);
    free(p->damage);
}

static char *
job_key(const struct target_task *task, const char *name)
{
    return xasprintf("target/%s/%s", name, task->name);
}

static void
again_in(struct pass *p, int64_t ms)
{
    if (ms < p->again_ms)
        p->again_ms = ms;
}

/* ---- jobs ---- */

static json_t *
task_status(struct pass *p, const struct target_task *task)
{
    json_t *s = json_object_get(p->status, task->name);

    if (s == NULL) {
        s = json_object();
        json_object_set_new(p->status, task->name, s);
    }
    return s;
}

/* Asked for by an annotation that was not answered; NULL: not. */
static const char *
request_of(const struct pass *p, const struct target_task *task,
           const json_t *status)
{
    const char *asked = json_string_value(json_object_get(
        jsonx_get(p->json, "metadata.annotations"), task->annotation));

    if (asked == NULL ||
        strcmp(asked, jsonx_str_or(status, "lastRequest", "")) == 0)
        return NULL;
    return asked;
}

static int64_t
interval_of(const struct pass *p, const struct target_task *task)
{
    const char *text = jsonx_str_or(p->json, task->interval, task->standard);
    struct err ignored;
    uint64_t s = 0;

    if (strcmp(text, "0") == 0 || retain_parse_within(text, &s, &ignored) < 0)
        return 0;
    return (int64_t)s;
}

/* Is it to begin now? */
static bool
is_due(struct pass *p, const struct target_task *task, const json_t *status)
{
    int64_t in_s, retry_s = objutil_time_ms(status, "retryTime") / 1000;

    if (request_of(p, task, status) != NULL)
        return true;
    if (retry_s > p->now_s && retry_s - p->now_s <= RETRY_S)
        return false;
    if (jsonx_bool(status, "running")) /* and the daemon ended */
        return true;
    in_s = target_due_in_s(
        p->now_s, objutil_time_ms(status, "lastTime") / 1000,
        objutil_time_ms(p->json, "metadata.creationTimestamp") / 1000,
        interval_of(p, task));
    return in_s == 0;
}

static int
start(struct pass *p, const struct target_task *task, json_t *status,
      struct err *err)
{
    CLEANUP(mem_free) char *key = job_key(task, object_name(p->object));
    const char *asked = request_of(p, task, status);
    struct job_spec spec = {
        .key = key,
        .flow = "maintain",
        .group = object_name(p->object),
        .fn = task->run,
        .arg = target_tasks_arg(p->m->ctl, p->json, object_name(p->object)),
        .free_arg = target_tasks_free,
        .queue = loop_queue(p->m->loop),
        .queue_key = p->key,
    };

    if (job_start(p->m->jobs, &spec, err) < 0)
        return err->code == ERR_CANCELLED ? 0 : -1;
    json_object_set_new(status, "running", json_true());
    if (asked != NULL)
        jsonx_set_str(status, "request", asked);
    return 0;
}

static void
end(struct pass *p, const struct target_task *task, json_t *status,
    const struct err *why)
{
    CLEANUP(mem_free) char *key = job_key(task, object_name(p->object));
    CLEANUP(json_decref) json_t *note = job_note_get(p->m->jobs, key);
    const char *asked = jsonx_str(status, "request");

    (void)job_forget(p->m->jobs, key);
    if (why != NULL && why->code == ERR_CANCELLED)
        return; /* the daemon stops: it goes on after the restart */
    (void)json_object_del(status, "running");
    (void)json_object_del(status, "percent");
    if (asked != NULL)
        jsonx_set_str(status, "lastRequest", asked);
    (void)json_object_del(status, "request");
    if (why != NULL) {
        jsonx_set_str(status, "message", why->msg);
        jsonx_set(status, "retryTime", objutil_time(p->now_s + RETRY_S));
        eventrec_warn(p->m->ctl->events, p->object, task->failed, "%s",
                      why->msg);
        return;
    }
    (void)json_object_del(status, "message");
    (void)json_object_del(status, "retryTime");
    jsonx_set(status, "lastTime", objutil_time(p->now_s));
    if (note != NULL)
        (void)json_object_update(status, note);
    if (task->tell == NULL)
        return;
    p->has_scrubbed = true;
    p->damage = task->tell(p->m->ctl, p->object, note);
}

static int
step_task(struct pass *p, const struct target_task *task, struct err *err)
{
    CLEANUP(mem_free) char *key = job_key(task, object_name(p->object));
    json_t *status = task_status(p, task);
    struct job_progress progress = { 0 };
    struct err why;

    switch (job_look(p->m->jobs, key, &progress, &why)) {
    case JOB_NONE:
        return is_due(p, task, status) ? start(p, task, status, err) : 0;
    case JOB_DONE:
        end(p, task, status, NULL);
        return 0;
    case JOB_FAILED:
        end(p, task, status, &why);
        return 0;
    case JOB_WAITING:
    case JOB_RUNNING:
    case JOB_ABANDONED:
    default:
        if (progress.all_bytes > 0)
            jsonx_set(status, "percent",
                      json_integer((json_int_t)(progress.done_bytes * 100 /
                                                progress.all_bytes)));
        return 0;
    }
}

/* ---- retention ---- */

struct retain_work {
    struct ctl *ctl;
    struct object *target;
    struct target_ref *ref;
    struct target_retain_result result;
};

static void
retain_work_free(void *arg)
{
    struct retain_work *w = arg;

    if (w == NULL)
        return;
    object_unref(w->target);
    target_release(w->ref);
    free(w->result.first);
    free(w);
}

static int
retain_run(struct job *job, void *arg, struct err *err)
{
    struct retain_work *w = arg;

    (void)job;
    return target_retain_run(w->ctl, w->target, w->ref, &w->result, err);
}

/* In a job, for the repository may hang. 1: it has not ended yet. */
static int
ask_retention(struct pass *p, struct target_retain_result *ret, struct err *err)
{
    CLEANUP(mem_free)
    char *key = xasprintf("retain/%s", object_uid(p->object));
    struct retain_work *w = xcalloc(1, sizeof *w);
    struct job_spec spec = { .key = key,
                             .flow = "maintain",
                             .group = object_name(p->object),
                             .fn = retain_run,
                             .arg = w,
                             .free_arg = retain_work_free,
                             .queue = loop_queue(p->m->loop),
                             .queue_key = p->key };
    void *done = NULL;
    int rc;

    w->ctl = p->m->ctl;
    w->target = object_ref(p->object);
    w->ref = target_ref_get(p->ref);
    rc = job_ask(p->m->ctl->asks, &spec, RETAIN_MS, &done, err);
    if (rc == 0) {
        w = done;
        *ret = w->result;
        w->result.first = NULL;
        retain_work_free(w);
    }
    return rc;
}

static void
apply_retention(struct pass *p)
{
    struct target_retain_result r = { 0 };
    struct err err;
    int rc = ask_retention(p, &r, &err);

    if (rc > 0)
        return;
    if (rc < 0) {
        if (strcmp(jsonx_str_or(p->status, "retention.message", ""), err.msg) !=
            0)
            eventrec_warn(p->m->ctl->events, p->object, "RetentionError", "%s",
                          err.msg);
        jsonx_set_str(p->status, "retention.message", err.msg);
        return;
    }
    jsonx_del(p->status, "retention.message");
    if (r.deleted > 0) {
        jsonx_set(p->status, "retention.deleted",
                  json_integer(jsonx_int(p->status, "retention.deleted", 0) +
                               (json_int_t)r.deleted));
        jsonx_set(p->status, "retention.lastTime", objutil_time(p->now_s));
        jsonx_set_str(p->status, "retention.lastDeleted", r.first);
        again_in(p, SOON_MS);
    }
    free(r.first);
}

/* ---- the pass ---- */

static int
put_status(void *arg, json_t *object, struct err *err)
{
    struct pass *p = arg;

    (void)err;
    CLEANUP(json_decref)
    json_t *before = json_deep_copy(json_object_get(object, "status"));

    jsonx_set(object, STATUS, json_deep_copy(p->status));
    if (p->has_scrubbed)
        (void)ctl_condition_set(
            object, "Healthy", p->damage == NULL ? "True" : "False",
            p->damage == NULL ? "Scrubbed" : "DamageFound",
            p->damage == NULL ? "Everything was read and checked" : p->damage,
            0);
    return jsonx_equal(before, json_object_get(object, "status"));
}

static int
write_status(struct pass *p, struct err *err)
{
    struct obj_ref at =
        objutil_ref(&kind_backuptarget, "", object_name(p->object));
    struct obj_write how = { .part = OBJ_STATUS, .uid = object_uid(p->object) };

    if (obj_update(p->m->ctl->store, &at, &how, put_status, p, NULL, NULL,
                   err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return 0;
}

static int
observe(struct pass *p, bool *ret_is_there, struct err *err)
{
    struct loop_key at;
    json_t *status;

    loop_key_parse(p->key, &at);
    if (objutil_find(p->m->ctl, &kind_backuptarget, "", at.name, &p->object,
                     err) < 0)
        return -1;
    *ret_is_there = p->object != NULL && !object_is_deleting(p->object);
    for (size_t i = 0; !*ret_is_there && i < target_tasks_count; i++) {
        CLEANUP(mem_free) char *key = job_key(&target_tasks[i], at.name);

        job_abandon(p->m->jobs, key);
    }
    if (!*ret_is_there)
        return 0;
    p->json = object_json(p->object);
    status = json_object_get(json_object_get(p->json, "status"), "maintenance");
    p->status = status != NULL ? json_deep_copy(status) : json_object();
    return 0;
}

static int
maintain_work(void *arg, const char *key, int64_t *ret_again_ms,
              struct err *err)
{
    struct maintain *m = arg;
    CLEANUP(pass_fini) struct pass p = { .m = m, .key = key };
    bool is_there = false;
    struct err why;
    int rc;

    p.now_s = clock_wall_s();
    p.again_ms = INT64_MAX;
    *ret_again_ms = QUEUE_DONE;
    if (observe(&p, &is_there, err) < 0)
        return -1;
    if (!is_there) {
        *ret_again_ms = p.again_ms == INT64_MAX ? QUEUE_DONE : p.again_ms;
        return 0;
    }
    again_in(&p, REST_MS);
    rc = target_open(m->ctl, object_name(p.object), &p.ref, &why);
    job_group_hold(m->jobs, object_name(p.object), rc < 0);
    if (rc < 0) {
        *ret_again_ms = AWAY_MS;
        return 0;
    }
    for (size_t i = 0; i < target_tasks_count; i++)
        if (step_task(&p, &target_tasks[i], err) < 0)
            return -1;
    apply_retention(&p);
    *ret_again_ms = p.again_ms;
    return write_status(&p, err);
}

/* A backup that became ready makes another one expire. */
static void
map(void *arg, struct loop *l, const struct cache_event *ev)
{
    (void)arg;
    if (object_gvr(ev->object) == &kind_backuptarget.gvr) {
        loop_add(l, "", object_name(ev->object));
        return;
    }

    CLEANUP(json_decref) json_t *o = object_json(ev->object);
    const char *target = jsonx_str(o, "status.vmkeep.target");

    if (target != NULL) {
        CLEANUP(mem_free) char *key = xasprintf("/%s", target);

        loop_add_key(l, key, SOON_MS);
    }
}

static const struct gvr *const followed[] = { &kind_backuptarget.gvr,
                                              &kind_vmbackup.gvr, NULL };
static const struct loop_spec spec = {
    .name = "maintain",
    .flow = "maintain",
    .workers = 2,
    .gvrs = followed,
    .map = map,
    .work = maintain_work,
};

static void
maintain_stop(void *state)
{
    struct maintain *m = state;

    job_pool_stop(m->jobs);
    loop_free(m->loop);
    job_pool_free(m->jobs);
    free(m);
}

static void *
maintain_start(struct ctl *ctl, struct err *err)
{
    struct maintain *m = xcalloc(1, sizeof *m);

    m->ctl = ctl;
    m->jobs = job_pool_new(1);
    m->loop = loop_new(ctl, &spec, m);
    if (loop_start(m->loop, err) == 0)
        return m;
    maintain_stop(m);
    return NULL;
}

const struct ctl_part target_maintain_part = {
    .name = "maintain",
    .start = maintain_start,
    .stop = maintain_stop,
};
