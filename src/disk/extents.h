/* SPDX-License-Identifier: Apache-2.0 */
/* disk/extents.h: where a file's bytes are on the device.
 *
 * Two files that were made from each other by FICLONE (XFS, btrfs) share
 * blocks until one of them is written to. While both exist, a range that is at
 * the same place in both holds the same bytes: nobody writes to a block that
 * has two owners.
 * Threads: any. source  Documentation/filesystems/fiemap.rst; spec guest.md 5
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/ranges.h"

struct extent {
    uint64_t off, len; /* in the file */
    uint64_t at;       /* on the device */
    bool is_shared;    /* has another owner, says the file system */
    bool is_placed;    /* `at` means something: not in memory only ... */
    bool is_exact;     /* byte for byte: not compressed ... */
    bool is_unwritten; /* reads as zeros */
};

/* Every extent in ascending order; holes are left out. What is in memory only
 * is written first. A value other than 0 from `fn` ends it with -1 (it has set
 * `err`).
 *   errors  UNSUPPORTED: this file system does not say */
int extents_walk(int fd, const char *what,
                 int (*fn)(void *arg, const struct extent *e, struct err *err),
                 void *arg, struct err *err) NODISCARD;

/* How many there are. */
int extents_count(int fd, const char *what, uint64_t *ret_n, struct err *err)
    NODISCARD;

/* Put the bytes of the files that are not certainly equal into `add_to`: more
 * than differ, never less. Both must be files that nobody writes to, and the
 * older one must have been there without a break since it was copied.
 *   errors  UNSUPPORTED: not regular files of one file system that says where
 *           its files are */
int extents_differ(int old_fd, int new_fd, const char *what,
                   struct ranges *add_to, struct err *err) NODISCARD;
