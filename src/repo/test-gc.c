/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting garbage of real repositories; the rules of the log alone are in
 * test-gc-model.c. test-gc [BACKUPS]. */
#include "base/mem.h"
#include "repo/gc.h"
#include "repo/hold.h"
#include "repo/logstate.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define DAY 86400

static unsigned backups = 24;

/* `count` chunks of 64 KiB from `first` on, that nothing else has. */
static void
make(struct repo *repo, struct testing_disk *d, const char *parent,
     uint64_t first, uint64_t count, char ret_id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .parent = parent, .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, (size_t)1 << 16);
    struct err err = { 0 };
    unsigned n = 0;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d->name, d->size, d->log2, &n, &err),
             &err);
    for (uint64_t c = first; c < first + count; c++) {
        testing_disk_set(d, c, TESTING_RANDOM, testing_random());
        testing_disk_read(d, c << 16, data, (size_t)1 << 16);
        CHECK_OK(repo_backup_write(b, n, c << 16, data, (size_t)1 << 16, &err),
                 &err);
    }
    CHECK_OK(repo_backup_commit(b, "meta", 4, NULL, &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

static struct repo_gc_result
collect(struct repo *repo, int64_t grace_s, int64_t now)
{
    struct repo_gc_options o = { .undelete_s = grace_s,
                                 .grace_s = grace_s,
                                 .kill_s = 7 * DAY,
                                 .now_unix_s = now };
    struct repo_gc_result r;
    struct err err = { 0 };

    CHECK_OK(repo_gc(repo, &o, NULL, &r, &err), &err);
    return r;
}

/* Bytes of packs. */
static uint64_t
stored(struct repo *repo)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };
    uint64_t sum = 0, size = 0;

    CHECK_OK(blob_list(repo->blob, "", &n, &err), &err);
    for (size_t i = 0; i < n.count; i++) {
        CHECK_OK(blob_size(repo->blob, n.names[i], &size, &err), &err);
        if (n.names[i][1] == '/' && n.names[i][0] != 'x')
            sum += size;
    }
    return sum;
}

static int64_t
now_s(void)
{
    return (int64_t)time(NULL);
}

/* A chain of backups, each with its own region and one that every next one
 * overwrites; delete every second one. */
