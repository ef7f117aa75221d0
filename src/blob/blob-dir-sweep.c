/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/blob-dir-sweep.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/effect.h"
#include "base/file.h"
#include "base/uuid.h"

#define MAX_DEPTH 8

/* Ours may be wrong by years, and that of an NFS server is another one: what a
 * file that is made now says. */
static int
clock_of(int root_fd, int64_t *ret, struct err *err)
{
    char name[64], uuid[UUID_STR_SIZE];
    struct stat st;
    int fd, rc, saved;

    uuid_random(uuid);
    (void)snprintf(name, sizeof name, ".tmp-%s", uuid);
    fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "%s: create", name);
    rc = fstat(fd, &st);
    saved = errno;
    (void)close(fd);
    (void)unlinkat(root_fd, name, 0);
    if (rc < 0)
        return err_sys(err, saved, "%s: stat", name);
    *ret = st.st_mtim.tv_sec;
    return 0;
}

static void
remove_at(int dir_fd, const char *name, int flags)
{
    struct effect e =
        effect_begin(flags == AT_REMOVEDIR ? "rmdir" : "unlink", name);

    (void)unlinkat(dir_fd, name, flags); /* one that is not empty stays */
    effect_end(&e);
}

static bool
is_empty(int fd)
{
    DIR *stream = fdopendir(dup(fd));
    struct dirent *e;
    unsigned n = 0;

    if (stream == NULL)
        return false;
    rewinddir(stream);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): our own stream
    while ((e = readdir(stream)) != NULL && n <= 2)
        n++;
    (void)closedir(stream);
    return n <= 2; /* . and .. */
}

/* Takes `fd`. */
static void
sweep(int fd, unsigned depth, int64_t before)
{
    DIR *stream = fdopendir(fd);
    struct dirent *e;

    if (stream == NULL) {
        (void)close(fd);
        return;
    }
    rewinddir(stream); /* is_empty() has read it */
    // NOLINTNEXTLINE(concurrency-mt-unsafe): our own stream
    while ((e = readdir(stream)) != NULL) {
        bool is_temp = strncmp(e->d_name, ".tmp-", 5) == 0;
        struct stat st;
        int below;

        /* Packs are many: nothing is asked about them. */
        if (e->d_type == DT_REG && !is_temp)
            continue;
        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode) && is_temp && st.st_mtim.tv_sec <= before)
            remove_at(fd, e->d_name, 0);
        if (!S_ISDIR(st.st_mode) || e->d_name[0] == '.' || depth == MAX_DEPTH)
            continue;
        below = openat(fd, e->d_name,
                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0)
            continue;
        if (depth > 0 && st.st_mtim.tv_sec <= before && is_empty(below))
            remove_at(fd, e->d_name, AT_REMOVEDIR);
        sweep(below, depth + 1, before);
    }
    (void)closedir(stream);
}

int
blob_dir_sweep(int root_fd, int64_t age_s, struct err *err)
{
    int64_t now = 0;
    int fd;

    if (clock_of(root_fd, &now, err) < 0)
        return -1;
    fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "list");
    sweep(fd, 0, now - age_s);
    return 0;
}
