/* SPDX-License-Identifier: Apache-2.0 */
/* A node is opened (as the parent has it) when the first entry below it
 * changes, and closed (encoded, stored, its entry set in the node above) when
 * the order moves on.
 *
 * The parent's tree may have another height. Higher new tree: its node
 * (parent's top + 1, 0) begins with the parent's top as its first entry. Lower
 * new tree: its top is the parent's node at (top, 0), and the nodes along the
 * new end of the disk are opened and cut.
 *
 * What the tree names is counted by pack: it begins as the parent's summary,
 * and every reference that comes or goes is added or taken away, those of
 * subtrees that go by walking them. So the summary never lacks a pack; it may
 * count a node too much that was stored and replaced within this backup.
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
    struct packset packs;
    /* Entries of a level below this are set: not as the parent has them. */
    uint64_t set_to[TREE_LEVEL_MAX + 2];
};

/* ---- counting ---- */

static void
count_in(struct builder *b, const struct tree_entry *e, enum frame_kind kind)
{
    struct pack_id id;

    if (e->type != TREE_REF)
        return;
    id = packset_id_of(&e->loc, kind);
    packset_add(&b->packs, &id, e->loc.flen);
    if (memcmp(id.session, b->config.session, 16) != 0)
        packset_add(b->config.fresh, &id, e->loc.flen);
}

static int
count_out(struct builder *b, const struct tree_entry *e, enum frame_kind kind,
          struct err *err)
{
    struct pack_id id;
    char name[PACK_NAME_SIZE];

    if (e->type != TREE_REF)
        return 0;
    id = packset_id_of(&e->loc, kind);
    if (packset_sub(&b->packs, &id, e->loc.flen))
        return 0;
    pack_name(&id, name);
    return err_set(
        err, ERR_CORRUPT,
        "the parent's pack summary lacks what its tree has in %s: verify the repository, and make this backup without a parent",
        name);
}

static int count_out_tree(struct builder *b, unsigned level, uint64_t idx,
                          const struct tree_entry *e, struct err *err);

/* What is below node (level, idx) of the parent. */
static int
count_out_below(struct builder *b, unsigned level, uint64_t idx,
                struct err *err)
{
    CLEANUP(mem_free) struct tree_node *node = xcalloc(1, sizeof *node);
    bool found = false;

    if (view_node(b->config.parent, b->config.parent_disk, level, idx, node,
                  &found, err) < 0)
        return -1;
    for (unsigned i = 0; found && i < TREE_FANOUT; i++) {
        const struct tree_entry *e = &node->entries[i];

        if (level == 0 ? count_out(b, e, FRAME_DATA, err) < 0
                       : count_out_tree(b, level - 1, idx * TREE_FANOUT + i, e,
                                        err) < 0)
            return -1;
    }
    return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): at most TREE_LEVEL_MAX deep */
static int
count_out_tree(struct builder *b, unsigned level, uint64_t idx,
               const struct tree_entry *e, struct err *err)
{
    if (e->type != TREE_REF)
        return 0;
    if (count_out(b, e, FRAME_META, err) < 0)
        return -1;
    return count_out_below(b, level, idx, err);
}

/* All of the parent's tree that is not below its node (b->top, 0). */
static int
count_out_rest(struct builder *b, struct err *err)
{
    for (unsigned level = b->parent_top; level > b->top; level--) {
        struct tree_entry e;

        if (view_entry(b->config.parent, b->config.parent_disk, level, 0, &e,
                       err) < 0 ||
            count_out(b, &e, FRAME_META, err) < 0)
            return -1;
        for (unsigned i = 1; i < TREE_FANOUT; i++)
            if (view_entry(b->config.parent, b->config.parent_disk, level - 1,
                           i, &e, err) < 0 ||
                count_out_tree(b, level - 1, i, &e, err) < 0)
                return -1;
    }
    return 0;
}

/* A leaf takes the place of the parent's. */
static int
count_leaf(struct builder *b, uint64_t idx, const struct tree_node *leaf,
           struct err *err)
{
    CLEANUP(mem_free) struct tree_node *old = xcalloc(1, sizeof *old);
    bool found = false;

