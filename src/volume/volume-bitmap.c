/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "disk/bitmap.h"
#include "disk/qcow2.h"
#include "virt/checkpoint.h"
#include "volume/volume-priv.h"

/* Bitmaps in the files of a VM. Live, QEMU and libvirt carry them over
 * snapshots and commits; what vmkeep does to closed files must do the same:
 *
 *   a new overlay  gets an empty one for each that its parent records in;
 *   a commit       gives its base what only the top has. It is added empty,
 *                  before: the commit's own writes then mark in it all that
 *                  the top holds, which is at least what the top's one marks.
 *
 * One that is broken ("in-use" in a closed file) is good for nothing, and
 * would let the commit fail where it has to change the base's size: it goes
 * first. */

static int
read_bitmaps(const char *path, const char *format, struct qcow2_bitmaps *ret,
             struct err *err)
{
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(qcow2_info_fini) struct qcow2_info info = { .version = 0 };

    *ret = (struct qcow2_bitmaps){ .n = 0 };
    if (strcmp(format, "qcow2") != 0)
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_sys(err, errno, "%s: open", path);
    return qcow2_read(fd, path, &info, err) < 0 ||
                   qcow2_bitmaps_read(fd, path, &info, ret, err) < 0
               ? -1
               : 0;
}

static struct disk_bitmap_file
file_of(const char *path, const struct imglock *locks)
{
    struct disk_bitmap_file f = { .path = path };

    if (locks != NULL)
        f.keep_fds = imglock_fds(locks, &f.n_keep_fds);
    return f;
}

