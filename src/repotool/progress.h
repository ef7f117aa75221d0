/* SPDX-License-Identifier: Apache-2.0 */
/* repotool/progress.h: one line on a terminal that says how far it is.
 *
 * Threads: progress_show() and progress_on() any.
 */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* "import" */
    uint64_t all;     /* bytes; 0: unknown */
    bool is_shown;
    uint64_t begin_ms, next_ms;
    pthread_mutex_t mutex;
};

void progress_init(struct progress *p, const char *what, uint64_t all,
                   bool is_quiet);
void progress_show(struct progress *p, uint64_t done);
/* The same as the callback of a sink, with the progress as its `arg`; 0. */
int progress_on(void *arg, uint64_t done, uint64_t all);
void progress_end(struct progress *p); /* clears the line */

/* "1.5 GiB" */
#define PROGRESS_SIZE 16
void progress_format(uint64_t bytes, char out[PROGRESS_SIZE]);
/* Seconds since progress_init(). */
double progress_seconds(const struct progress *p);
