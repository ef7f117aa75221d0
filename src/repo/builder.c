/* SPDX-License-Identifier: Apache-2.0 */
/* A node is opened (as the parent has it) when the first entry below it
 * changes, and closed (encoded, stored, its entry set in the node above) when
 * the order moves on.
 *
 * The parent's tree may have another height. Higher new tree: its node
 * (parent's top + 1, 0) begins with the parent's top as its first entry. Lower
 * new tree: its top is the parent's node at (top, 0), and the nodes along the
 * new end of the disk are opened and cut.
 */
#include "repo/builder.h"

#include <string.h>

#include "base/mem.h"

struct open_node {
    bool is_open;
    bool is_dirty;
    uint64_t idx;
    struct tree_node *node; /* made when first opened */
};

struct builder {
    struct builder_config config;
    uint64_t chunks;
    unsigned top;
    unsigned parent_top;
    uint64_t parent_size;
    struct tree_entry parent_root; /* TREE_ZERO without a parent */
    struct open_node levels[TREE_LEVEL_MAX + 1]; /* from 1 on */
    struct tree_entry root;
};

/* How many entries node (level, idx) has at most. */
static unsigned
max_count(const struct builder *b, unsigned level, uint64_t idx)
{
    uint64_t n = b->chunks, first = idx * TREE_FANOUT;

    for (unsigned i = 0; i < level; i++)
        n = (n + TREE_FANOUT - 1) / TREE_FANOUT;
    if (n <= first)
        return 0;
    return n - first < TREE_FANOUT ? (unsigned)(n - first) : TREE_FANOUT;
}

static bool
cut(const struct builder *b, unsigned level, uint64_t idx,
    struct tree_node *node)
{
    bool is_cut = false;

    for (unsigned i = max_count(b, level, idx); i < TREE_FANOUT; i++)
        if (node->entries[i].type != TREE_ZERO) {
            memset(&node->entries[i], 0, sizeof node->entries[i]);
            is_cut = true;
        }
    return is_cut;
}

/* Node (level, idx) as the parent has it. */
static int
begin_node(struct builder *b, unsigned level, uint64_t idx,
           struct tree_node *node, bool *ret_is_changed, struct err *err)
{
    bool found = false;

    *ret_is_changed = false;
    if (b->config.parent != NULL && level <= b->parent_top &&
        view_node(b->config.parent, b->config.parent_disk, level, idx, node,
                  &found, err) < 0)
        return -1;
    if (!found)
        memset(node, 0, sizeof *node);
    node->level = level;
    if (level == b->parent_top + 1 && idx == 0 &&
        b->parent_root.type == TREE_REF) {
        node->entries[0] = b->parent_root;
        *ret_is_changed = true;
    }
    if (cut(b, level, idx, node))
        *ret_is_changed = true;
    return 0;
}

static int
open_node(struct builder *b, unsigned level, uint64_t idx, struct err *err)
{
    struct open_node *o = &b->levels[level];

    if (o->node == NULL)
        o->node = xcalloc(1, sizeof *o->node);
    if (begin_node(b, level, idx, o->node, &o->is_dirty, err) < 0)
        return -1;
    o->is_open = true;
    o->idx = idx;
    return 0;
}

static int set_entry(struct builder *b, unsigned level, uint64_t idx,
                     const struct tree_entry *e, struct err *err);

/* Encode and store a node; its entry. */
static int
store_node(struct builder *b, struct tree_node *node, struct tree_entry *ret,
           struct err *err)
{
    uint8_t bytes[TREE_NODE_MAX];
    size_t len = tree_encode(node, bytes);

    memset(ret, 0, sizeof *ret);
    if (len == 0)
        return 0;
    ret->type = TREE_REF;
    hash_hmac(b->config.id_key, bytes, len, ret->id);
    return packer_add(b->config.packer, b->config.ctx, bytes, (uint32_t)len,
                      ret->id, &ret->loc, err);
}

static int
close_node(struct builder *b, unsigned level, struct err *err)
{
    struct open_node *o = &b->levels[level];
    struct tree_entry e;

    o->is_open = false;
    if (!o->is_dirty)
        return 0;
    if (store_node(b, o->node, &e, err) < 0)
        return -1;
    return set_entry(b, level, o->idx, &e, err);
}

static int
close_below(struct builder *b, unsigned level, struct err *err)
{
    for (unsigned l = 1; l <= level; l++)
        if (b->levels[l].is_open && close_node(b, l, err) < 0)
            return -1;
    return 0;
}

