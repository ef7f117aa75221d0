/* SPDX-License-Identifier: Apache-2.0 */
/* The tree as it is stored is the parent of a new one, in which only the leaves
 * are other that name a pack in question. Only nodes of this session are looked
 * at: what the parent's nodes name was in the parent, which is present, so the
 * map of each REDIRECT has it.
 */
#include "repo/rescue.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "repo/logstate.h"

struct rescue {
    struct repo_backup *b;
    struct packset gone;  /* packs that must not be named anew */
    struct packset fresh; /* packs of others that are named instead */
    struct repo_view *view;
    unsigned disk;
    struct builder *builder; /* of this disk; NULL until a leaf changes */
};

/* ---- which packs ---- */

static int
find_gone(void *arg, const struct logstate *s, struct err *err)
{
    struct rescue *r = arg;
    const struct packset_item *item;

    (void)err;
    for (size_t pos = 0; (item = packset_next(&r->b->fresh, &pos)) != NULL;)
        if (packset_get(&s->condemned, &item->id) != 0 ||
            logstate_moved_find(s, &item->id) != NULL)
            packset_set(&r->gone, &item->id, 1);
    return 0;
}

/* ---- chunks ---- */

static int
store_again(struct rescue *r, struct tree_entry *e, struct err *err)
{
    struct repo_backup *b = r->b;
    CLEANUP(mem_free) uint8_t *plain = xcalloc(1, e->loc.ulen);

    if (pack_reader_frame(b->repo->packs, b->ctx, FRAME_DATA, &e->loc, e->id,
                          plain, err) < 0) {
        if (err->code != ERR_NOT_FOUND && err->code != ERR_CORRUPT)
            return -1;
        return err_set(
            err, ERR_CONFLICT,
            "a chunk that others had stored was removed meanwhile: make the backup again");
    }
    return packer_add(b->data, b->ctx, plain, e->loc.ulen, e->id, &e->loc, err);
}

/* *ret_changed stays as it is when the entry may stay. */
static int
fix_entry(struct rescue *r, struct tree_entry *e, bool *ret_changed,
          struct err *err)
{
    struct frame_loc loc = e->loc;
    struct pack_id pack;
    bool moved = false;

    if (e->type != TREE_REF)
        return 0;
    pack = packset_id_of(&e->loc, FRAME_DATA);
    if (packset_get(&r->gone, &pack) == 0)
        return 0;
    *ret_changed = true;
    if (redirect_resolve(r->b->repo->moves, FRAME_DATA, &loc, &moved, err) < 0)
        return -1;
    if (moved) {
        e->loc = loc; /* the commit looks whether that is still there */
        return 0;
    }
    return store_again(r, e, err);
}

/* ---- leaves ---- */

static int
have_builder(struct rescue *r, struct err *err)
{
    struct repo_backup *b = r->b;
    struct backup_disk *d = &b->disks[r->disk];
    struct builder_config c = { .packer = b->meta,
                                .id_key = &b->repo->keys.id,
                                .ctx = b->ctx,
                                .size = d->out.size,
                                .chunk_log2 = d->out.chunk_log2,
                                .parent = r->view,
                                .parent_disk = r->disk,
                                .parent_packs = builder_packs(d->builder),
                                .session = b->id,
                                .fresh = &r->fresh };

    return r->builder != NULL ? 0 : builder_new(&c, &r->builder, err);
}

static int
fix_leaf(struct rescue *r, uint64_t idx, struct tree_node *leaf,
         struct err *err)
{
    bool is_changed = false;

    for (unsigned i = 0; i < leaf->count; i++)
        if (fix_entry(r, &leaf->entries[i], &is_changed, err) < 0)
            return -1;
    if (!is_changed)
        return 0;
    if (have_builder(r, err) < 0)
        return -1;
    return builder_put_leaf(r->builder, idx, leaf, err);
}

/* NOLINTNEXTLINE(misc-no-recursion): at most TREE_LEVEL_MAX deep */
static int
fix_node(struct rescue *r, unsigned level, uint64_t idx, struct err *err)
{
    CLEANUP(mem_free) struct tree_node *n = xcalloc(1, sizeof *n);
    struct tree_entry e;
    bool found = false;

    if (view_entry(r->view, r->disk, level, idx, &e, err) < 0)
        return -1;
    if (e.type != TREE_REF || memcmp(e.loc.session, r->b->id, 16) != 0)
        return 0; /* zeros, or a node of somebody else */
    if (view_node(r->view, r->disk, level, idx, n, &found, err) < 0)
        return -1;
    if (!found)
        return 0;
    if (level == 0)
        return fix_leaf(r, idx, n, err);
    for (unsigned i = 0; i < n->count; i++)
        if (fix_node(r, level - 1, idx * TREE_FANOUT + i, err) < 0)
            return -1;
    return 0;
}

static int
fix_disk(struct rescue *r, struct err *err)
{
    struct backup_disk *d = &r->b->disks[r->disk];

    if (fix_node(r, d->out.top_level, 0, err) < 0 ||
        (r->builder != NULL &&
         builder_finish(r->builder, &d->out.top, err) < 0)) {
        builder_free(TAKE(r->builder));
        return err_wrap(err, "disk %s", d->out.name);
    }
    if (r->builder != NULL) {
        builder_free(d->builder);
        d->builder = TAKE(r->builder);
    }
    return 0;
}

/* ---- all ---- */

/* The backup as it would be committed. */
static struct repo_view *NO_TSA
view_of(struct repo_backup *b)
{
    struct repo_view *v = xcalloc(1, sizeof *v);

    v->repo = b->repo;
    memcpy(v->id, b->id_text, sizeof v->id);
    memcpy(v->root.id, b->id, 16);
    v->root.disk_count = b->disk_count;
    v->root.disks = xcalloc(b->disk_count + 1, sizeof *v->root.disks);
    for (unsigned i = 0; i < b->disk_count; i++)
        v->root.disks[i] = b->disks[i].out;
    pthread_mutex_init(&v->mutex, NULL);
    return v;
}

static int
fix_disks(struct rescue *r, struct err *err)
{
    const struct packset_item *item;

    r->view = view_of(r->b);
    for (r->disk = 0; r->disk < r->b->disk_count; r->disk++)
        if (fix_disk(r, err) < 0)
            return -1;
    for (size_t pos = 0; (item = packset_next(&r->gone, &pos)) != NULL;)
        packset_set(&r->b->fresh, &item->id, 0);
    packset_add_all(&r->b->fresh, &r->fresh);
    return 0;
}

int
rescue_run(struct repo_backup *b, bool *ret_changed, struct err *err)
{
    struct rescue r = { .b = b };
    int rc = redirect_update(b->repo->moves, true, err);

    if (rc == 0)
        rc = commitlog_look(b->repo->log, false, find_gone, &r, err);
    *ret_changed = r.gone.count > 0;
    if (rc == 0 && *ret_changed)
        rc = fix_disks(&r, err);
    repo_view_close(r.view);
    packset_fini(&r.gone);
    packset_fini(&r.fresh);
    return rc;
}
