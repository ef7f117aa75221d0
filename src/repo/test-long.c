/* SPDX-License-Identifier: Apache-2.0 */
/* Work that takes longer than collectors wait: nobody sleeps here, the wall
 * clock is shifted. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repo/gc.h"
#include "repo/hold.h"
#include "repo/logstate.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define DAY   86400
#define CHUNK ((uint64_t)1 << 16)

static char shift_file[80];

static void
shift_clock(int64_t seconds)
{
    FILE *f = fopen(shift_file, "we");

    CHECK(f != NULL);
    (void)fprintf(f, "%lld\n", (long long)seconds);
    (void)fclose(f);
}

static struct repo_gc_result
collect(struct repo *repo)
{
    struct repo_gc_options o = { .kill_s = 7 * DAY };
    struct repo_gc_result r;
    struct err err = { 0 };

    CHECK_OK(repo_gc(repo, &o, NULL, &r, &err), &err);
    return r;
}

static void
write_chunk(struct repo_backup *b, unsigned n, struct testing_disk *d,
            uint64_t chunk, struct err *err, int *ret)
{
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, CHUNK);

    testing_disk_set(d, chunk, TESTING_RANDOM, testing_random());
    testing_disk_read(d, chunk * CHUNK, data, CHUNK);
    *ret = repo_backup_write(b, n, chunk * CHUNK, data, CHUNK, err);
}

static struct repo_backup *
begin(struct repo *repo, struct testing_disk *d, const char *parent,
      unsigned *ret_disk)
{
    struct repo_backup_options o = { .parent = parent, .threads = 1 };
    struct repo_backup *b = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d->name, d->size, d->log2, ret_disk, &err),
             &err);
    return b;
}

static void
make(struct repo *repo, struct testing_disk *d, char ret_id[REPO_ID_SIZE])
{
    struct err err = { 0 };
    unsigned n;
    CLEANUP(repo_backup_free) struct repo_backup *b = begin(repo, d, NULL, &n);

    CHECK_OK(testing_disk_write(d, b, n, &err), &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, NULL, &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

/* A chunk a day for two weeks, and a collector each day that takes those for
 * dead who said nothing for a week. */
static void
a_backup_of_two_weeks_is_committed(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    struct repo_backup *b;
    char id[REPO_ID_SIZE];
    struct err err = { 0 };
    unsigned n;
    int rc;

    testing_dir_make();
    shift_clock(0);
    repo = testing_repo_create(false);
    CHECK_OK(testing_repo_try_open(&other, &err), &err);
    b = begin(repo, &d, NULL, &n);
    for (unsigned day = 1; day <= 14; day++) {
        shift_clock((int64_t)day * DAY);
        write_chunk(b, n, &d, day, &err, &rc);
        CHECK_OK(rc, &err);
        CHECK_INT(collect(other).killed_sessions, ==, 0);
    }
    CHECK_OK(repo_backup_commit(b, NULL, 0, NULL, &err), &err);
    memcpy(id, repo_backup_id(b), sizeof id);
    repo_backup_free(b);
    testing_backup_check(other, id, &d);
    testing_check_sound(other);
    testing_disk_fini(&d);
    testing_dir_remove();
}

/* It is stopped for longer than that: it is told at its next call. */
static void
a_writer_that_was_stopped_for_too_long_is_told(void)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    struct repo_backup *b;
    struct err err = { 0 };
    unsigned n;
    int rc;

    testing_dir_make();
    shift_clock(0);
    repo = testing_repo_create(false);
    CHECK_OK(testing_repo_try_open(&other, &err), &err);
    b = begin(repo, &d, NULL, &n);
    write_chunk(b, n, &d, 1, &err, &rc);
    CHECK_OK(rc, &err);
    shift_clock(8 * DAY);
    CHECK_INT(collect(other).killed_sessions, ==, 1);
    write_chunk(b, n, &d, 2, &err, &rc);
    CHECK_ERR(rc, &err, ERR_CONFLICT);
    CHECK(strstr(err.msg, "taken for dead") != NULL);
    repo_backup_free(b);
    testing_check_sound(other);
    testing_disk_fini(&d);
    testing_dir_remove();
}

