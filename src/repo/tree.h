/* SPDX-License-Identifier: Apache-2.0 */
/* repo/tree.h: the nodes that map a disk to frames.
 *
 * Fanout 256; leaves (level 0) hold chunks, nodes above hold nodes.
 * Bytes: docs/formats/tree.md. Threads: any.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "repo/frame.h"

#define TREE_FANOUT    256u
#define TREE_LEVEL_MAX 6u
#define TREE_SIZE_MAX  ((uint64_t)1 << 56)
/* header, pack table, types, references */
#define TREE_NODE_MAX (12u + TREE_FANOUT * (20u + 1u + 46u))

enum tree_type {
    TREE_ZERO = 0,
    TREE_PATTERN = 1,
    TREE_REF = 2,
};

struct tree_entry {
    enum tree_type type;
    uint8_t pattern[8];    /* TREE_PATTERN */
    uint8_t id[HASH_SIZE]; /* TREE_REF, with loc */
    struct frame_loc loc;
};

struct tree_node {
    unsigned level;
    unsigned count; /* entries in use; those beyond are TREE_ZERO */
    struct tree_entry entries[TREE_FANOUT];
};

bool tree_entry_is_equal(const struct tree_entry *a,
                         const struct tree_entry *b);

/* Returns the length; 0 when every entry is zero. Sets node->count. */
size_t tree_encode(struct tree_node *node, uint8_t out[TREE_NODE_MAX]);
int tree_decode(const uint8_t *data, size_t len, unsigned level,
                struct tree_node *ret, struct err *err) NODISCARD;

/* The top level of a disk with that many chunks. */
unsigned tree_top_level(uint64_t chunks);
