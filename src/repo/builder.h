/* SPDX-License-Identifier: Apache-2.0 */
/* repo/builder.h: builds the tree of one disk, from its parent's tree and the
 * entries that differ, in ascending order.
 *
 * At any time one node per level is in memory. What is not touched keeps the
 * parent's nodes, wherever they are stored.
 * Threads: one.
 */
#pragma once
#include "repo/packer.h"
#include "repo/packset.h"
#include "repo/view.h"

struct builder;

struct builder_config {
    struct packer *packer;         /* for the nodes; borrowed */
    const struct hash_key *id_key; /* borrowed */
    struct frame_ctx *ctx;         /* borrowed */
    uint64_t size;
    unsigned chunk_log2;
    struct repo_view *parent; /* NULL: none. The disk has the same chunk size */
    unsigned parent_disk;
    const struct packset *parent_packs; /* its summary; NULL without a parent */
    const uint8_t *session;             /* the packer's; borrowed */
    struct packset *fresh; /* gets packs of others that are named anew */
};

int builder_new(const struct builder_config *config, struct builder **ret,
                struct err *err) NODISCARD;
void builder_free(struct builder *b); /* NULL is fine */

/* The leaf as the parent has it, cut to the disk's size. *ret_is_cut: that
 * changed it. */
int builder_leaf(struct builder *b, uint64_t idx, struct tree_node *ret,
                 bool *ret_is_cut, struct err *err) NODISCARD;
/* Store a leaf. `idx` ascends. */
int builder_put_leaf(struct builder *b, uint64_t idx, struct tree_node *leaf,
                     struct err *err) NODISCARD;
/* Everything below entry `idx` of that level (0: a leaf) is zero. Ascends. */
int builder_put_zero(struct builder *b, unsigned level, uint64_t idx,
                     struct err *err) NODISCARD;
/* Close what is open; the entry of the top node. */
int builder_finish(struct builder *b, struct tree_entry *ret_top,
                   struct err *err) NODISCARD;

/* The packs that the tree names, with bytes, when it is finished. Borrowed. */
const struct packset *builder_packs(const struct builder *b);

unsigned builder_top_level(const struct builder *b);
/* Is there nothing but zeros in the parent? */
bool builder_begins_zero(const struct builder *b);
