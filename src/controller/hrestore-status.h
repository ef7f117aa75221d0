/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-status.h: the status of Harvester's
 * VirtualMachineRestore, made from a plan, a backup and a job's progress.
 *
 * Everything is a JSON Merge Patch of the status (objutil_merge_status).
 * Threads: pure functions. Results are the caller's.
 * source  spec harvester 1.2, 3.2, 3.9
 */
#pragma once
#include "codec/jsonx.h"
#include "controller/hrestore-plan.h"

/* Conditions, phase and complete as `plan` says. `status`: as it is, or
 * NULL. */
json_t *hrestore_status_plan(const json_t *status,
                             const struct hrestore_plan *plan, int64_t now_s)
    NODISCARD;

/* Done, as `plan` says: complete, progress 100, restoreTime; what a try needed
 * goes. Of a dry run: only complete. */
json_t *hrestore_status_done(const json_t *status,
                             const struct hrestore_plan *plan, bool is_dry_run,
                             int64_t now_s) NODISCARD;

/* "restore-<backup>-<uid>-<volume>"; without the backup's name where that
 * would be too long for a claim. */
char *hrestore_status_claim(const char *backup, const char *uid,
                            const char *volume) NODISCARD;

/* An entry of status.restores.
 *
 *   backup   the VirtualMachineBackup
 *   claim    the name of the new claim, in namespace `ns`
 *   percent  of the volume's bytes
 */
struct hrestore_status_volume {
    const char *ns, *volume, *claim;
    uint64_t size;
    unsigned percent;
};
json_t *hrestore_status_row(const json_t *backup,
                            const struct hrestore_status_volume *v) NODISCARD;

/* How far a job is. */
struct hrestore_status_moved {
    uint64_t done, all;    /* bytes */
    const json_t *volumes; /* {"vda": bytes done}; NULL: not known */
    int64_t since_s, now_s;
};
/* progress (never less than it was, 99 at most), restores[].progress, and
 * vmkeep: bytes, rate, seconds left. */
json_t *hrestore_status_progress(const json_t *status,
                                 const struct hrestore_status_moved *m)
    NODISCARD;
