/* SPDX-License-Identifier: Apache-2.0 */
/* controller/job.c: one thread per job.
 *
 * Jobs are few and long, so each gets a thread when it is its turn; the thread
 * ends with it and hands the place on to the job that has waited longest. One
 * lock guards the table and the jobs' outcomes; the work itself never holds
 * it. An abandoned job stays in the table, so that its key is taken, and is
 * freed by its own thread. Order of locks: job_lock, then the queue's own (in
 * tell_locked()), so that job_forget_queue() is final when it returns.
 */
#include "controller/job.h"

#include <sys/resource.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/map.h"
#include "base/mem.h"

struct job {
    struct jobs *jobs; /* [C] */
    char *key;         /* [C] */
    char *group;       /* [C] NULL: none */
    const char *flow;  /* [C] */
    bool is_quick;     /* [C] */
    job_fn fn;         /* [C] */
    void *arg;         /* [T: the job's; before and after it: who frees] */
    void (*free_arg)(void *);
    char *queue_key;          /* [C] */
    atomic_bool is_cancelled; /* [A] */
    struct queue *queue GUARDED_BY(job_lock);
    enum job_state state GUARDED_BY(job_lock); /* ABANDONED: a thread has it */
    uint64_t order GUARDED_BY(job_lock);       /* the lowest waits longest */
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
    struct map *held GUARDED_BY(job_lock); /* groups */
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
    pthread_condattr_t attr;

    jobs->max = max;
    jobs->table = map_new();
    jobs->held = map_new();
    (void)pthread_mutex_init(&jobs->mutex, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&jobs->ended, &attr);
    (void)pthread_condattr_destroy(&attr);
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
    free(job->group);
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

static bool
is_held_locked(const struct job *job) REQUIRES(job_lock)
{
    return job->group != NULL && map_get(job->jobs->held, job->group) != NULL;
}

/* Places that are taken: a job that hangs takes none. */
static unsigned
busy_locked(struct jobs *jobs) REQUIRES(job_lock)
{
    unsigned n = 0;
    const char *key;
    void *value;

    for (size_t i = 0; map_next(jobs->table, &i, &key, &value);) {
        const struct job *job = value;

        n += (job->state == JOB_RUNNING || job->state == JOB_ABANDONED) &&
             !is_held_locked(job);
    }
    return n;
}

static struct job *
longest_waiting_locked(struct jobs *jobs) REQUIRES(job_lock)
{
    struct job *best = NULL;
    const char *key;
    void *value;

    for (size_t i = 0; map_next(jobs->table, &i, &key, &value);) {
        struct job *job = value;

        if (job->state == JOB_WAITING && !is_held_locked(job) &&
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

    while (!jobs->is_stopping && busy_locked(jobs) < jobs->max &&
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

/* What its thread does at the end; the caller frees what is returned. */
static struct job *
end_locked(struct job *job, int rc, const struct err *err) REQUIRES(job_lock)
{
    if (job->state == JOB_ABANDONED)
        return map_remove(job->jobs->table, job->key);
    if (rc < 0) {
        fail_locked(job, err);
    } else {
        job->state = JOB_DONE;
        tell_locked(job);
    }
    return NULL;
}

static void *
job_main(void *arg)
{
    struct job *job = arg, *abandoned;
    struct jobs *jobs = job->jobs;
    struct err err = { 0 };
    int rc;

    (void)pthread_setname_np(pthread_self(), "job");
    if (!job->is_quick)
        give_way();
    effect_flow_set(job->flow);
    rc = job_check(job, &err);
    if (rc == 0)
        rc = job->fn(job, job->arg, &err);
    effect_flow_set(NULL);

    lock(jobs);
    abandoned = end_locked(job, rc, &err);
    unlock(jobs);
    if (abandoned != NULL)
        job_free(abandoned);
    lock(jobs);
    jobs->running--;
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
    job->group = spec->group == NULL ? NULL : xstrdup(spec->group);
    job->flow = spec->flow;
    job->is_quick = spec->is_quick;
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

static bool
is_alive(enum job_state state)
{
    return state == JOB_WAITING || state == JOB_RUNNING ||
           state == JOB_ABANDONED;
}

static struct job *
take_ended_locked(struct jobs *jobs, const char *key, bool *ret_is_busy)
    REQUIRES(job_lock)
{
    struct job *job = map_get(jobs->table, key);

    *ret_is_busy = job != NULL && is_alive(job->state);
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

/* NULL: it runs, and ends alone. */
static struct job *
abandon_locked(struct jobs *jobs, const char *key) REQUIRES(job_lock)
{
    struct job *job = map_get(jobs->table, key);

    if (job == NULL)
        return NULL;
    job->queue = NULL;
    cancel_locked(job);
    if (!is_alive(job->state))
        return map_remove(jobs->table, key);
    job->state = JOB_ABANDONED;
    return NULL;
}

void
job_abandon(struct jobs *jobs, const char *key)
{
    struct job *job;

    lock(jobs);
    job = abandon_locked(jobs, key);
    unlock(jobs);
    if (job != NULL)
        job_free(job);
}

void
job_group_hold(struct jobs *jobs, const char *group, bool is_held)
{
    lock(jobs);
    if (is_held)
        (void)map_put(jobs->held, group, jobs);
    else
        (void)map_remove(jobs->held, group);
    dispatch_locked(jobs);
    unlock(jobs);
}

/* ---- asking ---- */

/* The job, if it ended in time; else NULL, and `queue` is told of its end. */
static struct job *
await_locked(struct jobs *jobs, const char *key, uint64_t wait_ms,
             struct queue *queue) REQUIRES(job_lock)
{
    uint64_t until_ms = clock_mono_ms() + wait_ms;
    struct timespec until = { .tv_sec = (time_t)(until_ms / 1000),
                              .tv_nsec = (long)(until_ms % 1000) * 1000000L };
    bool is_busy;
    struct job *job = take_ended_locked(jobs, key, &is_busy);

    while (is_busy && clock_mono_ms() < until_ms) {
        (void)pthread_cond_timedwait(&jobs->ended, &jobs->mutex, &until);
        job = take_ended_locked(jobs, key, &is_busy);
    }
    if (job == NULL && (job = map_get(jobs->table, key)) != NULL) {
        job->queue = queue;
        job = NULL;
    }
    return job;
}

int NO_TSA
job_ask(struct jobs *jobs, const struct job_spec *spec, uint64_t wait_ms,
        void **ret_arg, struct err *err)
{
    struct job_spec quiet = *spec;
    struct job *job;
    int rc = 0;

    quiet.queue = NULL; /* who waits is not told besides */
    quiet.is_quick = true;
    if (job_start(jobs, &quiet, err) < 0 && err->code != ERR_EXISTS)
        return -1;
    lock(jobs);
    job = await_locked(jobs, spec->key, wait_ms, spec->queue);
    unlock(jobs);
    if (job == NULL)
        return 1;
    if (job->state == JOB_FAILED) {
        *err = job->err;
        rc = -1;
    } else {
        *ret_arg = job->arg;
        job->free_arg = NULL;
    }
    job_free(job);
    return rc;
}

/* ---- ending all of them ---- */

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
    map_free(jobs->held);
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