static void
space_of_deleted_backups_comes_back(void)
{
    struct testing_disk *d = xcalloc(backups, sizeof *d);
    char(*ids)[REPO_ID_SIZE] = xcalloc(backups, sizeof *ids);
    struct testing_disk now = { .name = "vda",
                                .size = (uint64_t)1 << 30,
                                .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    unsigned cycle = backups / 4;
    uint64_t before, needed;
    struct repo_gc_result r;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    for (unsigned i = 0; i < backups; i++) {
        /* All of it is overwritten once every `cycle` backups. */
        make(repo, &now, i == 0 ? NULL : ids[i - 1], (uint64_t)i % cycle * 8, 8,
             ids[i]);
        testing_disk_copy(&d[i], &now);
    }
    before = stored(repo);
    for (unsigned i = 0; i < backups / 2; i++) {
        const char *id = ids[i];

        CHECK_OK(repo_delete(repo, &id, 1, &err), &err);
    }
    r = collect(repo, 2 * DAY, 0);
    CHECK_INT(r.removed_packs, ==, 0);
    CHECK_INT(r.dropped_backups, ==, 0);
    r = collect(repo, 0, 0);
    CHECK_INT(r.dropped_backups, ==, backups / 2);
    CHECK_INT(r.condemned_packs, ==, r.removed_packs);
    CHECK(stored(repo) + r.removed_bytes == before);
    /* A backup needs what the last `cycle` ones wrote; these are alike. So
     * cycle - 1 of the deleted ones are needed. 5 %. */
    needed = before / backups * (backups / 2 + cycle - 1);
    CHECK(stored(repo) <= needed + needed / 20);
    CHECK(stored(repo) >= needed - needed / 20);
    for (unsigned i = backups / 2; i < backups; i++)
        testing_backup_check(repo, ids[i], &d[i]);
    testing_check_sound(repo);
    r = collect(repo, 0, 0);
    CHECK_INT(r.removed_packs + r.condemned_packs, ==, 0);
    make(repo, &now, ids[backups - 1], 0, 8, ids[0]);
    testing_backup_check(repo, ids[0], &now);
    for (unsigned i = 0; i < backups; i++)
        testing_disk_fini(&d[i]);
    testing_disk_fini(&now);
    free(d);
    free(ids);
    testing_dir_remove();
}

static void
a_deleted_backup_can_be_taken_back_until_it_is_dropped(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    char id[REPO_ID_SIZE];
    const char *ids[1] = { id };
    struct repo_gc_result r;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(false);
    make(repo, &d, NULL, 0, 4, id);
    CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
    r = collect(repo, 2 * DAY, now_s() + DAY);
    CHECK_INT(r.dropped_backups, ==, 0);
    CHECK_OK(repo_hold_undelete(repo, ids, 1, &err), &err);
    r = collect(repo, 2 * DAY, now_s() + 9 * DAY);
    CHECK_INT(r.dropped_backups, ==, 0);
    testing_backup_check(repo, id, &d);
    CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
    r = collect(repo, 2 * DAY, now_s() + 9 * DAY);
    CHECK_INT(r.dropped_backups, ==, 1);
    CHECK(r.condemned_packs == 2 && r.waiting_packs == 0);
    CHECK_ERR(repo_hold_undelete(repo, ids, 1, &err), &err, ERR_NOT_FOUND);
    testing_disk_fini(&d);
    testing_dir_remove();
}

/* Its parent is deleted and a collector comes while it is written. */
static void
a_writer_at_work_keeps_its_parent_and_its_packs(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_backup_options o = { .threads = 1 };
    struct repo_backup *b = NULL;
    char first[REPO_ID_SIZE], second[REPO_ID_SIZE];
    const char *ids[1] = { first };
    struct repo_gc_result r;
    struct err err = { 0 };
    unsigned n;

    testing_dir_make();
    repo = testing_repo_create(false);
    make(repo, &d, NULL, 0, 4, first);
    o.parent = first;
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d.name, d.size, d.log2, &n, &err), &err);
    CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
    r = collect(repo, 0, 0);
    CHECK_INT(r.dropped_backups + r.removed_packs, ==, 0);
    CHECK_OK(repo_backup_commit(b, NULL, 0, NULL, &err), &err);
    memcpy(second, repo_backup_id(b), sizeof second);
    repo_backup_free(b);
    r = collect(repo, 0, 0);
    CHECK_INT(r.dropped_backups, ==, 1);
    CHECK_INT(r.removed_packs, ==, 0); /* the child needs both of its packs */
    testing_backup_check(repo, second, &d);
    testing_check_sound(repo);
    testing_disk_fini(&d);
    testing_dir_remove();
}

/* It is killed after a week, and cannot commit behind that. */
static void
a_dead_writer_is_killed_and_its_packs_go(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    struct repo_backup_options o = { .threads = 1 };
    struct repo_backup *b = NULL;
    struct repo_gc_result r;
    struct err err = { 0 };
    unsigned n;

    testing_dir_make();
    repo = testing_repo_create(false);
    CHECK_OK(testing_repo_try_open(&other, &err), &err);
    testing_disk_set(&d, 1, TESTING_RANDOM, 5);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d.name, d.size, d.log2, &n, &err), &err);
    CHECK_OK(testing_disk_write(&d, b, n, &err), &err);
    r = collect(other, 0, now_s() + 6 * DAY);
    CHECK_INT(r.killed_sessions, ==, 0);
    r = collect(other, 0, now_s() + 8 * DAY);
    CHECK_INT(r.killed_sessions, ==, 1);
    CHECK_ERR(repo_backup_commit(b, NULL, 0, NULL, &err), &err, ERR_CONFLICT);
    repo_backup_free(b);
    r = collect(other, 0, now_s() + 8 * DAY);
    CHECK(r.removed_packs >= 1);
    CHECK_INT(stored(repo), ==, 0);
    testing_disk_fini(&d);
    testing_dir_remove();
}

