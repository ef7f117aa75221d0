/* SPDX-License-Identifier: Apache-2.0 */
/* An index that is too large to know all of it: what is found all the same,
 * what it costs, and that everybody says the same of it. */
#include "base/clock.h"
#include "base/mem.h"
#include "codec/le.h"
#include "repo/dedupindex.h"
#include "repo/gc.h"
#include "repo/repo-index.h"
#include "repo/repo-private.h"
#include "repo/segment-writer.h"
#include "repo/stats.h"
#include "repo/test-model.h"

#define LOG2  16u
#define CHUNK ((size_t)1 << LOG2)
#define ROOM  ((uint64_t)1 << 30)

/* ---- backups ---- */

/* One worker: in the order of the disk. */
static struct repo_backup *
begin(struct repo *repo, unsigned count)
{
    struct repo_backup_options o = { .threads = 1, .level = 1 };
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    unsigned n;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "d", count * CHUNK, LOG2, &n, &err), &err);
    return b;
}

/* The chunks from..to of a disk that begins with chunk `first` of all. */
static void
write_part(struct repo_backup *b, unsigned first, unsigned from, unsigned to)
{
    CLEANUP(mem_free) uint8_t *chunk = xcalloc(1, CHUNK);
    struct err err = { 0 };

    for (unsigned c = from; c < to; c++) {
        testing_fill(chunk, CHUNK, first + c);
        CHECK_OK(repo_backup_write(b, 0, c * CHUNK, chunk, CHUNK, &err), &err);
    }
}

/* How many were found. */
static uint64_t
commit(struct repo_backup *b, char id[REPO_ID_SIZE])
{
    struct repo_progress g;
    struct err err = { 0 };

    CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
    repo_backup_progress(b, &g);
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    repo_backup_free(b);
    return g.dup_bytes / CHUNK;
}

static uint64_t
back_up(struct repo *repo, unsigned first, unsigned count,
        char id[REPO_ID_SIZE])
{
    struct repo_backup *b = begin(repo, count);

    write_part(b, first, 0, count);
    return commit(b, id);
}

static void
check_reads(struct repo *repo, const char *id, unsigned first, unsigned count)
{
    CLEANUP(mem_free) uint8_t *got = xcalloc(2, CHUNK);
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    for (unsigned c = 0; c < count; c++) {
        testing_fill(got + CHUNK, CHUNK, first + c);
        CHECK_OK(repo_view_read(v, 0, c * CHUNK, got, CHUNK, &err), &err);
        CHECK(memcmp(got, got + CHUNK, CHUNK) == 0);
    }
}

static void
id_of(struct repo *repo, unsigned c, uint8_t id[HASH_SIZE])
{
    CLEANUP(mem_free) uint8_t *chunk = xcalloc(1, CHUNK);

    testing_fill(chunk, CHUNK, c);
    hash_hmac(&repo->keys.id, chunk, CHUNK, id);
}

/* The first of the chunks first .. first + count - 1 that is a hook. */
static unsigned
first_hook(struct repo *repo, unsigned first, unsigned count)
{
    uint8_t id[HASH_SIZE];

    for (unsigned c = first; c < first + count; c++) {
        id_of(repo, c, id);
        if (segment_is_hook(id))
            return c;
    }
    return first + count;
}

/* Backups, `vmkeep repo index` and `vmkeep repo stats` say the same; the bytes
 * of the index. */
static uint64_t
check_said(struct repo *repo, bool rebuilds, bool is_sampled)
{
    CLEANUP(dedupindex_free) struct dedupindex *d = dedupindex_new(repo);
    struct repo_index_result r;
    struct repo_stats stats;
    struct err err = { 0 };

    CHECK_OK(repo_index_maintain(repo, rebuilds, &r, &err), &err);
    CHECK_OK(repo_stats_get(repo, &stats, &err), &err);
    CHECK(r.is_sampled == is_sampled);
    CHECK(stats.index_is_sampled == is_sampled);
    CHECK(dedupindex_sums_get(d).is_sampled == is_sampled);
    return r.bytes;
}

