/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "volume/reflink.h"
#include "volume/volume-priv.h"

/* What a snapshot costs. Its own layer is what would go with it, if nobody
 * else needs it:
 *   no child    all of the file
 *   one child   a merge: at most as much as the smaller of the two files has,
 *               because only clusters that both have are given back
 *   more        nothing
 * The middle case is an upper bound: the exact number would need a map of both
 * files for each line of a list.
 *
 * A copy that shares blocks costs what nobody shares any more, and the VM as a
 * whole what all its files have, each block counted once. */

static uint64_t
blocks_of(const struct layer *l)
{
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    struct err unused;

    return volume_image_read(l->path, "raw", &i, &unused) < 0 ? 0 : i.blocks;
}

static bool
is_needed_by_others(const struct layer_table *t, const struct layer *l,
                    const char *cut_id)
{
    for (size_t i = 0; i < t->n_refs; i++)
        if (strcmp(t->refs[i].layer, l->id) == 0 &&
            strcmp(t->refs[i].owner, cut_id) != 0)
            return true;
    return false;
}

static uint64_t
own_bytes(const struct layer_table *t, const struct layer *l)
{
    uint64_t own = blocks_of(l);
    struct err unused;

    if (l->state == LAYER_KEPT)
        return reflink_own_bytes(l->path, &own, &unused) < 0 ? 0 : own;
    if (layer_children(t, l) > 1)
        return 0;
    for (size_t i = 0; i < t->n_layers; i++)
        if (strcmp(t->layers[i].parent, l->id) == 0) {
            uint64_t child = blocks_of(&t->layers[i]);

            own = child < own ? child : own;
        }
    return own;
}

/* Of all files of the VM but foreign ones. */
static uint64_t
all_bytes(const struct layer_table *t)
{
    CLEANUP(mem_free)
    const char **paths = xcalloc(t->n_layers + 1, sizeof *paths);
    uint64_t all = 0, shared = 0;
    bool has_copies = false;
    struct err unused;
    size_t n = 0;

    for (size_t i = 0; i < t->n_layers; i++) {
        if (t->layers[i].state == LAYER_FOREIGN)
            continue;
        has_copies = has_copies || t->layers[i].state == LAYER_KEPT;
        all += blocks_of(&t->layers[i]);
        paths[n++] = t->layers[i].path;
    }
    if (has_copies && reflink_all_bytes(paths, n, &shared, &unused) == 0)
        return shared;
    return all;
}

int
volume_cut_usage(struct volume *v, const char *vm_uuid, const char *cut_id,
                 uint64_t *ret_own, uint64_t *ret_total, struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    uint64_t own = 0;

    if (t == NULL)
        return -1;
    for (size_t i = 0; i < t->n_refs; i++) {
        const struct layer_ref *r = &t->refs[i];
        const struct layer *l = layer_find(t, r->layer);

        if (r->kind == LAYER_REF_CUT && strcmp(r->owner, cut_id) == 0 &&
            !is_needed_by_others(t, l, cut_id))
            own += own_bytes(t, l);
    }
    *ret_own = own;
    *ret_total = all_bytes(t);
    return 0;
}

/* ---- room ---- */

/* By how much the merge of what lies above L can make L grow. */
static uint64_t
growth(const struct layer_table *t, const struct layer *l)
{
    uint64_t has = blocks_of(l), above = 0;
    uint64_t most = l->size > has ? l->size - has : 0;

    for (size_t i = 0; i < t->n_layers; i++)
        if (strcmp(t->layers[i].parent, l->id) == 0)
            above += blocks_of(&t->layers[i]);
    return above < most ? above : most;
}

static bool
is_of_cut(const struct layer_ref *r, const char *cut_id)
{
    return r->kind == LAYER_REF_CUT && strcmp(r->owner, cut_id) == 0;
}

/* Of all disks of the cut on the file system of L. */
static uint64_t
growth_beside(const struct layer_table *t, const char *cut_id,
              const struct layer *l)
{
    uint64_t all = 0;

    for (size_t i = 0; i < t->n_refs; i++) {
        const struct layer *other = layer_find(t, t->refs[i].layer);

        if (is_of_cut(&t->refs[i], cut_id) && other->file.dev == l->file.dev)
            all += growth(t, other);
    }
    return all;
}

int
volume_cut_room(struct volume *v, const char *vm_uuid, const char *cut_id,
                uint64_t reserve, struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);

    if (t == NULL)
        return -1;
    for (size_t i = 0; i < t->n_refs; i++) {
        const struct layer *l = layer_find(t, t->refs[i].layer);
        struct statvfs s;
        uint64_t is, wanted;

        if (!is_of_cut(&t->refs[i], cut_id))
            continue;
        if (statvfs(l->path, &s) < 0)
            return err_sys(err, errno, "%s: free space", l->path);
        is = (uint64_t)s.f_bavail * s.f_frsize;
        wanted = growth_beside(t, cut_id, l) + reserve;
        if (is < wanted)
            return err_set(err, ERR_NO_SPACE,
                           "the file system of %s has %llu MiB left, and what "
                           "the guest writes while its disk is read needs %llu",
                           l->path, (unsigned long long)is >> 20,
                           (unsigned long long)wanted >> 20);
    }
    return 0;
}
