/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "volume/overlay.h"
#include "volume/volume-priv.h"

/* Where the tables are kept, and the few steps that cut, merge and restore
 * share. Every public function loads the table anew: the caller's lock on the
 * VM makes it the only reader and writer, and a process that died in between
 * leaves nothing in memory that could disagree with the file. */

enum {
    TABLE_MAX = 8 << 20,
    NAME_MAX_BYTES = 255,
};
#define MARK ".vmkeep-"

struct volume *
volume_open(const char *dir, struct virt *virt, struct err *err)
{
    return volume_open_with(dir, virt, overlay_new(virt), err);
}

struct volume *
volume_open_with(const char *dir, struct virt *virt, struct driver *driver,
                 struct err *err)
{
    CLEANUP(volume_close) struct volume *v = xcalloc(1, sizeof *v);

    v->dirfd = -1;
    v->dir = xstrdup(dir);
    v->virt = virt;
    v->driver = driver;
    if (file_make_dirs(dir, 0700, err) < 0 || file_sweep(dir, err) < 0 ||
        file_open_dir(dir, &v->dirfd, err) < 0)
        return err_wrap_null(err, "layer tables");
    return TAKE(v);
}

void
volume_close(struct volume *v)
{
    if (v == NULL)
        return;
    driver_free(v->driver);
    if (v->dirfd >= 0)
        close(v->dirfd);
    free(v->dir);
    free(v);
}

int
volume_check_id(const char *id, const char *what, struct err *err)
{
    if (uuid_is_valid(id) && strpbrk(id, "ABCDEF") == NULL)
        return 0;
    return err_set(err, ERR_INVALID, "%s %.60s: not a lower-case UUID", what,
                   id);
}

/* Devices are numbered anew at every boot and mount (NFS, btrfs, LVM). A file
 * that stands at its row's path with the row's inode number and birth is the
 * row's, whatever its device is called now. A row of an older version learns
 * the birth with it. */
static void
learn_numbers(struct layer_table *t)
{
    for (size_t i = 0; i < t->n_layers; i++) {
        struct layer *l = &t->layers[i];
        struct file_id is;
        struct err unused;

        if (l->file.ino != 0 && file_id_of_path(l->path, &is, &unused) == 0 &&
            file_id_equal_there(&is, &l->file))
            l->file = is;
    }
}

struct layer_table *
volume_load(struct volume *v, const char *vm_uuid, struct err *err)
{
    CLEANUP(mem_free) char *path = NULL;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(layer_table_free) struct layer_table *t = NULL;

    if (volume_check_id(vm_uuid, "VM", err) < 0)
        return NULL;
    path = xasprintf("%s/%s", v->dir, vm_uuid);
    if (file_read_all(path, TABLE_MAX, &text, err) < 0) {
        if (err->code == ERR_NOT_FOUND)
            return layer_table_new(vm_uuid);
        return NULL;
    }
    t = layer_table_decode((const uint8_t *)buf_str(&text), text.len, err);
    if (t == NULL)
        return err_wrap_null(err, "%s", path);
    if (strcmp(t->vm, vm_uuid) != 0)
        return err_set_null(err, ERR_CORRUPT, "%s: the table of VM %s", path,
                            t->vm);
    learn_numbers(t);
    return TAKE(t);
}

int
volume_save(struct volume *v, const struct layer_table *t, struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    if (layer_table_check(t, err) < 0)
        return err_wrap(err, "VM %s: not written", t->vm);
    if (t->n_layers == 0 && t->n_done == 0)
        return file_unlink(v->dirfd, t->vm, err);
    layer_table_encode(t, &text);
    return file_replace(v->dirfd, t->vm, text.data, text.len, 0600, err);
}

int
volume_domain(struct volume *v, const char *vm_uuid, struct virt_vm **ret_vm,
              struct err *err)
{
    *ret_vm = virt_vm_get(v->virt, vm_uuid, err);
    if (*ret_vm == NULL && err->code != ERR_NOT_FOUND)
        return -1;
    return 0;
}

int
volume_retarget(struct volume *v, const char *vm_uuid,
                const struct domxml_source *sources, size_t n, struct err *err)
{
    CLEANUP(mem_free) char *old_xml = NULL;
    CLEANUP(mem_free) char *new_xml = NULL;

    if (virt_xml_secure(v->virt, vm_uuid, &old_xml, err) < 0 ||
        domxml_retarget(old_xml, sources, n, &new_xml, err) < 0)
        return -1;
    return virt_define(v->virt, new_xml, err);
}

