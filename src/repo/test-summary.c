/* SPDX-License-Identifier: Apache-2.0 */
/* Pack summaries: see also test-repo, which compares each with its tree. */
#include "base/mem.h"
#include "repo/backup.h"
#include "repo/gc.h"
#include "repo/repo-id.h"
#include "repo/summary.h"
#include "repo/test-model.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static void
backup(struct repo *repo, struct testing_disk *d, const char *parent,
       uint64_t zero_from, char ret_id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .parent = parent, .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct err err = { 0 };
    unsigned n = 0;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d->name, d->size, d->log2, &n, &err),
             &err);
    if (parent == NULL)
        CHECK_OK(testing_disk_write(d, b, n, &err), &err);
    else
        CHECK_OK(repo_backup_zero(b, n, zero_from, d->size - zero_from, &err),
                 &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, NULL, &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

/* The end of the disk is zeroed by a whole subtree, and then cut: the node
 * that was replaced must not be taken from the parent again. */
static void
a_zeroed_end_that_is_cut_stays_zero(void)
{
    struct testing_disk d = { .name = "vda", .size = 5 * GIB, .log2 = 16 };
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(repo_close) struct repo *repo = NULL;
    char first[REPO_ID_SIZE], second[REPO_ID_SIZE];
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(false);
    testing_disk_set(&d, 3, TESTING_RANDOM, 1);
    testing_disk_set(&d, (4 * GIB + 100 * MIB) >> 16, TESTING_RANDOM, 2);
    testing_disk_set(&d, (4 * GIB + 900 * MIB) >> 16, TESTING_RANDOM, 3);
    backup(repo, &d, NULL, 0, first);
    testing_disk_resize(&d, 4 * GIB + GIB / 2);
    testing_disk_zero(&d, (4 * GIB) >> 16, testing_disk_chunks(&d));
    backup(repo, &d, first, 4 * GIB, second);
    CHECK_OK(repo_view_open(repo, second, &v, &err), &err);
    testing_disk_check(&d, v);
    testing_disk_fini(&d);
    testing_dir_remove();
}

static struct pack_id
pack(unsigned session, uint32_t n)
{
    struct pack_id id = { .kind = n % 3 == 0 ? FRAME_META : FRAME_DATA,
                          .n = n };

    memset(id.session, (int)session, 16);
    return id;
}

/* Several frames: what was encoded comes back. */
static void
a_large_summary_survives_in_parts(void)
{
    struct packset sets[2] = { { 0 }, { 0 } }, back[2] = { { 0 }, { 0 } };
    const struct packset_item *items[2];
    size_t counts[2], at = 0;
    unsigned disk = 0, parts = 0;
    struct err err = { 0 };

    for (uint32_t i = 0; i < 200000; i++) {
        struct pack_id id = pack(i % 7, i);

        packset_set(&sets[i % 2], &id, i + 1);
    }
    for (unsigned i = 0; i < 2; i++)
        items[i] = packset_sorted(&sets[i], &counts[i]);
    while (disk < 2) {
        CLEANUP(buf_fini) struct buf out = BUF_INIT;

        summary_encode(items, counts, 2, &disk, &at, &out);
        CHECK(out.len < 2 * SUMMARY_PART);
        CHECK_OK(
            summary_decode((const uint8_t *)out.data, out.len, 2, back, &err),
            &err);
        CHECK_ERR(summary_decode((const uint8_t *)out.data, out.len - 1, 2,
                                 back, &err),
                  &err, ERR_CORRUPT);
        parts++;
    }
    CHECK(parts > 1);
    for (uint32_t i = 0; i < 200000; i++) {
        struct pack_id id = pack(i % 7, i);

        CHECK(packset_get(&back[i % 2], &id) == i + 1);
        CHECK(packset_get(&back[1 - i % 2], &id) == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        free((void *)(uintptr_t)items[i]);
        packset_fini(&sets[i]);
        packset_fini(&back[i]);
    }
}

static void
a_packset_adds_and_takes_away(void)
{
    CLEANUP(packset_fini) struct packset s = { 0 };
    struct pack_id a = pack(1, 1), b = pack(1, 2);
    size_t pos = 0;

    packset_add(&s, &a, 10);
    packset_add(&s, &a, 5);
    packset_add(&s, &b, 1);
    CHECK(!packset_sub(&s, &a, 16));
    CHECK(packset_sub(&s, &b, 1));
    CHECK(packset_get(&s, &a) == 15 && packset_get(&s, &b) == 0);
    CHECK(packset_next(&s, &pos) != NULL && packset_next(&s, &pos) == NULL);
}

/* ---- a summary that is wrong ---- */

struct found {
    char id[REPO_ID_SIZE];
    unsigned count;
};

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct found *f = arg;

    CHECK(strstr(cause, "pack summary") != NULL);
    (void)snprintf(f->id, sizeof f->id, "%s", object);
    f->count++;
}

static void
on_doubt(void *arg, const char *id, const char *what)
{
    on_damage(arg, id, what);
}

static struct found
verify(struct repo *repo)
{
    struct found f = { 0 };
    struct repo_verify_sink sink = { .damage = on_damage, .arg = &f };
    struct err err = { 0 };
    uint64_t damages = 0;

    CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 1, &sink, &damages, &err),
             &err);
    CHECK_INT(damages, ==, f.count);
    return f;
}

