/* SPDX-License-Identifier: Apache-2.0 */
/* Parity comes and goes with its pack; crashes, readers and full stores while a
 * pack is repaired. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repo/collect.h"
#include "repo/repo-private.h"
#include "repo/test-parity-kit.h"

#define CHUNKS TESTING_PARITY_CHUNKS

static struct repo_collect_result
collect(struct repo *repo)
{
    struct repo_collect_options o = { .compact = { .dead_percent = 1,
                                                   .rest_percent = 100 } };
    struct repo_collect_sink sink = { 0 };
    struct repo_collect_result c;
    struct err err = { 0 };

    CHECK_OK(repo_collect(repo, &o, &sink, &c, &err), &err);
    return c;
}

/* What is moved gets its own; what is removed takes its own along. */
static void
it_lives_as_long_as_its_pack(void)
{
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    const char *gone = a;
    struct repo *repo = testing_parity_repo(true, a);
    struct repo_collect_result c;
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct pack_id orphan = { .kind = FRAME_DATA, .session = { 1 } };
    struct err err = { 0 };
    char name[PARITY_NAME_SIZE];
    bool existed;

    CHECK_INT(testing_count_parities(repo), ==, 2);
    for (uint64_t i = 0; i < CHUNKS / 2; i++)
        testing_disk_set(&testing_parity_disk, i, TESTING_RANDOM, 500 + i);
    testing_backup(repo, a, b);
    CHECK_INT(testing_count_parities(repo), ==, 4);
    parity_name(&orphan, name);
    CHECK_OK(blob_put(repo->blob, name, "x", 1, &existed, &err), &err);
    CHECK_OK(repo_delete(repo, &gone, 1, &err), &err);
    c = collect(repo);
    CHECK_INT(c.compact.packs_rewritten, >=, 1);
    CHECK_INT(c.gc.removed_packs, >=, 1);
    CHECK_INT(testing_count_parities(repo), ==, c.gc.live_packs);
    CHECK_INT(blob_size(repo->blob, name, &(uint64_t){ 0 }, &err), <, 0);
    CHECK(testing_reads(repo, b));
    testing_check_quiet(repo);
    testing_list_parities(repo, &n);
    for (size_t i = 0; i < n.count; i++) {
        struct repo_scrub_result r;
        struct testing_heard h;
        struct testing_subject s;

        if (n.names[i][0] == 'm')
            continue;
        testing_subject_init(&s, n.names[i]);
        testing_flip(s.name, s.pack_len / 2);
        r = testing_scrub(repo, &h);
        CHECK_INT(r.repaired, ==, 1);
        CHECK(testing_is_as_written(&s));
        testing_subject_fini(&s);
    }
    CHECK(testing_reads(repo, b));
    gone = b;
    CHECK_OK(repo_delete(repo, &gone, 1, &err), &err);
    (void)collect(repo);
    CHECK_INT(testing_count_parities(repo), ==, 0);
    repo_close(repo);
    testing_dir_remove();
}

/* Parity that is left is not taken for the pack that somebody removed. */
static void
a_pack_that_is_gone_is_missed_before_the_commit(void)
{
    enum {
        BYTES = (64 + 4) << 20
    };
    struct repo_backup_options o = { .threads = 1 };
    struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, BYTES);
    char first[REPO_ID_SIZE], parity[PARITY_NAME_SIZE], name[PACK_NAME_SIZE];
    struct repo *repo = testing_parity_repo(true, first);
    uint64_t size, until = clock_mono_ms() + 60000;
    struct err err = { 0 };
    unsigned n;

    testing_fill(data, BYTES, 1);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "vda", BYTES, 18, &n, &err), &err);
    CHECK_OK(repo_backup_write(b, n, 0, data, BYTES, &err), &err);
    (void)snprintf(name, sizeof name, "p/%s/0", repo_backup_id(b));
    (void)snprintf(parity, sizeof parity, "%s.parity", name);
    while (blob_size(repo->blob, parity, &size, &err) < 0) {
        CHECK(clock_mono_ms() < until);
        clock_sleep_ms(10);
    }
    CHECK_OK(blob_remove(repo->blob, name, &err), &err);
    CHECK_INT(repo_backup_commit(b, NULL, 0, NULL, &err), <, 0);
    CHECK(strstr(err.msg, "gone before the commit") != NULL);
    repo_backup_free(b);
    CHECK_OK(blob_remove(repo->blob, parity, &err), &err);
    repo_close(repo);
    testing_dir_remove();
}

/* ---- crashes, and others at work ---- */

/* Whatever change of the store is the last, the pack is the damaged one or the
 * good one, and the next scrub has it right. */
