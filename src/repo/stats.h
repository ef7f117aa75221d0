/* SPDX-License-Identifier: Apache-2.0 */
/* repo/stats.h: what a repository holds, in numbers. Threads: any. */
#pragma once
#include <stddef.h>

#include "repo/repo.h"

struct repo_stats {
    size_t backups, holds;
    size_t deleted;         /* that can be taken back */
    uint64_t logical_bytes; /* of the backups: the sum of their disks */
    size_t packs;
    uint64_t pack_bytes; /* what they occupy */
    size_t parities;     /* objects of parity, and what they occupy besides */
    uint64_t parity_bytes;
    /* Packs of sessions that no backup, deleted ones included, can need: they
     * never committed and have ended. What compaction could win is not in it.
     */
    size_t dead_packs;
    uint64_t dead_bytes;
    uint64_t index_bytes;  /* of all segments, also of sessions at work */
    bool index_is_sampled; /* by backups: repo_index_set_budget(), or memory */
    size_t bad_frames;
    size_t bad_frames_healed; /* of these: with a whole copy */
};

/* errors  DENIED (no key)
 * blocks  on the store: every pack's size is asked for */
int repo_stats_get(struct repo *repo, struct repo_stats *ret, struct err *err)
    NODISCARD;
