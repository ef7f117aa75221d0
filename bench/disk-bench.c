/* SPDX-License-Identifier: Apache-2.0 */
/* disk-bench: src/disk and src/repo without the daemon, for the scripts of
 * bench/. Each command prints one line.
 *
 *   read JOBDIR IMAGE FORMAT [CONNECTIONS]       seconds, bytes read
 *   backup JOBDIR REPO IMAGE FORMAT [PARENT [BITMAP]]
 *       id, seconds, bytes read, bytes stored    (makes REPO if it is empty)
 *   restore JOBDIR REPO ID OUT FORMAT            seconds, bytes written
 *   rollback JOBDIR REPO ID NOW OUT FORMAT       the same: only where the
 *       backups ID and NOW differ, NOW being what OUT holds
 *
 * The repository is encrypted; its key file is REPO.key.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "blob/blob-dir.h"
#include "blob/blob.h"
#include "disk/source.h"
#include "disk/target.h"
#include "repo/repo.h"

enum {
    POOL = 40,
};

#define CHUNK ((size_t)256 << 10)

static _Noreturn void
die(const struct err *err)
{
    fprintf(stderr, "disk-bench: %s\n", err->msg);
    exit(1);
}

static double
seconds_since(uint64_t begin_ns)
{
    return (double)(clock_mono_ns() - begin_ns) / 1e9;
}

/* ---- read ---- */

struct pool {
    uint8_t *free[POOL];
    size_t n;
    uint64_t bytes;
};

static int
pool_get(void *arg, uint8_t **ret, struct err *err)
{
    struct pool *p = arg;

    *ret = p->n > 0 ? p->free[--p->n] : xcalloc(1, CHUNK);
    return 0;
}

static void
pool_put(void *arg, uint8_t *buffer)
{
    struct pool *p = arg;

    p->free[p->n++] = buffer;
}

static int
pool_write(void *arg, uint64_t off, uint8_t *buffer, size_t len,
           struct err *err)
{
    struct pool *p = arg;

    p->bytes += len;
    pool_put(p, buffer);
    return 0;
}

static int
pool_zero(void *arg, uint64_t off, uint64_t len, struct err *err)
{
    return 0;
}

static struct disk_source *
open_source(const char *dir, const char *path, const char *format,
            unsigned connections)
{
    const struct disk_source_options o = { .dir = dir,
                                           .top = { path, format },
                                           .connections = connections };
    struct err err = { .code = ERR_NONE };
    struct disk_source *s = NULL;

    if (disk_source_open(&o, &s, &err) < 0)
        die(&err);
    return s;
}

static void
read_all(char **argv)
{
    uint64_t begin_ns = clock_mono_ns();
    CLEANUP(disk_source_close)
    struct disk_source *s =
        open_source(argv[0], argv[1], argv[2],
                    argv[3] != NULL ? (unsigned)atoi(argv[3]) : 1);
    CLEANUP(ranges_fini) struct ranges want = RANGES_INIT;
    struct pool p = { .n = 0 };
    const struct disk_sink sink = { &p,         pool_get,  pool_put,
                                    pool_write, pool_zero, NULL };
    struct err err = { .code = ERR_NONE };

    ranges_add(&want, 0, disk_source_size(s));
    if (disk_source_copy(s, &want, CHUNK, &sink, &err) < 0)
        die(&err);
    printf("%.3f %llu\n", seconds_since(begin_ns), (unsigned long long)p.bytes);
    while (p.n > 0)
        free(p.free[--p.n]);
}

/* ---- backup ---- */

static struct repo *
open_repo(const char *path)
{
    CLEANUP(mem_free) char *key = xasprintf("%s.key", path);
    const struct repo_options o = { .is_encrypted = true,
                                    .makes_key_file = true };
    const struct repo_secret secret = { .key_file = key };
    struct err err = { .code = ERR_NONE };
    struct blob *blob = NULL;
    struct repo *repo = NULL;
    bool is_new = access(key, F_OK) < 0;
    int rc;

    if (blob_dir_open(path, &blob, &err) < 0)
        die(&err);
    rc = is_new ? repo_create(blob, &o, &secret, &repo, &err)
                : repo_open(blob, &secret, &repo, &err);
    if (rc < 0)
        die(&err);
    return repo;
}

struct writer {
    struct repo_backup *b;
    unsigned disk;
    uint64_t bytes;
};

static int
writer_get(void *arg, uint8_t **ret, struct err *err)
{
    struct writer *w = arg;

    return repo_backup_buffer_get(w->b, w->disk, ret, err);
}

static void
writer_put(void *arg, uint8_t *buffer)
{
    struct writer *w = arg;

    repo_backup_buffer_put(w->b, w->disk, buffer);
}

static int
writer_write(void *arg, uint64_t off, uint8_t *buffer, size_t len,
             struct err *err)
{
    struct writer *w = arg;

    w->bytes += len;
    return repo_backup_write_buffer(w->b, w->disk, off, buffer, len, err);
}

