/* SPDX-License-Identifier: Apache-2.0 */
/* Property tests: random disks, random chains of backups, compared with a
 * model. test-repo [CASES [FIRST SEED]]. */
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "repo/test-model.h"

#define DISKS 3
#define CHAIN 5

#define PATTERN UINT32_MAX

struct kept {
    char id[REPO_ID_SIZE];
    struct testing_disk disks[DISKS];
    unsigned disk_count;
    char uid[32];
    bool is_deleted;
};

static unsigned cases = TEST_LOOKS_FOR_RACES ? 5 : 20;
static uint64_t first_seed = 1;

static uint64_t
random_size(void)
{
    static const uint64_t sizes[] = {
        0,
        1,
        100,
        65535,
        65536,
        65537,
        (1 << 20) + 7,
        (uint64_t)17 << 20,
        ((uint64_t)33 << 20) + 1,
        (uint64_t)5 << 30,
        ((uint64_t)1 << 40) + 12345,
        (uint64_t)64 << 40,
    };
    uint64_t size = sizes[testing_below(ARRAY_SIZE(sizes))];

    return testing_below(3) == 0 ? testing_below(size + 1) : size;
}

static void
make_backup(struct repo *repo, struct kept *k, const struct kept *parent,
            const char *metadata)
{
    struct repo_backup_options o = { .parent =
                                         parent != NULL ? parent->id : NULL,
                                     .threads = 2 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    memcpy(k->id, repo_backup_id(b), sizeof k->id);
    for (unsigned i = 0; i < k->disk_count; i++) {
        struct testing_disk *d = &k->disks[i];
        unsigned n = 99;

        if (parent != NULL && testing_below(3) == 0)
            testing_disk_resize(d, random_size());
        CHECK_OK(repo_backup_add_disk(b, d->name, d->size, d->log2, &n, &err),
                 &err);
        CHECK_INT(n, ==, i);
        if (parent != NULL && testing_below(4) == 0)
            CHECK_OK(testing_disk_write(d, b, n, &err), &err); /* a rescan */
        else
            testing_disk_change(d, b, n, (unsigned)testing_below(60));
    }
    CHECK_OK(repo_backup_commit(b, metadata, strlen(metadata), k->uid, &err),
             &err);
}

static void
check_backup(struct repo *repo, const struct kept *k, const char *metadata)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(mem_free) void *data = NULL;
    struct err err = { 0 };
    size_t len = 0;

    if (k->is_deleted) {
        CHECK_ERR(repo_view_open(repo, k->id, &v, &err), &err, ERR_NOT_FOUND);
        return;
    }
    CHECK_OK(repo_view_open(repo, k->id, &v, &err), &err);
    CHECK_INT(repo_view_disk_count(v), ==, k->disk_count);
    CHECK(strcmp(repo_view_uid(v), k->uid) == 0);
    CHECK_OK(repo_view_metadata(v, &data, &len, &err), &err);
    CHECK_INT(len, ==, strlen(metadata));
    CHECK(len == 0 || memcmp(data, metadata, len) == 0);
    for (unsigned i = 0; i < k->disk_count; i++)
        testing_disk_check(&k->disks[i], v);
}

/* Where the diff says "equal", the two models are. */
static void
check_diff(struct repo *repo, const struct kept *a, const struct kept *b)
{
    CLEANUP(repo_view_close) struct repo_view *va = NULL;
    CLEANUP(repo_view_close) struct repo_view *vb = NULL;
    struct err err = { 0 };

    if (a->is_deleted || b->is_deleted || a->disks[0].size == 0)
        return;
    CHECK_OK(repo_view_open(repo, a->id, &va, &err), &err);
    CHECK_OK(repo_view_open(repo, b->id, &vb, &err), &err);
    for (uint64_t off = 0, len = 0; off < a->disks[0].size; off += len) {
        enum repo_extent_kind kind = REPO_EXTENT_ZERO;
        uint8_t x[512], y[512];

        CHECK_OK(repo_view_diff(va, vb, 0, off, UINT64_MAX, &kind, &len, &err),
                 &err);
        CHECK(len > 0);
        if (kind == REPO_EXTENT_DATA)
            continue;
        for (unsigned i = 0; i < 4; i++) {
            uint64_t at = off + testing_below(len);
            size_t n = (size_t)(off + len - at < 512 ? off + len - at : 512);

            testing_disk_read(&a->disks[0], at, x, n);
            testing_disk_read(&b->disks[0], at, y, n);
            CHECK(memcmp(x, y, n) == 0);
        }
    }
}

