/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-progress.h: how far a backup's job is, in its status.
 *
 * Threads: pure functions, but for the clock.
 * source  spec harvester 2.6
 */
#pragma once
#include "codec/jsonx.h"
#include "controller/ctl.h"
#include "controller/job.h"

/* Progress in total and per volume, rate, time left, the session to resume.
 * `note`: the job's (backup-read.h); NULL: it has said nothing yet. */
void backup_progress_tell(json_t *object, const struct job_progress *progress,
                          const json_t *note);
/* Why it does not get on: its target is away. Else what an earlier try failed
 * by is over. */
void backup_progress_target(struct ctl *ctl, json_t *object,
                            const char *target);
/* What the job found out, once it is done: tracking, bytes. */
void backup_progress_result(json_t *object, const json_t *note);
/* When it was complete, and how long it took. */
void backup_progress_end(json_t *object);
