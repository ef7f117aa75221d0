/* SPDX-License-Identifier: Apache-2.0 */
/* repo/dedup.h: which chunks this backup has stored already.
 *
 * Bounded: when full it learns nothing more, which costs space, not safety.
 * Threads: none; the owner locks.
 */
#pragma once
#include "repo/frame.h"

struct dedup;

struct dedup *dedup_new(const uint8_t session[16]) NODISCARD;
void dedup_free(struct dedup *d); /* NULL is fine */

bool dedup_find(const struct dedup *d, const uint8_t id[HASH_SIZE],
                struct frame_loc *ret_loc);
/* `loc` is of this session. */
void dedup_add(struct dedup *d, const uint8_t id[HASH_SIZE],
               const struct frame_loc *loc);
