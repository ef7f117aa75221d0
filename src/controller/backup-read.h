/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-read.h: the job that reads a recorded cut into the
 * repository and commits it.
 *
 * Its note (job_note_get()):
 *   {phase: "Reading" | "Committing", session, parent, readBytes, dirtyBytes,
 *    auditMismatches, disks: [{volume, method, reason, readBytes, dirtyBytes,
 *    progress}]}
 * Threads: any.
 * source  DESIGN 6 steps 2 to 5
 */
#pragma once
#include "controller/ctl.h"
#include "controller/job.h"

/* Start it under `key`. Everything that it needs is in the object: the cut is
 * status.vmkeep.cut, a dead session to resume status.vmkeep.cut.session.
 *
 *   json          the VirtualMachineBackup; copied
 *   parent        id of the backup to compare with if the change tracking
 *                 names none; NULL: none
 *   queue, queue_key  job.h
 */
int backup_read_start(struct ctl *ctl, const char *key, const json_t *json,
                      const char *parent, struct queue *queue,
                      const char *queue_key, struct err *err) NODISCARD;

/* The newest backup of this VM in this repository, as far as objects know: the
 * parent to take if the change tracking names none. NULL: none. Caller frees.
 */
char *backup_read_parent(struct ctl *ctl, const char *vm_uuid,
                         const char *repo_uuid) NODISCARD;

/* What a killed process left of the job of this backup: helpers that hold its
 * layers, its directory. */
int backup_read_sweep(struct ctl *ctl, const char *uid, struct err *err)
    NODISCARD;