static void
a_crash_in_a_repair_does_no_harm(void)
{
    static const enum blob_fault_kind kinds[] = {
        BLOB_FAULT_ERROR, BLOB_FAULT_LOST, BLOB_FAULT_TORN, BLOB_FAULT_CRASH
    };
    struct testing_subject s;
    char id[REPO_ID_SIZE];

    repo_close(testing_parity_repo(true, id));
    testing_subject_of(&s, 'p', id);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        for (uint64_t n = 1;; n++) {
            struct blob_fault_plan plan = { .kind = kinds[i], .n = n };
            struct repo_scrub_result r;
            struct err err = { 0 };
            struct repo *repo;
            struct testing_heard h;
            uint64_t changes;
            int rc;

            testing_flip(s.name, 100000);
            testing_flip(s.parity, s.object_len - 9);
            repo = testing_repo_open(plan);
            rc = testing_try_scrub(repo, REPO_VERIFY_STRIPES, &h, &r, &err);
            changes = blob_fault_changes(repo->blob);
            repo_close(repo);
            repo = testing_repo_open((struct blob_fault_plan){ 0 });
            (void)testing_scrub(repo, &h);
            CHECK(testing_is_as_written(&s));
            CHECK(testing_reads(repo, id));
            repo_close(repo);
            if (rc == 0 && changes < n)
                break;
        }
    testing_subject_fini(&s);
    testing_dir_remove();
}

struct reader {
    struct repo *repo;
    const char *id;
    atomic_bool stops;
    unsigned good, all;
};

static void *
read_on(void *arg)
{
    struct reader *r = arg;

    do {
        r->good += testing_reads(r->repo, r->id); /* other bytes: it aborts */
        r->all++;
    } while (!atomic_load(&r->stops));
    r->good += testing_reads(r->repo, r->id);
    r->all++;
    return NULL;
}

static void
who_reads_meanwhile_gets_right_bytes(void)
{
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id);
    struct reader r = { .id = id };
    pthread_t thread;
    struct testing_subject s;
    struct testing_heard h;

    r.repo = testing_repo_open((struct blob_fault_plan){ 0 });
    testing_subject_of(&s, 'p', id);
    CHECK_INT(pthread_create(&thread, NULL, read_on, &r), ==, 0);
    for (unsigned i = 0; i < 10; i++) {
        CLEANUP(mem_free) uint8_t *bad = xcalloc(1, s.pack_len);
        struct err err = { 0 };

        memcpy(bad, s.pack, s.pack_len);
        bad[5000 + 70000 * i] ^= 1;
        CHECK_OK(blob_replace(repo->blob, s.name, bad, s.pack_len, &err), &err);
        (void)testing_scrub(repo, &h);
        CHECK_INT(h.repaired, ==, 1);
    }
    atomic_store(&r.stops, true);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    CHECK_INT(r.good, >=, 1);
    CHECK(testing_is_as_written(&s));
    testing_subject_fini(&s);
    repo_close(r.repo);
    repo_close(repo);
    testing_dir_remove();
}

/* A store that takes nothing: the damage is told, and why it stays. */
static void
where_nothing_can_be_written_it_is_told(void)
{
    char id[REPO_ID_SIZE];
    struct repo_scrub_result r;
    struct err err = { 0 };
    struct repo *repo;
    struct testing_subject s;
    struct testing_heard h;

    repo_close(testing_parity_repo(true, id));
    testing_subject_of(&s, 'p', id);
    testing_flip(s.name, 100000);
    /* Change 1 is the cursor of the pass. */
    repo = testing_repo_open(
        (struct blob_fault_plan){ .kind = BLOB_FAULT_ERROR, .n = 2 });
    CHECK_OK(testing_try_scrub(repo, REPO_VERIFY_STRIPES, &h, &r, &err), &err);
    CHECK_INT(r.repaired, ==, 0);
    CHECK_INT(r.damages, ==, 1);
    CHECK(strstr(h.cause, "not repaired from its parity") != NULL);
    CHECK(strstr(h.cause, "no space") != NULL);
    repo_close(repo);
    testing_subject_fini(&s);
    testing_dir_remove();
}

/* A target that is full but for that: the backup is made all the same. */
static void
no_room_for_parity_is_no_error(void)
{
    char id[REPO_ID_SIZE];
    bool lacked = false;

    for (uint64_t n = 1; n < 30; n++) {
        struct repo_scrub_result r;
        struct err err = { 0 };
        struct repo *repo;
        struct testing_heard h;

        testing_dir_make();
        testing_has_parity = true;
        repo_close(testing_repo_create(true));
        testing_make_disk(1);
        repo = testing_repo_open(
            (struct blob_fault_plan){ .kind = BLOB_FAULT_ERROR, .n = n });
        if (testing_try_backup(repo, NULL, id, &err) == 0 &&
            testing_count_parities(repo) < 2) {
            lacked = true;
            CHECK(testing_reads(repo, id));
            r = testing_scrub(repo, &h);
            CHECK_INT(r.damages, ==, 0);
            CHECK_INT(r.parity_made, ==, 1);
            CHECK_INT(testing_count_parities(repo), ==, 2);
        }
        repo_close(repo);
        testing_dir_remove();
    }
    CHECK(lacked);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "it lives as long as its pack", it_lives_as_long_as_its_pack },
        { "a pack that is gone is missed before the commit",
          a_pack_that_is_gone_is_missed_before_the_commit },
        { "a crash in a repair does no harm",
          a_crash_in_a_repair_does_no_harm },
        { "who reads meanwhile gets right bytes",
          who_reads_meanwhile_gets_right_bytes },
        { "where nothing can be written it is told",
          where_nothing_can_be_written_it_is_told },
        { "no room for parity is no error", no_room_for_parity_is_no_error },
    };
    int rc;

    testing_seed(14);
    rc = test_main(cases, ARRAY_SIZE(cases));
    testing_disk_fini(&testing_parity_disk);
    return rc;
}
