/* SPDX-License-Identifier: Apache-2.0 */
/* repo/copies.h: where damaged frames have a whole copy.
 *
 * A hint, kept beside the repository's own objects (docs/formats/repository.md,
 * "hint"): nothing depends on it, and what is read by it is compared with its
 * id as any other. Threads: any. Blocks on the store.
 */
#pragma once
#include "repo/repo-private.h"

/* The bad frames of the log, with the copies that are known. */
int copies_bad(struct repo *repo, struct badset *ret, struct err *err)
    NODISCARD;
/* Note the copies of these frames, besides those that are known. */
int copies_add(struct repo *repo, const struct badset *healed, struct err *err)
    NODISCARD;
/* For pack_reader_set_copies(): `arg` is the repo. */
bool copies_find(void *arg, enum frame_kind kind, const struct frame_loc *loc,
                 struct frame_loc *ret);
