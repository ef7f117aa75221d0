/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <sys/syscall.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>

#include "base/effect.h"
#include "base/mem.h"
#include "base/uuid.h"

/* The end of `path` in the directory `at`, or the next directory on its way;
 * a link is ELOOP, as openat2() says it. */
static int
open_step(int at, const char *name, int flags, mode_t mode)
{
    int fd = openat(at, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    struct stat st;

    if (fd < 0 && errno == ENOTDIR) {
        bool is_link = fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                       S_ISLNK(st.st_mode);

        errno = is_link ? ELOOP : ENOTDIR;
    }
    return fd;
}

/* What openat2() does, where there is none: in valgrind and in some sandboxes.
 * Refuses ".." everywhere. */
static int
open_by_steps(int dirfd, const char *path, int flags, mode_t mode)
{
    CLEANUP(mem_free) char *copy = xstrdup(path);
    CLEANUP(fd_close) int at = -1;
    char *rest = copy, *name;

    if (path[0] == '/') {
        errno = EXDEV;
        return -1;
    }
    while ((name = strsep(&rest, "/")) != NULL) {
        int from = at < 0 ? dirfd : at, next;

        if (strcmp(name, "..") == 0) {
            errno = EXDEV;
            return -1;
        }
        if (rest == NULL)
            return open_step(from, *name == 0 ? "." : name, flags, mode);
        if (*name == 0)
            continue;
        next = open_step(from, name, O_PATH | O_DIRECTORY, 0);
        if (next < 0)
            return -1;
        fd_close_p(&at);
        at = next;
    }
    return -1; /* not reached: the last name has no rest */
}

int
file_open_beneath(int dirfd, const char *path, int flags, mode_t mode,
                  int *ret_fd, struct err *err)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);

    if (fd < 0 && errno == ENOSYS)
        fd = open_by_steps(dirfd, path, flags, (mode_t)how.mode);
    if (fd < 0 && (errno == EXDEV || errno == ELOOP))
        return err_set(err, ERR_INVALID,
                       "%s: leaves its directory, or a link is in the way",
                       path);
    if (fd < 0)
        return err_sys(err, errno, "%s: open", path);
    *ret_fd = (int)fd;
    return 0;
}

int
file_open_dir(const char *path, int *ret_fd, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_sys(err, errno, "%s: open directory", path);
    *ret_fd = fd;
    return 0;
}

int
file_read_fd(int fd, size_t max, const char *what, struct buf *out,
             struct err *err)
{
    char block[16384];
    size_t before = out->len;

    for (;;) {
        ssize_t n = read(fd, block, sizeof block);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return 0;
        if (n > 0 && out->len - before + (size_t)n <= max) {
            buf_add(out, block, (size_t)n);
            continue;
        }
        if (n < 0)
            err_do_sys(err, errno, "%s: read", what);
        else
            err_do_set(err, ERR_NO_SPACE, "%s: more than %zu bytes", what, max);
        buf_truncate(out, before);
        return -1;
    }
}

int
file_read_all(const char *path, size_t max, struct buf *out, struct err *err)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_sys(err, errno, "%s: open", path);
    return file_read_fd(fd, max, path, out, err);
}

int
file_write_fd(int fd, const void *data, size_t len, const char *what,
              struct err *err)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "%s: write", what);
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int
file_sync(int fd, const char *what, struct err *err)
{
    struct effect e = effect_begin("fsync", what);
    int rc = fsync(fd);
    int saved = errno;

    effect_end(&e);
    return rc < 0 ? err_sys(err, saved, "%s: fsync", what) : 0;
}

int
file_sync_dir(int dirfd, const char *what, struct err *err)
{
    return file_sync(dirfd, what, err);
}

int
file_sync_path(const char *path, struct err *err)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    CLEANUP(fd_close) int dirfd = -1;
    CLEANUP(mem_free) char *dir = file_dirname(path);

    if (fd < 0)
        return err_sys(err, errno, "%s: open", path);
    if (file_sync(fd, path, err) < 0)
        return -1;
    if (file_open_dir(dir, &dirfd, err) < 0)
        return -1;
    return file_sync_dir(dirfd, dir, err);
}

static int
counted_rename(int dirfd, const char *from, const char *to, struct err *err)
{
    struct effect e = effect_begin("rename", to);
    int rc = renameat(dirfd, from, dirfd, to);
    int saved = errno;

    effect_end(&e);
    return rc < 0 ? err_sys(err, saved, "%s: rename", to) : 0;
}

static int
write_temporary(int dirfd, const char *temp, const void *data, size_t len,
                mode_t mode, const struct file_owner *owner, struct err *err)
{
    struct effect e = effect_begin("create", temp);
    CLEANUP(fd_close)
    int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int saved = errno;

    effect_end(&e);
    if (fd < 0)
        return err_sys(err, saved, "%s: create", temp);
    if (owner != NULL && fchown(fd, owner->uid, owner->gid) < 0)
        return err_sys(err, errno, "%s: chown", temp);
    if (file_write_fd(fd, data, len, temp, err) < 0)
        return -1;
    return file_sync(fd, temp, err);
}

/* "." and 8 letters that no name of ours has: file_sweep() knows them again. */
#define TEMP_PREFIX ".new-"

int
file_replace(int dirfd, const char *name, const void *data, size_t len,
             mode_t mode, struct err *err)
{
    return file_replace_as(dirfd, name, data, len, mode, NULL, err);
}

