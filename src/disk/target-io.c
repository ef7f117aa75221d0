/* SPDX-License-Identifier: Apache-2.0 */
/* raw: the file itself. qcow2: a pool of connections to one qemu-nbd; a call
 * takes one, or waits until one is free, so several threads write at once.
 * All connections are of one image in one process, so a flush on one of them
 * covers what was written on all.
 *
 * Zeros within data: where the file was empty before, blocks of zeros are
 * left out. Elsewhere they are written, for what was there before must go.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/mutex.h"
#include "disk/nbdconn.h"
#include "disk/nbdserver.h"
#include "disk/qcow2.h"
#include "disk/target.h"

#define STALL_MS ((uint64_t)120 * 1000)
#define END_MS   ((uint64_t)60 * 1000) /* qemu-nbd writes its caches */

enum {
    CONNS = 4,
    RAW_BLOCK = 4096,
    QCOW2_BLOCK = 65536,
    ZEROS = 1 << 20, /* written where holes cannot be punched */
};

extern struct role target_pool_lock;

struct disk_target {
    char *path;    /* [C] */
    uint64_t size; /* [C] */
    size_t block;  /* [C] zeros are looked for in blocks of so many bytes */
    bool is_fresh; /* [C] */
    int fd;        /* [C] */

    struct nbdserver *server; /* [C] NULL: raw */
    struct nbdconn *conns[CONNS] GUARDED_BY(target_pool_lock); /* the free */
    size_t n_conns GUARDED_BY(target_pool_lock);
    pthread_mutex_t mutex; /* what target_pool_lock stands for */
    pthread_cond_t freed;
    bool has_mutex;
};

static void lock(struct disk_target *t) ACQUIRE(target_pool_lock);
static void unlock(struct disk_target *t) RELEASE(target_pool_lock);

static void NO_TSA
lock(struct disk_target *t)
{
    pthread_mutex_lock(&t->mutex);
}

static void NO_TSA
unlock(struct disk_target *t)
{
    pthread_mutex_unlock(&t->mutex);
}

/* ---- connections --------------------------------------------------------- */

static struct nbdconn *
take_conn(struct disk_target *t)
{
    struct nbdconn *c;

    lock(t);
    while (t->n_conns == 0)
        pthread_cond_wait(&t->freed, &t->mutex);
    c = t->conns[--t->n_conns];
    unlock(t);
    return c;
}

static void
give_conn(struct disk_target *t, struct nbdconn *c)
{
    lock(t);
    t->conns[t->n_conns++] = c;
    pthread_cond_signal(&t->freed);
    unlock(t);
}

static int NO_TSA /* nobody else knows the target yet */
start_server(struct disk_target *t, const char *dir, struct err *err)
{
    const struct disk_layer image = { t->path, "qcow2" };
    const struct nbdserver_options so = {
        .dir = dir,
        .image = &image,
        .connections = CONNS,
        .is_writable = true,
    };
    const struct nbdconn_options co = { .what = t->path, .stall_ms = STALL_MS };

    if (nbdserver_start(&so, &t->server, err) < 0)
        return -1;
    while (t->n_conns < CONNS) {
        int fd;

        if (nbdserver_connect(t->server, &fd, err) < 0)
            return -1;
        if (nbdconn_open(fd, &co, &t->conns[t->n_conns], err) < 0) {
            nbdserver_explain(t->server, err);
            return -1;
        }
        t->n_conns++;
    }
    if (nbdconn_size(t->conns[0]) != t->size)
        return err_set(err, ERR_INVALID, "%s: %llu bytes are served, not %llu",
                       t->path, (unsigned long long)nbdconn_size(t->conns[0]),
                       (unsigned long long)t->size);
    return 0;
}

static void NO_TSA /* no other call runs */
close_conns(struct disk_target *t)
{
    while (t->n_conns > 0)
        nbdconn_close(t->conns[--t->n_conns]);
}

/* ---- open ---------------------------------------------------------------- */

static int
open_qcow2(struct disk_target *t, const char *dir, struct err *err)
{
    CLEANUP(qcow2_info_fini) struct qcow2_info info = { .version = 0 };
    CLEANUP(chain_free) struct chain *chain = NULL;
    const struct disk_layer image = { t->path, "qcow2" };
    bool has_data = true;

    if (chain_open(&image, &chain, err) < 0 ||
        qcow2_read(t->fd, t->path, &info, err) < 0 ||
        qcow2_has_data(t->fd, t->path, &info, &has_data, err) < 0)
        return -1;
    if (info.size != t->size)
        return err_set(err, ERR_INVALID,
                       "%s: an image of %llu bytes, not of %llu", t->path,
                       (unsigned long long)info.size,
                       (unsigned long long)t->size);
    t->is_fresh = !has_data && info.backing == NULL;
    t->block = QCOW2_BLOCK;
    /* qemu-nbd opens the path once more: it must be the file that `fd` is,
     * which is what gets synced in the end. */
    if (file_id_of_fd(t->fd, t->path, &chain->files[0].id, err) < 0)
        return -1;
    return start_server(t, dir, err) < 0 ? -1 : chain_check(chain, err);
}

static int
open_raw(struct disk_target *t, const struct stat *st, struct err *err)
{
    off_t end;

    t->block = RAW_BLOCK;
    if (S_ISREG(st->st_mode)) {
        t->is_fresh = st->st_blocks == 0;
        if (ftruncate(t->fd, (off_t)t->size) < 0)
            return err_sys(err, errno, "%s: make it %llu bytes long", t->path,
                           (unsigned long long)t->size);
        return 0;
    }
    end = lseek(t->fd, 0, SEEK_END);
    if (end < 0)
        return err_sys(err, errno, "%s: size", t->path);
    if ((uint64_t)end < t->size)
        return err_set(err, ERR_INVALID,
                       "%s: a device of %lld bytes, too small for %llu",
                       t->path, (long long)end, (unsigned long long)t->size);
    return 0;
}

