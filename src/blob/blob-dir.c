/* SPDX-License-Identifier: Apache-2.0 */
/* A put is: unnamed file -> write -> fdatasync -> link under its name. Where
 * unnamed files are missing (NFS, FUSE) a temporary name ".tmp-<uuid>" takes
 * their place and is unlinked afterwards; a crash leaves it, the dot keeps it
 * out of every list, nothing ever reads it, and blob_sweep() removes it.
 *
 * fdatasync makes the bytes durable, not the name: the directories that got a
 * name are remembered and synced by blob_sync(), once for many names. A new
 * directory's parent counts as one that got a name.
 *
 * On crash: a name is there with all its bytes, or not at all. After
 * blob_sync() it is there.
 */
#include "blob/blob-dir.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/mutex.h"
#include "base/uuid.h"
#include "blob/blob-dir-sweep.h"

#define MAX_DEPTH 8
#define RESERVE   ((size_t)1 << 20) /* the last of the space: blob_room() */
#define READ_BACK ((size_t)1 << 20)

extern struct role blob_dir_lock;

struct blob_dir {
    struct blob blob;
    int root_fd; /* [C] */
    pthread_mutex_t mutex;
    /* Directories with names that are not durable yet. */
    struct blob_names dirty GUARDED_BY(blob_dir_lock);
    bool is_root_dirty GUARDED_BY(blob_dir_lock);
};

static void lock(struct blob_dir *d) ACQUIRE(blob_dir_lock);
static void unlock(struct blob_dir *d) RELEASE(blob_dir_lock);

static void NO_TSA
lock(struct blob_dir *d)
{
    pthread_mutex_lock(&d->mutex);
}

static void NO_TSA
unlock(struct blob_dir *d)
{
    pthread_mutex_unlock(&d->mutex);
}

static struct blob_dir *
self(struct blob *b)
{
    return container_of(b, struct blob_dir, blob);
}

static void NO_TSA
dir_free(struct blob *b)
{
    struct blob_dir *d = self(b);

    (void)close(d->root_fd);
    blob_names_fini(&d->dirty);
    pthread_mutex_destroy(&d->mutex);
    free(d);
}

static void
mark_locked(struct blob_dir *d, const char *dir) REQUIRES(blob_dir_lock)
{
    if (dir[0] == 0) {
        d->is_root_dirty = true;
        return;
    }
    for (size_t i = d->dirty.count; i > 0; i--) /* the latest is likeliest */
        if (strcmp(d->dirty.names[i - 1], dir) == 0)
            return;
    blob_names_add(&d->dirty, dir);
}

static void
mark(struct blob_dir *d, const char *dir)
{
    lock(d);
    mark_locked(d, dir);
    unlock(d);
}

/* The part of `name` before its last slash, "" for none. */
static void
parent_of(const char *name, char out[BLOB_NAME_MAX + 1])
{
    const char *slash = strrchr(name, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - name);

    assert(len <= BLOB_NAME_MAX);
    memmove(out, name, len); /* may be one buffer */
    out[len] = 0;
}

static int
open_dir(struct blob_dir *d, const char *dir, int *ret_fd, struct err *err)
{
    return file_open_beneath(d->root_fd, dir[0] == 0 ? "." : dir,
                             O_RDONLY | O_DIRECTORY, 0, ret_fd, err);
}

/* Make directory `dir` and those above it. */
static int
make_dirs(struct blob_dir *d, const char *dir, struct err *err)
{
    char part[BLOB_NAME_MAX + 1], above[BLOB_NAME_MAX + 1];

    for (const char *p = dir;; p++) {
        CLEANUP(fd_close) int fd = -1;
        struct effect e;
        int rc, saved;

        if (*p != '/' && *p != 0)
            continue;
        memcpy(part, dir, (size_t)(p - dir));
        part[p - dir] = 0;
        parent_of(part, above);
        if (open_dir(d, above, &fd, err) < 0)
            return -1;
        e = effect_begin("mkdir", part);
        rc = mkdirat(fd, file_basename(part), 0700);
        saved = errno;
        effect_end(&e);
        if (rc < 0 && saved != EEXIST)
            return err_sys(err, saved, "%s: mkdir", part);
        mark(d, above);
        if (*p == 0)
            return 0;
    }
}

