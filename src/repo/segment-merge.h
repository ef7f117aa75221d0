/* SPDX-License-Identifier: Apache-2.0 */
/* repo/segment-merge.h: many small segments into few.
 *
 * Runs of a level are merged when there are SEGMENT_MERGE_WAYS of them, so
 * that a look-up asks a number of segments that grows with the logarithm of
 * what is stored (docs/formats/index.md).
 * Threads: one at a time for one list of segments.
 */
#pragma once
#include "repo/segment.h"

struct repo;

#define SEGMENT_MERGE_WAYS 8u
#define SEGMENT_MERGE_MAX  16u /* runs that are merged at once */
/* Entries of a segment that a merge writes: 60 MiB of memory. */
#define SEGMENT_MERGE_ENTRIES ((uint32_t)1 << 20)

struct segment_merge_result {
    uint64_t merged;           /* segments that are no more */
    uint64_t written;          /* those that took their place */
    const struct segment *bad; /* one that cannot be read, or NULL */
};

/* Merge what is due among these segments, which all count, once: the lowest
 * level that has enough runs, if these have at most `max_entries` in all.
 * Entries of packs that must not be used are left out. Sources are removed
 * after the result was written.
 *   ret->merged  0: nothing was due
 *   errors       those of the store; `ret->bad` says which segment */
int segment_merge(struct repo *repo, struct segment *const *segments,
                  size_t count, uint64_t max_entries,
                  struct segment_merge_result *ret, struct err *err) NODISCARD;
