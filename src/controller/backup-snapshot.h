/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-snapshot.h: VirtualMachineBackup of type snapshot: a
 * VirtualMachineSnapshot of the same name, and its status mirrored.
 *
 * Threads: any; one key at a time.
 * source  DESIGN 4 (layering); spec harvester 2
 */
#pragma once
#include "controller/ctl.h"

/* One step: 0 look again, 1 at rest (*ret_again_ms), -1. `object` is replaced
 * by its newest version. */
int backup_snapshot_step(struct ctl *ctl, struct object **object,
                         int64_t *ret_again_ms, struct err *err) NODISCARD;