static void
check_clean(struct repo *repo)
{
    struct repo_verify_sink sink = { 0 };
    struct err err = { 0 };
    uint64_t damages = 99;

    for (unsigned level = 0; level <= REPO_VERIFY_TREES; level++) {
        CHECK_OK(repo_verify(repo, (enum repo_verify_level)level, 2, &sink,
                             &damages, &err),
                 &err);
        CHECK_INT(damages, ==, 0);
    }
}

static void
run_case(uint64_t seed)
{
    struct kept k[CHAIN] = { 0 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    unsigned n, disks;

    testing_seed(seed);
    testing_dir_make();
    repo = testing_repo_create(seed % 2 == 0);
    n = 1 + (unsigned)testing_below(CHAIN);
    disks = 1 + (unsigned)testing_below(DISKS);
    for (unsigned i = 0; i < n; i++) {
        unsigned p = (unsigned)testing_below(i);
        bool has_parent = i > 0 && testing_below(5) != 0;

        k[i].disk_count = disks;
        (void)snprintf(k[i].uid, sizeof k[i].uid, "uid-%u", i);
        for (unsigned d = 0; d < disks; d++) {
            if (has_parent) {
                testing_disk_copy(&k[i].disks[d], &k[p].disks[d]);
                continue;
            }
            k[i].disks[d].size = random_size();
            k[i].disks[d].log2 = testing_below(4) == 0 ? 18 : 16;
            (void)snprintf(k[i].disks[d].name, 16, "disk%u", d);
        }
        make_backup(repo, &k[i], has_parent ? &k[p] : NULL,
                    i % 2 ? "some metadata" : "");
    }
    if (n > 2) {
        const char *ids[] = { k[1].id };
        struct err err = { 0 };

        CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
        k[1].is_deleted = true;
    }
    if (testing_below(2) == 0) { /* as another process sees it */
        repo_close(TAKE(repo));
        repo = testing_repo_open((struct blob_fault_plan){ 0 });
    }
    for (unsigned i = 0; i < n; i++) {
        check_backup(repo, &k[i], i % 2 ? "some metadata" : "");
        if (i > 0)
            check_diff(repo, &k[i], &k[i - 1]);
    }
    check_clean(repo);
    for (unsigned i = 0; i < n; i++)
        for (unsigned d = 0; d < disks; d++)
            testing_disk_fini(&k[i].disks[d]);
    testing_dir_remove();
}

static void
random_chains_read_back_as_written(void)
{
    for (uint64_t i = 0; i < cases; i++) {
        run_case(first_seed + i);
        if (i % 100 == 99) {
            printf("# %llu cases\n", (unsigned long long)i + 1);
            fflush(stdout);
        }
    }
}

static struct repo_backup *
begin(struct repo *repo, const char *parent)
{
    struct repo_backup_options o = { .parent = parent, .threads = 2 };
    struct repo_backup *b = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    return b;
}

/* A backup of a disk of that size; nothing of it is written without `fill`. */
static void
resized(struct repo *repo, const char *parent, uint64_t size, uint32_t fill,
        char id[REPO_ID_SIZE])
{
    CLEANUP(repo_backup_free) struct repo_backup *b = begin(repo, parent);
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, 65536);
    struct err err = { 0 };
    unsigned n;

    CHECK_OK(repo_backup_add_disk(b, "a", size, 16, &n, &err), &err);
    for (uint64_t off = 0; fill != 0 && off < size; off += 65536) {
        if (fill == PATTERN)
            memset(data, 0xaa, 65536);
        else
            testing_fill(data, 65536, fill + (uint32_t)(off >> 16));
        CHECK_OK(repo_backup_write(b, n, off, data,
                                   size - off < 65536 ? size - off : 65536,
                                   &err),
                 &err);
    }
    CHECK_OK(repo_backup_commit(b, NULL, 0, "", &err), &err);
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
}

