/* SPDX-License-Identifier: Apache-2.0 */
/* disk/dirty.h: what a dirty bitmap in a qcow2 file says. */
#pragma once
#include "base/err.h"
#include "disk/chain.h"
#include "disk/ranges.h"

/* Put what the bitmap marks in `layer`, a qcow2 file that nobody writes to,
 * into `add_to` (`qemu-nbd -r -B`). Of that one file: layers above and below
 * have bitmaps of their own. A bitmap does not mark what the disk grew by.
 *
 *   dir     of the job, see struct disk_source_options
 *   errors  NOT_FOUND (the file has no such bitmap, or is raw); CORRUPT (the
 *           bitmap is in use: whoever recorded it was killed; or the file is
 *           damaged); else as disk_source_open()
 */
int disk_dirty_read(const char *dir, const struct disk_layer *layer,
                    const char *bitmap, struct ranges *add_to, struct err *err)
    NODISCARD NONNULL(1, 2, 3, 4, 5);
