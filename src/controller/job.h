/* SPDX-License-Identifier: Apache-2.0 */
/* controller/job.h: long work in threads of its own.
 *
 * A controller's step must not take minutes: it starts a job, returns "again
 * after", and looks at the job in later steps. A job has a key (the object's
 * uid and what is done with it); one job per key. It tells its progress and
 * looks between two chunks whether it has been cancelled. When it ends, and
 * when its progress is worth a look, its owner's queue gets a key. Its outcome
 * stays until job_forget(). Jobs die with the process: what must survive is in
 * the objects and in the repository. Its threads have a nice value of JOB_NICE,
 * so that a guest which wants the processor has it.
 *
 *   WAITING -> RUNNING -> DONE | FAILED;  WAITING -> FAILED (cancelled)
 *   RUNNING -> ABANDONED -> gone
 *
 * A job may hang for as long as a file server is away. So jobs that use the
 * same target have a group: while it is known to hang, its jobs take nobody's
 * place; and who must not wait for the end of a job abandons it.
 *
 * Threads: any; the work runs in threads of this module.
 * source  DESIGN 3 (controller/), 10
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "base/mutex.h"
#include "base/queue.h"
#include "codec/jsonx.h"

struct jobs;
struct job;
extern struct role job_lock;

#define JOB_POKE_MS      5000 /* progress pokes the owner that often, ... */
#define JOB_POKE_PERCENT 5    /* ... or when so much more is done */
#define JOB_NICE         10   /* setpriority(2) */

enum job_state {
    JOB_NONE,    /* no such job */
    JOB_WAITING, /* others run */
    JOB_RUNNING,
    JOB_DONE,
    JOB_FAILED,    /* `err`; CANCELLED: by job_cancel() or job_pool_stop() */
    JOB_ABANDONED, /* it runs, cancelled, and nobody waits for it */
};

struct job_progress {
    uint64_t done_bytes, all_bytes;
    uint64_t moved_bytes; /* of these really read, or written */
    uint64_t elapsed_ms;  /* since it began to run; set by job_progress_set() */
};

/* The work. Never returns a half-made thing: what it made before an error it
 * removes, or can use again. `arg` is its own. */
typedef int (*job_fn)(struct job *job, void *arg, struct err *err);

struct job_spec {
    const char *key;   /* copied */
    const char *flow;  /* effect_flow_set() in its thread; static */
    const char *group; /* copied; NULL: none */
    bool is_quick;     /* it takes an instant: guests do not come first */
    job_fn fn;
    void *arg;                /* taken, in any case */
    void (*free_arg)(void *); /* after fn, on any thread; NULL: nothing */
    struct queue *queue;      /* who is told; NULL: nobody */
    const char *queue_key;    /* copied */
};

/* At most `max` jobs run at once; more wait, in order. */
struct jobs *job_pool_new(unsigned max) NODISCARD;
/* Cancel everything and wait for it; no job starts any more. Before the
 * controllers are stopped. */
void job_pool_stop(struct jobs *jobs) EXCLUDES(job_lock);
void job_pool_free(struct jobs *jobs); /* stops first; NULL is fine */
DEFINE_CLEANUP(job_pool_free, struct jobs *)

/* errors  EXISTS (this key has a job, perhaps an ended one); CANCELLED (after
 *         job_pool_stop()) */
int job_start(struct jobs *jobs, const struct job_spec *spec, struct err *err)
    NODISCARD EXCLUDES(job_lock);

/* For what mostly takes an instant, but may hang: run it in a thread, and wait
 * for it at most `wait_ms`. Called again with the same key it waits for what
 * was started then.
 *
 *   ret_arg  set when 0 is returned: spec->arg as the work left it, the
 *            caller's to free
 *   returns  0: it is done, and forgotten; 1: it runs, spec->queue gets its key
 *            when it ends; -1: it failed, and is forgotten, or CANCELLED */
int job_ask(struct jobs *jobs, const struct job_spec *spec, uint64_t wait_ms,
            void **ret_arg, struct err *err) NODISCARD EXCLUDES(job_lock);

/* How it is. ret_progress and ret_err may be NULL; ret_err is set when the
 * state is JOB_FAILED. While it runs the progress is that of the last poke, so
 * that who writes it down does so no more often. */
enum job_state job_look(struct jobs *jobs, const char *key,
                        struct job_progress *ret_progress, struct err *ret_err)
    EXCLUDES(job_lock);
/* A copy of what the job had noted at the last poke (its end is one), the
 * caller's; NULL: nothing. */
json_t *job_note_get(struct jobs *jobs, const char *key)
    NODISCARD EXCLUDES(job_lock);

/* Ask it to stop; it ends as FAILED with CANCELLED, unless it was done. */
void job_cancel(struct jobs *jobs, const char *key) EXCLUDES(job_lock);
/* Drop an ended job. false: it has not ended (nothing is done). No such job is
 * fine. */
bool job_forget(struct jobs *jobs, const char *key) EXCLUDES(job_lock);
/* Cancel it and let it end alone: what it has is freed then, and nobody is
 * told. Until then its key is taken. */
void job_abandon(struct jobs *jobs, const char *key) EXCLUDES(job_lock);
/* While a group is held none of its jobs is started, and those that run take
 * nobody's place. */
void job_group_hold(struct jobs *jobs, const char *group, bool is_held)
    EXCLUDES(job_lock);
/* Before a queue is freed: no key of it is added any more. */
void job_forget_queue(struct jobs *jobs, const struct queue *queue)
    EXCLUDES(job_lock);

/* ---- for the work itself ---- */

bool job_is_cancelled(struct job *job);
/* The same as an error: -1 with CANCELLED. Between two chunks. */
int job_check(struct job *job, struct err *err) NODISCARD;
void job_progress_set(struct job *job, const struct job_progress *progress)
    EXCLUDES(job_lock);
/* Anything the controller wants to know: progress per disk, the result. Taken,
 * and not changed by anybody from now on. */
void job_note_set(struct job *job, json_t *note) EXCLUDES(job_lock);
