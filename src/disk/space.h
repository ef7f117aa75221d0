/* SPDX-License-Identifier: Apache-2.0 */
/* disk/space.h: what a file keeps of its file system.
 *
 * disk/extents.h says where the bytes are that can be read. What a file keeps
 * can be more: btrfs keeps an extent as it was written while any part of it is
 * needed, however much was overwritten since, and a compressed one takes less
 * than it holds.
 * Threads: any.
 * source  Documentation/filesystems/fiemap.rst; linux/btrfs_tree.h, struct
 *         btrfs_file_extent_item
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* What is kept or given back as a whole. A file can have a part of it more
 * than once: equal ranges are the same bytes. */
struct space {
    uint64_t at, len; /* on the device */
    bool is_shared;   /* another file needs it too */
    bool is_placed;   /* `at` means something; else it is this file's own */
};

/* Every piece that the file keeps, in the order of the file. What is in memory
 * only is written first. A value other than 0 from `fn` ends it with -1 (it
 * has set `err`). On btrfs exact for root; who may not search its trees gets
 * what FIEMAP says, which is too little inside overwritten extents.
 *   errors  UNSUPPORTED: this file system does not say */
int space_walk(int fd, const char *what,
               int (*fn)(void *arg, const struct space *s, struct err *err),
               void *arg, struct err *err) NODISCARD;
