/* SPDX-License-Identifier: Apache-2.0 */
/* repo/pack-read.h: frames out of packs, with the heads of packs cached.
 *
 * Threads: any; a frame_ctx is one thread's at a time.
 */
#pragma once
#include "base/mutex.h"
#include "blob/blob.h"
#include "repo/pack.h"

struct pack_reader;
extern struct role pack_read_lock;

/* All borrowed for its life. */
struct pack_reader *pack_reader_new(struct blob *blob,
                                    const struct pack_wrap *wrap,
                                    const struct hash_key *id_key) NODISCARD;
void pack_reader_free(struct pack_reader *r); /* NULL is fine */
DEFINE_CLEANUP(pack_reader_free, struct pack_reader *)

/* Finds where a frame was moved to: redirect_look(). `is_missing`: it is not
 * where `loc` says. *ret_moved: `loc` was changed. */
typedef int (*pack_reader_look_fn)(void *arg, enum frame_kind kind,
                                   struct frame_loc *loc, bool is_missing,
                                   bool *ret_moved, struct err *err);
/* Before the first frame is read. Without it nothing was ever moved. */
void pack_reader_set_moves(struct pack_reader *r, pack_reader_look_fn look,
                           void *arg);
/* Who knows of copies of damaged frames: asked when a frame cannot be read.
 * Call once, before the reader is shared. */
typedef bool (*pack_reader_copy_fn)(void *arg, enum frame_kind kind,
                                    const struct frame_loc *loc,
                                    struct frame_loc *ret);
void pack_reader_set_copies(struct pack_reader *r, pack_reader_copy_fn fn,
                            void *arg);

/* The head of a pack: what frame_open() needs. Counted. */
struct pack_head {
    struct pack_id id;            /* [C] */
    struct frame_origin *origins; /* [C] */
    unsigned origin_count;        /* [C] */
    uint64_t used;                /* for the cache */
    unsigned refs;                /* with the reader's lock */
};

int pack_reader_head(struct pack_reader *r, const struct pack_id *id,
                     struct pack_head **ret, struct err *err)
    NODISCARD EXCLUDES(pack_read_lock);
void pack_reader_unref(struct pack_reader *r, struct pack_head *head)
    EXCLUDES(pack_read_lock);

/* Trailer and stripe table, read and checked.
 *   ret_table  both as they are stored; the caller's to free()
 *   errors     CORRUPT (no whole pack); NOT_FOUND */
int pack_read_tail(struct blob *blob, const struct pack_id *id,
                   struct pack_trailer *ret, uint8_t **ret_table,
                   struct err *err) NODISCARD;
/* The footer of a pack with that trailer; its origin stands behind those of
 * the key table.
 *   errors  CORRUPT */
int pack_read_footer(struct blob *blob, const struct pack_id *id,
                     const struct pack_trailer *t, struct frame_ctx *ctx,
                     const struct frame_origin *origin,
                     struct pack_footer_entry **ret_entries,
                     uint32_t *ret_count, struct err *err) NODISCARD;
/* Both, of a pack of which nothing is known yet. */
int pack_reader_footer(struct pack_reader *r, struct frame_ctx *ctx,
                       const struct pack_id *id, struct pack_trailer *ret,
                       struct pack_footer_entry **ret_entries,
                       uint32_t *ret_count, struct err *err)
    NODISCARD EXCLUDES(pack_read_lock);

/* Read and decode the frame at `loc`, or where it was moved to, into `out`
 * (loc->ulen bytes) and compare its id.
 *   errors  CORRUPT, NOT_FOUND: the message names pack and offset */
int pack_reader_frame(struct pack_reader *r, struct frame_ctx *ctx,
                      enum frame_kind kind, const struct frame_loc *loc,
                      const uint8_t id[HASH_SIZE], uint8_t *out,
                      struct err *err) NODISCARD EXCLUDES(pack_read_lock);
/* The same, there and nowhere else. */
int pack_reader_frame_at(struct pack_reader *r, struct frame_ctx *ctx,
                         enum frame_kind kind, const struct frame_loc *loc,
                         const uint8_t id[HASH_SIZE], uint8_t *out,
                         struct err *err) NODISCARD EXCLUDES(pack_read_lock);
