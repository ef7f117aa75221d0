/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/overlay.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "volume/reflink.h"

/* A file is first created by us, empty, with the owner and mode of the disk
 * that it stands in for, and only then filled by qemu-img: at no moment is it
 * readable by more people than the disk, and QEMU under its own user can open
 * it even where libvirt does not change owners (dynamic_ownership = 0). A
 * file left half written by a crash is removed and made again: its name holds
 * a UUID of our journal, so it is nobody else's. A qemu-img that outlives us
 * holds the mark (volume/imglock.h) on it, and recovery waits for its end. */

enum {
    /* A commit that makes no progress for so long is given up. */
    STALL_MS = 10 * 60 * 1000
};

struct overlay {
    struct driver base;
    struct virt *virt;
};

static struct overlay *
overlay_of(struct driver *d)
{
    return container_of(d, struct overlay, base);
}

static int
cut(struct driver *d, const char *uuid, const char *request, struct err *err)
{
    return virt_overlay_switch(overlay_of(d)->virt, uuid, request, err);
}

static int
create_empty(const char *path, const char *like, int *ret_fd, struct err *err)
{
    struct stat st = { .st_mode = 0600 };

    if (like != NULL && stat(like, &st) < 0)
        return err_sys(err, errno, "%s: stat", like);
    if (file_unlink_path(path, err) < 0)
        return -1;
    struct effect e = effect_begin("create", path);
    CLEANUP(fd_close)
    int fd =
        open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int saved = errno;

    effect_end(&e);
    if (fd < 0)
        return err_sys(err, saved, "%s: create", path);
    if (imglock_mark(fd, path, err) < 0)
        return -1;
    /* Ours and the owner's alone, unless the disk is meant for a group. */
    if (fchown(fd, st.st_uid, st.st_gid) < 0 ||
        fchmod(fd, (st.st_mode & 0060) == 0060 ? 0660 : 0600) < 0)
        return err_sys(err, errno, "%s: owner and mode", path);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int
create(struct driver *d, const struct driver_create *c, struct err *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (create_empty(c->path, c->like, &fd, err) < 0)
        return -1;
    if (c->parent.path == NULL && strcmp(c->parent.format, "raw") == 0) {
        if (ftruncate(fd, (off_t)c->size) < 0)
            return err_sys(err, errno, "%s: make it %llu bytes", c->path,
                           (unsigned long long)c->size);
    } else if (qimg_create(c->path, &c->parent, c->size,
                           &(struct qimg_keep){ &fd, 1 }, err) < 0) {
        return -1;
    }
    return file_sync_path(c->path, err);
}

static int
merge_live(struct driver *d, const struct driver_merge *m, struct err *err)
{
    const struct virt_commit c = { .uuid = m->uuid,
                                   .target = m->target,
                                   .base = m->base.path,
                                   .top = m->top.path,
                                   .timeout_ms = STALL_MS,
                                   .cancel = m->cancel,
                                   .before_pivot = m->before_pivot,
                                   .arg = m->arg };

    return virt_block_commit(overlay_of(d)->virt, &c, err);
}

static int
merge(struct driver *d, const struct driver_merge *m, struct err *err)
{
    struct qimg_keep keep;

    keep.fds = imglock_fds(m->locks, &keep.n);
    return qimg_commit(m->top.path, m->top_size, &m->base, m->base_size, &keep,
                       err);
}

static int
rebase(struct driver *d, const char *path, const struct qimg_file *parent,
       const struct imglock *locks, struct err *err)
{
    struct qimg_keep keep;

    keep.fds = imglock_fds(locks, &keep.n);
    return qimg_rebase(path, parent, &keep, err);
}

static int
clone_file(struct driver *d, const struct qimg_file *from, const char *to,
           const char *like, struct err *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (create_empty(to, like, &fd, err) < 0)
        return -1;
    return qimg_convert(from, to, &(struct qimg_keep){ &fd, 1 }, err);
}

static int
remove_files(struct driver *d, const char *const *paths, size_t n,
             struct err *err)
{
    return file_unlink_paths(paths, n, err);
}

static int
rename_file(struct driver *d, const char *from, const char *to, struct err *err)
{
    return file_rename_path(from, to, err);
}

static int
copy_probe(struct driver *d, const char *path, uint64_t *ret_us,
           struct err *err)
{
    return reflink_probe(path, ret_us, err);
}

static int
copy_create(struct driver *d, const char *from, const char *to, struct err *err)
{
    return reflink_create(from, to, err);
}

static int
copy(struct driver *d, const char *from, const char *to, struct err *err)
{
    return reflink_copy(from, to, err);
}

static void
free_driver(struct driver *d)
{
    free(overlay_of(d));
}

static const struct driver_ops overlay_ops = {
    .name = "overlay",
    .cut = cut,
    .create = create,
    .merge_live = merge_live,
    .merge = merge,
    .rebase = rebase,
    .clone = clone_file,
    .remove = remove_files,
    .rename = rename_file,
    .copy_probe = copy_probe,
    .copy_create = copy_create,
    .copy = copy,
    .free = free_driver,
};

struct driver *
overlay_new(struct virt *virt)
{
    struct overlay *o = xcalloc(1, sizeof *o);

    o->base.ops = &overlay_ops;
    o->virt = virt;
    return &o->base;
}
