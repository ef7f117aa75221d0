/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/sweep.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/file.h"
#include "disk/nbdconn.h"
#include "disk/nbdserver.h"

#define ANSWER_MS ((uint64_t)2000)
#define END_MS    ((uint64_t)8000)

/* Connect, negotiate, leave: qemu-nbd without -t ends then. */
static int
end_server(int dirfd, const char *name, struct err *err)
{
    const struct nbdconn_options o = { .what = name, .stall_ms = ANSWER_MS };
    uint64_t deadline_ms = clock_mono_ms() + END_MS;
    int fd, errnum = 0;

    while (nbdserver_connect_at(dirfd, name, &fd, &errnum) == 0) {
        struct nbdconn *c = NULL;

        /* Why it failed is no matter: it may be ending already. */
        if (nbdconn_open(fd, &o, &c, err) == 0)
            nbdconn_close(c);
        if (clock_mono_ms() >= deadline_ms)
            return err_set(err, ERR_BUSY,
                           "%s: its server does not end, somebody else uses it",
                           name);
        clock_sleep_ms(10);
    }
    if (errnum != ENOENT && errnum != ECONNREFUSED)
        return err_sys(err, errnum, "%s: connect", name);
    return file_unlink(dirfd, name, err);
}

static int
sweep_once(int dirfd, struct err *err)
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
            rc = end_server(dirfd, e->d_name, err);
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

        if (sweep_once(dirfd, err) < 0)
            return err_wrap(err, "sweep %s", dir);
        e = effect_begin("rmdir", dir);
        rc = rmdir(dir);
        if (rc < 0)
            rc = errno;
        effect_end(&e);
        if (rc == 0 || rc == ENOENT)
            return 0;
        /* A server made its socket just now. */
        if (rc != ENOTEMPTY || round == 3)
            return err_sys(err, rc, "sweep %s", dir);
    }
}