int
volume_name_files(struct volume *v, const struct virt_vm *vm,
                  const char *const *targets, size_t n_targets, struct err *err)
{
    CLEANUP(mem_free)
    struct domxml_source *sources = xcalloc(n_targets, sizeof *sources);
    size_t n = 0;

    for (size_t i = 0; i < n_targets && vm->live != NULL; i++) {
        const struct domxml_disk *d = domxml_disk(vm->inactive, targets[i]);

        if (d != NULL && d->kind == DOMXML_DISK_VOLUME && d->chain_len > 0)
            sources[n++] = (struct domxml_source){ d->target, d->chain[0].path,
                                                   d->chain[0].format };
    }
    if (n == 0)
        return 0;
    return volume_retarget(v, vm->uuid, sources, n, err);
}

/* How much of a file name is the disk's own: without a mark of ours
 * (".vmkeep-<uuid>.qcow2") and without the format's suffix. */
static size_t
stem_length(const char *name)
{
    static const char *const suffixes[] = { ".qcow2", ".raw" };
    size_t mark = strlen(MARK) + 36;
    size_t len = strlen(name);

    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        size_t n = strlen(suffixes[i]);

        if (len <= n || strcmp(name + len - n, suffixes[i]) != 0)
            continue;
        len -= n;
        return len > mark && strncmp(name + len - mark, MARK, strlen(MARK)) == 0
                   ? len - mark
                   : len;
    }
    return len;
}

char *
volume_path_like(const char *like, const char *id, const char *format,
                 struct err *err)
{
    CLEANUP(mem_free) char *dir = file_dirname(like);
    const char *name = file_basename(like);
    /* Room for ".trash" too: the file may be renamed to that later. */
    size_t room = NAME_MAX_BYTES - strlen(MARK ".qcow2.trash") - 36;
    size_t stem = stem_length(name);
    CLEANUP(mem_free)
    char *path =
        xasprintf("%s/%.*s" MARK "%s.%s", strcmp(dir, "/") == 0 ? "" : dir,
                  (int)(stem < room ? stem : room), name, id, format);

    if (strlen(path) > LAYER_PATH_MAX)
        return err_set_null(err, ERR_UNSUPPORTED,
                            "%.200s...: the path is too long (%zu bytes; %d "
                            "fit into a qcow2 header)",
                            like, strlen(path), LAYER_PATH_MAX);
    return TAKE(path);
}

char *
volume_overlay_path(const char *like, const char *id, struct err *err)
{
    return volume_path_like(like, id, "qcow2", err);
}

const char *
volume_disk_refusal(const struct domxml_disk *disk,
                    const struct domxml_disk *inactive)
{
    const char *format;

    if (disk->device != NULL && strcmp(disk->device, "disk") != 0)
        return "not a disk (CD-ROM, floppy or LUN)";
    if (disk->kind == DOMXML_DISK_NETWORK)
        return "network disks cannot be snapshotted";
    if (disk->kind == DOMXML_DISK_BLOCK)
        return "block devices cannot be snapshotted; backups of raw ones can be made if scratch_dir is set in vmkeep.conf";
    if (disk->kind == DOMXML_DISK_VOLUME && disk->chain_len == 0)
        return "its storage pool is not active, or has no such volume";
    if (disk->kind == DOMXML_DISK_OTHER || disk->chain_len == 0 ||
        disk->chain[0].path == NULL || disk->chain[0].path[0] != '/')
        return "not a file";
    if (disk->is_readonly)
        return "it is read-only";
    if (disk->is_shareable)
        return "it is shareable with other VMs";
    if (disk->is_encrypted)
        return "it is encrypted";
    if (disk->is_transient)
        return "it is transient";
    if (inactive == NULL)
        return "hot-plugged: it is not in the persistent definition";
    if (inactive->chain_len == 0 ||
        strcmp(inactive->chain[0].path, disk->chain[0].path) != 0)
        return "the persistent definition names another file";
    format = disk->chain[0].format;
    if (format == NULL ||
        (strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0))
        return "only qcow2 and raw files can be snapshotted";
    if (disk->target == NULL || strlen(disk->target) >= LAYER_TARGET_SIZE ||
        strspn(disk->target, "abcdefghijklmnopqrstuvwxyz0123456789") !=
            strlen(disk->target))
        return "its target has an unusual name";
    return NULL;
}

int
volume_list_vms(struct volume *v, char ***ret_uuids, size_t *ret_n,
                struct err *err)
{
    DIR *d = opendir(v->dir);
    char **uuids = NULL;
    size_t n = 0;

    if (d == NULL)
        return err_sys(err, errno, "%s: list", v->dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (!uuid_is_valid(e->d_name))
            continue;
        uuids = xrealloc(uuids, n + 1, sizeof *uuids);
        uuids[n++] = xstrdup(e->d_name);
    }
    closedir(d);
    *ret_uuids = uuids;
    *ret_n = n;
    return 0;
}