int
volume_bitmap_carry(const struct qimg_file *from, const char *to,
                    const struct imglock *locks, struct err *err)
{
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps all = { .n = 0 };
    const struct disk_bitmap_file f = file_of(to, locks);

    if (read_bitmaps(from->path, from->format, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++)
        if (!all.v[i].in_use && all.v[i].is_auto &&
            disk_bitmap_add(&f, all.v[i].name, err) < 0)
            return -1;
    return 0;
}

int
volume_bitmap_before_merge(const struct qimg_file *base,
                           const struct qimg_file *top,
                           const struct imglock *locks, struct err *err)
{
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps all = { .n = 0 };
    const struct disk_bitmap_file f = file_of(base->path, locks);

    if (strcmp(base->format, "qcow2") != 0)
        return 0;
    if (read_bitmaps(base->path, base->format, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++)
        if (all.v[i].in_use && disk_bitmap_remove(&f, all.v[i].name, err) < 0)
            return -1;
    return volume_bitmap_carry(top, base->path, locks, err);
}

/* ---- all files of a VM ---- */

struct files {
    struct volume_file *v;
    size_t n;
};

static inline void
files_fini_p(struct files *f)
{
    volume_files_free(f->v, f->n);
}

static int
add_file(void *arg, const char *path, const char *format,
         const struct volume_image *i, struct err *err)
{
    struct files *f = arg;

    for (size_t k = 0; k < f->n; k++)
        if (file_id_equal(&f->v[k].file, &i->file))
            return 0;
    f->v = xrealloc(f->v, f->n + 1, sizeof *f->v);
    f->v[f->n++] = (struct volume_file){ .path = xstrdup(path),
                                         .format = xstrdup(format),
                                         .size = i->size,
                                         .file = i->file };
    return 0;
}

/* What cannot be read has no bitmap that we could remove. */
static void
add_domain(const struct domxml *d, struct files *f)
{
    struct err unused;

    for (size_t i = 0; d != NULL && i < d->n_disks; i++) {
        const struct domxml_disk *k = &d->disks[i];

        if (k->chain_len > 0 && k->chain[0].path != NULL &&
            k->chain[0].format != NULL)
            (void)!volume_files_walk(k->chain[0].path, k->chain[0].format,
                                     add_file, f, &unused);
    }
}

static void
add_rows(const struct layer_table *t, struct files *f)
{
    for (size_t i = 0; i < t->n_layers; i++) {
        CLEANUP(volume_image_fini) struct volume_image k = { .size = 0 };
        const struct layer *l = &t->layers[i];
        struct err unused;

        if (l->state != LAYER_FOREIGN &&
            volume_image_read(l->path, l->format, &k, &unused) == 0 &&
            file_id_equal(&k.file, &l->file))
            (void)!add_file(f, l->path, l->format, &k, &unused);
    }
}

/* `open`: those that the running domain has; `closed`: the others. */
static int
find_files(struct volume *v, const char *vm_uuid, struct virt_vm **ret_vm,
           struct files *open_files, struct files *closed, struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);

    if (t == NULL || volume_domain(v, vm_uuid, ret_vm, err) < 0)
        return -1;
    if (*ret_vm != NULL) {
        add_domain((*ret_vm)->live, open_files);
        add_domain((*ret_vm)->inactive, closed);
    }
    add_rows(t, closed);
    return 0;
}

static bool
has_file(const struct files *f, const struct file_id *id)
{
    for (size_t i = 0; i < f->n; i++)
        if (file_id_equal(&f->v[i].file, id))
            return true;
    return false;
}

static void
add_names(const struct volume_file *f, const char *prefix, char ***names,
          size_t *n)
{
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps all = { .n = 0 };
    struct err unused;

    if (read_bitmaps(f->path, f->format, &all, &unused) < 0)
        return;
    for (size_t i = 0; i < all.n; i++) {
        size_t k = 0;

        if (strncmp(all.v[i].name, prefix, strlen(prefix)) != 0)
            continue;
        while (k < *n && strcmp((*names)[k], all.v[i].name) != 0)
            k++;
        if (k < *n)
            continue;
        *names = xrealloc(*names, *n + 1, sizeof **names);
        (*names)[(*n)++] = xstrdup(all.v[i].name);
    }
}

int
volume_bitmap_list(struct volume *v, const char *vm_uuid, const char *prefix,
                   char ***ret_names, size_t *ret_n, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;
    CLEANUP(files_fini) struct files in_use = { .n = 0 };
    CLEANUP(files_fini) struct files closed = { .n = 0 };

    if (find_files(v, vm_uuid, &vm, &in_use, &closed, err) < 0)
        return -1;
    *ret_names = NULL;
    *ret_n = 0;
    for (size_t i = 0; i < in_use.n; i++)
        add_names(&in_use.v[i], prefix, ret_names, ret_n);
    for (size_t i = 0; i < closed.n; i++)
        add_names(&closed.v[i], prefix, ret_names, ret_n);
    return 0;
}

static bool
file_has(const struct volume_file *f, const char *name)
{
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps all = { .n = 0 };
    struct err unused;

    return read_bitmaps(f->path, f->format, &all, &unused) == 0 &&
           qcow2_bitmaps_find(&all, name) != NULL;
}

/* Through libvirt. What it could not do shows in the headers afterwards. */
static int
remove_live(struct volume *v, const struct virt_vm *vm, const char *name,
            struct err *err)
{
    const struct domxml *live = vm->live;
    CLEANUP(mem_free)
    const char **targets = xcalloc(live->n_disks + 1, sizeof *targets);
    size_t n = 0;

    for (size_t i = 0; i < live->n_disks; i++) {
        const struct domxml_disk *d = &live->disks[i];

        if (d->target != NULL && d->chain_len > 0 &&
            d->chain[0].format != NULL &&
            strcmp(d->chain[0].format, "qcow2") == 0 && !d->is_readonly)
            targets[n++] = d->target;
    }
    return virt_checkpoint_delete(v->virt, vm->uuid, name, targets, n, NULL,
                                  err);
}

static int
remove_closed(const struct volume_file *f, const char *name, size_t *left,
              struct err *err)
{
    CLEANUP(imglock_free) struct imglock *locks = imglock_new();
    struct disk_bitmap_file d;

    if (!file_has(f, name))
        return 0;
    if (imglock_add(locks, f->path, &f->file, err) < 0) {
        if (err->code != ERR_BUSY)
            return -1;
        ++*left; /* somebody reads it just now */
        return 0;
    }
    d = file_of(f->path, locks);
    return disk_bitmap_remove(&d, name, err);
}

int
volume_bitmap_remove(struct volume *v, const char *vm_uuid, const char *name,
                     size_t *ret_left, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;
    CLEANUP(files_fini) struct files in_use = { .n = 0 };
    CLEANUP(files_fini) struct files closed = { .n = 0 };

    *ret_left = 0;
    if (find_files(v, vm_uuid, &vm, &in_use, &closed, err) < 0)
        return -1;
    if (vm != NULL && vm->live != NULL && remove_live(v, vm, name, err) < 0)
        return err_wrap(err, "bitmap %s", name);
    for (size_t i = 0; i < in_use.n; i++)
        *ret_left += file_has(&in_use.v[i], name);
    for (size_t i = 0; i < closed.n; i++)
        if (!has_file(&in_use, &closed.v[i].file) &&
            remove_closed(&closed.v[i], name, ret_left, err) < 0)
            return err_wrap(err, "bitmap %s", name);
    return 0;
}