static int
open_parent(struct blob_dir *d, const char *name, int *ret_fd, struct err *err)
{
    char dir[BLOB_NAME_MAX + 1];

    parent_of(name, dir);
    if (open_dir(d, dir, ret_fd, err) == 0)
        return 0;
    if (err->code != ERR_NOT_FOUND)
        return -1;
    if (make_dirs(d, dir, err) < 0)
        return -1;
    return open_dir(d, dir, ret_fd, err);
}

/* A new file under a temporary name; -1 and errno. */
static int
open_temp(int dir_fd, char temp[64])
{
    char uuid[UUID_STR_SIZE];

    uuid_random(uuid);
    (void)snprintf(temp, 64, ".tmp-%s", uuid);
    return openat(dir_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

/* An open file without a name, or under a temporary one in `temp`. */
static int
open_new(int dir_fd, char temp[64], int *ret_fd, struct err *err)
{
    int fd = openat(dir_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);

    temp[0] = 0;
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT))
        fd = open_temp(dir_fd, temp);
    if (fd < 0)
        return err_sys(err, errno, "create a file");
    *ret_fd = fd;
    return 0;
}

static int
sync_data(int fd, const char *name, struct err *err)
{
    struct effect e = effect_begin("fdatasync", name);
    int rc = fdatasync(fd);
    int saved = errno;

    effect_end(&e);
    return rc < 0 ? err_sys(err, saved, "%s: fdatasync", name) : 0;
}

/* Give the file its name, unless somebody has it. */
static int
give_name(int dir_fd, int fd, const char *temp, const char *name,
          bool *ret_existed, struct err *err)
{
    const char *base = file_basename(name);
    struct effect e = effect_begin("link", name);
    char proc[40];
    int rc, saved;

    if (temp[0] == 0) {
        (void)snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
        rc = linkat(AT_FDCWD, proc, dir_fd, base, AT_SYMLINK_FOLLOW);
    } else {
        rc = linkat(dir_fd, temp, dir_fd, base, 0);
        if (rc < 0 && (errno == EPERM || errno == EOPNOTSUPP))
            rc = renameat2(dir_fd, temp, dir_fd, base, RENAME_NOREPLACE);
    }
    saved = errno;
    effect_end(&e);
    if (rc < 0 && saved != EEXIST)
        return err_sys(err, saved, "%s: link", name);
    *ret_existed = rc < 0;
    return 0;
}

/* The last of the space is for those that need it more: a deletion can still be
 * logged then, and what it frees be collected. */
static int
dir_room(struct blob *b, size_t len, struct err *err)
{
    struct statvfs fs;
    uint64_t room;

    if (fstatvfs(self(b)->root_fd, &fs) < 0 || fs.f_blocks == 0)
        return 0; /* the write itself will tell */
    room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room >= len + RESERVE)
        return 0;
    return err_set(err, ERR_NO_SPACE,
                   "no space: %llu KiB are free, %zu KiB are needed",
                   (unsigned long long)room / 1024, (len + RESERVE) / 1024);
}

static int
dir_put(struct blob *b, const char *name, const void *data, size_t len,
        bool *ret_existed, struct err *err)
{
    struct blob_dir *d = self(b);
    CLEANUP(fd_close) int dir_fd = -1;
    CLEANUP(fd_close) int fd = -1;
    char temp[64], dir[BLOB_NAME_MAX + 1];
    int rc;

    if (open_parent(d, name, &dir_fd, err) < 0 ||
        open_new(dir_fd, temp, &fd, err) < 0)
        return err_wrap(err, "%s", name);
    rc = file_write_fd(fd, data, len, name, err);
    if (rc == 0)
        rc = sync_data(fd, name, err);
    if (rc == 0)
        rc = give_name(dir_fd, fd, temp, name, ret_existed, err);
    if (temp[0] != 0)
        (void)unlinkat(dir_fd, temp, 0); /* gone already after a rename */
    parent_of(name, dir);
    if (rc == 0)
        mark(d, dir);
    return rc;
}

