/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/segcache.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "blob/blob.h"
#include "repo/repo-id.h"
#include "repo/segment.h"

#define FREE_SHARE 10u /* of the file system: a tenth */

struct segcache {
    int dir;                    /* [C] */
    uint64_t max;               /* [C] */
    atomic_uint_fast64_t bytes; /* that its files occupy */
};

static uint64_t
occupied(const struct segcache *c, const char *name)
{
    struct stat st;

    if (fstatat(c->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return (uint64_t)st.st_blocks * 512;
}

/* Call `fn` for each segment that is kept here. */
static void
for_each(struct segcache *c,
         void (*fn)(struct segcache *c, const char *name, const void *arg),
         const void *arg)
{
    int again = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);
    uint8_t uuid[16];

    if (d == NULL) {
        if (again >= 0)
            (void)close(again);
        return;
    }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        if (repo_id_parse(e->d_name, uuid))
            fn(c, e->d_name, arg);
    (void)closedir(d);
}

static void
count(struct segcache *c, const char *name, const void *arg)
{
    (void)arg;
    atomic_fetch_add(&c->bytes, occupied(c, name));
}

int
segcache_open(const char *dir, uint64_t max_bytes, struct segcache **ret,
              struct err *err)
{
    CLEANUP(segcache_free) struct segcache *c = xcalloc(1, sizeof *c);

    c->dir = -1;
    c->max = max_bytes;
    if (file_make_dirs(dir, 0700, err) < 0 ||
        file_open_dir(dir, &c->dir, err) < 0)
        return -1;
    for_each(c, count, NULL);
    *ret = TAKE(c);
    return 0;
}

void
segcache_free(struct segcache *c)
{
    if (c == NULL)
        return;
    if (c->dir >= 0)
        (void)close(c->dir);
    free(c);
}

static int
compare_names(const void *key, const void *item)
{
    return strcmp(key, *(char *const *)item);
}

static void
drop_unless_named(struct segcache *c, const char *name, const void *arg)
{
    const struct blob_names *names = arg;
    char object[SEGMENT_NAME_SIZE];
    uint8_t uuid[16];
    uint64_t size = occupied(c, name);
    struct err ignored;

    if (!repo_id_parse(name, uuid))
        return;
    segment_name(uuid, object);
    if (names->count > 0 && bsearch(object, names->names, names->count,
                                    sizeof *names->names, compare_names))
        return;
    if (file_unlink(c->dir, name, &ignored) == 0)
        atomic_fetch_sub(&c->bytes, size);
}

void
segcache_keep(struct segcache *c, const struct blob_names *names)
{
    for_each(c, drop_unless_named, names);
}

bool
segcache_read(struct segcache *c, const uint8_t uuid[16], uint64_t off,
              void *out, size_t len)
{
    CLEANUP(fd_close) int fd = -1;
    char name[UUID_STR_SIZE];

    repo_id_format(uuid, name);
    fd = openat(c->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && pread(fd, out, len, (off_t)off) == (ssize_t)len;
}

static bool
may_grow(struct segcache *c, size_t len)
{
    struct statvfs space;

    return atomic_load(&c->bytes) + len <= c->max &&
           fstatvfs(c->dir, &space) == 0 &&
           space.f_bavail >= space.f_blocks / FREE_SHARE;
}

void
segcache_write(struct segcache *c, const uint8_t uuid[16], uint64_t off,
               const void *data, size_t len)
{
    static const int flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW;
    CLEANUP(fd_close) int fd = -1;
    char name[UUID_STR_SIZE];

    if (!may_grow(c, len))
        return;
    repo_id_format(uuid, name);
    fd = openat(c->dir, name, flags);
    if (fd < 0 && errno == ENOENT) {
        struct effect e = effect_begin("create", name);

        fd = openat(c->dir, name, flags | O_CREAT, 0600);
        effect_end(&e);
    }
    if (fd >= 0 && pwrite(fd, data, len, (off_t)off) == (ssize_t)len)
        atomic_fetch_add(&c->bytes, len);
}

uint64_t
segcache_bytes(const struct segcache *c)
{
    return atomic_load(&c->bytes);
}
