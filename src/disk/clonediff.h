/* SPDX-License-Identifier: Apache-2.0 */
/* disk/clonediff.h: which bytes of a guest disk may differ between two copies
 * that share blocks (FICLONE), without reading the disk.
 *
 * The older copy must have been there, unchanged, since it was made.
 * Threads: any. Blocks on the disk for the time of reading the image's tables.
 * source  disk/extents.h; QEMU docs/interop/qcow2.txt; spec guest.md 5
 */
#pragma once
#include "base/err.h"
#include "disk/chain.h"
#include "disk/ranges.h"

/* Compare one image file with its later copy and put what may differ for the
 * guest into `add_to`: more than differs, never less. What the later one has
 * grown by is in it only where it has data. Files below them have to be
 * compared likewise, each with its copy, and the results joined.
 *
 *   errors  UNSUPPORTED (the formats differ, qcow2 with subclusters or an
 *           external data file, not one file system, ...): compare the disk
 *           by reading it; CORRUPT; NOT_FOUND
 */
int disk_clonediff(const struct disk_layer *old, const struct disk_layer *new,
                   struct ranges *add_to, struct err *err) NODISCARD;
