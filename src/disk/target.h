/* SPDX-License-Identifier: Apache-2.0 */
/* disk/target.h: a disk that is being filled.
 *
 * raw: written by pwrite(2), zeros punched out. qcow2: through a qemu-nbd
 * that ends with us. The file exists already, and nobody else has it open;
 * a qcow2 file has its size already, a raw file is given it.
 *
 * Areas that were never written stay holes; of what is written, zero blocks
 * (4 KiB; qcow2 64 KiB) become holes too where the file was empty before.
 * Threads: write and zero from any thread at once, ranges that do not
 * overlap; the rest from one, when no other call runs.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct disk_target;

/* Open the file for filling.
 *
 *   dir     of the job, see struct disk_source_options; not used for raw
 *   path    absolute; a regular file or a block device, no link
 *   format  "raw" or "qcow2"
 *   size    of the disk; a raw file becomes so long; a block device must be at
 *           least so long, a qcow2 image must be exactly so
 *   errors  NOT_FOUND; INVALID (size, kind of file); BUSY (in use);
 *           UNSUPPORTED; NO_SPACE; TIMEOUT; UNAVAILABLE
 *   blocks  at most 30 s
 */
int disk_target_open(const char *dir, const char *path, const char *format,
                     uint64_t size, struct disk_target **ret_target,
                     struct err *err) NODISCARD NONNULL(2, 3, 5, 6);

/* Does it read as zeros where nothing was written? Then zero areas need not
 * be given. */
bool disk_target_is_fresh(const struct disk_target *t);

int disk_target_write(struct disk_target *t, uint64_t off, const void *data,
                      size_t len, struct err *err) NODISCARD;
int disk_target_zero(struct disk_target *t, uint64_t off, uint64_t len,
                     struct err *err) NODISCARD;

/* All of it is on disk when this returns 0: flush, end of qemu-nbd, fsync of
 * the file. Once, after the last write; then only close. */
int disk_target_finish(struct disk_target *t, struct err *err) NODISCARD;

/* Without finish: what was written is there in part. NULL is fine. */
void disk_target_close(struct disk_target *t);
DEFINE_CLEANUP(disk_target_close, struct disk_target *)
