/* SPDX-License-Identifier: Apache-2.0 */
/* repo/summary.h: the packs that a backup needs, without walking its trees.
 *
 * For each disk a set of packs, with the bytes that its tree refers to in each
 * (a frame that is named twice counts twice). A backup begins with what its
 * parent's summary says, and counts what its tree names anew or no longer.
 * Bytes: docs/formats/tree.md, "Pack summary".
 * Threads: as the packer or the repository given.
 */
#pragma once
#include "repo/packer.h"
#include "repo/packset.h"
#include "repo/repo-private.h"
#include "repo/view.h"

#define SUMMARY_PART ((size_t)1 << 20) /* plaintext of one frame, about */

/* Store it as frames of `meta`; sets root->summary.
 *   disks   root->disk_count pointers */
int summary_store(struct packer *meta, struct frame_ctx *ctx,
                  const struct hash_key *id_key,
                  const struct packset *const *disks, struct root *root,
                  struct err *err) NODISCARD;

/* Add to ret[0 .. root->disk_count - 1].
 *   errors  CORRUPT */
int summary_load(struct repo *repo, const struct root *root,
                 struct packset *ret, struct err *err) NODISCARD;

/* The bytes of one frame, and back. Encoding begins with item *at of disk
 * *disk and sets both to where the next one begins. */
void summary_encode(const struct packset_item *const *items,
                    const size_t *counts, unsigned disk_count, unsigned *disk,
                    size_t *at, struct buf *out);
int summary_decode(const uint8_t *data, size_t len, unsigned disk_count,
                   struct packset *ret, struct err *err) NODISCARD;

/* The same for one disk, by walking its tree: for checks.
 *   blocks  on the store */
int summary_walk(struct repo_view *v, unsigned disk, struct packset *ret,
                 struct err *err) NODISCARD;
