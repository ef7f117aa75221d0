/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-firmware.h: NVRAM and TPM files as disks of a backup.
 *
 * Threads: any. Blocks on files and the repository.
 */
#pragma once
#include "controller/backup-meta.h"

/* Write what controller/firmware.h kept under `uid` into the backup, and name
 * it in meta->files. Nothing kept: nothing is done. */
int backup_firmware_store(const char *state_dir, const char *uid,
                          struct repo_backup *backup, struct backup_meta *meta,
                          struct err *err) NODISCARD;
