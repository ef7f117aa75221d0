/* SPDX-License-Identifier: Apache-2.0 */
/* repo/packset.h: a set of packs with a number each.
 *
 * What the number means is the owner's: bytes that are referred to, or the
 * number of a log entry. 0 is the same as not being in the set.
 * A pack costs 64 to 128 bytes of memory.
 * Threads: none; the owner locks.
 */
#pragma once
#include <stddef.h>

#include "repo/pack.h"

struct packset_item {
    struct pack_id id;
    uint64_t value;
};

/* Begins as zeros. */
struct packset {
    struct packset_item *slots; /* open addressing */
    bool *is_used;
    size_t cap;   /* a power of two, or 0 */
    size_t count; /* slots in use, also those with value 0 */
};

void packset_fini(struct packset *s);
static inline void
packset_fini_p(struct packset *s)
{
    packset_fini(s);
}

struct pack_id packset_id_of(const struct frame_loc *loc, enum frame_kind kind);

uint64_t packset_get(const struct packset *s, const struct pack_id *id);
/* Replaces what was there. */
void packset_set(struct packset *s, const struct pack_id *id, uint64_t value);
void packset_add(struct packset *s, const struct pack_id *id, uint64_t value);
/* false: there is less than that, and nothing was taken. */
bool packset_sub(struct packset *s, const struct pack_id *id, uint64_t value)
    NODISCARD;
void packset_add_all(struct packset *s, const struct packset *other);

/* The next with a value other than 0, in no order; `pos` begins as 0. NULL:
 * that was the last. */
const struct packset_item *packset_next(const struct packset *s, size_t *pos);
/* All of them in order of kind, session, number; the caller's to free(). */
struct packset_item *packset_sorted(const struct packset *s, size_t *ret_count);
int packset_compare(const struct pack_id *a, const struct pack_id *b);