/* Is the file what was written? Read from the disk, as far as one can ask. */
static int
read_back(int fd, const char *name, const uint8_t *data, size_t len,
          struct err *err)
{
    CLEANUP(mem_free) uint8_t *part = xcalloc(1, READ_BACK);
    size_t done = 0;

    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    while (done < len) {
        size_t want = len - done < READ_BACK ? len - done : READ_BACK;
        ssize_t n = pread(fd, part, want, (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "%s: read back", name);
        if (n == 0 || memcmp(part, data + done, (size_t)n) != 0)
            return err_set(err, ERR_CORRUPT,
                           "%s: reads as something else than was written",
                           name);
        done += (size_t)n;
    }
    return 0;
}

static int
rename_over(int dir_fd, const char *temp, const char *name, struct err *err)
{
    struct effect e = effect_begin("rename", name);
    int rc = renameat(dir_fd, temp, dir_fd, file_basename(name));
    int saved = errno;

    effect_end(&e);
    return rc < 0 ? err_sys(err, saved, "%s: rename", name) : 0;
}

/* Who could read the old file can read the new one, as far as we may say so:
 * root repairs what others made. */
static void
keep_access(int fd, const struct stat *old)
{
    if (!S_ISREG(old->st_mode)) /* a link's say nothing */
        return;
    (void)!fchown(fd, old->st_uid, old->st_gid);
    (void)fchmod(fd, old->st_mode & 0777);
}

/* A crash leaves a temporary file: blob_sweep(). */
static int
dir_replace(struct blob *b, const char *name, const void *data, size_t len,
            struct err *err)
{
    struct blob_dir *d = self(b);
    char temp[64], dir[BLOB_NAME_MAX + 1];
    CLEANUP(fd_close) int dir_fd = -1;
    CLEANUP(fd_close) int fd = -1;
    struct stat st;
    int rc;

