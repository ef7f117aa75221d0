/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/imglock.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>

#include "base/mem.h"

/* QEMU says with read locks on single bytes what it does with an image: byte
 * 100 + p: "I use permission p"; byte 200 + p: "I do not let others use p".
 * Having taken its own it looks whether somebody holds the opposite ones. We
 * say that we use all and share none, and look for anybody at all. Open file
 * description locks: another descriptor of ours that is closed does not drop
 * them, and qemu-img that we start with file.locking=off is not in the way.
 * Byte 99 is ours: "a child of vmkeep is making this file". */
enum {
    MAKING_AT = 99,
    USED_AT = 100,
    UNSHARED_AT = 200,
    PERMISSIONS = 4, /* consistent read, write, write unchanged, resize */
};

struct imglock {
    struct file_id *files; /* of fds[i] */
    int *fds;
    size_t n;
};

struct imglock *
imglock_new(void)
{
    return xcalloc(1, sizeof(struct imglock));
}

void
imglock_free(struct imglock *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->n; i++)
        close(l->fds[i]);
    free(l->fds);
    free(l->files);
    free(l);
}

static int
take(int fd, const char *path, struct err *err)
{
    static const short at[] = { USED_AT, UNSHARED_AT };

    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        struct flock f = { .l_type = F_RDLCK,
                           .l_whence = SEEK_SET,
                           .l_start = at[i],
                           .l_len = PERMISSIONS };

        if (fcntl(fd, F_OFD_SETLK, &f) < 0)
            return err_sys(err, errno, "%s: image lock", path);
    }
    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        struct flock f = { .l_type = F_WRLCK,
                           .l_whence = SEEK_SET,
                           .l_start = i == 0 ? MAKING_AT : at[i],
                           .l_len = PERMISSIONS + (i == 0) };

        if (fcntl(fd, F_OFD_GETLK, &f) < 0)
            return err_sys(err, errno, "%s: image lock", path);
        if (f.l_type != F_UNLCK)
            return err_set(
                err, ERR_BUSY,
                "%s: in use by a QEMU process; stop what uses it and try again",
                path);
    }
    return 0;
}

int
imglock_add(struct imglock *l, const char *path, const struct file_id *want,
            struct err *err)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct file_id is;

    if (fd < 0)
        return err_sys(err, errno, "%s: open", path);
    if (file_id_of_fd(fd, path, &is, err) < 0)
        return -1;
    if (want != NULL && !file_id_equal(&is, want))
        return err_set(err, ERR_CONFLICT,
                       "%s: is not the file that was recorded", path);
    for (size_t i = 0; i < l->n; i++)
        if (file_id_equal(&l->files[i], &is))
            return 0;
    if (take(fd, path, err) < 0)
        return -1;
    l->fds = xrealloc(l->fds, l->n + 1, sizeof *l->fds);
    l->files = xrealloc(l->files, l->n + 1, sizeof *l->files);
    l->files[l->n] = is;
    l->fds[l->n++] = fd;
    fd = -1;
    return 0;
}

const int *
imglock_fds(const struct imglock *l, size_t *ret_n)
{
    *ret_n = l->n;
    return l->fds;
}

int
imglock_mark(int fd, const char *path, struct err *err)
{
    struct flock f = { .l_type = F_RDLCK,
                       .l_whence = SEEK_SET,
                       .l_start = MAKING_AT,
                       .l_len = 1 };

    if (fcntl(fd, F_OFD_SETLK, &f) < 0)
        return err_sys(err, errno, "%s: mark", path);
    return 0;
}