/* ---- what is found ---- */

/* In clear, where ids are the same in each run. */
static void
hooks_are_looked_up_and_what_is_beside_them(void)
{
    const unsigned count = 1100; /* two packs */
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    char id[REPO_ID_SIZE];
    struct err err = { 0 };
    unsigned hook, begin;

    testing_dir_make();
    repo = testing_repo_create(false);
    (void)back_up(repo, 0, count, id);
    CHECK_OK(blob_list(repo->blob, "p/", &n, &err), &err);
    CHECK_INT(n.count, ==, 2);
    hook = first_hook(repo, 0, count);
    CHECK_INT(hook, <, 900); /* of the first pack */
    repo_index_set_budget(repo, check_said(repo, false, false) - 1);
    (void)check_said(repo, false, true);
    /* All from the first hook on, in the second pack too. */
    CHECK_INT(back_up(repo, 0, count, id), ==, count - hook);
    check_reads(repo, id, 0, count);
    /* What has no hook is not found; what is between two is. */
    begin = hook + 1;
    CHECK_INT(back_up(repo, begin, 4, id), ==, 0);
    check_reads(repo, id, begin, 4);
    repo_index_set_budget(repo, ROOM);
    CHECK_INT(back_up(repo, 0, count, id), ==, count);
    testing_check_sound(repo);
    testing_dir_remove();
}

/* Whole, sampled because of its size, whole again, sampled because of memory.
 */
static void
a_repository_grows_and_shrinks(void)
{
    const unsigned count = 300;
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_gc_options at_once = { .kill_s = REPO_GC_KILL_S };
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], c[REPO_ID_SIZE];
    const char *gone[] = { b, c };
    struct repo_gc_result g;
    struct err err = { 0 };
    unsigned hook;

    testing_dir_make();
    repo = testing_repo_create(false);
    CHECK_INT(back_up(repo, 0, count, a), ==, 0);
    hook = first_hook(repo, 0, count);
    CHECK_INT(hook, <, count);
    repo_index_set_budget(repo, check_said(repo, false, false));
    CHECK_INT(back_up(repo, 0, count, b), ==, count);
    CHECK_INT(back_up(repo, 10000, count, c), ==, 0);
    (void)check_said(repo, false, true);
    CHECK_INT(back_up(repo, 0, count, b), ==, count - hook);
    check_reads(repo, b, 0, count);
    CHECK_OK(repo_delete(repo, gone, 2, &err), &err);
    CHECK_OK(repo_gc(repo, &at_once, NULL, &g, &err), &err);
    CHECK(g.removed_packs > 0);
    (void)check_said(repo, true, false);
    CHECK_INT(back_up(repo, 0, count, b), ==, count);
    check_reads(repo, a, 0, count);
    check_reads(repo, b, 0, count);
    repo->index_memory = 1024; /* for one segment with one fence: enough */
    (void)check_said(repo, false, false);
    repo->index_memory = 64;
    (void)check_said(repo, false, true);
    CHECK_INT(back_up(repo, 0, count, c), ==, 0); /* not even for hooks */
    check_reads(repo, c, 0, count);
    testing_check_sound(repo);
    testing_dir_remove();
}

static void
wait_until_found(struct repo_backup *b, uint64_t chunks)
{
    struct repo_progress g = { 0 };

    for (unsigned i = 0; i < 60000; i++) {
        repo_backup_progress(b, &g);
        if (g.dup_bytes == chunks * CHUNK)
            return;
        clock_sleep_ms(1);
    }
    CHECK_INT(g.dup_bytes / CHUNK, ==, chunks);
}

/* The segments that a backup knows are gone, and when it reads the list again
 * the index is too large, or no longer so. */
