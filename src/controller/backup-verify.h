/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-verify.h: the annotation vmkeep.io/verify: TEXT of a
 * finished backup: everything that it needs is read and checked by a job, the
 * answer is the condition Verified, then status.vmkeep.lastVerify: TEXT.
 *
 * Threads: any; one key at a time.
 * source  docs/api.md (Requests by annotation)
 */
#pragma once
#include "controller/ctl.h"

/* Is there something to do? Then do one step: *ret_is_changed says that
 * `object`.status is to be written.
 *
 *   object      of the backup, changed
 *   queue, key  who is told when the job is worth a look */
int backup_verify_step(struct ctl *ctl, json_t *object, const char *target,
                       struct queue *queue, const char *key,
                       bool *ret_is_changed, struct err *err) NODISCARD;
/* The object goes: end the job. false: it has not ended yet; never with
 * `must_not_wait`. */
bool backup_verify_stop(struct ctl *ctl, const char *uid, bool must_not_wait);
