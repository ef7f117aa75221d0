/* SPDX-License-Identifier: Apache-2.0 */
/* The queue is one table of keys. Each entry knows when it is due and whether
 * a worker has it; a worker takes the entry that is due first. With the few
 * thousand keys of a host a scan of the table is cheaper than the care that a
 * heap beside a table would need.
 *
 * An entry that is added while a worker has it only gets its due time, and is
 * taken again when the worker is done. An entry without work is removed. Due
 * times are times of adding, so that a key that comes again and again does
 * not starve its neighbours.
 *
 * One worker is woken for each key that is added; who takes a key wakes one
 * more, so that somebody always waits for the earliest time in the table.
 */
#include "base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#define MAX_WORKERS    32
#define FIRST_PAUSE_MS 500
#define LAST_PAUSE_MS  60000
#define NEVER          UINT64_MAX

struct entry {
    uint64_t due_ms; /* NEVER: not wanted */
    unsigned failures;
    bool is_running;
};

struct queue {
    const char *name;       /* [C] */
    unsigned workers;       /* [C] */
    queue_work_fn work;     /* [C] */
    void *arg;              /* [C] */
    pthread_mutex_t mutex;  /* what queue_lock stands for */
    pthread_cond_t changed; /* for workers */
    pthread_cond_t calmed;  /* for queue_wait_idle(): a step has ended */
    pthread_t threads[MAX_WORKERS];
    struct map *entries GUARDED_BY(queue_lock);
    unsigned running GUARDED_BY(queue_lock);
    bool is_started GUARDED_BY(queue_lock);
    bool is_stopping GUARDED_BY(queue_lock);
};

static void lock(struct queue *q) ACQUIRE(queue_lock);
static void unlock(struct queue *q) RELEASE(queue_lock);

static void NO_TSA
lock(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
}

static void NO_TSA
unlock(struct queue *q)
{
    pthread_mutex_unlock(&q->mutex);
}

struct queue *NO_TSA
queue_new(const char *name, unsigned workers, queue_work_fn work, void *arg)
{
    struct queue *q = xcalloc(1, sizeof *q);
    pthread_condattr_t attr;

    q->name = name;
    q->workers = workers > MAX_WORKERS ? MAX_WORKERS : workers;
    q->work = work;
    q->arg = arg;
    q->entries = map_new();
    pthread_mutex_init(&q->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&q->changed, &attr);
    pthread_cond_init(&q->calmed, &attr);
    pthread_condattr_destroy(&attr);
    return q;
}

void NO_TSA
queue_free(struct queue *q)
{
    const char *key;
    void *value;

    if (q == NULL)
        return;
    queue_stop(q);
    for (size_t i = 0; map_next(q->entries, &i, &key, &value);)
        free(value);
    map_free(q->entries);
    pthread_cond_destroy(&q->changed);
    pthread_cond_destroy(&q->calmed);
    pthread_mutex_destroy(&q->mutex);
    free(q);
}

static void
add_locked(struct queue *q, const char *key, uint64_t due_ms)
    REQUIRES(queue_lock)
{
    struct entry *e = map_get(q->entries, key);

    if (e == NULL) {
        e = xcalloc(1, sizeof *e);
        e->due_ms = NEVER;
        (void)map_put(q->entries, key, e);
    }
    if (due_ms < e->due_ms)
        e->due_ms = due_ms;
    pthread_cond_signal(&q->changed);
}

void
queue_add(struct queue *q, const char *key)
{
    lock(q);
    add_locked(q, key, clock_mono_ms());
    unlock(q);
}

void
queue_add_after(struct queue *q, const char *key, uint64_t after_ms)
{
    lock(q);
    add_locked(q, key, clock_mono_ms() + after_ms);
    unlock(q);
}

/* The idle entry that is due first; NULL if none is due yet, and then
 * *ret_next_ms says when to look again. */
static struct entry *
first_due_locked(struct queue *q, const char **ret_key, uint64_t *ret_next_ms)
    REQUIRES(queue_lock)
{
    uint64_t now = clock_mono_ms();
    struct entry *best = NULL;
    const char *key;
    void *value;

    *ret_next_ms = NEVER;
    for (size_t i = 0; map_next(q->entries, &i, &key, &value);) {
        struct entry *e = value;

        if (e->is_running)
            continue;
        if (e->due_ms > now && e->due_ms < *ret_next_ms)
            *ret_next_ms = e->due_ms;
        if (e->due_ms <= now && (best == NULL || e->due_ms < best->due_ms)) {
            best = e;
            *ret_key = key;
        }
    }
    return best;
}

