/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "volume/volume-priv.h"

/* Before a cut the table learns what the domain has. */

/* The files below `top`, as rows: known ones are linked to, others are
 * foreign. Returns the parent's id in `parent` ("" for none). */
static int
register_below(struct layer_table *t, const char *target,
               const struct volume_image *top, size_t depth,
               char parent[UUID_STR_SIZE], struct err *err)
{
    CLEANUP(volume_image_fini) struct volume_image below = { .size = 0 };
    const char *format =
        top->backing_format != NULL ? top->backing_format : "raw";
    char grandparent[UUID_STR_SIZE];
    struct layer *l;

    parent[0] = 0;
    if (!top->has_backing)
        return 0;
    if (top->backing == NULL || top->backing_format == NULL ||
        (strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0))
        return err_set(err, ERR_UNSUPPORTED,
                       "its backing file is not named as a qcow2 or raw file "
                       "with its format (qemu-img rebase -u -F can say it)");
    if (depth >= LAYER_DEPTH_MAX)
        return err_set(err, ERR_UNSUPPORTED, "more than %d files in a chain",
                       LAYER_DEPTH_MAX);
    if (volume_image_read(top->backing, format, &below, err) < 0)
        return -1;
    for (size_t i = 0; i < t->n_layers; i++)
        if (file_id_equal(&t->layers[i].file, &below.file)) {
            if (strcmp(t->layers[i].target, target) != 0)
                return err_set(err, ERR_UNSUPPORTED,
                               "%s: two disks build on it", top->backing);
            memcpy(parent, t->layers[i].id, UUID_STR_SIZE);
            return 0;
        }
    if (register_below(t, target, &below, depth + 1, grandparent, err) < 0)
        return -1;
    l = layer_add(t, NULL, grandparent, target, LAYER_FOREIGN, format,
                  top->backing, below.size);
    l->file = below.file;
    memcpy(parent, l->id, UUID_STR_SIZE);
    return 0;
}

/* The row of the target's active layer no longer is the domain's disk: the
 * admin gave the domain another one. */
static void
retire_active(struct layer_table *t, struct layer *l)
{
    if (file_is_at(l->path, &l->file))
        l->state = LAYER_DETACHED;
    else
        layer_remove(t, l->id);
}

static int
adopt(struct layer_table *t, struct layer *l, struct err *err)
{
    if (l->state == LAYER_DETACHED && layer_children(t, l) == 0) {
        l->state = LAYER_ACTIVE;
        return 0;
    }
    return err_set(err, ERR_CONFLICT,
                   "%s: the domain writes to it, but it is a %s layer that "
                   "snapshots need",
                   l->path, layer_state_name(l->state));
}

/* The row is of a disk that the domain no longer has so, and nothing needs it:
 * the admin gave the disk another name (vda instead of sda), or removed the
 * file, and one made since has its inode number, on a file system that does
 * not say when files were made. */
static bool
is_over(const struct layer_table *t, const struct layer *l,
        const struct domxml *now)
{
    const struct domxml_disk *disk = domxml_disk(now, l->target);

    return t->job.kind == LAYER_JOB_NONE && layer_children(t, l) == 0 &&
           !layer_is_referenced(t, l) &&
           (l->parent[0] == 0 || !file_is_at(l->path, &l->file)) &&
           (disk == NULL || disk->chain_len == 0 ||
            disk->chain[0].path == NULL ||
            !file_is_at(disk->chain[0].path, &l->file));
}

/* The row of this file as this target's disk, to be its active layer again;
 * NULL: none has it. */
static int
find_row(struct layer_table *t, const char *target, const struct domxml *now,
         const struct domxml_file *file, const struct file_id *id,
         struct layer **ret, struct err *err)
{
    *ret = NULL;
    for (size_t k = 0; k < t->n_layers;) {
        struct layer *l = &t->layers[k];

        if (!file_id_equal(&l->file, id)) {
            k++;
        } else if (strcmp(l->target, target) == 0) {
            *ret = l;
            return adopt(t, l, err);
        } else if (is_over(t, l, now)) {
            layer_remove(t, l->id);
        } else {
            return err_set(err, ERR_CONFLICT, "%s: was the disk %s before",
                           file->path, l->target);
        }
    }
    return 0;
}

int
volume_cut_register(struct layer_table *t, const char *target,
                    const struct domxml *now, struct layer **ret,
                    struct err *err)
{
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    const struct domxml_file *file = &domxml_disk(now, target)->chain[0];
    struct layer *l = layer_find_active(t, target);
    char parent[UUID_STR_SIZE];

    if (volume_image_read(file->path, file->format, &i, err) < 0)
        return -1;
    if (i.refusal != NULL)
        return err_set(err, ERR_UNSUPPORTED, "%s: %s", file->path, i.refusal);
    if (l != NULL && !file_id_equal(&l->file, &i.file)) {
        retire_active(t, l);
        l = NULL;
    }
    if (l == NULL && find_row(t, target, now, file, &i.file, &l, err) < 0)
        return -1;
    if (l == NULL) {
        if (layer_find_path(t, file->path) != NULL)
            return err_set(err, ERR_CONFLICT,
                           "%s: another file than the recorded one stands "
                           "there now, and snapshots need the recorded one",
                           file->path);
        if (register_below(t, target, &i, 1, parent, err) < 0)
            return err_wrap(err, "%s", file->path);
        l = layer_add(t, NULL, parent, target, LAYER_ACTIVE, file->format,
                      file->path, i.size);
        l->file = i.file;
    }
    l->size = i.size;
    *ret = l;
    return 0;
}
