/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "volume/volume-priv.h"

/* A cut by copies: on a file system that shares blocks the disk is copied at
 * the instant and the guest goes on writing to the file it had. No chain
 * grows, nothing is merged, deleting a copy is an unlink.
 *
 *   disk.qcow2 (active)          kept: disk.vmkeep-1.qcow2
 *     base.qcow2 (foreign)             base.vmkeep-2.qcow2
 *
 * A copy stands on copies of everything below it, so that nothing that happens
 * to the VM's own chain can reach it. What is below is not written to and is
 * copied beforehand; at the instant only the active files are. The headers of
 * the copies still name the originals then; finish names the copies.
 *
 * Copying is not atomic over several files: the VM stands still meanwhile
 * (the caller suspends it), and that time grows with the number of extents.
 * Beyond PAUSE_MAX_US layers are taken instead, and also while a disk has
 * layers of ours, whose merges would be one more thing to keep apart. The
 * other way round does no harm: copies do not care what is done to the disk.
 *
 * After a crash the copy is undone: nobody was told that it exists. */

enum {
    PAUSE_MAX_US = 200 * 1000
};

/* Of this target, from the active one down. */
static bool
chain_fits(struct volume *v, const struct layer_table *t, const struct layer *l,
           uint64_t *us)
{
    bool is_active = true;
    struct err unused;

    for (; l != NULL; l = layer_parent(t, l)) {
        uint64_t one = 0;

        if (!is_active && l->state != LAYER_FOREIGN && l->state != LAYER_KEPT)
            return false;
        if (driver_copy_probe(v->driver, l->path, &one, &unused) < 0)
            return false;
        *us += is_active ? one : 0;
        is_active = false;
    }
    return true;
}

bool
volume_copy_fits(struct volume *v, const struct layer_table *t,
                 char (*ids)[UUID_STR_SIZE], size_t n)
{
    uint64_t us = 0;

    for (size_t i = 0; i < t->n_refs; i++)
        if (t->refs[i].kind == LAYER_REF_CUT &&
            layer_find(t, t->refs[i].layer)->state != LAYER_KEPT)
            return false;
    for (size_t i = 0; i < n; i++)
        if (!chain_fits(v, t, layer_find(t, ids[i]), &us))
            return false;
    return us <= PAUSE_MAX_US;
}

/* The copy of `id`, on a copy of what is below it. */
static int
plan_file(struct layer_table *t, const char *id, char new_id[UUID_STR_SIZE],
          struct err *err)
{
    const struct layer *l = layer_find(t, id);
    const struct layer *below = layer_parent(t, l);
    char below_id[UUID_STR_SIZE] = "", target[LAYER_TARGET_SIZE];
    char from_below[UUID_STR_SIZE];
    CLEANUP(mem_free) char *path = NULL;

    memcpy(target, l->target, sizeof target);
    if (below != NULL) {
        memcpy(from_below, below->id, sizeof from_below); /* rows move */
        if (plan_file(t, from_below, below_id, err) < 0)
            return -1;
    }
    l = layer_find(t, id);
    uuid_random(new_id);
    path = volume_path_like(l->path, new_id, l->format, err);
    if (path == NULL)
        return -1;

    CLEANUP(mem_free) char *format = xstrdup(l->format);

    layer_add(t, new_id, below_id, target, LAYER_PLANNED, format, path, l->size)
        ->is_made = true;
    layer_job_add(t, target, id, new_id, NULL);
    return 0;
}

int
volume_copy_plan(struct layer_table *t, const char *id, struct err *err)
{
    char new_id[UUID_STR_SIZE];

    return plan_file(t, id, new_id, err);
}

static bool
is_active(const struct layer_table *t, const struct layer_job_disk *d)
{
    return layer_find(t, d->a)->state == LAYER_ACTIVE;
}

static int
copy_now(struct volume *v, const struct layer_table *t,
         const struct layer_job_disk *d, struct err *err)
{
    return driver_copy(v->driver, layer_find(t, d->a)->path,
                       layer_find(t, d->b)->path, err);
}

int
volume_copy_prepare(struct volume *v, struct layer_table *t, struct err *err)
{
    for (size_t i = 0; i < t->job.n; i++) {
        const struct layer_job_disk *d = &t->job.disks[i];

        if (driver_copy_create(v->driver, layer_find(t, d->a)->path,
                               layer_find(t, d->b)->path, err) < 0 ||
            (!is_active(t, d) && copy_now(v, t, d, err) < 0))
            return err_wrap(err, "disk %s", d->target);
    }
    return 0;
}

int
volume_copy_commit(struct volume *v, const struct layer_table *t,
                   struct err *err)
{
    for (size_t i = 0; i < t->job.n; i++)
        if (is_active(t, &t->job.disks[i]) &&
            copy_now(v, t, &t->job.disks[i], err) < 0)
            return err_wrap(err, "disk %s", t->job.disks[i].target);
    return 0;
}

/* It names the copy below it, is durable, and can be read. */
static int
settle_copy(struct volume *v, struct layer_table *t,
            const struct layer_job_disk *d, struct err *err)
{
    struct layer *l = layer_find(t, d->b);
    const struct layer *below = layer_parent(t, l);
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    CLEANUP(imglock_free) struct imglock *lock = imglock_new();

    if (below != NULL) {
        const struct qimg_file parent = { below->path, below->format };

        if (imglock_add(lock, l->path, NULL, err) < 0 ||
            driver_rebase(v->driver, l->path, &parent, lock, err) < 0)
            return -1;
    }
    if (file_sync_path(l->path, err) < 0 ||
        volume_image_read(l->path, l->format, &i, err) < 0)
        return -1;
    if (i.refusal != NULL)
        return err_set(err, ERR_CORRUPT, "%s: the copy: %s", l->path,
                       i.refusal);
    l->file = i.file;
    l->size = i.size;
    l->state = LAYER_KEPT;
    return 0;
}

int
volume_copy_finish(struct volume *v, struct layer_table *t, struct err *err)
{
    for (size_t i = 0; i < t->job.n; i++) {
        const struct layer_job_disk *d = &t->job.disks[i];

        if (settle_copy(v, t, d, err) < 0)
            return err_wrap(err, "disk %s", d->target);
        if (is_active(t, d))
            layer_ref_add(t, LAYER_REF_CUT, t->job.id, d->target, d->b);
    }
    layer_job_end(t);
    return volume_save(v, t, err);
}

int
volume_copy_undo(struct volume *v, struct layer_table *t, struct err *err)
{
    /* From the top down: a parent's row stands before its children's. */
    for (size_t i = t->job.n; i-- > 0;) {
        const char *id = t->job.disks[i].b;

        if (driver_remove(v->driver, layer_find(t, id)->path, err) < 0)
            return -1;
        layer_remove(t, id);
    }
    layer_job_end(t);
    return volume_save(v, t, err);
}
