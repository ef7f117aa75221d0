/* SPDX-License-Identifier: Apache-2.0 */
/* repo/packer.h: fills packs and has them written.
 *
 * Frames come from several threads at once; two packs are in memory, so that
 * one is filled while the other is written by the packer's own thread.
 * Threads: any, but packer_finish() and packer_free().
 */
#pragma once
#include "base/mutex.h"
#include "blob/blob.h"
#include "repo/pack.h"

struct packer;
extern struct role packer_lock;

struct packer_config {
    struct blob *blob;      /* borrowed */
    struct pack_wrap wrap;  /* what it points to is borrowed */
    const uint8_t *session; /* 16 bytes, borrowed */
    enum frame_kind kind;
    size_t pack_size;  /* with all that surrounds the frames */
    uint32_t first_n;  /* of the first pack */
    bool makes_parity; /* for each pack, after it: repo/parity.h */
    /* Each n-th frame of a pack is decoded again, and its id compared, before
     * it is written; 0: none. */
    unsigned check_every;
    const struct hash_key *id_key; /* for that; borrowed */
};

/* Every call fails from here on, waiting ones too. */
void packer_stop(struct packer *p) EXCLUDES(packer_lock);

struct packer *packer_new(const struct packer_config *config) NODISCARD;
void packer_free(struct packer *p); /* what is not written is lost */
DEFINE_CLEANUP(packer_free, struct packer *)

/* Put one frame of 1 byte to FRAME_PLAIN_MAX.
 *   blocks  while both packs are being written
 *   errors  those of the store, from here on always; INTERNAL: this host's
 *           memory or processor changed what was to be written */
int packer_add(struct packer *p, struct frame_ctx *ctx, const void *plain,
               uint32_t len, const uint8_t id[HASH_SIZE],
               struct frame_loc *ret_loc, struct err *err)
    NODISCARD EXCLUDES(packer_lock);

/* Write what is left and wait for it. More frames may follow. */
int packer_finish(struct packer *p, struct err *err)
    NODISCARD EXCLUDES(packer_lock);

/* 0 to PACKER_EFFORT_MAX: how much time a chunk is worth. It rises while all
 * wait for the store, and falls while the store waits for packs. */
#define PACKER_EFFORT_MAX 2
unsigned packer_effort(struct packer *p);

uint32_t packer_count(struct packer *p) EXCLUDES(packer_lock);  /* packs */
uint64_t packer_stored(struct packer *p) EXCLUDES(packer_lock); /* bytes */