/* What was behind the end of a disk that shrank is gone for good, wherever in
 * its tree the end was. */
static void
a_disk_that_shrank_grows_with_zeros(void)
{
    static const uint64_t smaller[] = {
        0, 1, 65536, 100000, 3 << 16, 256 << 16, (256 << 16) + 5, 299 << 16
    };
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, 65536);
    CLEANUP(mem_free) uint8_t *got = xcalloc(1, 65536);
    char full[REPO_ID_SIZE], small[REPO_ID_SIZE], again[REPO_ID_SIZE];
    const uint64_t size = (uint64_t)300 << 16;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    resized(repo, NULL, size, 1, full);
    for (size_t i = 0; i < ARRAY_SIZE(smaller); i++) {
        CLEANUP(repo_view_close) struct repo_view *v = NULL;

        resized(repo, full, smaller[i], 0, small);
        resized(repo, small, size, 0, again);
        CHECK_OK(repo_view_open(repo, again, &v, &err), &err);
        for (uint64_t off = 0; off < size; off += 65536) {
            uint64_t left = smaller[i] > off ? smaller[i] - off : 0;

            testing_fill(want, 65536, 1 + (uint32_t)(off >> 16));
            if (left < 65536)
                memset(want + left, 0, 65536 - left);
            CHECK_OK(repo_view_read(v, 0, off, got, 65536, &err), &err);
            CHECK(memcmp(want, got, 65536) == 0);
        }
    }
    /* The end of a pattern too is the disk's and not the chunk's. */
    for (uint64_t half = 99992; half <= 100001; half += 3) {
        CLEANUP(repo_view_close) struct repo_view *v = NULL;

        resized(repo, NULL, half, PATTERN, small);
        resized(repo, small, 131072, 0, again);
        CHECK_OK(repo_view_open(repo, again, &v, &err), &err);
        memset(want, 0, 65536);
        memset(want, 0xaa, half - 65536);
        CHECK_OK(repo_view_read(v, 0, 65536, got, 65536, &err), &err);
        CHECK(memcmp(want, got, 65536) == 0);
    }
    check_clean(repo);
    testing_dir_remove();
}

static void
a_chunk_that_repeats_is_stored_once(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct repo_backup_options o = { .threads = 1 };
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, 65536);
    struct repo_progress g;
    struct err err = { 0 };
    unsigned n;

    testing_dir_make();
    repo = testing_repo_create(true);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "a", 20 << 16, 16, &n, &err), &err);
    testing_fill(data, 65536, 5);
    for (uint64_t c = 0; c < 20; c++)
        CHECK_OK(repo_backup_write(b, n, c << 16, data, 65536, &err), &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, "", &err), &err);
    repo_backup_progress(b, &g);
    CHECK_INT(g.dup_bytes, ==, 19 << 16);
    CHECK_INT(g.stored_bytes, <, 2 << 16);
    repo_backup_free(TAKE(b));
    check_clean(repo);
    testing_dir_remove();
}

static void
what_is_not_committed_does_not_exist(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, 65536);
    struct repo_backup *b;
    struct err err = { 0 };
    size_t n = 9, damage = 9;
    unsigned disk;

    testing_dir_make();
    repo = testing_repo_create(true);
    b = begin(repo, NULL);
    CHECK_OK(repo_backup_add_disk(b, "a", 1 << 20, 0, &disk, &err), &err);
    data[1] = 1;
    CHECK_OK(repo_backup_write(b, disk, 0, data, 65536, &err), &err);
    repo_backup_free(b);
    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_INT(n, ==, 0);
    CHECK_INT(damage, ==, 0);
    check_clean(repo);
    testing_dir_remove();
}

