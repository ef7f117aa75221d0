/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target.h: BackupTarget objects, and the repositories behind them.
 *
 * The controller opens each target's repository (or creates it, once), looks
 * at it now and then, in a job, for it may be away and then hangs, makes
 * VirtualMachineBackup objects for the backups that no object knows, and works
 * off deletions that could not be done. All others get the repository from
 * here: one open repository per target, shared. No call here blocks on the
 * target; every call on the repository may, for as long as its file server is
 * away, and belongs into a job of the target's group (controller/job.h), whose
 * name is the BackupTarget's. Threads: any. source  DESIGN 8, 9; docs/api.md
 * (BackupTarget)
 */
#pragma once
#include "controller/ctl.h"
#include "repo/repo.h"

#define TARGET_DEFAULT    "default"
#define TARGET_ANNOTATION "vmkeep.io/backup-target" /* of a backup */

/* A held repository. It stays open until released, even if the BackupTarget
 * changes or goes meanwhile. */
struct target_ref;

/* The repository of a BackupTarget that was ready when it was last looked at.
 *
 *   name     of the BackupTarget
 *   ret_ref  the caller's: target_release()
 *   errors   NOT_FOUND (no such BackupTarget); UNAVAILABLE (it is not ready:
 *            the message says why)
 */
int target_open(struct ctl *ctl, const char *name, struct target_ref **ret_ref,
                struct err *err) NODISCARD;
struct repo *target_repo(struct target_ref *ref);       /* borrowed */
const char *target_name(const struct target_ref *ref);  /* borrowed */
const char *target_uuid(const struct target_ref *ref);  /* of the repository */
bool target_is_encrypted(const struct target_ref *ref); /* keeps secrets? */
const char *target_endpoint(const struct target_ref *ref); /* "file:///srv/b" */
void target_release(struct target_ref *ref);               /* NULL is fine */
DEFINE_CLEANUP(target_release, struct target_ref *)

/* What is known of it, without asking it. */
enum target_state {
    TARGET_IS_UNKNOWN, /* the first look since the start has not ended */
    TARGET_IS_READY,
    TARGET_IS_AWAY, /* not ready, or it does not answer, or there is none */
};
enum target_state target_state(struct ctl *ctl, const char *name);

/* Is the backup of `object_uid` in the target, as its last successful look
 * says? */
enum target_holds {
    TARGET_HOLDS_UNKNOWN, /* the target is away, or damaged */
    TARGET_HOLDS_IT,
    TARGET_HOLDS_NOT,
    TARGET_IS_GONE, /* there is no such BackupTarget */
};
enum target_holds target_holds(struct ctl *ctl, const char *name,
                               const char *object_uid);

/* Something was written there, or a call on it failed: look at the target soon.
 */
void target_poke(struct ctl *ctl, const char *name);
