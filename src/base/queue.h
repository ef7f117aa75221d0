/* SPDX-License-Identifier: Apache-2.0 */
/* base/queue.h: the controllers' work queue.
 *
 * Keys (strings) are handed to worker threads. A key is never in two workers
 * at once; added while it is being worked on, it is worked on once more
 * afterwards. A step that must wait returns "again after", it does not sleep.
 * A step that fails is repeated with a growing pause.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "base/mutex.h"

struct queue;
extern struct role queue_lock;

#define QUEUE_DONE ((int64_t)-1) /* nothing more to do for this key */

/* Work on one key. Returns 0 and sets *ret_again_ms (QUEUE_DONE, or after how
 * many ms to call again), or -1: the queue logs the error, waits (0.5 s,
 * doubling to 60 s; errors that are not retryable too: the world may change)
 * and calls again. Called without the queue's lock; may add keys. */
typedef int (*queue_work_fn)(void *arg, const char *key, int64_t *ret_again_ms,
                             struct err *err);

/* `name` is for logs and thread names, at most 10 letters; kept by pointer. */
struct queue *queue_new(const char *name, unsigned workers, queue_work_fn work,
                        void *arg) NODISCARD;
/* Stops (see below) and frees. */
void queue_free(struct queue *q);

void queue_start(struct queue *q);
/* No key is begun any more; waits for the workers' present keys to end. */
void queue_stop(struct queue *q) EXCLUDES(queue_lock);

void queue_add(struct queue *q, const char *key) EXCLUDES(queue_lock);
void queue_add_after(struct queue *q, const char *key, uint64_t after_ms)
    EXCLUDES(queue_lock);

/* Wait until nothing is due or worked on; false after `timeout_ms`. Keys that
 * wait for a later time do not count. For tests. */
bool queue_wait_idle(struct queue *q, uint64_t timeout_ms) EXCLUDES(queue_lock);
