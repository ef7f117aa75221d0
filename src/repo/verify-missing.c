/* SPDX-License-Identifier: Apache-2.0 */
/* Which packs should be there: those of the roots and those that the pack
 * summaries name. Without walking a tree, so that a verify of frames alone
 * misses none. */
#include "base/mem.h"
#include "repo/summary.h"
#include "repo/verify.h"
#include "repo/view.h"

/* Said once; the packs of a backup that is gone by now are nobody's. */
static void
look_for(struct verify *v, const struct pack_id *id, struct packset *have)
{
    char name[PACK_NAME_SIZE];
    uint64_t size;
    struct err err;

    if (packset_get(have, id) != 0 || redirect_is_source(v->repo->moves, id))
        return;
    packset_set(have, id, 1);
    pack_name(id, name);
    if (blob_size(v->repo->blob, name, &size, &err) < 0 &&
        err.code == ERR_NOT_FOUND && !verify_is_collected(v, id))
        verify_damage_pack(v, id, "is missing");
}

static int
look_at(struct verify *v, const struct commitlog_commit *c,
        struct packset *have, struct err *err)
{
    CLEANUP(repo_view_close) struct repo_view *view = NULL;
    struct pack_id root = packset_id_of(&c->root.loc, FRAME_META);
    struct packset *packs;
    int rc;

    look_for(v, &root, have);
    if (view_open_commit(v->repo, c, &view, err) < 0)
        return -1;
    packs = xcalloc(view->root.disk_count + 1, sizeof *packs);
    rc = summary_load(v->repo, &view->root, packs, err);
    for (unsigned i = 0; i < view->root.disk_count; i++) {
        const struct packset_item *item;

        for (size_t at = 0;
             rc == 0 && (item = packset_next(&packs[i], &at)) != NULL;)
            look_for(v, &item->id, have);
        packset_fini(&packs[i]);
    }
    free(packs);
    return rc;
}

int
verify_missing(struct verify *v, const struct pack_id *ids, size_t count,
               struct err *err)
{
    CLEANUP(packset_fini) struct packset have = { 0 };
    CLEANUP(mem_free) struct commitlog_backup *b = NULL;
    size_t n = 0, damage;

    for (size_t i = 0; i < count; i++)
        packset_set(&have, &ids[i], 1);
    if (commitlog_list(v->repo->log, &b, &n, &damage, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        /* What is damaged there the frames of its pack have told. */
        if (look_at(v, &b[i].commit, &have, err) < 0 && !blob_is_lost(err) &&
            err->code != ERR_UNSUPPORTED)
            return -1;
    return 0;
}
