/* SPDX-License-Identifier: Apache-2.0 */
/* Which parts of a backup lie in frames that are on the list of bad ones. Only
 * the tree is read, and nothing at all while that list is empty. */
#include "base/mem.h"
#include "repo/view.h"

struct search {
    struct repo_view *v;
    unsigned disk;
    struct badset bad;
    int (*found)(void *arg, uint64_t off, uint64_t len);
    void *arg;
};

static int
search_leaf(struct search *s, uint64_t idx, struct err *err)
{
    const struct root_disk *d = &s->v->root.disks[s->disk];
    CLEANUP(mem_free) struct tree_node *leaf = xcalloc(1, sizeof *leaf);
    bool found = false;

    if (view_node(s->v, s->disk, 0, idx, leaf, &found, err) < 0)
        return -1;
    for (unsigned i = 0; found && i < leaf->count; i++) {
        uint64_t chunk = idx * TREE_FANOUT + i;

        if (leaf->entries[i].type != TREE_REF || chunk >= view_chunks(d) ||
            !repo_private_is_bad(s->v->repo, &s->bad, FRAME_DATA,
                                 &leaf->entries[i].loc))
            continue;
        if (s->found(s->arg, chunk << d->chunk_log2, view_span(d, chunk)) != 0)
            return err_set(err, ERR_CANCELLED, "the search was ended");
    }
    return 0;
}

int
repo_view_bad(struct repo_view *v, unsigned disk,
              int (*found)(void *arg, uint64_t off, uint64_t len), void *arg,
              struct err *err)
{
    const struct root_disk *d = &v->root.disks[disk];
    uint64_t leaves = (view_chunks(d) + TREE_FANOUT - 1) / TREE_FANOUT;
    struct search s = { .v = v, .disk = disk, .found = found, .arg = arg };
    int rc = commitlog_bad(v->repo->log, &s.bad, err);

    for (uint64_t i = 0; rc == 0 && s.bad.count > 0 && i < leaves; i++)
        rc = search_leaf(&s, i, err);
    badset_fini(&s.bad);
    return rc;
}
