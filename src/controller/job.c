/* SPDX-License-Identifier: Apache-2.0 */
/* controller/job.c: one thread per job.
 *
 * Jobs are few and long, so each gets a thread when it is its turn; the thread
 * ends with it and hands the place on to the job that has waited longest. One
 * lock guards the table and the jobs' outcomes; the work itself never holds
 * it. Order of locks: job_lock, then the queue's own (in tell_locked()), so
 * that job_forget_queue() is final when it returns.
 */
#include "controller/job.h"

#include <sys/resource.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/map.h"
#include "base/mem.h"

struct job {
    struct jobs *jobs; /* [C] */
    char *key;         /* [C] */
    const char *flow;  /* [C] */
    job_fn fn;         /* [C] */
    void *arg;         /* [T: the job's; before and after it: who frees] */
    void (*free_arg)(void *);
    char *queue_key;          /* [C] */
    atomic_bool is_cancelled; /* [A] */
    struct queue *queue GUARDED_BY(job_lock);
    enum job_state state GUARDED_BY(job_lock);
    uint64_t order GUARDED_BY(job_lock); /* the lowest waits longest */
    struct job_progress progress GUARDED_BY(job_lock);
    struct job_progress told GUARDED_BY(job_lock); /* with the last poke */
    uint64_t told_ms GUARDED_BY(job_lock);
    uint64_t begun_ms GUARDED_BY(job_lock);
    json_t *note GUARDED_BY(job_lock);
    json_t *told_note GUARDED_BY(job_lock);
    struct err err GUARDED_BY(job_lock);
};

struct jobs {
    unsigned max; /* [C] */
    pthread_mutex_t mutex;
    pthread_cond_t ended; /* `running` went down */
    struct map *table GUARDED_BY(job_lock);
    unsigned running GUARDED_BY(job_lock); /* threads */
    uint64_t next_order GUARDED_BY(job_lock);
    bool is_stopping GUARDED_BY(job_lock);
};

static void
lock(struct jobs *jobs) ACQUIRE(job_lock) NO_TSA
{
    pthread_mutex_lock(&jobs->mutex);
}

static void
unlock(struct jobs *jobs) RELEASE(job_lock) NO_TSA
{
    pthread_mutex_unlock(&jobs->mutex);
}

struct jobs *NO_TSA
job_pool_new(unsigned max)
{
    struct jobs *jobs = xcalloc(1, sizeof *jobs);

    jobs->max = max;
    jobs->table = map_new();
    (void)pthread_mutex_init(&jobs->mutex, NULL);
    (void)pthread_cond_init(&jobs->ended, NULL);
    return jobs;
}

static void NO_TSA
job_free(struct job *job)
{
    if (job->free_arg != NULL)
        job->free_arg(job->arg);
    json_decref(job->note);
    json_decref(job->told_note);
    free(job->key);
    free(job->queue_key);
    free(job);
}

static void
tell_locked(struct job *job) REQUIRES(job_lock)
{
    job->told = job->progress;
    if (job->told_note != job->note) {
        json_decref(job->told_note);
        job->told_note = json_incref(job->note);
    }
    job->told_ms = clock_mono_ms();
    if (job->queue != NULL)
        queue_add(job->queue, job->queue_key);
}

/* ---- running ---- */

static void *job_main(void *arg);

static struct job *
longest_waiting_locked(struct jobs *jobs) REQUIRES(job_lock)
{
    struct job *best = NULL;
    const char *key;
    void *value;

    for (size_t i = 0; map_next(jobs->table, &i, &key, &value);) {
        struct job *job = value;

        if (job->state == JOB_WAITING &&
            (best == NULL || job->order < best->order))
            best = job;
    }
    return best;
}

static void
fail_locked(struct job *job, const struct err *err) REQUIRES(job_lock)
{
    job->state = JOB_FAILED;
    job->err = *err;
    tell_locked(job);
}

/* Start whoever may run now. */
static void
dispatch_locked(struct jobs *jobs) REQUIRES(job_lock)
{
    struct job *job;

    while (!jobs->is_stopping && jobs->running < jobs->max &&
           (job = longest_waiting_locked(jobs)) != NULL) {
        pthread_attr_t attr;
        pthread_t thread;
        int rc;

        (void)pthread_attr_init(&attr);
        (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        rc = pthread_create(&thread, &attr, job_main, job);
        (void)pthread_attr_destroy(&attr);
        if (rc != 0) {
            struct err err;

            err_do_sys(&err, rc, "job: start its thread");
            fail_locked(job, &err);
            continue;
        }
        job->state = JOB_RUNNING;
        job->begun_ms = clock_mono_ms();
        jobs->running++;
    }
}

/* Guests come first: what takes minutes gives way to them, and so do the
 * threads and programs that it starts, for both inherit this. Linux counts it
 * per thread. It cannot be taken back without CAP_SYS_NICE. */
static void
give_way(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), JOB_NICE);
}

static void *
job_main(void *arg)
{
    struct job *job = arg;
    struct jobs *jobs = job->jobs;
    struct err err = { 0 };
    int rc;

    (void)pthread_setname_np(pthread_self(), "job");
    give_way();
    effect_flow_set(job->flow);
    rc = job_check(job, &err);
    if (rc == 0)
        rc = job->fn(job, job->arg, &err);
    effect_flow_set(NULL);

    lock(jobs);
    jobs->running--;
    if (rc < 0) {
        fail_locked(job, &err);
    } else {
        job->state = JOB_DONE;
        tell_locked(job);
    }
    dispatch_locked(jobs);
    pthread_cond_broadcast(&jobs->ended);
    unlock(jobs);
    return NULL;
}

