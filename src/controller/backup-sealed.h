/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-sealed.h: the secrets of a VM's definition in a backup.
 *
 * Who may only make backups can read every backup's metadata, of disks nothing.
 * So a definition that has passwords is the content of a small disk of the
 * repository backup, and its metadata has it without them.
 * Bytes: docs/formats/backup-metadata.md, "Secrets". Threads: pure but for the
 * repository.
 */
#pragma once
#include "codec/jsonx.h"
#include "controller/backup-meta.h"

/* Add the disk. `xml`: the whole definition; `mark`: secrets_mark() of it. */
int backup_sealed_store(struct repo_backup *backup, const char *xml,
                        const char *mark, struct err *err) NODISCARD;

/* meta->domain_xml becomes the whole one, and has_secrets; nothing to do
 * without such a disk. errors  DENIED (our key reads no disks); CORRUPT (also:
 * it is another definition than that of the metadata) */
int backup_sealed_open(struct repo_view *view, struct backup_meta *meta,
                       struct err *err) NODISCARD;