static void
wait_until_locked(struct queue *q, pthread_cond_t *cond, uint64_t until_ms)
    REQUIRES(queue_lock)
{
    struct timespec ts = { .tv_sec = (time_t)(until_ms / 1000u),
                           .tv_nsec = (long)(until_ms % 1000u) * 1000000L };

    if (until_ms == NEVER)
        pthread_cond_wait(cond, &q->mutex);
    else
        (void)pthread_cond_timedwait(cond, &q->mutex, &ts);
}

/* The next key, copied and marked as running; NULL when stopping. */
static char *
take_locked(struct queue *q) REQUIRES(queue_lock)
{
    while (!q->is_stopping) {
        const char *key = NULL;
        uint64_t next_ms;
        struct entry *e = first_due_locked(q, &key, &next_ms);

        if (e == NULL) {
            wait_until_locked(q, &q->changed, next_ms);
            continue;
        }
        e->is_running = true;
        e->due_ms = NEVER;
        q->running++;
        pthread_cond_signal(&q->changed);
        return xstrdup(key);
    }
    return NULL;
}

static void
done_locked(struct queue *q, const char *key, int rc, int64_t again_ms)
    REQUIRES(queue_lock)
{
    struct entry *e = map_get(q->entries, key);
    uint64_t due = NEVER, now = clock_mono_ms();

    e->is_running = false;
    q->running--;
    if (rc < 0) {
        uint64_t pause = FIRST_PAUSE_MS;

        for (unsigned i = 0; i < e->failures && pause < LAST_PAUSE_MS; i++)
            pause *= 2;
        due = now + (pause < LAST_PAUSE_MS ? pause : LAST_PAUSE_MS);
        e->failures++;
    } else {
        e->failures = 0;
        if (again_ms >= 0)
            due = now + (uint64_t)again_ms;
    }
    if (due < e->due_ms)
        e->due_ms = due;
    if (e->due_ms == NEVER)
        free(map_remove(q->entries, key));
    else
        pthread_cond_signal(&q->changed);
    pthread_cond_broadcast(&q->calmed);
}

static char *
take(struct queue *q)
{
    char *key;

    lock(q);
    key = take_locked(q);
    unlock(q);
    return key;
}

static void *
worker(void *arg)
{
    struct queue *q = arg;
    char *key;

    while ((key = take(q)) != NULL) {
        struct err err = { 0 };
        int64_t again_ms = QUEUE_DONE;
        int rc = q->work(q->arg, key, &again_ms, &err);

        if (rc < 0)
            log_warn("%s: %s: %s", q->name, key, err.msg);
        lock(q);
        done_locked(q, key, rc, again_ms);
        unlock(q);
        free(key);
    }
    return NULL;
}

void
queue_start(struct queue *q)
{
    char name[16];

    lock(q);
    if (!q->is_started)
        for (unsigned i = 0; i < q->workers; i++) {
            if (pthread_create(&q->threads[i], NULL, worker, q) != 0)
                abort();
            (void)snprintf(name, sizeof name, "%.10s/%u", q->name, i % 100);
            pthread_setname_np(q->threads[i], name);
        }
    q->is_started = true;
    unlock(q);
}

void
queue_stop(struct queue *q)
{
    bool was_started;

    lock(q);
    q->is_stopping = true;
    was_started = q->is_started;
    q->is_started = false;
    pthread_cond_broadcast(&q->changed);
    unlock(q);
    for (unsigned i = 0; was_started && i < q->workers; i++)
        pthread_join(q->threads[i], NULL);
}

static bool
is_idle_locked(struct queue *q) REQUIRES(queue_lock)
{
    const char *key;
    uint64_t next_ms;

    return q->running == 0 && first_due_locked(q, &key, &next_ms) == NULL;
}

bool
queue_wait_idle(struct queue *q, uint64_t timeout_ms)
{
    uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
    bool is_idle;

    lock(q);
    while (!(is_idle = is_idle_locked(q)) && clock_mono_ms() < deadline_ms)
        wait_until_locked(q, &q->calmed, deadline_ms);
    unlock(q);
    return is_idle;
}