static int
writer_zero(void *arg, uint64_t off, uint64_t len, struct err *err)
{
    struct writer *w = arg;

    return repo_backup_zero(w->b, w->disk, off, len, err);
}

static void
backup(char **argv)
{
    const char *parent = argv[4];
    const char *bitmap = parent != NULL ? argv[5] : NULL;
    CLEANUP(repo_close) struct repo *repo = open_repo(argv[1]);
    uint64_t begin_ns = clock_mono_ns();
    CLEANUP(ranges_fini) struct ranges want = RANGES_INIT;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(disk_source_close) struct disk_source *s = NULL;
    const struct disk_layer top = { argv[2], argv[3] };
    const struct repo_backup_options o = { .parent = parent };
    struct repo_progress progress;
    struct err err = { .code = ERR_NONE };
    struct writer w = { .disk = 0 };

    if (bitmap != NULL &&
        disk_dirty_read(argv[0], &top, bitmap, &want, &err) < 0)
        die(&err);
    s = open_source(argv[0], argv[2], argv[3], 1);
    if (bitmap == NULL)
        ranges_add(&want, 0, disk_source_size(s));
    if (repo_backup_begin(repo, &o, &b, &err) < 0 ||
        repo_backup_add_disk(b, "vda", disk_source_size(s), 0, &w.disk, &err) <
            0)
        die(&err);
    w.b = b;
    size_t chunk = (size_t)repo_backup_chunk_size(b, w.disk);
    const struct disk_sink sink = { &w,           writer_get,  writer_put,
                                    writer_write, writer_zero, NULL };

    ranges_align_out(&want, chunk);
    if (disk_source_copy(s, &want, chunk, &sink, &err) < 0 ||
        repo_backup_commit(b, NULL, 0, "bench", &err) < 0)
        die(&err);
    repo_backup_progress(b, &progress);
    printf("%s %.3f %llu %llu\n", repo_backup_id(b), seconds_since(begin_ns),
           (unsigned long long)w.bytes,
           (unsigned long long)progress.stored_bytes);
}

/* ---- restore ---- */

struct filler {
    struct disk_target *t;
    uint64_t bytes; /* threads add to it */
};

static int
filler_write(void *arg, uint64_t off, const void *data, size_t len,
             struct err *err)
{
    struct filler *f = arg;

    __atomic_fetch_add(&f->bytes, len, __ATOMIC_RELAXED);
    return disk_target_write(f->t, off, data, len, err);
}

static int
filler_zero(void *arg, uint64_t off, uint64_t len, struct err *err)
{
    struct filler *f = arg;

    return disk_target_zero(f->t, off, len, err);
}

/* The parts of the disk where two backups differ; all of it without `now`. */
static void
restore_parts(struct repo_view *v, struct repo_view *now, uint64_t size,
              const struct repo_sink *sink)
{
    struct err err = { .code = ERR_NONE };

    for (uint64_t at = 0, len = size; at < size; at += len) {
        enum repo_extent_kind kind = REPO_EXTENT_DATA;

        if (now != NULL &&
            repo_view_diff(v, now, 0, at, size - at, &kind, &len, &err) < 0)
            die(&err);
        if (kind == REPO_EXTENT_DATA &&
            repo_view_restore(v, 0, at, len, 0, sink, &err) < 0)
            die(&err);
    }
}

static void
restore(const char *dir, const char *path, const char *id, const char *now_id,
        char **out)
{
    CLEANUP(repo_close) struct repo *repo = open_repo(path);
    uint64_t begin_ns = clock_mono_ns();
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(repo_view_close) struct repo_view *now = NULL;
    CLEANUP(disk_target_close) struct disk_target *t = NULL;
    struct filler f = { .bytes = 0 };
    struct err err = { .code = ERR_NONE };
    uint64_t size;

    if (repo_view_open(repo, id, &v, &err) < 0 ||
        (now_id != NULL && repo_view_open(repo, now_id, &now, &err) < 0))
        die(&err);
    size = repo_view_disk(v, 0).size;
    if (disk_target_open(dir, out[0], out[1], size, &t, &err) < 0)
        die(&err);
    f.t = t;
    const struct repo_sink sink = {
        .write = filler_write,
        .zero = disk_target_is_fresh(t) ? NULL : filler_zero,
        .arg = &f,
    };

    restore_parts(v, now, size, &sink);
    if (disk_target_finish(t, &err) < 0)
        die(&err);
    printf("%.3f %llu\n", seconds_since(begin_ns), (unsigned long long)f.bytes);
}

int
main(int argc, char *argv[])
{
    if (argc >= 5 && strcmp(argv[1], "read") == 0)
        read_all(argv + 2);
    else if (argc >= 6 && strcmp(argv[1], "backup") == 0)
        backup(argv + 2);
    else if (argc == 7 && strcmp(argv[1], "restore") == 0)
        restore(argv[2], argv[3], argv[4], NULL, argv + 5);
    else if (argc == 8 && strcmp(argv[1], "rollback") == 0)
        restore(argv[2], argv[3], argv[4], argv[5], argv + 6);
    else
        return 2;
    return 0;
}
