/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include <fcntl.h>
#include <string.h>

#include "base/mem.h"
#include "volume/volume-priv.h"

/* Space comes back here. One step at a time: read the facts, plan, do the
 * first thing that can be done, read the facts again. A step that was done is
 * in the table before the next is planned, so a crash between two steps costs
 * nothing, and a crash in one is the journal's (volume-merge.c). An unlink has
 * no journal: the file goes first, then the row, and a row whose file is gone
 * and whom nobody needs is forgotten.
 *
 * Reading the facts opens every file of the VM and asks libvirt for every
 * domain. Files that are unlinked together share them, one sync of their
 * directory and one write of the table: an unlink takes nothing from what is
 * known of the others. Where the table alone says that nothing can go, they
 * are not read at all.
 *
 * A cut by copies goes in that one step, its references too. Until the table
 * is written it still names files that are gone; whoever deletes a cut has
 * that written down and comes again after a crash. */

enum {
    UNLINKS_AT_ONCE = 16
};

/* No link followed: what vmkeep made is a file. */
static int
lock_own(struct imglock *lock, const struct layer *l, struct err *err)
{
    struct file_id is;
    struct stat st;
    struct err unused;

    if (lstat(l->path, &st) < 0 || !S_ISREG(st.st_mode) ||
        file_id_at(AT_FDCWD, l->path, AT_SYMLINK_NOFOLLOW, &is, &unused) < 0 ||
        !file_id_equal(&is, &l->file))
        return err_set(err, ERR_CONFLICT, "%s: changed meanwhile", l->path);
    return imglock_add(lock, l->path, &l->file, err);
}

/* Unlink the file of a row that nobody names and drop the row; why not: text
 * in *ret_why, and nothing is changed. `with_domain`: only if libvirt shows
 * the domain (invariant 5: an empty answer deletes nothing). */
static int
look_and_remove_row(struct volume *v, struct layer_table *t, const char *id,
                    bool with_domain, const char **ret_why, struct err *err)
{
    CLEANUP(plan_facts_fini) struct plan_facts f = { .files = NULL };
    CLEANUP(imglock_free) struct imglock *lock = imglock_new();
    struct layer *l = layer_find(t, id);
    enum plan_why why;

    *ret_why = NULL;
    if (volume_facts_read(v, t, &f, err) < 0)
        return -1;
    why = plan_unlink_why(t, &f, (size_t)(l - t->layers));
    if (why == PLAN_WHY_NONE && !l->is_made)
        why = PLAN_WHY_NOT_OURS;
    if (with_domain && !f.has_domain)
        why = PLAN_WHY_NO_DOMAIN;
    if (why != PLAN_WHY_NONE && why != PLAN_WHY_MISSING) {
        *ret_why = plan_why_text(why);
        return 0;
    }
    if (why == PLAN_WHY_NONE && (lock_own(lock, l, err) < 0 ||
                                 driver_remove(v->driver, l->path, err) < 0))
        return -1;
    layer_remove(t, id);
    return volume_save(v, t, err);
}

/* Drop a row, and what is known of its file. */
static void
drop_row(struct layer_table *t, struct plan_facts *f, size_t row)
{
    layer_remove(t, t->layers[row].id);
    memmove(f->files + row, f->files + row + 1,
            (t->n_layers - row) * sizeof *f->files);
}

/* Unlink and forget what the plan says, as far as one batch goes. The table is
 * not written. */
static int
remove_planned(struct volume *v, struct layer_table *t, struct plan_facts *f,
               const struct plan_item *items, size_t *ret_n, struct err *err)
{
    CLEANUP(imglock_free) struct imglock *lock = imglock_new();
    const char *paths[UNLINKS_AT_ONCE];
    size_t rows[UNLINKS_AT_ONCE], n = 0, n_paths = 0;

    for (size_t i = 0; i < t->n_layers && n < UNLINKS_AT_ONCE; i++) {
        if (items[i].verb != PLAN_UNLINK && items[i].verb != PLAN_FORGET)
            continue;
        rows[n++] = i;
        if (items[i].verb == PLAN_FORGET)
            continue;
        if (lock_own(lock, &t->layers[i], err) < 0)
            return -1;
        paths[n_paths++] = t->layers[i].path;
    }
    if (n_paths > 0 && driver_remove_all(v->driver, paths, n_paths, err) < 0)
        return -1;
    for (size_t i = n; i-- > 0;)
        drop_row(t, f, rows[i]);
    *ret_n = n;
    return 0;
}

