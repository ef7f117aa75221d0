/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

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
 * Reading the facts opens every file of the VM. Files that are unlinked one
 * after the other (a snapshot by copies has one for each disk) share them: an
 * unlink takes nothing from what is known of the others. */

enum {
    UNLINKS_AT_ONCE = 16
};

/* Unlink the file of a row that nobody names and drop the row; why not: text
 * in *ret_why, and nothing is changed. `with_domain`: only if libvirt shows
 * the domain (invariant 5: an empty answer deletes nothing). */
static int
remove_row(struct volume *v, struct layer_table *t, const struct plan_facts *f,
           const char *id, bool with_domain, const char **ret_why,
           struct err *err)
{
    CLEANUP(imglock_free) struct imglock *lock = imglock_new();
    struct layer *l = layer_find(t, id);
    enum plan_why why;
    struct stat st;

    *ret_why = NULL;
    why = plan_unlink_why(t, f, (size_t)(l - t->layers));
    if (why == PLAN_WHY_NONE && !l->is_made)
        why = PLAN_WHY_NOT_OURS;
    if (with_domain && !f->has_domain)
        why = PLAN_WHY_NO_DOMAIN;
    if (why != PLAN_WHY_NONE && why != PLAN_WHY_MISSING) {
        *ret_why = plan_why_text(why);
        return 0;
    }
    /* No link followed: what vmkeep made is a file. */
    if (why == PLAN_WHY_NONE) {
        struct file_id is;

        if (lstat(l->path, &st) < 0 || !S_ISREG(st.st_mode))
            return err_set(err, ERR_CONFLICT, "%s: changed meanwhile", l->path);
        is = virt_file_id_of_stat(&st);
        if (!file_id_equal(&is, &l->file))
            return err_set(err, ERR_CONFLICT, "%s: changed meanwhile", l->path);
        if (imglock_add(lock, l->path, &l->file, err) < 0 ||
            driver_remove(v->driver, l->path, err) < 0)
            return -1;
    }
    layer_remove(t, id);
    return volume_save(v, t, err);
}

/* The same, with facts of now. */
static int
look_and_remove_row(struct volume *v, struct layer_table *t, const char *id,
                    bool with_domain, const char **ret_why, struct err *err)
{
    CLEANUP(plan_facts_fini) struct plan_facts f = { .files = NULL };

    return volume_facts_read(v, t, &f, err) < 0
               ? -1
               : remove_row(v, t, &f, id, with_domain, ret_why, err);
}

/* Do what the plan says about one row. */
static int
execute(struct volume *v, struct layer_table *t, const struct plan_facts *f,
        size_t row, const struct plan_item *item, struct err *err)
{
    char id[UUID_STR_SIZE], child[UUID_STR_SIZE];
    const char *why;

    memcpy(id, t->layers[row].id, sizeof id);
    if (item->verb == PLAN_MERGE) {
        memcpy(child, t->layers[item->child].id, sizeof child);
        return volume_merge(v, t, id, child, err);
    }
    if (item->verb == PLAN_FORGET) {
        layer_remove(t, id);
        return volume_save(v, t, err);
    }
    if (remove_row(v, t, f, id, true, &why, err) < 0)
        return -1;
    return why == NULL ? 0 : err_set(err, ERR_BUSY, "%s", why);
}

/* The plan's next step, and those unlinks that follow it. `ret_left`: how many
 * layers stay hidden, if there was nothing to do. */
static int
collect_some(struct volume *v, struct layer_table *t, bool *ret_is_done,
             size_t *ret_left, struct err *err)
{
    CLEANUP(plan_facts_fini) struct plan_facts f = { .files = NULL };
    CLEANUP(mem_free)
    struct plan_item *items = xcalloc(t->n_layers + 1, sizeof *items);
    size_t row, n = 0;

    if (volume_facts_read(v, t, &f, err) < 0)
        return -1;
    for (;; n++) {
        plan_collect(t, &f, items);
        row = plan_next(t, items);
        if (row == t->n_layers)
            break;
        if (n == UNLINKS_AT_ONCE || (n > 0 && items[row].verb == PLAN_MERGE)) {
            *ret_is_done = false;
            return 0;
        }
        if (execute(v, t, &f, row, &items[row], err) < 0)
            return -1;
        if (items[row].verb == PLAN_MERGE) {
            *ret_is_done = false;
            return 0;
        }
        /* The rows behind it have moved up. */
        memmove(f.files + row, f.files + row + 1,
                (t->n_layers - row) * sizeof *f.files);
    }
    *ret_is_done = true;
    *ret_left = 0;
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

    while (!is_done)
        if (collect_some(v, t, &is_done, &left, err) < 0)
            return -1;
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