/* F28: what a collector decided a month ago, by a clock that is wrong. */
static void
clocks_only_decide_when(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    char id[REPO_ID_SIZE];
    struct repo_gc_result r;

    testing_dir_make();
    repo = testing_repo_create(false);
    make(repo, &d, NULL, 0, 4, id);
    r = collect(repo, 2 * DAY, 1); /* 1970 */
    CHECK_INT(r.killed_sessions + r.removed_packs, ==, 0);
    r = collect(repo, 0, now_s() + (int64_t)100000 * DAY);
    CHECK_INT(r.killed_sessions + r.removed_packs, ==, 0);
    testing_backup_check(repo, id, &d);
    testing_disk_fini(&d);
    testing_dir_remove();
}

static void
a_dry_run_changes_nothing(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_gc_options o = { .is_dry_run = true, .kill_s = DAY };
    char id[REPO_ID_SIZE];
    const char *ids[1] = { id };
    struct repo_gc_result dry, r;
    uint64_t before;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(false);
    make(repo, &d, NULL, 0, 4, id);
    CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
    before = stored(repo);
    CHECK_OK(repo_gc(repo, &o, NULL, &dry, &err), &err);
    CHECK(stored(repo) == before);
    CHECK_OK(repo_hold_undelete(repo, ids, 1, &err), &err);
    testing_backup_check(repo, id, &d);
    CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
    r = collect(repo, 0, 0);
    CHECK_INT(dry.removed_bytes, ==, r.removed_bytes);
    CHECK_INT(dry.removed_packs, ==, r.removed_packs);
    CHECK_INT(dry.dropped_backups, ==, 1);
    testing_disk_fini(&d);
    testing_dir_remove();
}

static void
a_pinned_backup_stays_until_its_reader_is_dead(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    char id[REPO_ID_SIZE];
    const char *ids[1] = { id };
    struct repo_gc_result r;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(false);
    make(repo, &d, NULL, 0, 4, id);
    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    CHECK_OK(repo_view_pin(v, &err), &err);
    CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
    r = collect(repo, 0, 0);
    CHECK_INT(r.dropped_backups + r.removed_packs, ==, 0);
    testing_disk_check(&d, v);
    repo_view_close(TAKE(v)); /* and is no longer pinned */
    r = collect(repo, 0, 0);
    CHECK_INT(r.dropped_backups, ==, 1);
    CHECK_INT(stored(repo), ==, 0);

    make(repo, &d, NULL, 0, 4, id);
    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    CHECK_OK(repo_view_pin(v, &err), &err);
    CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
    (void)collect(repo, 0, now_s() + 8 * DAY); /* ends the pin */
    CHECK_INT(stored(repo), ==, 0);
    testing_disk_fini(&d);
    testing_dir_remove();
}

static void
a_damaged_log_stops_it(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_gc_options o = { .undelete_s = 0 };
    char id[REPO_ID_SIZE];
    struct repo_gc_result r;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(false);
    make(repo, &d, NULL, 0, 4, id);
    make(repo, &d, NULL, 0, 4, id);
    CHECK_OK(blob_remove(repo->blob, "log/00000000000000000002", &err), &err);
    repo_close(repo);
    CHECK_OK(testing_repo_try_open(&repo, &err), &err);
    CHECK_ERR(repo_gc(repo, &o, NULL, &r, &err), &err, ERR_CORRUPT);
    testing_backup_check(repo, id, &d);
    testing_disk_fini(&d);
    testing_dir_remove();
}

int
main(int argc, char **argv)
{
    static const struct test_case tests[] = {
        { "the space of deleted backups comes back",
          space_of_deleted_backups_comes_back },
        { "a deleted backup can be taken back until it is dropped",
          a_deleted_backup_can_be_taken_back_until_it_is_dropped },
        { "a writer at work keeps its parent and its packs",
          a_writer_at_work_keeps_its_parent_and_its_packs },
        { "a dead writer is killed and its packs go",
          a_dead_writer_is_killed_and_its_packs_go },
        { "clocks only decide when", clocks_only_decide_when },
        { "a dry run changes nothing", a_dry_run_changes_nothing },
        { "a pinned backup stays until its reader is dead",
          a_pinned_backup_stays_until_its_reader_is_dead },
        { "a damaged log stops it", a_damaged_log_stops_it },
    };

    if (argc > 1)
        backups = (unsigned)strtoul(argv[1], NULL, 10);
    return test_main(tests, ARRAY_SIZE(tests));
}
