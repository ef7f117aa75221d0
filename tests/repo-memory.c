/* SPDX-License-Identifier: Apache-2.0 */
/* repo-memory [GIB]: the writer's memory is fixed, however much is written.
 *
 * Writes GIB (default 1) of random data in chunks of 64 KiB to a store that
 * forgets data packs, and says the peak. 16 GiB fill as much of the tables as
 * 64 GiB in chunks of 256 KiB.
 */
#include <sys/resource.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "blob/blob-dir.h"
#include "repo/repo.h"

#define LIMIT_MIB 256

struct forgetful {
    struct blob blob;
    struct blob *inner;
};

static struct blob *
inner(struct blob *b)
{
    return container_of(b, struct forgetful, blob)->inner;
}

static int
put(struct blob *b, const char *name, const void *data, size_t len,
    bool *ret_existed, struct err *err)
{
    *ret_existed = false;
    return name[0] == 'p'
               ? 0
               : blob_put(inner(b), name, data, len, ret_existed, err);
}

static int
sync_all(struct blob *b, struct err *err)
{
    return blob_sync(inner(b), err);
}

static int
get(struct blob *b, const char *name, uint64_t off, void *data, size_t len,
    size_t *ret_len, struct err *err)
{
    return blob_get(inner(b), name, off, data, len, ret_len, err);
}

static int
size_of(struct blob *b, const char *name, uint64_t *ret, struct err *err)
{
    return blob_size(inner(b), name, ret, err);
}

static int
list(struct blob *b, const char *prefix, struct blob_names *names,
     struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (blob_list(inner(b), prefix, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++)
        blob_names_add(names, n.names[i]);
    return 0;
}

static void
free_it(struct blob *b)
{
    blob_free(inner(b));
    free(container_of(b, struct forgetful, blob));
}

static const struct blob_ops ops = { .free = free_it,
                                     .put = put,
                                     .sync = sync_all,
                                     .get = get,
                                     .size = size_of,
                                     .list = list };

static int
write_all(struct repo_backup *b, uint64_t size, struct err *err)
{
    uint64_t s = 88172645463325252u;
    unsigned disk;

    if (repo_backup_add_disk(b, "d", size, 16, &disk, err) < 0)
        return -1;
    for (uint64_t off = 0; off < size; off += 65536) {
        uint8_t *buffer;

        if (repo_backup_buffer_get(b, disk, &buffer, err) < 0)
            return -1;
        for (size_t i = 0; i < 65536; i += 8) {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            memcpy(buffer + i, &s, 8);
        }
        if (repo_backup_write_buffer(b, disk, off, buffer, 65536, err) < 0)
            return -1;
    }
    return repo_backup_commit(b, NULL, 0, "", err);
}

static int
run(const char *dir, uint64_t size, struct err *err)
{
    struct repo_options o = { 0 };
    struct repo_backup_options bo = { .threads = 2 };
    struct repo_secret none = { 0 };
    struct forgetful *f = xcalloc(1, sizeof *f);
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;

    f->blob.ops = &ops;
    f->blob.what = xstrdup("forgetful store");
    if (blob_dir_open(dir, &f->inner, err) < 0 ||
        repo_create(&f->blob, &o, &none, &repo, err) < 0 ||
        repo_backup_begin(repo, &bo, &b, err) < 0)
        return -1;
    return write_all(b, size, err);
}

int
main(int argc, char **argv)
{
    char dir[] = "/tmp/vmkeep-memory-XXXXXX", cmd[64];
    uint64_t gib = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    struct rusage usage;
    struct err err = { 0 };
    long mib;
    int rc;

    if (mkdtemp(dir) == NULL)
        return 1;
    rc = run(dir, gib << 30, &err);
    (void)snprintf(cmd, sizeof cmd, "rm -rf -- %s", dir);
    if (system(cmd) != 0 || rc < 0) { // NOLINT
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    (void)getrusage(RUSAGE_SELF, &usage);
    mib = usage.ru_maxrss / 1024;
    printf("1..1\n%sok 1 - %llu GiB of random writes in %ld MiB\n",
           mib < LIMIT_MIB ? "" : "not ", (unsigned long long)gib, mib);
    return mib < LIMIT_MIB ? 0 : 1;
}