static int
add_locked(struct jobs *jobs, struct job *job, struct err *err)
    REQUIRES(job_lock)
{
    if (jobs->is_stopping)
        return err_set(err, ERR_CANCELLED, "the daemon is stopping");
    if (map_get(jobs->table, job->key) != NULL)
        return err_set(err, ERR_EXISTS, "job %s is there already", job->key);
    job->state = JOB_WAITING;
    job->order = jobs->next_order++;
    job->told_ms = clock_mono_ms();
    (void)map_put(jobs->table, job->key, job);
    dispatch_locked(jobs);
    return 0;
}

int NO_TSA
job_start(struct jobs *jobs, const struct job_spec *spec, struct err *err)
{
    struct job *job = xcalloc(1, sizeof *job);
    int rc;

    job->jobs = jobs;
    job->key = xstrdup(spec->key);
    job->flow = spec->flow;
    job->fn = spec->fn;
    job->arg = spec->arg;
    job->free_arg = spec->free_arg;
    job->queue = spec->queue;
    job->queue_key = spec->queue_key == NULL ? NULL : xstrdup(spec->queue_key);
    lock(jobs);
    rc = add_locked(jobs, job, err);
    unlock(jobs);
    if (rc < 0)
        job_free(job);
    return rc;
}

/* ---- looking ---- */

enum job_state
job_look(struct jobs *jobs, const char *key, struct job_progress *ret_progress,
         struct err *ret_err)
{
    enum job_state state = JOB_NONE;
    struct job *job;

    lock(jobs);
    job = map_get(jobs->table, key);
    if (job != NULL) {
        state = job->state;
        if (ret_progress != NULL)
            *ret_progress = state == JOB_RUNNING ? job->told : job->progress;
        if (ret_err != NULL && state == JOB_FAILED)
            *ret_err = job->err;
    }
    unlock(jobs);
    return state;
}

json_t *
job_note_get(struct jobs *jobs, const char *key)
{
    json_t *note = NULL;
    struct job *job;

    lock(jobs);
    job = map_get(jobs->table, key);
    if (job != NULL && job->told_note != NULL)
        note = json_deep_copy(job->told_note);
    unlock(jobs);
    return note;
}

/* ---- ending ---- */

static void
cancel_locked(struct job *job) REQUIRES(job_lock)
{
    struct err err;

    atomic_store(&job->is_cancelled, true);
    if (job->state != JOB_WAITING)
        return;
    err_do_set(&err, ERR_CANCELLED, "cancelled");
    fail_locked(job, &err);
}

void
job_cancel(struct jobs *jobs, const char *key)
{
    struct job *job;

    lock(jobs);
    job = map_get(jobs->table, key);
    if (job != NULL)
        cancel_locked(job);
    unlock(jobs);
}

static struct job *
take_ended_locked(struct jobs *jobs, const char *key, bool *ret_is_busy)
    REQUIRES(job_lock)
{
    struct job *job = map_get(jobs->table, key);

    *ret_is_busy =
        job != NULL && (job->state == JOB_WAITING || job->state == JOB_RUNNING);
    return *ret_is_busy ? NULL : map_remove(jobs->table, key);
}

bool
job_forget(struct jobs *jobs, const char *key)
{
    struct job *job;
    bool is_busy;

    lock(jobs);
    job = take_ended_locked(jobs, key, &is_busy);
    unlock(jobs);
    if (job != NULL)
        job_free(job);
    return !is_busy;
}

void
job_forget_queue(struct jobs *jobs, const struct queue *queue)
{
    const char *key;
    void *value;

    lock(jobs);
    for (size_t i = 0; map_next(jobs->table, &i, &key, &value);) {
        struct job *job = value;

        if (job->queue == queue)
            job->queue = NULL;
    }
    unlock(jobs);
}

void
job_pool_stop(struct jobs *jobs)
{
    const char *key;
    void *value;

    lock(jobs);
    jobs->is_stopping = true;
    for (size_t i = 0; map_next(jobs->table, &i, &key, &value);)
        cancel_locked(value);
    while (jobs->running > 0)
        (void)pthread_cond_wait(&jobs->ended, &jobs->mutex);
    unlock(jobs);
}

void NO_TSA
job_pool_free(struct jobs *jobs)
{
    const char *key;
    void *value;

    if (jobs == NULL)
        return;
    job_pool_stop(jobs);
    for (size_t i = 0; map_next(jobs->table, &i, &key, &value);)
        job_free(value);
    map_free(jobs->table);
    (void)pthread_cond_destroy(&jobs->ended);
    (void)pthread_mutex_destroy(&jobs->mutex);
    free(jobs);
}

/* ---- the work's side ---- */

bool
job_is_cancelled(struct job *job)
{
    return atomic_load(&job->is_cancelled);
}

int
job_check(struct job *job, struct err *err)
{
    return job_is_cancelled(job) ? err_set(err, ERR_CANCELLED, "cancelled") : 0;
}

static bool
is_worth_a_look_locked(const struct job *job) REQUIRES(job_lock)
{
    const struct job_progress *now = &job->progress, *told = &job->told;

    return now->all_bytes != told->all_bytes ||
           (now->done_bytes - told->done_bytes) / JOB_POKE_PERCENT >=
               now->all_bytes / 100 + 1 ||
           clock_mono_ms() - job->told_ms >= JOB_POKE_MS;
}

void
job_progress_set(struct job *job, const struct job_progress *progress)
{
    lock(job->jobs);
    job->progress = *progress;
    job->progress.elapsed_ms = clock_mono_ms() - job->begun_ms;
    if (is_worth_a_look_locked(job))
        tell_locked(job);
    unlock(job->jobs);
}

void
job_note_set(struct job *job, json_t *note)
{
    json_t *old;

    lock(job->jobs);
    old = job->note;
    job->note = note;
    unlock(job->jobs);
    json_decref(old);
}