static void
wrong_writes_are_refused(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, 1 << 18);
    struct err err = { 0 };
    unsigned d;

    testing_dir_make();
    repo = testing_repo_create(false);
    b = begin(repo, NULL);
    CHECK_OK(repo_backup_add_disk(b, "a", (1 << 18) + 5, 0, &d, &err), &err);
    CHECK_ERR(repo_backup_add_disk(b, "a", 1, 0, &d, &err), &err, ERR_EXISTS);
    CHECK_ERR(repo_backup_add_disk(b, "a/b", 1, 0, &d, &err), &err,
              ERR_INVALID);
    CHECK_ERR(repo_backup_add_disk(b, "c", UINT64_MAX, 0, &d, &err), &err,
              ERR_INVALID);
    CHECK_ERR(repo_backup_write(b, 0, 7, data, 65536, &err), &err, ERR_INVALID);
    CHECK_ERR(repo_backup_write(b, 0, 0, data, 65535, &err), &err, ERR_INVALID);
    CHECK_ERR(repo_backup_write(b, 1, 0, data, 65536, &err), &err, ERR_INVALID);
    CHECK_ERR(repo_backup_zero(b, 0, 1 << 18, 6, &err), &err, ERR_INVALID);
    CHECK_OK(repo_backup_write(b, 0, 65536, data, 65536, &err), &err);
    CHECK_ERR(repo_backup_write(b, 0, 0, data, 65536, &err), &err, ERR_INVALID);
    CHECK_OK(repo_backup_write(b, 0, 1 << 18, data, 5, &err), &err);
    testing_dir_remove();
}

static void
a_wrong_key_opens_nothing(void)
{
    struct repo_secret wrong = { .passphrase = "guess" }, none = { 0 };
    struct repo *repo = NULL;
    struct err err = { 0 };
    struct repo_entry *e;
    size_t n, damage;

    testing_dir_make();
    repo_close(testing_repo_create(true));
    CHECK_ERR(repo_open(testing_blob(), &wrong, &repo, &err), &err, ERR_DENIED);
    CHECK_OK(repo_open(testing_blob(), &none, &repo, &err), &err);
    CHECK_ERR(repo_list(repo, &e, &n, &damage, &err), &err, ERR_DENIED);
    repo_close(repo);
    testing_dir_remove();
    /* Who expects a key must not be given a repository in clear. */
    testing_dir_make();
    repo_close(testing_repo_create(false));
    CHECK_ERR(repo_open(testing_blob(), &wrong, &repo, &err), &err,
              ERR_INVALID);
    testing_dir_remove();
}

#define BIG ((size_t)1 << 22)

/* As a reader with requests under way does. More would be too many: 24 MiB in
 * all, and a batch of four is not begun before it is whole, or needed. */
static void
several_buffers_are_out_at_once(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    uint8_t *out[4] = { NULL };
    struct err err = { 0 };
    unsigned n, head = 0;
    uint64_t off = 0;

    testing_dir_make();
    repo = testing_repo_create(false);
    b = begin(repo, NULL);
    CHECK_OK(repo_backup_add_disk(b, "d", 32 * BIG, 22, &n, &err), &err);
    for (unsigned i = 0; i < 36; i++) {
        unsigned slot = i % 4;

        if (i >= 4) {
            head = (i - 4) % 4;
            CHECK_OK(repo_backup_write_buffer(b, n, off, out[head], BIG, &err),
                     &err);
            off += BIG;
        }
        if (i < 32) {
            CHECK_OK(repo_backup_buffer_get(b, n, &out[slot], &err), &err);
            memset(out[slot], (int)i + 1, BIG);
            out[slot][i] = 0;
        }
    }
    CHECK_OK(repo_backup_commit(b, NULL, 0, "u", &err), &err);
    check_clean(repo);
    testing_dir_remove();
}

#define ALL_BUFFERS 6u /* of BIG bytes: 24 MiB */

struct lender {
    struct repo_backup *backup;
    unsigned disk;
    uint8_t *buffer;
    atomic_bool has_given;
};

