/* SPDX-License-Identifier: Apache-2.0 */
/* repo-memory [GIB [CHUNK_LOG2]]: the writer's memory is fixed, however much
 * is written.
 *
 * Writes GIB (default 1) of random data in chunks of 2^CHUNK_LOG2 (default 16)
 * bytes, at random places of a disk four times as large, to a store that
 * forgets what is in data packs, and says the peak. A second backup, with the
 * first as parent, then writes a quarter as much.
 */
#include <sys/resource.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "blob/blob-dir.h"
#include "repo/repo.h"
#include "repo/test-around.h"

#define LIMIT_MIB 256

/* Its name stays: the writer looks before the commit. */
static int
put(struct blob *b, const char *name, const void *data, size_t len,
    bool *ret_existed, struct err *err)
{
    return blob_put(testing_around_inner(b), name, data,
                    name[0] == 'p' ? 0 : len, ret_existed, err);
}

static uint64_t seed = 88172645463325252u;

static uint64_t
next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* `size` bytes in all, on one chunk in 4 * `rarity`. */
static int
write_some(struct repo *repo, const char *parent, uint64_t size,
           unsigned chunk_log2, unsigned rarity, char id[REPO_ID_SIZE],
           struct err *err)
{
    struct repo_backup_options o = { .threads = 2, .parent = parent };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    size_t chunk = (size_t)1 << chunk_log2;
    unsigned disk;

    if (repo_backup_begin(repo, &o, &b, err) < 0 ||
        repo_backup_add_disk(b, "d", 4 * size, chunk_log2, &disk, err) < 0)
        return -1;
    for (uint64_t at = 0; at < size; at += rarity * chunk) {
        uint64_t place = next_random() % ((uint64_t)4 * rarity);
        uint8_t *buffer;

        if (repo_backup_buffer_get(b, disk, &buffer, err) < 0)
            return -1;
        for (size_t i = 0; i < chunk; i += 8) {
            uint64_t r = next_random();

            memcpy(buffer + i, &r, 8);
        }
        if (repo_backup_write_buffer(b, disk, 4 * at + place * chunk, buffer,
                                     chunk, err) < 0)
            return -1;
    }
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    return repo_backup_commit(b, NULL, 0, "", err);
}

static int
run(const char *dir, uint64_t size, unsigned chunk_log2, struct err *err)
{
    struct repo_options o = { .is_encrypted = true,
                              .is_kdf_fast = true,
                              .makes_parity = true };
    struct repo_secret secret = { .passphrase = "x" };
    struct testing_around *forgetful;
    struct blob *blob = NULL;
    CLEANUP(repo_close) struct repo *repo = NULL;
    char first[REPO_ID_SIZE], second[REPO_ID_SIZE];

    if (blob_dir_open(dir, &blob, err) < 0)
        return -1;
    forgetful = testing_around_new(sizeof *forgetful, blob);
    forgetful->ops.put = put;
    if (repo_create(&forgetful->blob, &o, &secret, &repo, err) < 0 ||
        write_some(repo, NULL, size, chunk_log2, 1, first, err) < 0)
        return -1;
    return write_some(repo, first, size, chunk_log2, 4, second, err);
}

int
main(int argc, char **argv)
{
    char dir[] = "/tmp/vmkeep-memory-XXXXXX", cmd[64];
    uint64_t gib = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    unsigned chunk_log2 = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 16;
    struct rusage usage;
    struct err err = { 0 };
    long mib;
    int rc;

    if (mkdtemp(dir) == NULL)
        return 1;
    rc = run(dir, gib << 30, chunk_log2, &err);
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