static void
it_may_change_under_a_backup(void)
{
    const unsigned count = 300;

    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(repo_close) struct repo *other = NULL;
        struct repo_index_result r;
        char id[REPO_ID_SIZE];
        struct err err = { 0 };
        struct repo_backup *b;
        unsigned hook, other_first = 20000;
        uint8_t id_first[HASH_SIZE] = { 0 };
        uint64_t found;

        testing_dir_make();
        repo = testing_repo_create(false);
        /* Not in the page that the hooks are in. */
        for (; id_first[0] < 0xc0; other_first++)
            id_of(repo, other_first + 1, id_first);
        other = testing_repo_open((struct blob_fault_plan){ 0 });
        (void)back_up(repo, 0, count, id);
        (void)back_up(repo, other_first, count, id);
        hook = first_hook(repo, other_first, count) - other_first;
        found = i == 0 ? count : count - first_hook(repo, 0, count);
        CHECK(hook < count && found > 0);
        repo_index_set_budget(repo, i == 0 ? ROOM : 1);
        b = begin(repo, 2 * count);
        write_part(b, 0, 0, count);
        wait_until_found(b, found);
        CHECK_OK(repo_index_maintain(other, true, &r, &err), &err);
        repo_index_set_budget(repo, i == 0 ? 1 : ROOM);
        write_part(b, other_first - count, count, 2 * count);
        CHECK_INT(commit(b, id), ==, found + count - hook);
        check_reads(repo, id, 0, count);
        testing_check_sound(repo);
        testing_dir_remove();
    }
}

/* ---- what it costs ---- */

static void
it_takes_a_part_of_the_memory(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) uint8_t(*ids)[SEGMENT_ID] = xcalloc(300000, SEGMENT_ID);
    struct dedupindex_sums sums[3], looked;
    struct err err = { 0 };
    unsigned failed = 0;
    size_t hooks = 0;

    testing_dir_make();
    repo = testing_repo_create(true);
    {
        CLEANUP(segment_writer_free)
        struct segment_writer *w =
            segment_writer_new(repo->blob, repo->uuid, NULL, 100000);
        struct segment_hit place = { .off8 = 100, .flen = 4096 };

        for (unsigned i = 0; i < 300000; i++) {
            le_put64(ids[i], testing_random());
            le_put64(ids[i] + 8, testing_random());
            hooks += segment_is_hook(ids[i]);
            segment_writer_add(w, ids[i], &place);
        }
        segment_writer_finish(w, &failed, &err);
        CHECK_INT(failed, ==, 0);
    }
    CHECK_INT(hooks, >, 2000);
    for (unsigned i = 0; i < 3; i++) {
        CLEANUP(dedupindex_free) struct dedupindex *d = dedupindex_new(repo);

        /* Too large; too large for the memory, with room on the disk; neither.
         */
        repo_index_set_budget(repo, i == 0 ? 1 << 20 : ROOM);
        repo->index_memory = i == 1 ? 4096 : DEDUPINDEX_MEMORY;
        sums[i] = dedupindex_sums_get(d);
        CHECK_OK(dedupindex_look(repo, &looked, &err), &err);
        CHECK(looked.is_sampled == sums[i].is_sampled);
        CHECK(sums[i].is_sampled == (i < 2));
        CHECK_INT(sums[i].memory, <=, repo->index_memory);
        CHECK_INT(sums[i].segments, ==, 3);
        /* They are sorted then: hooks first. */
        CHECK_INT(dedupindex_count(d, ids, i < 2 ? 300000 : 3000), ==,
                  i < 2 ? hooks : 3000);
    }
    CHECK_INT(sums[0].memory, <, sums[2].memory / 100);
    CHECK_INT(sums[1].memory, ==, sums[0].memory);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "hooks are looked up, and what is beside them",
          hooks_are_looked_up_and_what_is_beside_them },
        { "a repository grows and shrinks", a_repository_grows_and_shrinks },
        { "it may change under a backup", it_may_change_under_a_backup },
        { "it takes a part of the memory", it_takes_a_part_of_the_memory },
    };

    testing_seed(6);
    return test_main(tests, ARRAY_SIZE(tests));
}