/* The backup is deleted as soon as the restore has begun. */
static void
a_restore_of_two_weeks_goes_on(bool pins)
{
    struct testing_disk d = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    struct repo_view *v = NULL;
    uint8_t data[4096], want[4096];
    char id[REPO_ID_SIZE];
    const char *ids[1] = { id };
    struct err err = { 0 };

    testing_dir_make();
    shift_clock(0);
    repo = testing_repo_create(false);
    for (unsigned i = 1; i <= 14; i++)
        testing_disk_set(&d, i, TESTING_RANDOM, i);
    make(repo, &d, id);
    CHECK_OK(testing_repo_try_open(&other, &err), &err);
    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    if (pins)
        CHECK_OK(repo_view_pin(v, &err), &err);
    for (unsigned day = 1; day <= 14; day++) {
        shift_clock((int64_t)day * DAY);
        CHECK_OK(repo_view_read(v, 0, day * CHUNK, data, sizeof data, &err),
                 &err);
        testing_disk_read(&d, day * CHUNK, want, sizeof want);
        CHECK(memcmp(data, want, sizeof want) == 0);
        if (day == 1)
            CHECK_OK(repo_delete(other, ids, 1, &err), &err);
        CHECK_INT(collect(other).removed_packs, ==, 0);
    }
    repo_view_close(v);
    CHECK(collect(other).removed_packs > 0);
    testing_disk_fini(&d);
    testing_dir_remove();
}

static void
a_restore_that_pins_goes_on_for_two_weeks(void)
{
    a_restore_of_two_weeks_goes_on(true);
}

static void
one_that_did_not_pins_when_it_takes_long(void)
{
    a_restore_of_two_weeks_goes_on(false);
}

/* F28: a host whose clock is ten years ahead, or behind, commits, deletes and
 * collects among others. */
