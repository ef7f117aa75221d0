/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-fill.h: the disks of a backup, written to new files.
 *
 * The long part of a restore, in a job (controller/job.h): the files are made
 * by volume/, their bytes come from the repository, each checked against its
 * digest, and are fsynced before anybody may name them. Zeros stay holes. A
 * crash or an error in the middle leaves files that recovery removes; the next
 * try begins again.
 * Threads: the job's, and the repository's workers below it.
 * source  DESIGN 7
 */
#pragma once
#include "controller/hrestore-source.h"

/* restore_source.make_disks of a struct hrestore_source (its arg).
 * errors  NO_SPACE (nothing was made); CANCELLED; CORRUPT; the store's */
int hrestore_fill_make_disks(struct ctl *ctl, struct restore_source *source,
                             const struct restore_request *rq,
                             struct volume_restore **ret_volume,
                             struct err *err) NODISCARD;

/* What each disk needs, and is there room for all? Lines like "space: ..." are
 * added to `lines` (NULL: not wanted).
 * errors  NO_SPACE */
int hrestore_fill_check_room(struct hrestore_source *s,
                             const struct domxml *old, json_t *lines,
                             struct err *err) NODISCARD;

/* End what a killed process of ours left in the job's directory: qemu-nbd.
 * Before anything else is done with the restore's files. */
int hrestore_fill_sweep(struct ctl *ctl, const char *restore_uid,
                        struct err *err) NODISCARD;