    parent_of(name, dir);
    if (open_dir(d, dir, &dir_fd, err) < 0)
        return err_wrap(err, "%s", name);
    if (fstatat(dir_fd, file_basename(name), &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "%s", name);
    fd = open_temp(dir_fd, temp);
    if (fd < 0)
        return err_sys(err, errno, "%s: create a file", name);
    keep_access(fd, &st);
    rc = file_write_fd(fd, data, len, name, err);
    if (rc == 0)
        rc = sync_data(fd, name, err);
    if (rc == 0)
        rc = read_back(fd, name, data, len, err);
    if (rc == 0)
        rc = rename_over(dir_fd, temp, name, err);
    if (rc < 0)
        (void)unlinkat(dir_fd, temp, 0);
    else
        mark(d, dir);
    return rc;
}

static int
sync_one(struct blob_dir *d, const char *dir, struct err *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (open_dir(d, dir, &fd, err) < 0)
        return -1;
    return file_sync_dir(fd, dir[0] == 0 ? "." : dir, err);
}

static int
dir_sync(struct blob *b, struct err *err)
{
    struct blob_dir *d = self(b);
    CLEANUP(blob_names_fini) struct blob_names dirty = { 0 };
    bool is_root_dirty;
    int rc = 0;

    lock(d);
    dirty = d->dirty;
    is_root_dirty = d->is_root_dirty;
    d->dirty = (struct blob_names){ 0 };
    d->is_root_dirty = false;
    unlock(d);
    for (size_t i = 0; rc == 0 && i < dirty.count; i++)
        rc = sync_one(d, dirty.names[i], err);
    if (rc == 0 && is_root_dirty)
        rc = sync_one(d, "", err);
    if (rc < 0) { /* they stay dirty: the caller may try again */
        for (size_t i = 0; i < dirty.count; i++)
            mark(d, dirty.names[i]);
        mark(d, "");
    }
    return rc;
}

/* Whoever can write there may have put anything under a name: a FIFO or a
 * terminal would keep us waiting for ever. */
static int
open_object(struct blob *b, const char *name, int *ret_fd, struct stat *ret_st,
            struct err *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (file_open_beneath(self(b)->root_fd, name,
                          O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &fd, err) < 0)
        return -1;
    if (fstat(fd, ret_st) < 0)
        return err_sys(err, errno, "%s: stat", name);
    if (!S_ISREG(ret_st->st_mode))
        return err_set(err, ERR_CORRUPT, "%s: is not a regular file", name);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int
dir_get(struct blob *b, const char *name, uint64_t off, void *data, size_t len,
        size_t *ret_len, struct err *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct stat st;
    size_t done = 0;

    if (open_object(b, name, &fd, &st, err) < 0)
        return -1;
    while (done < len) {
        ssize_t n =
            pread(fd, (char *)data + done, len - done, (off_t)(off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "%s: read", name);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_len = done;
    return 0;
}

static int
dir_size(struct blob *b, const char *name, uint64_t *ret_size, struct err *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct stat st;

    if (open_object(b, name, &fd, &st, err) < 0)
        return -1;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static void
dir_close_p(DIR **dir)
{
    if (*dir != NULL)
        (void)closedir(*dir);
}

/* DT_DIR, DT_REG or something else. */
static int
type_of(int dir_fd, const struct dirent *e, unsigned char *ret, struct err *err)
{
    struct stat st;

    *ret = e->d_type;
    if (e->d_type != DT_UNKNOWN)
        return 0;
    if (fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "%s: stat", e->d_name);
    *ret = S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_LNK;
    return 0;
}

/* `dir` is "" or a name without a slash at its end. */
static int
list_below(struct blob_dir *d, const char *dir, unsigned depth,
           struct blob_names *names, struct err *err)
{
    CLEANUP(dir_close) DIR *stream = NULL;
    struct dirent *e;
    int fd = -1;

    if (open_dir(d, dir, &fd, err) < 0)
        return err->code == ERR_NOT_FOUND && dir[0] != 0 ? 0 : -1;
    stream = fdopendir(fd); /* takes fd */
    if (stream == NULL) {
        (void)close(fd);
        return err_sys(err, errno, "%s: list", dir);
    }
    for (;;) {
        char path[BLOB_NAME_MAX + 300]; /* NAME_MAX is 255 */
        unsigned char type;

        errno = 0;
        e = readdir(stream); // NOLINT(concurrency-mt-unsafe): our own stream
        if (e == NULL)
            break;
        if (e->d_name[0] == '.' ||
            strlen(dir) + strlen(e->d_name) + 1 > BLOB_NAME_MAX)
            continue;
        (void)snprintf(path, sizeof path, "%s%s%s", dir, dir[0] == 0 ? "" : "/",
                       e->d_name);
        if (type_of(dirfd(stream), e, &type, err) < 0)
            return -1;
        if (type == DT_REG)
            blob_names_add(names, path);
        else if (type == DT_DIR && depth < MAX_DEPTH &&
                 list_below(d, path, depth + 1, names, err) < 0)
            return -1;
    }
    return errno != 0 ? err_sys(err, errno, "%s: list", dir) : 0;
}

static int
dir_list(struct blob *b, const char *prefix, struct blob_names *names,
         struct err *err)
{
    CLEANUP(mem_free) char *dir = xstrdup(prefix);
    size_t len = strlen(dir);

    if (len > 0)
        dir[len - 1] = 0;
    return list_below(self(b), dir, 0, names, err);
}

/* Every directory that lies between the root and an object. */
static int
dir_sync_also(struct blob *b, const char *prefix, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    char dir[BLOB_NAME_MAX + 1];

    if (blob_list(b, prefix, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++)
        for (parent_of(n.names[i], dir);; parent_of(dir, dir)) {
            mark(self(b), dir);
            if (dir[0] == 0)
                break;
        }
    return 0;
}

static int
dir_remove(struct blob *b, const char *name, struct err *err)
{
    struct blob_dir *d = self(b);
    CLEANUP(fd_close) int fd = -1;
    char dir[BLOB_NAME_MAX + 1];

    parent_of(name, dir);
    if (open_dir(d, dir, &fd, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return file_unlink(fd, file_basename(name), err);
}

static int
dir_sweep(struct blob *b, int64_t age_s, struct err *err)
{
    return blob_dir_sweep(self(b)->root_fd, age_s, err);
}

static const struct blob_ops dir_ops = {
    .free = dir_free,
    .put = dir_put,
    .replace = dir_replace,
    .room = dir_room,
    .sync = dir_sync,
    .sync_also = dir_sync_also,
    .get = dir_get,
    .size = dir_size,
    .list = dir_list,
    .remove = dir_remove,
    .sweep = dir_sweep,
};

struct blob *NO_TSA
blob_dir_open_fd(int fd, const char *path)
{
    struct blob_dir *d = xcalloc(1, sizeof *d);

    d->root_fd = fd;
    d->blob.ops = &dir_ops;
    d->blob.what = xasprintf("directory %s", path);
    pthread_mutex_init(&d->mutex, NULL);
    return &d->blob;
}

int
blob_dir_open(const char *path, struct blob **ret_blob, struct err *err)
{
    int fd = -1;

    if (file_open_dir(path, &fd, err) < 0)
        return -1;
    *ret_blob = blob_dir_open_fd(fd, path);
    return 0;
}

#define RACERS 4
#define ROUNDS 8

struct race {
    struct blob *blob;
    const char *name;
    pthread_barrier_t *start;
    uint8_t id;
    bool has_won;
    struct err err; /* code 0: none */
};

static void *
racer(void *arg)
{
    struct race *r = arg;
    bool existed = true;

    (void)pthread_barrier_wait(r->start);
    if (dir_put(r->blob, r->name, &r->id, 1, &existed, &r->err) == 0)
        r->err.code = ERR_NONE;
    r->has_won = r->err.code == ERR_NONE && !existed;
    return NULL;
}

static int
run_race(struct blob *b, const char *name, struct err *err)
{
    struct race r[RACERS];
    pthread_t threads[RACERS];
    pthread_barrier_t start;
    unsigned winners = 0, winner = 0;
    uint8_t got = 0xff;
    size_t n = 0;

    pthread_barrier_init(&start, NULL, RACERS);
    for (unsigned i = 0; i < RACERS; i++) {
        r[i] = (struct race){ b, name, &start, (uint8_t)i, false, { 0 } };
        if (pthread_create(&threads[i], NULL, racer, &r[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        if (r[i].has_won) {
            winners++;
            winner = i;
        }
    }
    pthread_barrier_destroy(&start);
    for (unsigned i = 0; i < RACERS; i++)
        if (r[i].err.code != ERR_NONE) {
            *err = r[i].err;
            return -1;
        }
    if (dir_get(b, name, 0, &got, 1, &n, err) < 0)
        return -1;
    if (winners != 1 || n != 1 || got != winner)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%u of %d racing creators of one file were told that they won; this file system cannot hold a repository",
            winners, RACERS);
    return 0;
}

int
blob_dir_probe(struct blob *b, struct err *err)
{
    char uuid[UUID_STR_SIZE], name[64];
    int rc = 0;

    assert(b->ops == &dir_ops);
    for (unsigned i = 0; rc == 0 && i < ROUNDS; i++) {
        struct err ignored;

        uuid_random(uuid);
        (void)snprintf(name, sizeof name, "probe-%s", uuid);
        rc = run_race(b, name, err);
        if (dir_remove(b, name, &ignored) < 0 && rc == 0) {
            *err = ignored;
            rc = -1;
        }
    }
    return rc < 0 ? err_wrap(err, "%s", b->what) : 0;
}
