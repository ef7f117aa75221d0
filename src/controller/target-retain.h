/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-retain.h: which VirtualMachineBackups a BackupTarget's
 * spec.retention keeps; the others are deleted like any other: by their
 * objects, so that what happens then is what happens when a user deletes one.
 *
 * Only finished backups of that target are looked at, each virtual machine's
 * by themselves, in the order of the repository's log (repo/retain.h). Never
 * deleted: the last good one of a virtual machine, one with the annotation
 * vmkeep.io/hold, one on hold in the repository, one that a restore reads.
 * Threads: any, one per target. Blocks on the store and the repository.
 */
#pragma once
#include "controller/target.h"
#include "repo/retain.h"

#define TARGET_RETAIN_HOLD "vmkeep.io/hold"

/* spec.retention; all zeros when there is none.
 *   errors  INVALID (keepWithin) */
int target_retain_policy(const json_t *target, struct retain_policy *ret,
                         struct err *err) NODISCARD;

/* Has this backup the annotation, and does it not say "false"? */
bool target_retain_is_held(const json_t *backup);

/* Is this a finished backup of the target? `*ret_is_bad`: it cannot be
 * restored. */
bool target_retain_counts(const json_t *backup, const char *target,
                          bool *ret_is_bad);

struct target_retain_result {
    size_t kept, deleted;
    char *first; /* "namespace/name" of the first that was deleted, or NULL */
};

/* Apply it once. `target` is for the events.
 *   errors  CORRUPT (the log is damaged: nothing is deleted) */
int target_retain_run(struct ctl *ctl, struct object *target,
                      struct target_ref *ref, struct target_retain_result *ret,
                      struct err *err) NODISCARD;
