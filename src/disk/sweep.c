/* SPDX-License-Identifier: Apache-2.0 */
/* Whose directory it is stands in /proc: nbdserver.c hands it to the child as
 * descriptor 3. To ask by the socket is not enough: one that refuses a
 * connection may belong to a server that ended, or to one that has bound it
 * and does not listen yet.
 *
 * The process is held by a pidfd while it is looked at, so that the one that
 * is killed is the one that was seen.
 */
#include "disk/sweep.h"

#include <sys/pidfd.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/effect.h"
#include "base/file.h"

#define NAME   "qemu-nbd"
#define END_MS 10000

static bool
is_server_of(pid_t pid, const struct stat *dir)
{
    char path[64], comm[32];
    struct stat st;
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/fd/3", (int)pid);
    if (stat(path, &st) < 0 || st.st_dev != dir->st_dev ||
        st.st_ino != dir->st_ino)
        return false;
    (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);

    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

    n = fd < 0 ? -1 : read(fd, comm, sizeof comm);
    return n == sizeof NAME && memcmp(comm, NAME "\n", sizeof NAME) == 0;
}

static int
end_server(pid_t pid, const struct stat *dir, struct err *err)
{
    CLEANUP(fd_close) int fd = pidfd_open(pid, 0);
    struct pollfd p = { .fd = fd, .events = POLLIN };

    if (fd < 0 && errno != ESRCH)
        return err_sys(err, errno, "qemu-nbd (process %d)", (int)pid);
    if (fd < 0 || !is_server_of(pid, dir))
        return 0; /* it is gone */
    struct effect e = effect_begin("kill", NAME);

    (void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
    effect_end(&e);
    if (poll(&p, 1, END_MS) != 1)
        return err_set(err, ERR_BUSY, "qemu-nbd (process %d) does not end",
                       (int)pid);
    return 0;
}

static int
end_servers(int dirfd, struct err *err)
{
    DIR *proc = opendir("/proc");
    struct dirent *e;
    struct stat dir;
    int rc = 0;

    if (proc == NULL)
        return err_sys(err, errno, "/proc");
    if (fstat(dirfd, &dir) < 0)
        rc = err_sys(err, errno, "stat");
    while (rc == 0 && (e = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

        if (pid > 0 && is_server_of(pid, &dir))
            rc = end_server(pid, &dir, err);
    }
    closedir(proc);
    return rc;
}

static int
remove_sockets(int dirfd, struct err *err)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int rc = 0;

    if (d == NULL) {
        rc = err_sys(err, errno, "open");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc == 0 && (e = readdir(d)) != NULL) {
        struct stat st;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue; /* its server has just ended */
        if (!S_ISSOCK(st.st_mode))
            rc = err_set(err, ERR_BUSY, "%s does not belong there", e->d_name);
        else
            rc = file_unlink(dirfd, e->d_name, err);
    }
    closedir(d);
    return rc;
}

int
disk_sweep(const char *dir, struct err *err)
{
    CLEANUP(fd_close) int dirfd = -1;

    if (file_open_dir(dir, &dirfd, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    for (int round = 0;; round++) {
        struct effect e;
        int rc;

        if (end_servers(dirfd, err) < 0 || remove_sockets(dirfd, err) < 0)
            return err_wrap(err, "sweep %s", dir);
        e = effect_begin("rmdir", dir);
        rc = rmdir(dir) < 0 ? errno : 0;
        effect_end(&e);
        if (rc == 0 || rc == ENOENT)
            return 0;
        /* A server made its socket just now. */
        if (rc != ENOTEMPTY || round == 3)
            return err_sys(err, rc, "sweep %s", dir);
    }
}