static void
a_clock_that_is_wrong_by_ten_years_loses_nothing(void)
{
    static const int64_t shifts[] = { (int64_t)-3650 * DAY, 0,
                                      (int64_t)3650 * DAY, 0 };
    struct testing_disk d[ARRAY_SIZE(shifts)];
    char ids[ARRAY_SIZE(shifts)][REPO_ID_SIZE];
    struct testing_disk other = { .name = "vda", .size = 1 << 24, .log2 = 16 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_backup *b;
    struct err err = { 0 };
    unsigned n;
    int rc;

    testing_dir_make();
    shift_clock(0);
    repo = testing_repo_create(false);
    b = begin(repo, &other, NULL, &n);
    for (unsigned i = 0; i < ARRAY_SIZE(shifts); i++) {
        shift_clock(shifts[i]);
        d[i] =
            (struct testing_disk){ .name = "vda", .size = 1 << 24, .log2 = 16 };
        testing_disk_set(&d[i], i, TESTING_RANDOM, i);
        make(repo, &d[i], ids[i]);
        shift_clock(0);
        /* Neither an entry of the past nor one of the future makes a writer
         * old that has just begun. */
        CHECK_INT(collect(repo).killed_sessions, ==, 0);
    }
    shift_clock((int64_t)3650 * DAY);
    CHECK_INT(collect(repo).killed_sessions, ==, 1);
    shift_clock(0);
    write_chunk(b, n, &other, 1, &err, &rc);
    if (rc == 0)
        rc = repo_backup_commit(b, NULL, 0, NULL, &err);
    CHECK_ERR(rc, &err, ERR_CONFLICT); /* it is told, and begins again */
    repo_backup_free(b);
    for (unsigned i = 0; i < ARRAY_SIZE(shifts); i++) {
        testing_backup_check(repo, ids[i], &d[i]);
        testing_disk_fini(&d[i]);
    }
    testing_check_sound(repo);
    testing_disk_fini(&other);
    testing_dir_remove();
}

/* ---- F28: times that others are given, under clocks that are wrong ---- */

#define TEN_YEARS ((int64_t)3650 * DAY)

static struct repo_gc_result
collect_at(struct repo *repo, int64_t shift)
{
    struct repo_gc_options o = repo_gc_defaults();
    struct repo_gc_result r;
    struct err err = { 0 };

    shift_clock(shift);
    CHECK_OK(repo_gc(repo, &o, NULL, &r, &err), &err);
    return r;
}

static void
make_at(struct repo *repo, struct testing_disk *d, int64_t shift,
        char ret_id[REPO_ID_SIZE])
{
    shift_clock(shift);
    *d = (struct testing_disk){ .name = "vda", .size = 1 << 20, .log2 = 16 };
    testing_disk_set(d, 1, TESTING_RANDOM, testing_random());
    make(repo, d, ret_id);
}

static void
delete_at(struct repo *repo, const char *id, int64_t shift)
{
    struct err err = { 0 };

    shift_clock(shift);
    CHECK_OK(repo_delete(repo, &id, 1, &err), &err);
}

/* A collector whose clock is behind takes nobody for dead, and leaves all the
 * time that others were given. */
static void
a_collector_of_the_past_hurries_nobody(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct testing_disk d,
        writers = { .name = "vda", .size = 1 << 20, .log2 = 16 };
    CLEANUP(repo_close) struct repo *other = NULL;
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    char id[REPO_ID_SIZE], late[REPO_ID_SIZE];
    const char *ids[] = { id };
    struct repo_backup *b;
    struct repo_gc_result r;
    struct err err = { 0 };
    unsigned n;
    int rc;

    testing_dir_make();
    shift_clock(0);
    repo = testing_repo_create(false);
    CHECK_OK(testing_repo_try_open(&other, &err), &err);
    make_at(repo, &d, 0, id);
    b = begin(repo, &writers, NULL, &n);
    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    CHECK_OK(repo_view_pin(v, &err), &err);
    delete_at(repo, id, 0);
    r = collect_at(other, -TEN_YEARS);
    CHECK_INT(r.killed_sessions + r.dropped_backups + r.removed_packs, ==, 0);
    shift_clock(0);
    write_chunk(b, n, &writers, 1, &err, &rc);
    CHECK_OK(rc, &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, NULL, &err), &err);
    memcpy(late, repo_backup_id(b), sizeof late);
    repo_backup_free(b);
    repo_view_close(TAKE(v));
    CHECK_OK(repo_hold_undelete(repo, ids, 1, &err), &err);
    testing_backup_check(repo, id, &d);

    /* Dropped and condemned by a good clock: the grace is kept. */
    delete_at(repo, id, 0);
    r = collect_at(repo, 3 * DAY);
    CHECK_INT(r.dropped_backups, ==, 1);
    CHECK(r.condemned_packs > 0 && r.removed_packs == 0);
    CHECK_INT(collect_at(other, 3 * DAY - TEN_YEARS).removed_packs, ==, 0);
    CHECK_INT(collect_at(repo, 4 * DAY).removed_packs, ==, 0);
    CHECK_INT(collect_at(repo, 6 * DAY).removed_packs, >, 0);
    testing_backup_check(repo, late, &writers);
    testing_check_sound(repo);
    testing_disk_fini(&d);
    testing_disk_fini(&writers);
    testing_dir_remove();
}

/* Nobody wrote for a month; then a host whose clock is wrong begins a backup
 * and deletes one. */
