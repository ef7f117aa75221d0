/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "volume/splitbrain.h"
#include "volume/volume-priv.h"

/* What is left of a cut that nobody was told of goes.
 *
 * Undoing after the switch has happened does not touch data: the new layer
 * becomes the active one and the old one is sealed without a reference, which
 * is what a deleted snapshot looks like; the next collect merges them.
 *
 * Undoing before the switch removes the new file, but only if it is empty. A
 * libvirtd that was killed at the wrong moment names the old file while QEMU
 * writes to the new one (spec guest.md 0.8): then the definition is set to what
 * QEMU writes to, and the cut is undone when the guest has been started on it.
 * A file with data in it that nobody names and no QEMU has open is left for the
 * admin with an explanation. */

static bool
is_open_in(const struct virt_open_files *files, const struct file_id *id)
{
    for (size_t i = 0; i < files->n; i++)
        if (file_id_equal(&files->v[i].id, id))
            return true;
    return false;
}

/* Does QEMU have the new layer, which libvirt does not name, open?
 *
 *   ret_is_idle  it has, but nobody uses it: a libvirtd killed just before
 *                QEMU's transaction leaves such a block node. The tops that
 *                libvirt knows are still open for writing then; a file that
 *                has become a backing file is not.
 *   errors       CONFLICT: the guest writes to it
 */
static int
check_open(struct volume *v, const struct virt_vm *vm, const struct layer *l,
           const struct file_id *id, bool *ret_is_idle, struct err *err)
{
    CLEANUP(virt_open_files_fini) struct virt_open_files open = { .n = 0 };
    struct err unused;

    *ret_is_idle = false;
    if (vm->live == NULL)
        return 0;
    if (virt_open_files(v->virt, vm->uuid, &open, err) < 0)
        return -1;
    if (!is_open_in(&open, id))
        return 0;
    if (splitbrain_check(v->virt, vm, &unused) < 0)
        return err_set(
            err, ERR_CONFLICT,
            "%s: the guest writes to it, but libvirt does not name it "
            "(libvirtd was killed during a snapshot). Do not delete "
            "it: shut the guest down from inside, set the disk %s to "
            "this file as qcow2 (virsh edit), start it",
            l->path, l->target);
    *ret_is_idle = true;
    return 0;
}

/* Not named by libvirt: does QEMU write to it all the same, or has it? */
static int
check_unused(struct volume *v, const struct virt_vm *vm, const struct layer *l,
             struct imglock *lock, struct err *err)
{
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    bool is_idle = false;
    struct err unused;

    if (volume_image_read(l->path, "qcow2", &i, &unused) == 0) {
        if (check_open(v, vm, l, &i.file, &is_idle, err) < 0)
            return -1;
        if (i.has_data)
            return err_set(
                err, ERR_CONFLICT,
                "%s: the guest has written to it, but the domain names "
                "the file below (libvirtd was killed during a "
                "snapshot). Set the disk %s to this file as qcow2 "
                "(virsh edit), or remove it if its data is not wanted",
                l->path, l->target);
    } /* else not there, or never completed */
    if (!is_idle && imglock_add(lock, l->path, NULL, err) < 0 &&
        err->code != ERR_NOT_FOUND)
        return -1;
    return 0;
}

/* A libvirtd that was killed inside the cut believes in the old files, and QEMU
 * writes to the new ones: a start from the definition would lose every write
 * since. So the definition gets what QEMU's open files say, at once; libvirt's
 * idea of the running domain cannot be changed. */
static int
repair_split(struct volume *v, const struct layer_table *t,
             const struct virt_vm *vm, struct err *err)
{
    const struct domxml *now = vm->live != NULL ? vm->live : vm->inactive;
    CLEANUP(mem_free)
    struct domxml_source *sources = xcalloc(t->job.n, sizeof *sources);
    const struct layer *first = NULL;
    struct err unused;
    size_t n = 0;

    for (size_t i = 0; i < t->job.n; i++) {
        const struct layer_job_disk *d = &t->job.disks[i];
        const struct layer *old = layer_find(t, d->a);
        struct layer new = *layer_find(t, d->b);
        enum volume_writer writer;

        if (volume_names(now, d->target, old, &new) == VOLUME_NAMES_B ||
            file_id_of_path(new.path, &new.file, &unused) < 0)
            continue;
        if (volume_writer(v, t->vm, &new, old, &writer, err) < 0)
            return -1;
        if (writer != VOLUME_WRITER_TOP)
            continue;
        if (first == NULL)
            first = layer_find(t, d->b);
        if (vm->inactive != NULL &&
            volume_names(vm->inactive, d->target, old, &new) == VOLUME_NAMES_A)
            sources[n++] =
                (struct domxml_source){ d->target, new.path, new.format };
    }
    if (first == NULL)
        return 0;
    if (n > 0 && volume_retarget(v, t->vm, sources, n, err) < 0)
        return err_wrap(err, "repair of the definition");
    return err_set(err, ERR_CONFLICT,
                   "disk %s: the guest writes to %s, but libvirt believes in "
                   "the file below (libvirtd was killed during a snapshot). "
                   "The definition names what the guest writes to, nothing is "
                   "lost: shut the guest down and start it; until then no "
                   "snapshot can be made or deleted",
                   first->target, first->path);
}

static int
undo_disk(struct volume *v, struct layer_table *t, const struct virt_vm *vm,
          const struct layer_job_disk *d, struct err *err)
{
    const struct layer *old = layer_find(t, d->a);
    struct layer *new = layer_find(t, d->b);
    const struct domxml *now = vm->live != NULL ? vm->live : vm->inactive;
    const struct domxml_source source = { d->target, new->path, new->format };
    CLEANUP(imglock_free) struct imglock *lock = imglock_new();

    if (volume_names(now, d->target, old, new) != VOLUME_NAMES_B) {
        if (check_unused(v, vm, new, lock, err) < 0 ||
            driver_remove(v->driver, new->path, err) < 0)
            return -1;
        layer_remove(t, d->b);
        return 0;
    }
    if (volume_cut_switch(t, d, err) < 0)
        return -1;
    if (vm->live == NULL || vm->inactive == NULL ||
        volume_names(vm->inactive, d->target, old, new) == VOLUME_NAMES_B)
        return 0;
    return volume_retarget(v, t->vm, &source, 1, err);
}

int
volume_cut_undo(struct volume *v, struct layer_table *t, bool *ret_is_open,
                struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;

    *ret_is_open = true;
    if (volume_domain(v, t->vm, &vm, err) < 0)
        return -1;
    if (vm == NULL || (vm->live == NULL && vm->inactive == NULL))
        return 0;
    if (repair_split(v, t, vm, err) < 0)
        return -1;
    for (size_t i = 0; i < t->job.n; i++)
        if (undo_disk(v, t, vm, &t->job.disks[i], err) < 0)
            return -1;
    layer_job_end(t);
    if (volume_save(v, t, err) < 0)
        return -1;
    *ret_is_open = false;
    return 0;
}
