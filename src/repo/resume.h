/* SPDX-License-Identifier: Apache-2.0 */
/* repo/resume.h: the chunks that sessions without a commit left in whole packs.
 *
 * Only as many of them as fit a fixed window are known at a time; it moves on
 * through the packs as chunks of its last part are asked for, because a disk
 * is written in the same order again.
 * Threads: any.
 */
#pragma once
#include "base/mutex.h"
#include "repo/frame.h"

struct repo;
struct resume;
extern struct role resume_lock;

/* What `session` left, and what those left that it resumed. A session without
 * packs is fine.
 *   blocks  on the store, for the footers that fill the window */
int resume_new(struct repo *repo, const uint8_t session[16],
               struct resume **ret, struct err *err) NODISCARD;
void resume_free(struct resume *r); /* NULL is fine */
DEFINE_CLEANUP(resume_free, struct resume *)

/* For tests: how many chunks are known at a time; 0: as it is meant. */
void resume_set_window(size_t chunks);

/* Is the chunk of `len` bytes with that id there? Then it was read and its
 * digest compared. What cannot be read is not there.
 *   blocks  on the store */
bool resume_find(struct resume *r, struct frame_ctx *ctx,
                 const uint8_t id[HASH_SIZE], uint32_t len,
                 struct frame_loc *ret_loc) EXCLUDES(resume_lock);
