/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "repo/gc-private.h"
#include "repo/summary.h"

static void
name_pack(struct gc *gc, const struct tree_entry *e)
{
    struct pack_id id = packset_id_of(&e->loc, FRAME_META);

    if (e->type == TREE_REF)
        packset_set(&gc->named, &id, 1);
}

static int
load_root(struct repo *repo, const struct commitlog_commit *c, struct root *ret,
          struct err *err)
{
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, c->root.loc.ulen);
    struct frame_ctx *ctx = repo_private_ctx_take(repo);
    int rc = pack_reader_frame(repo->packs, ctx, FRAME_META, &c->root.loc,
                               c->root.id, data, err);

    repo_private_ctx_put(repo, ctx);
    return rc < 0 ? -1 : root_decode(data, c->root.loc.ulen, ret, err);
}

static int
name_packs(struct gc *gc, const struct root *root, struct err *err)
{
    struct packset *disks = xcalloc(root->disk_count + 1, sizeof *disks);
    int rc = summary_load(gc->repo, root, disks, err);

    for (unsigned i = 0; i < root->disk_count; i++) {
        if (rc == 0)
            packset_add_all(&gc->named, &disks[i]);
        packset_fini(&disks[i]);
    }
    free(disks);
    name_pack(gc, &root->metadata);
    for (unsigned i = 0; i < root->summary_count; i++)
        name_pack(gc, &root->summary[i]);
    return rc;
}

int
gc_mark(struct gc *gc, const struct commitlog_commit *c, struct err *err)
{
    CLEANUP(root_fini) struct root root = { 0 };

    for (size_t i = 0; i < gc->marked_count; i++)
        if (memcmp(gc->marked[i], c->id, 16) == 0)
            return 0;
    if (load_root(gc->repo, c, &root, err) < 0 ||
        name_packs(gc, &root, err) < 0)
        return -1;
    name_pack(gc, &c->root);
    gc->marked =
        logstate_grow(gc->marked, gc->marked_count, sizeof *gc->marked);
    memcpy(gc->marked[gc->marked_count++], c->id, 16);
    return 0;
}

/* ---- what is to go ---- */

/* A session as a pack that cannot exist, to keep sessions in a packset. */
static struct pack_id
session_of(const uint8_t session[16])
{
    struct pack_id id = { .kind = FRAME_DATA, .n = UINT32_MAX };

    memcpy(id.session, session, 16);
    return id;
}

/* The sessions whose packs hold what was moved: all packs of these are needed,
 * their maps too, unless they were moved in turn. */
static void
find_movers(const struct gc *gc, const struct logstate *s,
            struct packset *movers)
{
    bool grows = true;

    while (grows) {
        grows = false;
        for (size_t i = 0; i < s->moved_count; i++) {
            const struct logstate_moved *m = &s->moved[i];
            struct pack_id to = session_of(s->redirects[m->redirect].session);
            struct pack_id from = session_of(m->pack.session);

            if (packset_get(movers, &to) != 0 ||
                (packset_get(&gc->named, &m->pack) == 0 &&
                 packset_get(movers, &from) == 0))
                continue;
            packset_set(movers, &to, 1);
            grows = true;
        }
    }
}

static bool
is_needed(const struct gc *gc, const struct logstate *s,
          const struct packset *movers, const struct pack_id *pack)
{
    struct pack_id session = session_of(pack->session);

    if (logstate_moved_find(s, pack) != NULL)
        return false;
    return packset_get(&gc->named, pack) != 0 ||
           packset_get(movers, &session) != 0;
}

/* What a damaged frame of a pack that is needed has its whole copy in. */
static bool
name_copies(struct gc *gc, const struct logstate *s,
            const struct packset *movers)
{
    bool grew = false;

    for (size_t i = 0; i < gc->bad.count; i++) {
        const struct badset_frame *f = &gc->bad.frames[i];
        struct pack_id bad = { .kind = f->kind, .n = f->n };
        struct pack_id copy = packset_id_of(&f->copy, f->kind);

        memcpy(bad.session, f->session, 16);
        if (!f->has_copy || packset_get(&gc->named, &copy) != 0 ||
            !is_needed(gc, s, movers, &bad))
            continue;
        packset_set(&gc->named, &copy, 1);
        grew = true;
    }
    return grew;
}

void
gc_choose(struct gc *gc, const struct logstate *s)
{
    CLEANUP(packset_fini) struct packset movers = { 0 };
    struct repo_gc_result *r = gc->result;
    bool is_protected = false;

    do
        find_movers(gc, s, &movers);
    while (name_copies(gc, s, &movers));
    gc->next.pack_count = 0;
    r->live_packs = r->open_packs = 0;
    for (size_t i = 0; i < gc->pack_count; i++) {
        const struct pack_id *pack = &gc->packs[i];

        if (i == 0 || memcmp(pack->session, pack[-1].session, 16) != 0)
            is_protected = logstate_is_protected(s, pack->session);
        if (packset_get(&s->condemned, pack) != 0)
            continue;
        if (is_protected)
            r->open_packs++;
        else if (is_needed(gc, s, &movers, pack))
            r->live_packs++;
        else
            gc->next.packs[gc->next.pack_count++] = *pack;
    }
}