static void *
give_later(void *arg)
{
    struct lender *l = arg;

    clock_sleep_ms(300);
    atomic_store(&l->has_given, true);
    repo_backup_buffer_put(l->backup, l->disk, l->buffer);
    return NULL;
}

/* However slow the store is and however much there is to read, memory does not
 * grow. */
static void
who_wants_one_more_buffer_waits_for_one(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    uint8_t *out[ALL_BUFFERS + 1] = { NULL };
    struct lender l = { 0 };
    struct err err = { 0 };
    pthread_t thread;

    testing_dir_make();
    repo = testing_repo_create(false);
    b = begin(repo, NULL);
    l.backup = b;
    CHECK_OK(repo_backup_add_disk(b, "d", 32 * BIG, 22, &l.disk, &err), &err);
    for (unsigned i = 0; i < ALL_BUFFERS; i++)
        CHECK_OK(repo_backup_buffer_get(b, l.disk, &out[i], &err), &err);
    l.buffer = out[0];
    CHECK_INT(pthread_create(&thread, NULL, give_later, &l), ==, 0);
    CHECK_OK(repo_backup_buffer_get(b, l.disk, &out[ALL_BUFFERS], &err), &err);
    CHECK(atomic_load(&l.has_given));
    CHECK(out[ALL_BUFFERS] == l.buffer);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    for (unsigned i = 1; i <= ALL_BUFFERS; i++)
        repo_backup_buffer_put(b, l.disk, out[i]);
    testing_dir_remove();
}

#define SMALL_DISKS (REPO_DISKS_MAX - 1)

/* What a VM has beside its disks: NVRAM, TPM state. */
static size_t
small_disk(unsigned i, char name[REPO_DISK_NAME_MAX + 1], uint8_t *out)
{
    static const size_t sizes[] = { 65536,  540672,         131072, 1 << 20, 1,
                                    327680, 84 * 1024 + 13, 65537,  0 };
    size_t size = sizes[i % ARRAY_SIZE(sizes)];

    (void)snprintf(name, REPO_DISK_NAME_MAX + 1, "tpm:file %u.permall", i);
    testing_seed(i + 1);
    for (size_t k = 0; k < size; k++) /* mostly 0xff, as NVRAM is */
        out[k] = k % 4096 < 300 ? (uint8_t)testing_random() : 0xff;
    return size;
}

static void
write_small(struct repo_backup *b)
{
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, 1 << 20);
    char name[REPO_DISK_NAME_MAX + 1];
    struct err err = { 0 };
    unsigned n;

    CHECK_OK(repo_backup_add_disk(b, "vda", 10 << 20, 0, &n, &err), &err);
    for (unsigned i = 0; i < SMALL_DISKS; i++) {
        size_t size = small_disk(i, name, data);

        CHECK_OK(repo_backup_add_disk(b, name, size, 16, &n, &err), &err);
        CHECK_OK(repo_backup_write(b, n, 0, data, size, &err), &err);
    }
    CHECK_ERR(repo_backup_add_disk(b, "one more", 1, 0, &n, &err), &err,
              ERR_INVALID);
}

static void
check_small(struct repo *repo, const char *id, const char *metadata)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, 1 << 20);
    CLEANUP(mem_free) uint8_t *got = xcalloc(1, 1 << 20);
    CLEANUP(mem_free) void *blob = NULL;
    char name[REPO_DISK_NAME_MAX + 1];
    struct err err = { 0 };
    size_t len = 0;
    unsigned n;

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    CHECK_OK(repo_view_metadata(v, &blob, &len, &err), &err);
    CHECK_INT(len, ==, REPO_METADATA_MAX);
    CHECK(memcmp(blob, metadata, len) == 0);
    for (unsigned i = 0; i < SMALL_DISKS; i++) {
        size_t size = small_disk(i, name, want);

        CHECK_OK(repo_view_find_disk(v, name, &n, &err), &err);
        CHECK_INT(repo_view_disk(v, n).size, ==, size);
        CHECK_OK(repo_view_read(v, n, 0, got, size, &err), &err);
        CHECK(memcmp(got, want, size) == 0);
    }
}