int
file_replace_as(int dirfd, const char *name, const void *data, size_t len,
                mode_t mode, const struct file_owner *owner, struct err *err)
{
    char temp[64], suffix[9];

    uuid_random_suffix(suffix, sizeof suffix - 1);
    (void)snprintf(temp, sizeof temp, TEMP_PREFIX "%s", suffix);
    if (write_temporary(dirfd, temp, data, len, mode, owner, err) < 0 ||
        counted_rename(dirfd, temp, name, err) < 0) {
        (void)unlinkat(dirfd, temp, 0);
        return err_wrap(err, "replace %s", name);
    }
    return file_sync_dir(dirfd, name, err);
}

int
file_sweep(const char *path, struct err *err)
{
    int dirfd = -1;

    if (file_open_dir(path, &dirfd, err) < 0)
        return -1;

    DIR *dir = fdopendir(dirfd); /* takes dirfd */

    if (dir == NULL) {
        (void)err_sys(err, errno, "%s", path);
        (void)close(dirfd);
        return -1;
    }
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        if (strncmp(d->d_name, TEMP_PREFIX, sizeof TEMP_PREFIX - 1) == 0)
            (void)unlinkat(dirfd, d->d_name, 0);
    (void)closedir(dir);
    return 0;
}

static int
counted_unlink(int dirfd, const char *name, struct err *err)
{
    struct effect e = effect_begin("unlink", name);
    int rc = unlinkat(dirfd, name, 0);
    int saved = errno;

    effect_end(&e);
    if (rc < 0 && saved != ENOENT)
        return err_sys(err, saved, "%s: unlink", name);
    return 0;
}

int
file_unlink(int dirfd, const char *name, struct err *err)
{
    if (counted_unlink(dirfd, name, err) < 0)
        return -1;
    return file_sync_dir(dirfd, name, err);
}

/* Is it the directory of one of these paths? */
static bool
is_dir_of(const char *dir, const char *const *paths, size_t n)
{
    size_t len = strlen(dir);

    for (size_t i = 0; i < n; i++)
        if (strncmp(paths[i], dir, len) == 0 && paths[i][len] == '/' &&
            strchr(paths[i] + len + 1, '/') == NULL)
            return true;
    return false;
}

int
file_unlink_paths(const char *const *paths, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP(mem_free) char *dir = file_dirname(paths[i]);
        CLEANUP(fd_close) int dirfd = -1;

        if (file_open_dir(dir, &dirfd, err) < 0) {
            if (err->code != ERR_NOT_FOUND)
                return -1;
            continue;
        }
        if (counted_unlink(dirfd, file_basename(paths[i]), err) < 0)
            return -1;
        if (!is_dir_of(dir, paths + i + 1, n - i - 1) &&
            file_sync_dir(dirfd, dir, err) < 0)
            return -1;
    }
    return 0;
}

int
file_unlink_path(const char *path, struct err *err)
{
    return file_unlink_paths(&path, 1, err);
}

int
file_rename_path(const char *from, const char *to, struct err *err)
{
    CLEANUP(mem_free) char *from_dir = file_dirname(from);
    CLEANUP(mem_free) char *to_dir = file_dirname(to);
    CLEANUP(fd_close) int from_fd = -1;
    CLEANUP(fd_close) int to_fd = -1;

    if (file_open_dir(from_dir, &from_fd, err) < 0 ||
        file_open_dir(to_dir, &to_fd, err) < 0)
        return -1;

    struct effect e = effect_begin("rename", to);
    int rc = renameat(from_fd, file_basename(from), to_fd, file_basename(to));
    int saved = errno;

    effect_end(&e);
    if (rc < 0)
        return err_sys(err, saved, "%s: rename to %s", from, to);
    if (file_sync_dir(to_fd, to_dir, err) < 0)
        return -1;
    return file_sync_dir(from_fd, from_dir, err);
}

/* The name of `path`, which is new, is durable. */
static int
sync_parent(const char *path, struct err *err)
{
    CLEANUP(mem_free) char *dir = file_dirname(path);
    CLEANUP(fd_close) int fd = -1;

    if (file_open_dir(dir, &fd, err) < 0)
        return err->code == ERR_DENIED ? 0 : -1; /* writable, not readable */
    return file_sync_dir(fd, dir, err);
}

int
file_make_dirs(const char *path, mode_t mode, struct err *err)
{
    CLEANUP(mem_free) char *part = xstrdup(path);
    struct stat st;

    if (*part == 0)
        return err_set(err, ERR_INVALID, "mkdir: the path is empty");
    for (char *p = part + 1;; p++) {
        char c = *p;

        if (c != '/' && c != 0)
            continue;
        *p = 0;
        if (mkdir(part, mode) == 0) {
            if (sync_parent(part, err) < 0)
                return -1;
        } else {
            int why = errno;

            if (why != EEXIST || stat(part, &st) < 0)
                return err_sys(err, why, "%s: mkdir", part);
            if (!S_ISDIR(st.st_mode))
                return err_sys(err, ENOTDIR, "%s", part);
        }
        *p = c;
        if (c == 0)
            return 0;
    }
}

char *
file_dirname(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return xstrdup(".");
    return slash == path ? xstrdup("/")
                         : xstrndup(path, (size_t)(slash - path));
}

const char *
file_basename(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}
