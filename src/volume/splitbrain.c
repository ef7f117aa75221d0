/* SPDX-License-Identifier: Apache-2.0 */
/* volume/splitbrain.c: does libvirt know which files QEMU writes to?
 *
 * A libvirtd that is killed between QEMU's snapshot transaction and its own
 * record of it leaves a guest that writes to an overlay and a libvirt that
 * believes in the file below. Nothing looks wrong, but a backup then reads
 * stale data, and a start from the XML loses every write since (spec guest.md
 * 0.8). So before anything is done to a disk: the top of its chain is the one
 * file of it that QEMU has open for writing.
 *
 * To tell the admin which file the guest writes to, the qcow2 headers of the
 * other files that QEMU writes are read: the one whose backing file is ours.
 */
#include "volume/splitbrain.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file-id.h"
#include "base/mem.h"
#include "disk/qcow2.h"
#include "virt/block.h"

struct look {
    const struct virt_vm *vm;
    const struct domxml_disk *disk;
    const struct virt_open_files *files;
};

static bool
is_written(const struct virt_open_files *files, const struct file_id *id)
{
    for (size_t i = 0; i < files->n; i++)
        if (files->v[i].is_writable && file_id_equal(&files->v[i].id, id))
            return true;
    return false;
}

/* Does the file that QEMU has open as `f` lie on the file `id`? */
static bool
lies_on(const struct virt_open_file *f, const struct file_id *id)
{
    CLEANUP(fd_close)
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    CLEANUP(qcow2_info_fini) struct qcow2_info q = { .version = 0 };
    CLEANUP(mem_free) char *dir = NULL;
    CLEANUP(mem_free) char *path = NULL;
    struct file_id backing, is;
    struct err unused;

    if (fd < 0 || file_id_of_fd(fd, f->path, &is, &unused) < 0 ||
        !file_id_equal(&is, &f->id))
        return false; /* another mount namespace's name */
    if (qcow2_read(fd, f->path, &q, &unused) < 0 || q.backing == NULL)
        return false;
    dir = file_dirname(f->path);
    path = q.backing[0] == '/' ? xstrdup(q.backing)
                               : xasprintf("%s/%s", dir, q.backing);
    return file_id_of_path(path, &backing, &unused) == 0 &&
           file_id_equal(&backing, id);
}

static const char *
who_lies_on(const struct virt_open_files *files, const struct file_id *id)
{
    for (size_t i = 0; i < files->n; i++)
        if (files->v[i].is_writable && lies_on(&files->v[i], id))
            return files->v[i].path;
    return NULL;
}

static int
split_brain(const struct look *l, const struct file_id *top, struct err *err)
{
    const char *target = l->disk->target, *believed = l->disk->chain[0].path;
    const char *written = who_lies_on(l->files, top);

    if (written == NULL)
        return err_set(err, ERR_CONFLICT,
                       "disk %s: QEMU does not write to %s, which libvirt "
                       "believes to be the disk; compare `virsh domblklist` "
                       "with the files that QEMU has open before anything "
                       "else is done, and delete none of them",
                       target, believed);
    return err_set(err, ERR_CONFLICT,
                   "disk %s: the guest writes to %s, but libvirt believes in "
                   "%s (libvirtd was killed during a snapshot). Do not delete "
                   "either. To repair: shut the guest down from inside, set "
                   "the disk's source to the first file as qcow2 (virsh edit), "
                   "start it",
                   target, written, believed);
}

static int
check_disk(const struct look *l, struct err *err)
{
    const struct domxml_disk *disk = l->disk;
    struct file_id id;

    for (size_t i = 0; i < disk->chain_len; i++) {
        bool is_wanted = i == 0 && !disk->is_readonly;

        if (file_id_of_path(disk->chain[i].path, &id, err) < 0) {
            err->code = ERR_CONFLICT;
            return err_wrap(err,
                            "disk %s: a file that libvirt believes in cannot "
                            "be found",
                            disk->target);
        }
        if (i == 0 && !is_written(l->files, &id) && is_wanted)
            return split_brain(l, &id, err);
        if (i > 0 && is_written(l->files, &id))
            return err_set(err, ERR_CONFLICT,
                           "disk %s: QEMU has %s open for writing, which is "
                           "only a backing file for libvirt: a block job is "
                           "running, or libvirt's chain is wrong; delete no "
                           "file, and see `virsh blockjob` first",
                           disk->target, disk->chain[i].path);
    }
    return 0;
}

static bool
is_checked(const struct domxml_disk *disk)
{
    return disk->target != NULL && disk->chain_len > 0 &&
           strcmp(disk->device, "disk") == 0 && !disk->is_readonly;
}

int
splitbrain_check(struct virt *v, const struct virt_vm *vm, struct err *err)
{
    CLEANUP(virt_open_files_fini) struct virt_open_files files = { 0 };

    if (vm->live == NULL)
        return 0;
    if (virt_open_files(v, vm->uuid, &files, err) < 0)
        return -1;
    for (size_t i = 0; i < vm->live->n_disks; i++) {
        struct look l = { .vm = vm,
                          .disk = &vm->live->disks[i],
                          .files = &files };

        if (is_checked(l.disk) && check_disk(&l, err) < 0)
            return err_wrap(err, "domain %s", vm->uuid);
    }
    return 0;
}