static void
many_small_disks_and_metadata_of_any_size(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) char *metadata = xcalloc(1, REPO_METADATA_MAX + 1);
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *next = NULL;
    struct repo_progress g;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    for (size_t i = 0; i < REPO_METADATA_MAX; i++)
        metadata[i] = (char)(' ' + testing_below(90));
    b = begin(repo, NULL);
    write_small(b);
    CHECK_ERR(repo_backup_commit(b, metadata, REPO_METADATA_MAX + 1, "u", &err),
              &err, ERR_INVALID);
    CHECK_OK(repo_backup_commit(b, metadata, REPO_METADATA_MAX, "u", &err),
             &err);
    check_small(repo, repo_backup_id(b), metadata);
    /* Nothing of it changed: nothing of it is stored again. */
    next = begin(repo, repo_backup_id(b));
    write_small(next);
    CHECK_OK(repo_backup_commit(next, metadata, REPO_METADATA_MAX, "u", &err),
             &err);
    repo_backup_progress(next, &g);
    CHECK_INT(g.same_bytes + g.zero_bytes, ==, g.seen_bytes);
    check_small(repo, repo_backup_id(next), metadata);
    check_clean(repo);
    testing_dir_remove();
}

/* Byte `at` of repo.cfg becomes 1, with a right checksum. */
static void
set_feature(unsigned at)
{
    CLEANUP(blob_free) struct blob *b = testing_blob();
    struct err err = { 0 };
    uint8_t cfg[128];
    size_t n = 0;
    bool existed;

    CHECK_OK(blob_get(b, "repo.cfg", 0, cfg, sizeof cfg, &n, &err), &err);
    memset(cfg + 16, 0, 24);
    cfg[at] = 1;
    le_put32(cfg + 124, crc_32c(0, cfg, 124));
    CHECK_OK(blob_remove(b, "repo.cfg", &err), &err);
    CHECK_OK(blob_put(b, "repo.cfg", cfg, sizeof cfg, &existed, &err), &err);
}

static void
unknown_features_are_heeded(void)
{
    struct repo_backup_options o = { 0 };
    struct repo_backup *b = NULL;
    struct repo_entry *e = NULL;
    struct repo *repo = NULL;
    struct err err = { 0 };
    size_t n, damage;

    testing_dir_make();
    repo_close(testing_repo_create(true));
    set_feature(16); /* compat: nothing changes */
    CHECK_OK(testing_repo_try_open(&repo, &err), &err);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    repo_backup_free(b);
    repo_close(repo);
    set_feature(24); /* ro_compat: read only */
    CHECK_OK(testing_repo_try_open(&repo, &err), &err);
    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_ERR(repo_backup_begin(repo, &o, &b, &err), &err, ERR_UNSUPPORTED);
    repo_close(repo);
    set_feature(32); /* incompat: nothing at all */
    CHECK_ERR(testing_repo_try_open(&repo, &err), &err, ERR_UNSUPPORTED);
    testing_dir_remove();
}

int
main(int argc, char **argv)
{
    static const struct test_case tests[] = {
        { "random chains read back as written",
          random_chains_read_back_as_written },
        { "a disk that shrank grows with zeros",
          a_disk_that_shrank_grows_with_zeros },
        { "a chunk that repeats is stored once",
          a_chunk_that_repeats_is_stored_once },
        { "what is not committed does not exist",
          what_is_not_committed_does_not_exist },
        { "wrong writes are refused", wrong_writes_are_refused },
        { "several buffers are out at once", several_buffers_are_out_at_once },
        { "who wants one more buffer waits for one",
          who_wants_one_more_buffer_waits_for_one },
        { "many small disks and metadata of any size",
          many_small_disks_and_metadata_of_any_size },
        { "a wrong key opens nothing", a_wrong_key_opens_nothing },
        { "unknown features are heeded", unknown_features_are_heeded },
    };

    if (argc > 1)
        cases = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    return test_main(tests, ARRAY_SIZE(tests));
}
