/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/reflink.h"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "disk/extents.h"
#include "disk/space.h"
#include "volume/imglock.h"

/* FICLONE is one transaction in the file system: after a crash the copy is
 * there as a whole, or the file is as empty as before. btrfs refuses to share
 * blocks between a file with and one without copy-on-write (chattr +C, usual
 * for disk images): the new file is given the flag first, while it is empty.
 *
 * Space: what a file keeps (disk/space.h) and nobody shares is its own; ranges
 * of the device that overlap between files are the same blocks. What has no
 * place yet (delayed allocation) or is inside the inode counts as its own. */

/* Measured by bench/reflink on two shared cores: XFS 13 to 17, btrfs 27 to 40.
 */
#define US_PER_EXTENT       15
#define US_PER_EXTENT_BTRFS 36
#define PROBE_BYTES         8192

static int
flags_of(int fd, int *ret)
{
    *ret = 0;
    return ioctl(fd, FS_IOC_GETFLAGS, ret);
}

/* The new file can share with the old one only if both are copied on write,
 * or both are not. */
static void
take_over_nocow(int from, int to)
{
    int old, new;

    if (flags_of(from, &old) < 0 || flags_of(to, &new) < 0 ||
        ((old ^ new) & FS_NOCOW_FL) == 0)
        return;
    new ^= FS_NOCOW_FL;
    (void)ioctl(to, FS_IOC_SETFLAGS, &new); /* if it fails, so does the copy */
}

static int
create_like(int from, const char *to, int *ret_fd, struct err *err)
{
    struct stat st;

    if (fstat(from, &st) < 0)
        return err_sys(err, errno, "stat");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_UNSUPPORTED, "not a regular file");
    if (file_unlink_path(to, err) < 0)
        return -1;

    struct effect e = effect_begin("create", to);
    CLEANUP(fd_close)
    int fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int saved = errno;

    effect_end(&e);
    if (fd < 0)
        return err_sys(err, saved, "%s: create", to);
    if (fchown(fd, st.st_uid, st.st_gid) < 0 ||
        fchmod(fd, (st.st_mode & 0060) == 0060 ? 0660 : 0600) < 0)
        return err_sys(err, errno, "%s: owner and mode", to);
    take_over_nocow(from, fd);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int
open_source(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    return fd < 0 ? err_sys(err, errno, "%s: open", path) : fd;
}

int
reflink_create(const char *from, const char *to, struct err *err)
{
    CLEANUP(fd_close) int in = open_source(from, err);
    CLEANUP(fd_close) int out = -1;

    if (in < 0)
        return -1;
    return create_like(in, to, &out, err) < 0 ? err_wrap(err, "%s", from) : 0;
}

static int
copy_fd(int in, int out, const char *to, struct err *err)
{
    struct effect e = effect_begin("ficlone", to);
    int rc = ioctl(out, FICLONE, in);
    int saved = errno;

    effect_end(&e);
    if (rc == 0)
        return 0;
    if (saved == EOPNOTSUPP || saved == ENOTTY || saved == EXDEV ||
        saved == EINVAL)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: this file system cannot share blocks (%s)", to,
                       strerrordesc_np(saved));
    return err_sys(err, saved, "%s: copy by reflink", to);
}

