/* SPDX-License-Identifier: Apache-2.0 */
#include "repotool/image.h"

#include <sys/ioctl.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>

#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"

void
image_close(struct image *i)
{
    if (i->path == NULL)
        return;
    if (i->fd >= 0)
        (void)close(i->fd);
    free(i->path);
    *i = (struct image){ .fd = -1 };
}

static int
find_size(struct image *i, struct err *err)
{
    if (fstat(i->fd, &i->was) < 0)
        return err_sys(err, errno, "%s: stat", i->path);
    i->is_device = S_ISBLK(i->was.st_mode);
    if (!i->is_device && !S_ISREG(i->was.st_mode))
        return err_set(err, ERR_INVALID, "%s: neither a file nor a disk",
                       i->path);
    i->size = (uint64_t)i->was.st_size;
    if (i->is_device && ioctl(i->fd, BLKGETSIZE64, &i->size) < 0)
        return err_sys(err, errno, "%s: size of the disk", i->path);
    return 0;
}

int
image_open(const char *path, struct image *ret, struct err *err)
{
    CLEANUP(image_close) struct image i = { .fd = -1 };

    i.path = xstrdup(path);
    /* Without O_NONBLOCK the open of a FIFO waits for ever. */
    i.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (i.fd < 0)
        return err_sys(err, errno, "%s: open", path);
    if (find_size(&i, err) < 0)
        return -1;
    (void)posix_fadvise(i.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    *ret = i;
    i.path = NULL;
    return 0;
}

bool
image_has_changed(const struct image *i)
{
    struct stat now;

    return !i->is_device && fstat(i->fd, &now) == 0 &&
           (now.st_size != i->was.st_size ||
            now.st_mtim.tv_sec != i->was.st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != i->was.st_mtim.tv_nsec);
}

bool
image_is_overlay(const struct image *i)
{
    static const uint8_t magic[4] = { 'Q', 'F', 'I', 0xfb }, none[8];
    uint8_t head[16]; /* the last 8: where the other one's name stands */

    return pread(i->fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
           memcmp(head, magic, sizeof magic) == 0 &&
           memcmp(head + 8, none, sizeof none) != 0;
}

static int
check_length(const struct image *i, struct err *err)
{
    struct stat st;

    if (fstat(i->fd, &st) < 0)
        return err_sys(err, errno, "%s: stat", i->path);
    if ((uint64_t)st.st_size < i->size)
        return err_set(err, ERR_INVALID, "%s: became shorter while it was read",
                       i->path);
    return 0;
}

int
image_next_data(struct image *i, uint64_t off, uint64_t *ret_off,
                uint64_t *ret_len, struct err *err)
{
    off_t from, to;

    *ret_off = off;
    *ret_len = i->size - off;
    if (i->is_device || off >= i->size)
        return 0;
    from = lseek(i->fd, (off_t)off, SEEK_DATA);
    if (from < 0 && errno == ENXIO) { /* a hole to the end */
        *ret_len = 0;
        return check_length(i, err);
    }
    if (from < 0 && errno == EINVAL)
        return 0;
    to = from < 0 ? -1 : lseek(i->fd, from, SEEK_HOLE);
    if (to < 0)
        return err_sys(err, errno, "%s: find data", i->path);
    /* It may have grown. */
    *ret_off = (uint64_t)from < i->size ? (uint64_t)from : i->size;
    *ret_len = ((uint64_t)to < i->size ? (uint64_t)to : i->size) - *ret_off;
    return 0;
}

int
image_read(struct image *i, uint64_t off, void *data, size_t len,
           struct err *err)
{
    char *p = data;

    while (len > 0) {
        ssize_t n = pread(i->fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "%s: read at %llu", i->path,
                           (unsigned long long)off);
        if (n == 0)
            return err_set(err, ERR_INVALID,
                           "%s: became shorter while it was read", i->path);
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static bool
is_disk(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

int
image_create(const char *path, uint64_t size, bool overwrites,
             struct image *ret, struct err *err)
{
    CLEANUP(image_close) struct image i = { .fd = -1 };
    struct effect e = effect_begin("create", path);
    int saved;

    i.path = xstrdup(path);
    i.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    saved = errno;
    effect_end(&e);
    i.is_fresh = i.is_made = i.fd >= 0;
    if (i.fd < 0 && saved == EEXIST && !overwrites)
        return err_set(err, ERR_EXISTS,
                       "%s: exists already; --force overwrites it", path);
    if (i.fd < 0 && saved == EEXIST) {
        /* Of a disk O_EXCL says: not one that is mounted. */
        i.fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
                              (is_disk(path) ? O_EXCL : 0));
        saved = errno;
    }
    if (i.fd < 0 && saved == EBUSY)
        return err_set(err, ERR_BUSY, "%s: is in use: is it mounted?", path);
    if (i.fd < 0)
        return err_sys(err, saved, "%s: create", path);
    if (find_size(&i, err) < 0)
        return -1;
    if (i.is_device && i.size < size)
        return err_set(err, ERR_NO_SPACE, "%s: the disk is too small", path);
    if (!i.is_device) {
        if (ftruncate(i.fd, 0) < 0 || ftruncate(i.fd, (off_t)size) < 0) {
            (void)err_sys(err, errno, "%s: set the size", path);
            image_discard(&i);
            return -1;
        }
        i.is_fresh = true;
    }
    *ret = i;
    i.path = NULL;
    return 0;
}

int
image_write(struct image *i, uint64_t off, const void *data, size_t len,
            struct err *err)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = pwrite(i->fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "%s: write at %llu", i->path,
                           (unsigned long long)off);
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int
image_zero(struct image *i, uint64_t off, uint64_t len, struct err *err)
{
    static const char zeros[65536];

    if (i->is_fresh ||
        fallocate(i->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)off,
                  (off_t)len) == 0)
        return 0;
    while (len > 0) {
        size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;

        if (image_write(i, off, zeros, n, err) < 0)
            return -1;
        off += n;
        len -= n;
    }
    return 0;
}

int
image_sync(struct image *i, struct err *err)
{
    return i->is_device ? file_sync(i->fd, i->path, err)
                        : file_sync_path(i->path, err);
}

void
image_discard(struct image *i)
{
    struct err ignored;

    if (i->fd < 0)
        return;
    if (i->is_made)
        (void)!file_unlink_path(i->path, &ignored);
    else
        (void)fprintf(stderr, "%s: is incomplete now\n", i->path);
    image_close(i);
}
