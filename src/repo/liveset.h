/* SPDX-License-Identifier: Apache-2.0 */
/* repo/liveset.h: which frames of some packs are needed. Pure.
 *
 * Bounded: when there are too many frames, the last packs are given up; they
 * get a set of their own later.
 * Threads: none; the owner locks.
 */
#pragma once
#include "repo/pack.h"
#include "repo/tree.h"

#define LIVESET_FRAMES_MAX ((size_t)1 << 19)

struct liveset_pack {
    struct pack_id id;
    uint64_t size; /* of the object */
    uint64_t live; /* bytes of frames that are needed */
    uint32_t frames;
};

struct liveset_frame {
    uint32_t pack; /* place in the array of packs */
    uint32_t off8, flen, ulen;
    uint32_t order; /* of first sight */
    uint8_t id[HASH_SIZE];
};

struct liveset;

/* `packs` as sorted by liveset_sort(); borrowed, `live` and `frames` are
 * counted in it. The set is of packs `from` and following ones. */
void liveset_sort(struct liveset_pack *packs, size_t count);
struct liveset *liveset_new(struct liveset_pack *packs, size_t count,
                            size_t from, size_t frames_max) NODISCARD;
void liveset_free(struct liveset *s); /* NULL is fine */
DEFINE_CLEANUP(liveset_free, struct liveset *)

/* The frame is needed. True: it is in the set now and was not before. */
bool liveset_add(struct liveset *s, enum frame_kind kind,
                 const struct tree_entry *e);
/* The pack behind the last one that is known. */
size_t liveset_to(const struct liveset *s);
/* From here on no pack is given up, however many frames follow. */
void liveset_fix(struct liveset *s);
/* The frames, in order of first sight; borrowed. */
const struct liveset_frame *liveset_frames(const struct liveset *s,
                                           size_t *ret_count) NODISCARD;