int
disk_target_open(const char *dir, const char *path, const char *format,
                 uint64_t size, struct disk_target **ret_target,
                 struct err *err)
{
    CLEANUP(disk_target_close) struct disk_target *t = xcalloc(1, sizeof *t);
    struct stat st;

    t->fd = -1;
    t->path = xstrdup(path);
    t->size = size;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->freed, NULL);
    t->has_mutex = true;
    if (path[0] != '/' || size > INT64_MAX)
        return err_set(err, ERR_INVALID, "%s: path or size", path);
    t->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (t->fd < 0 || fstat(t->fd, &st) < 0)
        return err_sys(err, errno, "%s: open for writing", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(err, ERR_INVALID,
                       "%s: neither a regular file nor a block device", path);
    if (strcmp(format, "raw") == 0) {
        if (open_raw(t, &st, err) < 0)
            return -1;
    } else if (strcmp(format, "qcow2") == 0 && dir != NULL) {
        if (open_qcow2(t, dir, err) < 0)
            return -1;
    } else {
        return err_set(err, ERR_UNSUPPORTED, "%s: format %.16s", path, format);
    }
    *ret_target = TAKE(t);
    return 0;
}

bool
disk_target_is_fresh(const struct disk_target *t)
{
    return t->is_fresh;
}

void
disk_target_close(struct disk_target *t)
{
    if (t == NULL)
        return;
    close_conns(t);
    nbdserver_free(t->server);
    if (t->fd >= 0)
        close(t->fd);
    if (t->has_mutex) {
        pthread_mutex_destroy(&t->mutex);
        pthread_cond_destroy(&t->freed);
    }
    free(t->path);
    free(t);
}

/* ---- write --------------------------------------------------------------- */

static int
write_raw(struct disk_target *t, uint64_t off, const uint8_t *data, size_t len,
          struct err *err)
{
    while (len > 0) {
        ssize_t n = pwrite(t->fd, data, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "%s: write at %llu", t->path,
                           (unsigned long long)off);
        data += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int
write_run(struct disk_target *t, struct nbdconn *c, uint64_t off,
          const uint8_t *data, size_t len, struct err *err)
{
    return c == NULL ? write_raw(t, off, data, len, err)
                     : nbdconn_write(c, off, data, len, err);
}

static bool
is_zero(const uint8_t *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* What is not zero, run by run of whole blocks. */
static int
write_data(struct disk_target *t, struct nbdconn *c, uint64_t off,
           const uint8_t *data, size_t len, struct err *err)
{
    size_t from = 0; /* of the run */

    for (size_t at = 0; at < len;) {
        size_t n = t->block - (size_t)((off + at) % t->block);

        n = n < len - at ? n : len - at;
        if (is_zero(data + at, n)) {
            if (at > from &&
                write_run(t, c, off + from, data + from, at - from, err) < 0)
                return -1;
            from = at + n;
        }
        at += n;
    }
    return from == len
               ? 0
               : write_run(t, c, off + from, data + from, len - from, err);
}

static int
check_range(const struct disk_target *t, uint64_t off, uint64_t len,
            struct err *err)
{
    if (off > t->size || len > t->size - off)
        return err_set(err, ERR_INVALID, "%s: %llu bytes at %llu of %llu",
                       t->path, (unsigned long long)len,
                       (unsigned long long)off, (unsigned long long)t->size);
    return 0;
}

int
disk_target_write(struct disk_target *t, uint64_t off, const void *data,
                  size_t len, struct err *err)
{
    struct nbdconn *c = NULL;
    int rc;

    if (check_range(t, off, len, err) < 0)
        return -1;
    if (len == 0)
        return 0;
    if (t->server != NULL)
        c = take_conn(t);
    rc = t->is_fresh ? write_data(t, c, off, data, len, err)
                     : write_run(t, c, off, data, len, err);
    if (c != NULL)
        give_conn(t, c);
    return rc;
}

static int
zero_raw(struct disk_target *t, uint64_t off, uint64_t len, struct err *err)
{
    CLEANUP(mem_free) uint8_t *zeros = NULL;

    if (fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
                  (off_t)len) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return err_sys(err, errno, "%s: zero at %llu", t->path,
                       (unsigned long long)off);
    zeros = xcalloc(1, ZEROS);
    for (uint64_t at = 0; at < len; at += ZEROS)
        if (write_raw(t, off + at, zeros,
                      len - at < ZEROS ? (size_t)(len - at) : ZEROS, err) < 0)
            return -1;
    return 0;
}

int
disk_target_zero(struct disk_target *t, uint64_t off, uint64_t len,
                 struct err *err)
{
    struct nbdconn *c;
    int rc;

    if (check_range(t, off, len, err) < 0)
        return -1;
    if (len == 0)
        return 0;
    if (t->server == NULL)
        return zero_raw(t, off, len, err);
    c = take_conn(t);
    rc = nbdconn_zero(c, off, len, err);
    give_conn(t, c);
    return rc;
}

/* ---- finish -------------------------------------------------------------- */

int
disk_target_finish(struct disk_target *t, struct err *err)
{
    if (t->server != NULL) {
        struct nbdconn *c = take_conn(t);
        int rc = nbdconn_flush(c, err);

        give_conn(t, c);
        if (rc < 0)
            return -1;
        close_conns(t);
        if (nbdserver_end(t->server, END_MS, err) < 0)
            return -1;
    }
    return file_sync(t->fd, t->path, err);
}
