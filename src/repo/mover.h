/* SPDX-License-Identifier: Apache-2.0 */
/* repo/mover.h: packs made of the frames of other packs.
 *
 * Frames are copied as they are stored, neither decrypted nor decompressed;
 * the entries of the key tables come along (but see mover_reseal()). One pack
 * is in memory at a time. Bytes: docs/formats/pack.md. Threads: one.
 */
#pragma once
#include "repo/movemap.h"
#include "repo/packer.h"

struct mover;

/* A pack that frames are taken from. */
struct mover_source {
    struct pack_id id;
    uint32_t place; /* what mover_moves() calls it */
    uint8_t *head;  /* header and key table; owned */
    unsigned keys;
    struct frame_origin *origins; /* of mover_source_unlock(); owned */
    unsigned origin_count;
};

/* errors  CORRUPT, NOT_FOUND */
int mover_source_open(struct blob *blob, bool is_encrypted,
                      const struct pack_id *id, uint32_t place,
                      struct mover_source *ret, struct err *err) NODISCARD;
/* The keys of its frames, for mover_reseal().
 *   errors  CORRUPT */
int mover_source_unlock(struct mover_source *s, const struct pack_wrap *wrap,
                        struct err *err) NODISCARD;
void mover_source_fini(struct mover_source *s);
static inline void
mover_source_fini_p(struct mover_source *s)
{
    mover_source_fini(s);
}

/* The packs get the numbers from config->first_n on. */
struct mover *mover_new(const struct packer_config *config) NODISCARD;
/* Before the first frame: each is decrypted, its id compared, and encrypted
 * anew with the key of its new pack, so that keys of older epochs open it no
 * more. Sources are unlocked; config->id_key is set. */
void mover_reseal(struct mover *m);
void mover_free(struct mover *m); /* NULL is fine; an open pack is lost */
DEFINE_CLEANUP(mover_free, struct mover *)

/* Read the frame of source `s` at `loc`, check it as far as that needs no key,
 * and put it into the open pack.
 *   errors  CORRUPT, NOT_FOUND: nothing was put, others may be; those of the
 *           store when a full pack is written
 *   blocks  on the store */
int mover_add(struct mover *m, const struct mover_source *s,
              const struct frame_loc *loc, const uint8_t id[HASH_SIZE],
              struct err *err) NODISCARD;
/* Write the open pack, if there is one. More may follow. */
int mover_finish(struct mover *m, struct err *err) NODISCARD;

/* What was put into packs that are written, in that order; borrowed. */
const struct movemap_move *mover_moves(const struct mover *m, size_t *ret_count)
    NODISCARD;
uint64_t mover_stored(const struct mover *m); /* bytes of packs */