/* Have node (level, idx) open, and nothing below it. */
static int
reach_node(struct builder *b, unsigned level, uint64_t idx, struct err *err)
{
    struct open_node *o = &b->levels[level];

    if (close_below(b, level - 1, err) < 0)
        return -1;
    if (o->is_open && o->idx != idx && close_node(b, level, err) < 0)
        return -1;
    return o->is_open ? 0 : open_node(b, level, idx, err);
}

/* NOLINTNEXTLINE(misc-no-recursion): at most TREE_LEVEL_MAX deep */
static int
set_entry(struct builder *b, unsigned level, uint64_t idx,
          const struct tree_entry *e, struct err *err)
{
    struct tree_entry *at;

    if (level == b->top) {
        if (close_below(b, level, err) < 0)
            return -1;
        if (!tree_entry_is_equal(&b->root, e))
            b->root = *e;
        return 0;
    }
    if (reach_node(b, level + 1, idx / TREE_FANOUT, err) < 0)
        return -1;
    at = &b->levels[level + 1].node->entries[idx % TREE_FANOUT];
    if (!tree_entry_is_equal(at, e)) {
        *at = *e;
        b->levels[level + 1].is_dirty = true;
    }
    return 0;
}

static int
begin_tree(struct builder *b, struct err *err)
{
    if (b->config.parent == NULL || b->parent_root.type == TREE_ZERO)
        return 0;
    if (b->top <= b->parent_top)
        return view_entry(b->config.parent, b->config.parent_disk, b->top, 0,
                          &b->root, err);
    return open_node(b, b->parent_top + 1, 0, err);
}

int
builder_new(const struct builder_config *config, struct builder **ret,
            struct err *err)
{
    struct builder *b = xcalloc(1, sizeof *b);
    uint64_t chunk = (uint64_t)1 << config->chunk_log2;

    b->config = *config;
    b->chunks = (config->size + chunk - 1) / chunk;
    b->top = tree_top_level(b->chunks);
    if (config->parent != NULL) {
        const struct root_disk *d =
            &config->parent->root.disks[config->parent_disk];

        b->parent_top = d->top_level;
        b->parent_size = d->size;
        b->parent_root = d->top;
    }
    if (begin_tree(b, err) < 0) {
        builder_free(b);
        return -1;
    }
    *ret = b;
    return 0;
}

void
builder_free(struct builder *b)
{
    if (b == NULL)
        return;
    for (unsigned i = 0; i <= TREE_LEVEL_MAX; i++)
        free(b->levels[i].node);
    free(b);
}

int
builder_leaf(struct builder *b, uint64_t idx, struct tree_node *ret,
             bool *ret_is_cut, struct err *err)
{
    bool found = false;

    if (b->config.parent != NULL &&
        view_node(b->config.parent, b->config.parent_disk, 0, idx, ret, &found,
                  err) < 0)
        return -1;
    if (!found)
        memset(ret, 0, sizeof *ret);
    *ret_is_cut = cut(b, 0, idx, ret);
    return 0;
}

int
builder_put_leaf(struct builder *b, uint64_t idx, struct tree_node *leaf,
                 struct err *err)
{
    struct tree_entry e;

    leaf->level = 0;
    if (store_node(b, leaf, &e, err) < 0)
        return -1;
    return set_entry(b, 0, idx, &e, err);
}

int
builder_put_zero(struct builder *b, unsigned level, uint64_t idx,
                 struct err *err)
{
    struct tree_entry zero = { .type = TREE_ZERO };

    return set_entry(b, level, idx, &zero, err);
}

/* Open every node along the end of a disk that shrank: opening cuts. */
static int
cut_edge(struct builder *b, struct err *err)
{
    uint64_t idx = b->chunks == 0 ? 0 : (b->chunks - 1) / TREE_FANOUT;

    for (unsigned level = 1; level <= b->top; level++) {
        idx /= TREE_FANOUT;
        if (reach_node(b, level, idx, err) < 0)
            return -1;
    }
    return 0;
}

int
builder_finish(struct builder *b, struct tree_entry *ret_top, struct err *err)
{
    if (b->config.size < b->parent_size && cut_edge(b, err) < 0)
        return -1;
    if (close_below(b, b->top, err) < 0)
        return -1;
    if (b->chunks == 0)
        memset(&b->root, 0, sizeof b->root);
    *ret_top = b->root;
    return 0;
}

unsigned
builder_top_level(const struct builder *b)
{
    return b->top;
}

bool
builder_begins_zero(const struct builder *b)
{
    return b->parent_root.type == TREE_ZERO;
}
