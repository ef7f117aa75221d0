/* SPDX-License-Identifier: Apache-2.0 */
/* repo/mend.h: frames of damaged packs, read from the pack as it was written,
 * which its parity says (repo/parity.h). Nothing is written: a scrub repairs.
 * Threads: any.
 */
#pragma once
#include "repo/repo-private.h"

struct mend;

/* It keeps the last pack that it made; a pack takes 64 MiB. */
struct mend *mend_new(struct repo *repo) NODISCARD;
void mend_free(struct mend *m); /* NULL is fine */
DEFINE_CLEANUP(mend_free, struct mend *)

/* pack_reader_frame_at(), of a frame that this found damaged or did not find.
 *   errors  CORRUPT (not to be had from parity); what a store says that does
 *           not answer, and may answer another time; NO_MEMORY
 *   blocks  on the store; once a pack for all of it */
int mend_frame(struct mend *m, struct frame_ctx *ctx, enum frame_kind kind,
               const struct frame_loc *loc, const uint8_t id[HASH_SIZE],
               uint8_t *out, struct err *err) NODISCARD;

/* Does such an error say that it may be had another time? */
bool mend_may_come(const struct err *err);

/* How many packs were made. */
unsigned mend_packs(struct mend *m);
