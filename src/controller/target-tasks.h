/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-tasks.h: the long work of target-maintain.c, as jobs.
 *
 * A job's note is what status.maintenance.NAME gets when it has succeeded.
 * Threads: those of the pool.
 */
#pragma once
#include "controller/ctl.h"
#include "controller/job.h"

struct target_task {
    const char *name;       /* of its member in status.maintenance */
    const char *annotation; /* that asks for it now */
    const char *interval;   /* where the spec says how often */
    const char *standard;   /* when it does not */
    const char *failed;     /* reason of the event */
    job_fn run;
    /* Tell about the outcome by events; returns what is damaged, the caller's,
     * or NULL. NULL: there is nothing to tell. */
    char *(*tell)(struct ctl *ctl, struct object *target, const json_t *note);
};

extern const struct target_task target_tasks[];
extern const size_t target_tasks_count;

/* The argument of `run`: of the target as it is now. */
void *target_tasks_arg(struct ctl *ctl, const json_t *target, const char *name)
    NODISCARD;
void target_tasks_free(void *arg);