    if (b->config.parent != NULL &&
        view_node(b->config.parent, b->config.parent_disk, 0, idx, old, &found,
                  err) < 0)
        return -1;
    if (!found)
        memset(old, 0, sizeof *old);
    for (unsigned i = 0; i < TREE_FANOUT; i++) {
        const struct tree_entry *a = &old->entries[i], *e = &leaf->entries[i];

        if (a->type == TREE_REF && e->type == TREE_REF &&
            memcmp(&a->loc, &e->loc, sizeof a->loc) == 0)
            continue;
        if (count_out(b, a, FRAME_DATA, err) < 0)
            return -1;
        count_in(b, e, FRAME_DATA);
    }
    return 0;
}

/* ---- nodes ---- */

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

/* A leaf's chunks are counted when it is put. */
static int
count_out_cut(struct builder *b, unsigned level, uint64_t idx,
              const struct tree_node *node, struct err *err)
{
    for (unsigned i = max_count(b, level, idx); i < TREE_FANOUT; i++)
        if (count_out_tree(b, level - 1, idx * TREE_FANOUT + i,
                           &node->entries[i], err) < 0)
            return -1;
    return 0;
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
    if (found && count_out_cut(b, level, idx, node, err) < 0)
        return -1;
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

/* Returns 1 if it is another. */
static int
replace(struct builder *b, struct tree_entry *at, const struct tree_entry *e,
        struct err *err)
{
    if (tree_entry_is_equal(at, e))
        return 0;
    if (count_out(b, at, FRAME_META, err) < 0)
        return -1;
    count_in(b, e, FRAME_META);
    *at = *e;
    return 1;
}

/* NOLINTNEXTLINE(misc-no-recursion): at most TREE_LEVEL_MAX deep */
static int
set_entry(struct builder *b, unsigned level, uint64_t idx,
          const struct tree_entry *e, struct err *err)
{
    struct tree_entry *at;
    int rc;

    b->set_to[level] = idx + 1;
    if (level == b->top) {
        if (close_below(b, level, err) < 0)
            return -1;
        return replace(b, &b->root, e, err) < 0 ? -1 : 0;
    }
    if (reach_node(b, level + 1, idx / TREE_FANOUT, err) < 0)
        return -1;
    at = &b->levels[level + 1].node->entries[idx % TREE_FANOUT];
    rc = replace(b, at, e, err);
    if (rc > 0)
        b->levels[level + 1].is_dirty = true;
    return rc < 0 ? -1 : 0;
}

static int
begin_tree(struct builder *b, struct err *err)
{
    if (b->config.parent == NULL || b->parent_root.type == TREE_ZERO)
        return 0;
    if (b->top <= b->parent_top && count_out_rest(b, err) < 0)
        return -1;
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
        packset_add_all(&b->packs, config->parent_packs);
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
    packset_fini(&b->packs);
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
    if (count_leaf(b, idx, leaf, err) < 0 || store_node(b, leaf, &e, err) < 0)
        return -1;
    return set_entry(b, 0, idx, &e, err);
}

int
builder_put_zero(struct builder *b, unsigned level, uint64_t idx,
                 struct err *err)
{
    struct tree_entry zero = { .type = TREE_ZERO };

    if (level > b->parent_top) {
        if (idx == 0 &&
            count_out_tree(b, b->parent_top, 0, &b->parent_root, err) < 0)
            return -1;
    } else if (b->config.parent != NULL &&
               count_out_below(b, level, idx, err) < 0) {
        return -1;
    }
    return set_entry(b, level, idx, &zero, err);
}

/* Was this node, or one above it, put in its place? */
static bool
is_set(const struct builder *b, unsigned level, uint64_t idx)
{
    for (; level <= b->top; level++) {
        if (b->set_to[level] > idx)
            return true;
        idx /= TREE_FANOUT;
    }
    return false;
}

/* Open every node along the end of a disk that shrank: opening cuts. */
static int
cut_edge(struct builder *b, struct err *err)
{
    uint64_t idx = b->chunks == 0 ? 0 : (b->chunks - 1) / TREE_FANOUT;

    for (unsigned level = 1; level <= b->top; level++) {
        idx /= TREE_FANOUT;
        if (is_set(b, level, idx))
            continue; /* opening it again would bring back the parent's */
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
    if (b->chunks == 0) {
        memset(&b->root, 0, sizeof b->root);
        packset_fini(&b->packs);
    }
    *ret_top = b->root;
    return 0;
}

const struct packset *
builder_packs(const struct builder *b)
{
    return &b->packs;
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