int
reflink_copy(const char *from, const char *to, struct err *err)
{
    CLEANUP(fd_close) int in = open_source(from, err);
    CLEANUP(fd_close)
    int out = open(to, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

    if (in < 0)
        return -1;
    if (out < 0)
        return err_sys(err, errno, "%s: open", to);
    return copy_fd(in, out, to, err);
}

/* ---- extents ---- */

static uint64_t
us_per_extent(int fd)
{
    struct statfs s;

    return fstatfs(fd, &s) == 0 && s.f_type == BTRFS_SUPER_MAGIC
               ? US_PER_EXTENT_BTRFS
               : US_PER_EXTENT;
}

/* Can what `in` is on share blocks? A file without a name: who is killed here
 * leaves nothing behind. File systems that have no such files share none. */
static int
try_clone(int in, const char *dir, struct err *err)
{
    CLEANUP(fd_close)
    int out = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    struct file_clone_range range = { .src_fd = in, .src_length = PROBE_BYTES };
    struct stat st;

    if (out < 0 && errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
        return err_sys(err, errno, "%s: create a file to try", dir);
    if (out >= 0) {
        take_over_nocow(in, out);
        /* A disk of less than that is copied as a whole. */
        if (fstat(in, &st) == 0 && st.st_size < PROBE_BYTES)
            range.src_length = 0;
        if (ioctl(out, FICLONERANGE, &range) == 0)
            return 0;
    }
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: this file system cannot share blocks (%s)", dir,
                   strerrordesc_np(errno));
}

int
reflink_probe(const char *path, uint64_t *ret_us, struct err *err)
{
    CLEANUP(fd_close) int in = open_source(path, err);
    CLEANUP(mem_free) char *dir = file_dirname(path);
    uint64_t extents = 0;

    if (in < 0 || try_clone(in, dir, err) < 0 ||
        extents_count(in, path, &extents, err) < 0)
        return -1;
    *ret_us = extents * us_per_extent(in);
    return 0;
}

/* A physical range. */
struct blocks {
    uint64_t from, to;
};
struct range_list {
    struct blocks *v;
    size_t n, size;
};

static void
add_range(struct range_list *l, uint64_t from, uint64_t len)
{
    if (l->n == l->size) {
        l->size = l->size == 0 ? 256 : l->size * 2;
        l->v = xrealloc(l->v, l->size, sizeof *l->v);
    }
    l->v[l->n++] = (struct blocks){ from, from + len };
}

/* What a file keeps, that which has a place and that which has none (yet).
 * btrfs names the same range for each part of it that a file still needs. */
struct tally {
    struct range_list ranges;
    bool only_own; /* without what other files need too */
    uint64_t unplaced;
};

static void
tally_fini_p(struct tally *t)
{
    free(t->ranges.v);
}

static int
count(void *arg, const struct space *s, struct err *err)
{
    struct tally *t = arg;

    (void)err;
    if (!s->is_placed)
        t->unplaced += s->len;
    else if (!s->is_shared || !t->only_own)
        add_range(&t->ranges, s->at, s->len);
    return 0;
}

static int
walk(const char *path, struct tally *t, struct err *err)
{
    CLEANUP(fd_close) int fd = open_source(path, err);

    return fd < 0 ? -1 : space_walk(fd, path, count, t, err);
}

static int
by_begin(const void *a, const void *b)
{
    const struct blocks *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

/* All ranges, what overlaps counted once. */
static uint64_t
sum(struct tally *t)
{
    struct range_list *l = &t->ranges;
    uint64_t all = t->unplaced, end = 0;

    if (l->n > 0)
        qsort(l->v, l->n, sizeof *l->v, by_begin);
    for (size_t i = 0; i < l->n; i++) {
        uint64_t from = l->v[i].from > end ? l->v[i].from : end;

        if (l->v[i].to > from)
            all += l->v[i].to - from;
        end = l->v[i].to > end ? l->v[i].to : end;
    }
    return all;
}

int
reflink_own_bytes(const char *path, uint64_t *ret_own, struct err *err)
{
    CLEANUP(tally_fini) struct tally t = { .only_own = true };

    if (walk(path, &t, err) < 0)
        return -1;
    *ret_own = sum(&t);
    return 0;
}

int
reflink_all_bytes(const char *const *paths, size_t n, uint64_t *ret_all,
                  struct err *err)
{
    CLEANUP(tally_fini) struct tally t = { .only_own = false };

    for (size_t i = 0; i < n; i++)
        if (walk(paths[i], &t, err) < 0)
            return -1;
    *ret_all = sum(&t);
    return 0;
}
