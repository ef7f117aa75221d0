/* SPDX-License-Identifier: Apache-2.0 */
/* disk/bitmap.h: dirty bitmaps of a qcow2 file that is closed.
 *
 * By qemu-img, under its own image locks: a file that a QEMU has open is
 * BUSY. fsynced when they return. A counted side effect each.
 * Threads: any. All block on a child process: hold no lock.
 * source  qemu-img(1) bitmap; spec engine.md 3.1
 */
#pragma once
#include <stddef.h>

#include "base/err.h"

#define DISK_BITMAP_NAME_MAX 1023 /* bytes, QEMU's limit */

/* Who holds QEMU's image locks on the file. */
struct disk_bitmap_file {
    const char *path; /* absolute, a qcow2 file */
    /* The caller holds them himself (volume/imglock.h): qemu-img runs without
     * its own, and holds these descriptors too. n 0: it takes its own. */
    const int *keep_fds;
    size_t n_keep_fds;
};

/* A new, recording bitmap, all clean. One of that name that is there already
 * and good is left as it is: the step may be repeated after a crash.
 *   errors  BUSY; UNSUPPORTED (a qcow2 of version 2); CORRUPT (one of that
 *           name is there and in use: remove it first); NO_SPACE */
int disk_bitmap_add(const struct disk_bitmap_file *f, const char *name,
                    struct err *err) NODISCARD;

/* Remove it, also one that is in use for ever because its QEMU was killed.
 * One that is not there is success.
 *   errors  BUSY; CORRUPT */
int disk_bitmap_remove(const struct disk_bitmap_file *f, const char *name,
                       struct err *err) NODISCARD;