static void
an_entry_of_another_time_has_all_its_time(int64_t wrong)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    struct testing_disk d[3],
        writers = { .name = "vda", .size = 1 << 20, .log2 = 16 };
    char ids[3][REPO_ID_SIZE], late[REPO_ID_SIZE];
    const char *first[] = { ids[0] };
    struct repo_backup *b;
    struct repo_gc_result r;
    struct err err = { 0 };
    unsigned n;
    int rc;

    testing_dir_make();
    shift_clock(0);
    repo = testing_repo_create(false);
    CHECK_OK(testing_repo_try_open(&other, &err), &err);
    make_at(repo, &d[0], 0, ids[0]);
    make_at(repo, &d[1], 0, ids[1]);
    shift_clock(30 * DAY + wrong);
    b = begin(repo, &writers, NULL, &n);
    CHECK_OK(repo_hold_set(repo, ids[1], "for ever", &err), &err);
    delete_at(repo, ids[0], 30 * DAY + wrong);
    r = collect_at(other, 30 * DAY);
    CHECK_INT(r.killed_sessions + r.dropped_backups, ==, 0);
    CHECK_OK(repo_hold_undelete(other, first, 1, &err), &err);
    delete_at(repo, ids[0], 30 * DAY + wrong);
    write_chunk(b, n, &writers, 1, &err, &rc);
    CHECK_OK(rc, &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, NULL, &err), &err);
    memcpy(late, repo_backup_id(b), sizeof late);
    repo_backup_free(b);

    /* And not more: another one writes, and two days later it is dropped. */
    make_at(other, &d[2], 31 * DAY, ids[2]);
    CHECK_INT(collect_at(other, 32 * DAY).dropped_backups, ==, 0);
    CHECK_INT(collect_at(other, 34 * DAY).dropped_backups, ==, 1);
    CHECK_INT(collect_at(other, 37 * DAY).removed_packs, >, 0);
    /* A hold is no matter of time. */
    first[0] = ids[1];
    CHECK(repo_delete(other, first, 1, &err) < 0);
    (void)collect_at(other, TEN_YEARS);
    (void)collect_at(repo, -TEN_YEARS);
    (void)collect_at(repo, TEN_YEARS + 3 * DAY);
    testing_backup_check(repo, ids[1], &d[1]);
    testing_backup_check(repo, ids[2], &d[2]);
    testing_backup_check(repo, late, &writers);
    testing_check_sound(repo);
    for (unsigned i = 0; i < ARRAY_SIZE(d); i++)
        testing_disk_fini(&d[i]);
    testing_disk_fini(&writers);
    testing_dir_remove();
}

static void
a_host_of_the_past_has_all_its_time(void)
{
    an_entry_of_another_time_has_all_its_time(-TEN_YEARS);
}

static void
a_host_of_the_future_has_all_its_time(void)
{
    an_entry_of_another_time_has_all_its_time(TEN_YEARS);
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "a backup of two weeks is committed",
          a_backup_of_two_weeks_is_committed },
        { "a writer that was stopped for too long is told",
          a_writer_that_was_stopped_for_too_long_is_told },
        { "a restore that pins goes on for two weeks",
          a_restore_that_pins_goes_on_for_two_weeks },
        { "one that did not pins when it takes long",
          one_that_did_not_pins_when_it_takes_long },
        { "a clock that is wrong by ten years loses nothing",
          a_clock_that_is_wrong_by_ten_years_loses_nothing },
        { "a collector of the past hurries nobody",
          a_collector_of_the_past_hurries_nobody },
        { "a host of the past has all its time",
          a_host_of_the_past_has_all_its_time },
        { "a host of the future has all its time",
          a_host_of_the_future_has_all_its_time },
    };
    int rc;

    (void)snprintf(shift_file, sizeof shift_file, "/tmp/vmkeep-clock-%ld",
                   (long)getpid());
    (void)setenv("VMKEEP_CLOCK_SHIFT", shift_file, 1);
    shift_clock(0);
    clock_init();
    rc = test_main(tests, ARRAY_SIZE(tests));
    (void)unlink(shift_file);
    return rc;
}
