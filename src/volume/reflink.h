/* SPDX-License-Identifier: Apache-2.0 */
/* volume/reflink.h: copies of files that share their blocks (XFS, btrfs).
 *
 * A copy takes time by the number of extents, not by the size, and from then
 * on each file is written without regard to the other.
 * Threads: any.
 * source  ioctl_ficlone(2); Documentation/filesystems/fiemap.rst; spec
 *         guest.md 5 ; bench/reflink
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

/* Can `path` be copied to a new file beside it, and in about how many
 * microseconds? Tries it with a few KiB, in a file that has no name.
 *   errors  UNSUPPORTED: this file system cannot */
int reflink_probe(const char *path, uint64_t *ret_us, struct err *err)
    NODISCARD;

/* An empty file that reflink_copy() can fill from `from`: 0600 (0660 if the
 * disk is meant for a group), owner as `from`. Replaces what is there. */
int reflink_create(const char *from, const char *to, struct err *err) NODISCARD;
/* `to`, made by reflink_create(), becomes what `from` is at this instant.
 * Nobody may write to `from` meanwhile. Not synced. Blocks on dirty pages. */
int reflink_copy(const char *from, const char *to, struct err *err) NODISCARD;

/* Bytes on the device. `own`: those that no other file shares. */
int reflink_own_bytes(const char *path, uint64_t *ret_own, struct err *err)
    NODISCARD;
/* Bytes on the device of all files together, shared ones counted once. */
int reflink_all_bytes(const char *const *paths, size_t n, uint64_t *ret_all,
                      struct err *err) NODISCARD;
