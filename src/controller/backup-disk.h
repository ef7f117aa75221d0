/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-disk.h: one disk of a backup, from its sealed layer into
 * the repository.
 *
 * Threads: one thread per backup. Blocks on disks and the repository.
 * source  DESIGN 6 step 3; spec engine.md 3.1, 3.6, 5.6
 */
#pragma once
#include "controller/backup-meta.h"
#include "controller/ctl.h"
#include "controller/job.h"
#include "disk/ranges.h"

struct backup_disk_job {
    struct ctl *ctl;
    struct job *job;           /* for cancelling */
    const char *vm_uuid, *uid; /* `uid` names the cut */
    const char *target;
    const json_t *pull; /* its record, if it is pulled (pull.h); NULL: cut */
    const char *dir;    /* of the job */
    struct repo_backup *backup;
    const char *repo_uuid;
    struct repo_view *parent; /* NULL: none */
    const char *parent_id;
    /* So many of `all` bytes of the disk are done; may be called often. */
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t size);
    void *arg;
};

struct backup_disk_result {
    uint64_t size; /* bytes, as the guest sees it */
    char format[8];
    enum backup_meta_tracking tracking;
    const char *reason;   /* why not Incremental; static; NULL */
    uint64_t dirty_bytes; /* what the bitmaps say; Incremental only */
    uint64_t read_bytes;  /* from the layers */
    uint64_t audited, mismatches;
};

int backup_disk_store(const struct backup_disk_job *job,
                      struct backup_disk_result *ret, struct err *err)
    NODISCARD;
