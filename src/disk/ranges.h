/* SPDX-License-Identifier: Apache-2.0 */
/* disk/ranges.h: a set of bytes of a disk, as sorted ranges.
 *
 * Ranges in a set are disjoint, do not touch each other, are not empty and
 * ascend. A set is at most RANGES_MAX ranges: one that would grow beyond has
 * its smallest gaps closed, so it may hold more than was put in, never less.
 * That is right for "what must be read", and it bounds memory.
 * Pure. Threads: a set is one thread's at a time; share it when it is done.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

#define RANGES_MAX ((size_t)1 << 21) /* 32 MiB of memory */

struct range {
    uint64_t off, len;
};

struct ranges {
    struct range *v;
    size_t n, cap;
};

#define RANGES_INIT                                                            \
    (struct ranges)                                                            \
    {                                                                          \
        .v = NULL                                                              \
    }

void ranges_fini(struct ranges *r);
static inline void
ranges_fini_p(struct ranges *r)
{
    ranges_fini(r);
}

/* Put a range in. Any order; ascending is cheap. What would reach beyond 2^64
 * ends there. */
void ranges_add(struct ranges *r, uint64_t off, uint64_t len);
/* Put another set in. */
void ranges_union(struct ranges *r, const struct ranges *other);
/* Widen each range to multiples of `chunk` (not 0). */
void ranges_align_out(struct ranges *r, uint64_t chunk);
/* Take out what lies at `size` or beyond. */
void ranges_clip(struct ranges *r, uint64_t size);

/* What is in the set at `pos` or behind it, first range, cut at its beginning
 * to `pos`. false: nothing. */
bool ranges_next(const struct ranges *r, uint64_t pos, struct range *ret);
bool ranges_overlaps(const struct ranges *r, uint64_t off, uint64_t len);
uint64_t ranges_bytes(const struct ranges *r);
