/* SPDX-License-Identifier: Apache-2.0 */
/* repo/badset.h: frames that were found damaged: nobody may refer to them anew.
 *
 * A frame is named by its place, for the same chunk may lie well elsewhere;
 * its id tells which other copy is as good. A whole pack may be bad.
 * Bytes: docs/formats/log.md, "BAD". Threads: none; the owner locks.
 */
#pragma once
#include <stddef.h>

#include "base/err.h"
#include "repo/frame.h"

#define BADSET_ALL  UINT32_MAX /* off8: the whole pack */
#define BADSET_SIZE 57u        /* of an encoded one */
#define BADSET_MAX  1024u      /* in one entry of the log */

struct badset_frame {
    enum frame_kind kind;
    uint8_t session[16];
    uint32_t n;
    uint32_t off8;
    uint8_t id[HASH_SIZE]; /* zeros: not known */
    bool has_copy;         /* the same chunk lies whole at `copy` */
    struct frame_loc copy;
};

struct badset {
    struct badset_frame *frames; /* by place */
    size_t count;
};

void badset_fini(struct badset *b);
static inline void
badset_fini_p(struct badset *b)
{
    badset_fini(b);
}
void badset_copy(const struct badset *from, struct badset *to);

/* The frame at `loc`, or its pack. */
bool badset_has(const struct badset *b, enum frame_kind kind,
                const struct frame_loc *loc);
/* Where the same chunk lies whole; false: that is not known. */
bool badset_copy_of(const struct badset *b, enum frame_kind kind,
                    const struct frame_loc *loc, struct frame_loc *ret);
/* Set the copy of a frame that is there; else nothing. */
void badset_set_copy(struct badset *b, const struct badset_frame *f);
/* Is any copy of this chunk bad? */
bool badset_has_id(const struct badset *b, const uint8_t id[HASH_SIZE]);
/* Twice is once; what is not there is fine. */
void badset_add(struct badset *b, const struct badset_frame *f);
void badset_remove(struct badset *b, const struct badset_frame *f);

/* The same with the place of the copy instead of the id. */
void badset_copy_encode(const struct badset_frame *f, uint8_t out[BADSET_SIZE]);
int badset_copy_decode(const uint8_t data[BADSET_SIZE],
                       struct badset_frame *ret, struct err *err) NODISCARD;

void badset_encode(const struct badset_frame *f, uint8_t out[BADSET_SIZE]);
int badset_decode(const uint8_t data[BADSET_SIZE], struct badset_frame *ret,
                  struct err *err) NODISCARD;
