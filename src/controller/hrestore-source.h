/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-source.h: a VirtualMachineBackup as something to restore
 * from (controller/restore-source.h).
 *
 * Type snapshot: the cut of its VirtualMachineSnapshot. Type backup: a backup
 * in the repository of its BackupTarget, opened for as long as the source is;
 * its disks are made by controller/hrestore-fill.h.
 * Threads: one thread's at a time.
 * source  DESIGN 7; docs/formats/backup-metadata.md
 */
#pragma once
#include "controller/backup-meta.h"
#include "controller/hrestore-place.h"
#include "controller/restore-source.h"
#include "controller/target.h"

struct job;
struct hrestore_source {
    struct restore_source base; /* its arg: this */
    /* Type backup; NULL for snapshots. */
    struct target_ref *target;
    struct repo_view *view;
    struct backup_meta *meta;
    struct hrestore_places *places;
    struct job *job; /* whose work it is; NULL: nobody's, nothing is made */
};

/* Open it.
 *
 *   backup   the VirtualMachineBackup, ready
 *   restore  its uid names files of ours; its annotations choose places
 *   errors   UNAVAILABLE (the target is not ready); NOT_FOUND (the snapshot, or
 *            the backup in the repository); CORRUPT; INVALID (annotation)
 *   blocks   on the repository
 */
int hrestore_source_open(struct ctl *ctl, const json_t *backup,
                         const json_t *restore,
                         struct hrestore_source **ret_source, struct err *err)
    NODISCARD;
void hrestore_source_close(struct hrestore_source *s); /* NULL is fine */
DEFINE_CLEANUP(hrestore_source_close, struct hrestore_source *)

/* The directory that firmware files of restores are put to meanwhile, as
 * controller/firmware.h takes it. Caller frees. */
char *hrestore_source_firmware_dir(const struct ctl *ctl) NODISCARD;