static struct found
collect(struct repo *repo, struct repo_gc_result *r)
{
    struct found f = { 0 };
    struct repo_gc_sink sink = { .doubt = on_doubt, .arg = &f };
    struct repo_gc_options o = { .kill_s = 1 };
    struct err err = { 0 };

    CHECK_OK(repo_gc(repo, &o, &sink, r, &err), &err);
    CHECK_INT(r->wrong_summaries, ==, f.count);
    return f;
}

/* A backup with one chunk of its own, whose summary forgets (or counts wrong)
 * the packs of the session `lacks`. */
static void
make(struct repo *repo, struct testing_disk *d, uint64_t chunk,
     const char *parent, const char *lacks, uint64_t says,
     char ret_id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .parent = parent, .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, (size_t)1 << 16);
    struct pack_id id = { .kind = FRAME_DATA };
    struct err err = { 0 };
    unsigned n = 0;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d->name, d->size, d->log2, &n, &err),
             &err);
    testing_disk_set(d, chunk, TESTING_RANDOM, testing_random());
    testing_disk_read(d, chunk << 16, data, (size_t)1 << 16);
    CHECK_OK(repo_backup_write(b, n, chunk << 16, data, (size_t)1 << 16, &err),
             &err);
    if (lacks != NULL) {
        CHECK(repo_id_parse(lacks, id.session));
        packset_set(
            (struct packset *)(uintptr_t)builder_packs(b->disks[n].builder),
            &id, says);
    }
    CHECK_OK(repo_backup_commit(b, NULL, 0, NULL, &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

/* testing_disk_check() would look at the summary too. */
static void
check_chunk(const struct testing_disk *d, struct repo_view *v, uint64_t chunk)
{
    uint8_t data[4096], want[4096];
    struct err err = { 0 };

    CHECK_OK(repo_view_read(v, 0, chunk << 16, data, sizeof data, &err), &err);
    testing_disk_read(d, chunk << 16, want, sizeof want);
    CHECK(memcmp(data, want, sizeof want) == 0);
}

static void
a_wrong_summary_is_found_and_costs_nothing(void)
{
    struct testing_disk d = { .name = "vda", .size = 4 * GIB, .log2 = 16 };
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(repo_close) struct repo *repo = NULL;
    char ids[4][REPO_ID_SIZE];
    const char *gone[] = { ids[0], ids[1] };
    struct repo_gc_result r;
    struct err err = { 0 };
    struct found f;

    testing_dir_make();
    repo = testing_repo_create(true);
    make(repo, &d, 3, NULL, NULL, 0, ids[0]);
    make(repo, &d, 9000, ids[0], NULL, 0, ids[1]);
    CHECK_INT(verify(repo).count, ==, 0);
    make(repo, &d, 40000, ids[1], ids[0], 0, ids[2]);
    f = verify(repo);
    CHECK_INT(f.count, ==, 1);
    CHECK(strcmp(f.id, ids[2]) == 0);
    /* Now only the wrong one needs the pack of the first. */
    CHECK_OK(repo_delete(repo, gone, 2, &err), &err);
    f = collect(repo, &r);
    CHECK_INT(f.count, ==, 1);
    CHECK(strcmp(f.id, ids[2]) == 0);
    CHECK_INT(r.dropped_backups, ==, 2);
    CHECK_OK(repo_view_open(repo, ids[2], &v, &err), &err);
    check_chunk(&d, v, 3);
    check_chunk(&d, v, 9000);
    check_chunk(&d, v, 40000);
    /* A child inherits the fault, and is found too; without a parent to
     * compare with, its own trees are walked. */
    make(repo, &d, 5, ids[2], NULL, 0, ids[3]);
    CHECK_INT(verify(repo).count, ==, 2);
    CHECK_INT(collect(repo, &r).count, ==, 2);
    CHECK_INT(r.removed_packs, ==, 0);
    check_chunk(&d, v, 3);
    testing_disk_fini(&d);
    testing_dir_remove();
}

/* Less than there is: a later backup would take a pack for unneeded. */
static void
a_summary_that_counts_wrong_is_found(void)
{
    struct testing_disk d = { .name = "vda", .size = 4 * GIB, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    char ids[3][REPO_ID_SIZE];
    struct found f;

    testing_dir_make();
    repo = testing_repo_create(false);
    make(repo, &d, 3, NULL, NULL, 0, ids[0]);
    make(repo, &d, 9000, ids[0], ids[0], 8, ids[1]);
    make(repo, &d, 9001, ids[1], NULL, 0, ids[2]);
    f = verify(repo);
    CHECK_INT(f.count, ==, 2);
    CHECK(strcmp(f.id, ids[2]) == 0);
    testing_disk_fini(&d);
    testing_dir_remove();
}

/* What one run found right, the next one does not look at again; what it
 * looks at is compared with a relative, though its parent is gone. */
static void
a_collector_looks_at_each_backup_once(void)
{
    struct testing_disk d = { .name = "vda", .size = 4 * GIB, .log2 = 16 };
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    char ids[6][REPO_ID_SIZE];
    struct repo_gc_result r;
    struct err err = { 0 };
    uint64_t size = 0;

    testing_dir_make();
    repo = testing_repo_create(false);
    for (unsigned i = 0; i < 6; i++) {
        make(repo, &d, 20000 + i, i == 0 ? NULL : ids[i - 1], NULL, 0, ids[i]);
        if (i % 2 == 1) {
            const char *gone = ids[i - 1];

            CHECK_OK(repo_delete(repo, &gone, 1, &err), &err);
            CHECK_INT(collect(repo, &r).count, ==, 0);
        }
    }
    CHECK_INT(verify(repo).count, ==, 0);
    CHECK_OK(blob_list(repo->blob, "hint/checked/", &n, &err), &err);
    CHECK_INT(n.count, ==, 1);
    CHECK_OK(blob_size(repo->blob, n.names[0], &size, &err), &err);
    CHECK_INT(size, ==, 3 * 16);
    testing_disk_fini(&d);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "a zeroed end that is cut stays zero",
          a_zeroed_end_that_is_cut_stays_zero },
        { "a large summary survives in parts",
          a_large_summary_survives_in_parts },
        { "a packset adds and takes away", a_packset_adds_and_takes_away },
        { "a wrong summary is found and costs nothing",
          a_wrong_summary_is_found_and_costs_nothing },
        { "a summary that counts wrong is found",
          a_summary_that_counts_wrong_is_found },
        { "a collector looks at each backup once",
          a_collector_looks_at_each_backup_once },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