/* All batches that these facts allow: what a removed file stood on is next.
 * `ret_next`: the row of the first merge, t->n_layers: none. */
static int
remove_some(struct volume *v, struct layer_table *t, struct plan_facts *f,
            struct plan_item *items, size_t *ret_n, size_t *ret_next,
            struct err *err)
{
    size_t n = 1;

    for (*ret_n = 0; n > 0 && *ret_n < UNLINKS_AT_ONCE; *ret_n += n) {
        plan_collect(t, f, items);
        *ret_next = plan_next(t, items);
        if (remove_planned(v, t, f, items, &n, err) < 0)
            return -1;
    }
    return 0;
}

/* The plan's removals, else its next merge. `ret_left`: how many layers stay
 * hidden, if there was nothing to do. */
static int
collect_some(struct volume *v, struct layer_table *t, bool *ret_is_done,
             size_t *ret_left, struct err *err)
{
    CLEANUP(plan_facts_fini) struct plan_facts f = { .files = NULL };
    CLEANUP(mem_free)
    struct plan_item *items = xcalloc(t->n_layers + 1, sizeof *items);
    char id[UUID_STR_SIZE], child[UUID_STR_SIZE];
    size_t next, n;

    *ret_is_done = plan_is_idle(t, ret_left);
    if (*ret_is_done)
        return 0;
    if (volume_facts_read(v, t, &f, err) < 0 ||
        remove_some(v, t, &f, items, &n, &next, err) < 0)
        return -1;
    if (n > 0)
        return volume_save(v, t, err);
    if (next < t->n_layers) {
        memcpy(id, t->layers[next].id, sizeof id);
        memcpy(child, t->layers[items[next].child].id, sizeof child);
        return volume_merge(v, t, id, child, err);
    }
    *ret_is_done = true;
    for (size_t i = 0; i < t->n_layers; i++)
        *ret_left += items[i].verb == PLAN_HIDDEN;
    return 0;
}

int
volume_collect_table(struct volume *v, struct layer_table *t, size_t *ret_left,
                     struct err *err)
{
    bool is_done = false;
    size_t left = 0;

    while (!is_done) {
        left = 0;
        if (collect_some(v, t, &is_done, &left, err) < 0)
            return -1;
    }
    if (ret_left != NULL)
        *ret_left = left;
    return 0;
}

int
volume_collect(struct volume *v, const char *vm_uuid, size_t *ret_left,
               struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);

    if (t == NULL)
        return -1;
    if (volume_settle(v, t, err) < 0)
        return -1;
    return volume_collect_table(v, t, ret_left, err);
}

/* Does a copy of this cut have no other user? */
static bool
has_own_copies(const struct layer_table *t, const char *cut_id)
{
    for (size_t i = 0; i < t->n_refs; i++)
        if (t->refs[i].kind == LAYER_REF_CUT &&
            strcmp(t->refs[i].owner, cut_id) == 0 &&
            layer_find(t, t->refs[i].layer)->state == LAYER_KEPT)
            return true;
    return false;
}

/* The copies that nobody refers to any more. What cannot go now is left to
 * the next collect, which also says why. */
static void
remove_copies(struct volume *v, struct layer_table *t)
{
    CLEANUP(plan_facts_fini) struct plan_facts f = { .files = NULL };
    CLEANUP(mem_free)
    struct plan_item *items = xcalloc(t->n_layers + 1, sizeof *items);
    struct err unused;
    size_t n, next;

    if (volume_facts_read(v, t, &f, &unused) == 0)
        (void)remove_some(v, t, &f, items, &n, &next, &unused);
}

int
volume_cut_delete(struct volume *v, const char *vm_uuid, const char *cut_id,
                  struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);

    if (t == NULL)
        return -1;
    if (layer_ref_find(t, LAYER_REF_CUT, cut_id, NULL) == NULL)
        return 0;
    layer_ref_drop(t, LAYER_REF_CUT, cut_id);
    return volume_save(v, t, err);
}

