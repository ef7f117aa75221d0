/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-look.h: one look at a BackupTarget: who is in its
 * directory, what is in the repository, what is still to be deleted there.
 *
 * Everything here may block for as long as a file server is away, so it runs
 * in a job. What it found it publishes (target-priv.h) and writes into the
 * object's status; its note is {againMs}.
 * Threads: the job's.
 * source  DESIGN 8
 */
#pragma once
#include "controller/job.h"
#include "controller/target-priv.h"

#define TARGET_LOOK_TEST "vmkeep.io/test" /* annotation: answer this text */

/* fn, arg and free_arg of the job. */
int target_look_run(struct job *job, void *arg, struct err *err) NODISCARD;
void *target_look_arg(struct targets *t, struct ctl *ctl, struct object *target)
    NODISCARD;
void target_look_free(void *arg);

/* Does the object ask for a test that was not answered? Which? NULL: no.
 * Borrowed from `target`. */
const char *target_look_test_of(const json_t *target);
