/* SPDX-License-Identifier: Apache-2.0 */
/* A node's id stands for all that is below it, locations too, so who has seen
 * the id need not look again. Half of an id, 16 bytes of an HMAC, is enough to
 * know it by.
 */
#include "repo/livewalk.h"

#include <string.h>

#include "base/mem.h"
#include "codec/le.h"
#include "repo/copies.h"
#include "repo/repo-id.h"
#include "repo/repo-private.h"

#define KEY 16u

struct livewalk {
    struct repo *repo;
    struct livewalk_sink sink;
    struct frame_ctx *ctx;
    struct badset bad; /* damaged frames, and whole copies */
    bool has_bad;      /* it was loaded */
    uint8_t *seen;     /* `slots` keys of KEY bytes; zeros: empty */
    size_t slots, count;
};

struct livewalk *
livewalk_new(struct repo *repo, const struct livewalk_sink *sink)
{
    struct livewalk *w = xcalloc(1, sizeof *w);

    w->repo = repo;
    w->sink = *sink;
    w->ctx = repo_private_ctx_take(repo);
    w->slots = 1024;
    w->seen = xcalloc(w->slots, KEY);
    return w;
}

void
livewalk_free(struct livewalk *w)
{
    if (w == NULL)
        return;
    repo_private_ctx_put(w->repo, w->ctx);
    badset_fini(&w->bad);
    free(w->seen);
    free(w);
}

/* Where the key is, or belongs. */
static uint8_t *
slot_of(uint8_t *seen, size_t slots, const uint8_t *key)
{
    size_t i = le_get64(key) & (slots - 1);

    while (!le_is_zero(seen + i * KEY, KEY) &&
           memcmp(seen + i * KEY, key, KEY) != 0)
        i = (i + 1) & (slots - 1);
    return seen + i * KEY;
}

/* True the first time. */
static bool
note_seen(struct livewalk *w, const uint8_t *key)
{
    uint8_t *slot = slot_of(w->seen, w->slots, key);

    if (memcmp(slot, key, KEY) == 0)
        return false;
    memcpy(slot, key, KEY);
    if (2 * ++w->count > w->slots) {
        uint8_t *larger = xcalloc(2 * w->slots, KEY);

        for (size_t i = 0; i < w->slots; i++)
            if (!le_is_zero(w->seen + i * KEY, KEY))
                memcpy(slot_of(larger, 2 * w->slots, w->seen + i * KEY),
                       w->seen + i * KEY, KEY);
        free(w->seen);
        w->seen = larger;
        w->slots *= 2;
    }
    return true;
}

static int
hand_out(struct livewalk *w, enum frame_kind kind, const struct tree_entry *e,
         struct err *err)
{
    struct tree_entry there = *e;
    bool moved;

    if (e->type != TREE_REF)
        return 0;
    if (redirect_resolve(w->repo->moves, kind, &there.loc, &moved, err) < 0 ||
        w->sink.frame(w->sink.arg, kind, &there, err) < 0)
        return -1;
    /* Who cannot read it reads the copy: then that is needed too. */
    if (!badset_copy_of(&w->bad, kind, &there.loc, &there.loc))
        return 0;
    if (redirect_resolve(w->repo->moves, kind, &there.loc, &moved, err) < 0)
        return -1;
    return w->sink.frame(w->sink.arg, kind, &there, err);
}

static int
read_node(struct livewalk *w, unsigned level, const struct tree_entry *e,
          struct tree_node *ret, struct err *err)
{
    uint8_t data[TREE_NODE_MAX];

    if (e->loc.ulen > sizeof data)
        return err_set(err, ERR_CORRUPT, "node too long");
    if (pack_reader_frame(w->repo->packs, w->ctx, FRAME_META, &e->loc, e->id,
                          data, err) < 0)
        return -1;
    return tree_decode(data, e->loc.ulen, level, ret, err);
}

/* NOLINTNEXTLINE(misc-no-recursion): at most TREE_LEVEL_MAX deep */
static int
walk_node(struct livewalk *w, unsigned level, const struct tree_entry *e,
          struct err *err)
{
    CLEANUP(mem_free) struct tree_node *n = NULL;
    int rc = 0;

    if (e->type != TREE_REF)
        return 0;
    if (hand_out(w, FRAME_META, e, err) < 0)
        return -1;
    if (!note_seen(w, e->id))
        return 0;
    n = xcalloc(1, sizeof *n);
    if (read_node(w, level, e, n, err) < 0)
        return -1;
    for (unsigned i = 0; rc == 0 && i < n->count; i++)
        rc = level == 0 ? hand_out(w, FRAME_DATA, &n->entries[i], err)
                        : walk_node(w, level - 1, &n->entries[i], err);
    return rc;
}

static int
walk_root(struct livewalk *w, const struct commitlog_commit *c, struct err *err)
{
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, c->root.loc.ulen);
    CLEANUP(root_fini) struct root root = { 0 };

    if (hand_out(w, FRAME_META, &c->root, err) < 0 ||
        pack_reader_frame(w->repo->packs, w->ctx, FRAME_META, &c->root.loc,
                          c->root.id, data, err) < 0 ||
        root_decode(data, c->root.loc.ulen, &root, err) < 0 ||
        hand_out(w, FRAME_META, &root.metadata, err) < 0)
        return -1;
    for (unsigned i = 0; i < root.summary_count; i++)
        if (hand_out(w, FRAME_META, &root.summary[i], err) < 0)
            return -1;
    for (unsigned i = 0; i < root.disk_count; i++)
        if (walk_node(w, root.disks[i].top_level, &root.disks[i].top, err) < 0)
            return err_wrap(err, "disk %s", root.disks[i].name);
    return 0;
}

int
livewalk_backup(struct livewalk *w, const struct commitlog_commit *c,
                struct err *err)
{
    char id[UUID_STR_SIZE];

    if (!w->has_bad && copies_bad(w->repo, &w->bad, err) < 0)
        return -1;
    w->has_bad = true;
    if (walk_root(w, c, err) == 0)
        return 0;
    repo_id_format(c->id, id);
    return err_wrap(err, "backup %s", id);
}