int
volume_cut_drop(struct volume *v, const char *vm_uuid, const char *cut_id,
                bool *ret_is_gone, struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    bool has_copies;
    size_t hidden;

    if (t == NULL)
        return -1;
    if (layer_ref_find(t, LAYER_REF_CUT, cut_id, NULL) != NULL) {
        has_copies = has_own_copies(t, cut_id);
        layer_ref_drop(t, LAYER_REF_CUT, cut_id);
        if (has_copies)
            remove_copies(v, t);
        if (volume_save(v, t, err) < 0)
            return -1;
    }
    *ret_is_gone = t->job.kind == LAYER_JOB_NONE && plan_is_idle(t, &hidden);
    return 0;
}

int
volume_trash_empty(struct volume *v, const char *vm_uuid, int64_t now_s,
                   struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);

    if (t == NULL)
        return -1;
    /* From the end: a removed row moves only those behind it. */
    for (size_t i = t->n_layers; i-- > 0;) {
        const char *why;

        if (t->layers[i].state == LAYER_TRASH &&
            t->layers[i].until_s <= now_s &&
            look_and_remove_row(v, t, t->layers[i].id, true, &why, err) < 0)
            return -1;
    }
    return 0;
}

int
volume_list_detached(struct volume *v, const char *vm_uuid,
                     struct volume_detached **ret_v, size_t *ret_n,
                     struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    struct volume_detached *out;
    size_t n = 0;

    if (t == NULL)
        return -1;
    out = xcalloc(t->n_layers + 1, sizeof *out);
    for (size_t i = 0; i < t->n_layers; i++) {
        const struct layer *l = &t->layers[i];

        if (l->state != LAYER_DETACHED)
            continue;
        out[n++] = (struct volume_detached){ .path = xstrdup(l->path),
                                             .format = xstrdup(l->format),
                                             .target = xstrdup(l->target),
                                             .virtual_size = l->size };
    }
    *ret_v = out;
    *ret_n = n;
    return 0;
}

int
volume_detached_delete(struct volume *v, const char *vm_uuid, const char *path,
                       struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    const struct layer *l;
    const char *why;

    if (t == NULL)
        return -1;
    l = layer_find_path(t, path);
    if (l == NULL || l->state != LAYER_DETACHED)
        return err_set(err, ERR_NOT_FOUND, "%s: not a detached disk of VM %s",
                       path, vm_uuid);
    if (look_and_remove_row(v, t, l->id, false, &why, err) < 0)
        return -1;
    if (why != NULL)
        return err_set(err, ERR_CONFLICT, "%s: not deleted: %s", path, why);
    return 0;
}

int
volume_cut_list(struct volume *v, const char *vm_uuid, char ***ret_ids,
                size_t *ret_n, struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    char **ids;
    size_t n = 0;

    if (t == NULL)
        return -1;
    ids = xcalloc(t->n_refs + 1, sizeof *ids);
    for (size_t i = 0; i < t->n_refs; i++) {
        bool is_new = t->refs[i].kind == LAYER_REF_CUT;

        for (size_t k = 0; k < n; k++)
            is_new = is_new && strcmp(ids[k], t->refs[i].owner) != 0;
        if (is_new)
            ids[n++] = xstrdup(t->refs[i].owner);
    }
    *ret_ids = ids;
    *ret_n = n;
    return 0;
}

int
volume_release(struct volume *v, const char *vm_uuid, struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;

    if (t == NULL)
        return -1;
    if (t->n_layers == 0 && t->n_done == 0)
        return 0;
    if (t->n_refs > 0)
        return err_set(err, ERR_CONFLICT,
                       "VM %s has snapshots; delete them first", vm_uuid);
    if (t->job.kind != LAYER_JOB_NONE)
        return err_set(err, ERR_BUSY, "VM %s: a job has not ended", vm_uuid);
    if (volume_domain(v, vm_uuid, &vm, err) < 0)
        return -1;
    /* A VM that is gone for good leaves its trash to the admin, as files. */
    for (size_t i = 0; i < t->n_layers && vm != NULL; i++)
        if (t->layers[i].state == LAYER_TRASH)
            return err_set(err, ERR_CONFLICT,
                           "VM %s has old disks in the trash (%s); empty it "
                           "first",
                           vm_uuid, t->layers[i].path);
    return file_unlink(v->dirfd, vm_uuid, err);
}
