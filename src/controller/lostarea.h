/* SPDX-License-Identifier: Apache-2.0 */
/* controller/lostarea.h: what a disk lost without a mark in its bitmap.
 *
 * A disk that is made smaller and larger again reads as zeros where it was
 * cut off, and QEMU drops the marks there: an incremental backup that reads
 * only what is marked would keep the old content. Such an area is a hole now,
 * and data in the backup before.
 * Threads: any. source  docs/decisions/0022-checkpoints.md
 */
#pragma once
#include "base/err.h"
#include "disk/ranges.h"

struct lostarea_parent {
    void *arg;
    /* Has the backup before data at `off`? And how far is that so, at most to
     * off + max. */
    int (*extent)(void *arg, uint64_t off, uint64_t max, bool *ret_is_data,
                  uint64_t *ret_len, struct err *err);
};

/* Put into `want` every chunk that may have lost something.
 *
 *   want   what the bitmaps mark; in whole chunks
 *   data   what is not a hole on the disk now
 *   size   bytes, of the smaller of the two disks
 *   chunk  of the repository
 */
int lostarea_add(struct ranges *want, const struct ranges *data, uint64_t size,
                 uint64_t chunk, const struct lostarea_parent *parent,
                 struct err *err) NODISCARD;
