/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "volume/volume-priv.h"

/* Which files are behind a disk, for those who read them or look for bitmaps
 * in them. Nothing is changed here. */

void
volume_files_free(struct volume_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(files[i].path);
        free(files[i].format);
    }
    free(files);
}

/* One layer as it is now, if it is the recorded file. */
static int
read_layer(const struct layer *l, struct volume_file *ret, struct err *err)
{
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };

    if (volume_image_read(l->path, l->format, &i, err) < 0)
        return -1;
    if (!file_id_equal(&i.file, &l->file))
        return err_set(err, ERR_CORRUPT,
                       "%s: another file than the recorded one", l->path);
    *ret = (struct volume_file){ .path = xstrdup(l->path),
                                 .format = xstrdup(l->format),
                                 .size = i.size,
                                 .file = i.file };
    memcpy(ret->id, l->id, sizeof ret->id);
    return 0;
}

static int
read_chain(const struct layer_table *t, const struct layer *top,
           struct volume_file **ret_files, size_t *ret_n, struct err *err)
{
    struct volume_file *files = NULL;
    size_t n = 0;

    for (const struct layer *l = top; l != NULL; l = layer_parent(t, l)) {
        files = xrealloc(files, n + 1, sizeof *files);
        if (read_layer(l, &files[n], err) < 0) {
            volume_files_free(files, n);
            return err_wrap(err, "disk %s", top->target);
        }
        n++;
    }
    *ret_files = files;
    *ret_n = n;
    return 0;
}

int
volume_cut_files(struct volume *v, const char *vm_uuid, const char *cut_id,
                 const char *target, struct volume_file **ret_files,
                 size_t *ret_n, struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    const struct layer_ref *ref;

    if (t == NULL)
        return -1;
    ref = layer_ref_find(t, LAYER_REF_CUT, cut_id, target);
    if (ref == NULL)
        return err_set(err, ERR_NOT_FOUND, "cut %s: it has no disk %s", cut_id,
                       target);
    return read_chain(t, layer_find(t, ref->layer), ret_files, ret_n, err);
}

int
volume_active_files(struct volume *v, const char *vm_uuid, const char *target,
                    struct volume_file **ret_files, size_t *ret_n,
                    struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    const struct layer *active;

    if (t == NULL)
        return -1;
    active = layer_find_active(t, target);
    if (active == NULL)
        return err_set(err, ERR_NOT_FOUND, "VM %s: no layer of disk %s",
                       vm_uuid, target);
    return read_chain(t, active, ret_files, ret_n, err);
}

int
volume_files_walk(const char *path, const char *format,
                  int (*fn)(void *arg, const char *path, const char *format,
                            const struct volume_image *i, struct err *err),
                  void *arg, struct err *err)
{
    CLEANUP(mem_free) char *p = xstrdup(path);
    CLEANUP(mem_free) char *f = xstrdup(format);

    for (size_t depth = 0; p != NULL && f != NULL; depth++) {
        CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };

        if (depth == VOLUME_CHAIN_MAX)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: more than %d files in its chain", path,
                           VOLUME_CHAIN_MAX);
        if (volume_image_read(p, f, &i, err) < 0 || fn(arg, p, f, &i, err) < 0)
            return -1;
        free(TAKE(p));
        free(TAKE(f));
        p = TAKE(i.backing);
        f = TAKE(i.backing_format);
    }
    return 0;
}

/* ---- can changes be recorded? ---- */

struct trackable {
    bool is_top_seen, has_snapshots;
    const char *why;
};

static int
look(void *arg, const char *path, const char *format,
     const struct volume_image *i, struct err *err)
{
    struct trackable *t = arg;
    bool is_top = !t->is_top_seen;

    t->is_top_seen = true;
    t->has_snapshots = t->has_snapshots || i->n_snapshots > 0;
    if (t->why != NULL)
        return 0;
    if (is_top && strcmp(format, "raw") == 0)
        t->why = "changes of a raw disk cannot be recorded";
    else if (is_top && i->version < 3)
        t->why = "changes of a qcow2 disk of version 2 cannot be recorded "
                 "(qemu-img amend -o compat=1.1)";
    else if (i->n_snapshots > 0)
        t->why = "with internal snapshots no changes are recorded: reverting "
                 "to one would fail";
    return 0;
}

int
volume_tracking_refusal(struct volume *v, const struct virt_vm *vm,
                        const char *target, const char **ret_why,
                        bool *ret_has_snapshots, struct err *err)
{
    const struct domxml *now = vm->live != NULL ? vm->live : vm->inactive;
    const struct domxml_disk *disk =
        now == NULL ? NULL : domxml_disk(now, target);
    struct trackable t = { .why = NULL };

    if (disk == NULL)
        return err_set(err, ERR_NOT_FOUND, "VM %s: there is no disk %s",
                       vm->uuid, target);
    *ret_why = "it is no file";
    *ret_has_snapshots = false;
    if (disk->chain_len == 0 || disk->chain[0].path == NULL ||
        disk->chain[0].format == NULL)
        return 0;
    if (volume_files_walk(disk->chain[0].path, disk->chain[0].format, look, &t,
                          err) < 0)
        return err_wrap(err, "VM %s: disk %s", vm->uuid, target);
    *ret_why = t.why;
    *ret_has_snapshots = t.has_snapshots;
    return 0;
}
