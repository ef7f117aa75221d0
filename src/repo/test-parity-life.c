/* SPDX-License-Identifier: Apache-2.0 */
/* Parity comes and goes with its pack; crashes, readers and full stores while a
 * pack is repaired. */
#include <sys/wait.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/mem.h"
#include "repo/collect.h"
#include "repo/repo-keys.h"
#include "repo/repo-private.h"
#include "repo/test-around.h"
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
    /* Parity that lacks is no damage, but that it does is told. The cursor is
     * two changes now. */
    testing_replace(s.name, s.pack, s.pack_len);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(blob_remove(repo->blob, s.parity, &err), &err);
    repo_close(repo);
    repo = testing_repo_open(
        (struct blob_fault_plan){ .kind = BLOB_FAULT_ERROR, .n = 3 });
    CHECK_OK(testing_try_scrub(repo, REPO_VERIFY_STRIPES, &h, &r, &err), &err);
    CHECK_INT(r.damages + r.parity_made, ==, 0);
    CHECK_INT(r.parity_lacks, ==, 1);
    CHECK(strstr(r.parity_cause, "no space") != NULL);
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

/* ---- kill -9 ---- */

/* A scrub of its own process, killed at effect `n`. False: it ended before. */
static bool
is_killed(unsigned n, bool is_after)
{
    pid_t pid;
    int flushed = fflush(stdout); /* or a child that ends prints it again */

    CHECK_INT(flushed, ==, 0);
    pid = fork();
    int status = 0;

    if (pid == 0) {
        struct repo_scrub_result r;
        struct testing_heard h;
        struct repo *repo;
        struct err err;
        char at[64];

        (void)snprintf(at, sizeof at, "scrub:%u:%s", n,
                       is_after ? "after" : "before");
        (void)setenv("VMKEEP_CRASH_AT", at, 1); // NOLINT: no other thread
        effect_init();
        effect_flow_set("scrub");
        repo = testing_repo_open((struct blob_fault_plan){ 0 });
        _exit(testing_try_scrub(repo, REPO_VERIFY_FRAMES, &h, &r, &err) < 0);
    }
    CHECK_INT(pid, >, 0);
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK(WIFEXITED(status) ? WEXITSTATUS(status) == 0
                            : WTERMSIG(status) == SIGKILL);
    return WIFSIGNALED(status);
}

/* What is damaged, in which of the three ways. */
static void
damage(unsigned way, const struct testing_subject *s)
{
    CLEANUP(blob_free) struct blob *b = testing_blob();
    struct err err = { 0 };

    if (way != 1)
        testing_flip(s->name, s->pack_len / 3);
    if (way == 0)
        testing_flip(s->parity, s->object_len - 9);
    if (way == 1)
        CHECK_OK(blob_remove(b, s->parity, &err), &err);
    if (way == 2)
        testing_replace(s->name, s->pack, s->pack_len - 100);
}

static bool
try_kill(unsigned way, unsigned n, bool is_after,
         const struct testing_subject *s, const char *id)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) uint8_t *bad = NULL;
    struct testing_heard h;
    size_t len = 0;
    bool killed;

    damage(way, s);
    bad = testing_load(s->name, &len);
    killed = is_killed(n, is_after);
    CHECK(testing_is_as(s->name, bad, len) ||
          testing_is_as(s->name, s->pack, s->pack_len));
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK(testing_reads(repo, id));
    (void)testing_scrub(repo, &h);
    CHECK_INT(h.damages + h.affected, ==, 0);
    CHECK(testing_is_as_written(s));
    CHECK(testing_reads(repo, id));
    return killed;
}

/* At each side effect: as good as before or repaired, and the next one ends. */
static void
kill_9_in_a_repair_does_no_harm(void)
{
    const char *check = getenv("VMKEEP_CHECK"); // NOLINT: no other thread
    bool is_full = check != NULL && strcmp(check, "full") == 0;
    char id[REPO_ID_SIZE];

    for (unsigned way = 0; way < 3; way++) {
        struct testing_subject s;
        unsigned step = is_full || way == 0 ? 1 : 3, n;

        repo_close(testing_parity_repo(true, id));
        testing_subject_of(&s, "ppm"[way], id);
        for (n = 1; try_kill(way, n, false, &s, id); n += step)
            if (is_full) /* else: before the next one is nearly the same */
                (void)try_kill(way, n, true, &s, id);
        CHECK_INT(n, >, 8); /* a repair has so many */
        testing_subject_fini(&s);
        testing_dir_remove();
    }
}

/* ---- others put it right meanwhile; what passes by itself ---- */

struct other {
    struct testing_around around;
    const struct testing_subject *subject;
    unsigned misreads;   /* so many reads of its middle give something else */
    struct repo *fixer;  /* repairs it as soon as its parity is asked for */
    unsigned away_after; /* so many reads later one gets no answer; 0: never */
    unsigned away;
};

static int
other_get(struct blob *b, const char *name, uint64_t off, void *data,
          size_t len, size_t *ret_len, struct err *err)
{
    struct other *o = container_of(b, struct other, around.blob);
    uint64_t middle = o->subject->pack_len / 2;

    if (o->away_after > 0 && --o->away_after == 0) {
        o->away++;
        return err_set(err, ERR_UNAVAILABLE, "%s: no answer", name);
    }
    if (o->fixer != NULL && strcmp(name, o->subject->parity) == 0) {
        struct repo *fixer = TAKE(o->fixer);
        struct parity_repair r;
        struct err e = { 0 };

        CHECK_OK(parity_repair(fixer->blob, &o->subject->id, &r, &e), &e);
    }
    if (blob_get(testing_around_inner(b), name, off, data, len, ret_len, err) <
        0)
        return -1;
    if (o->misreads > 0 && strcmp(name, o->subject->name) == 0 &&
        middle >= off && middle - off < *ret_len) {
        o->misreads--;
        ((uint8_t *)data)[middle - off] ^= 1;
    }
    return 0;
}

static struct repo *
open_other(const struct testing_subject *s, struct other **ret)
{
    struct other *o = testing_around_new(sizeof *o, testing_blob());
    struct repo *repo = NULL;
    struct err err = { 0 };

    o->subject = s;
    o->around.ops.get = other_get;
    CHECK_OK(testing_repo_open_on(&o->around.blob, &repo, &err), &err);
    *ret = o;
    return repo;
}

/* Two scrubs at once, or a cable that was loose: nothing is damaged when it is
 * looked at again, and nothing is said to be. */
static void
what_is_right_at_the_second_look_is_not_damaged(void)
{
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id), *slow;
    struct repo_scrub_result r;
    struct testing_subject s;
    struct testing_heard h;
    struct other *o;

    testing_subject_of(&s, 'p', id);
    for (unsigned i = 0; i < 2; i++) {
        slow = open_other(&s, &o);
        if (i == 0) {
            testing_flip(s.name, s.pack_len / 2);
            o->fixer = repo;
        } else {
            o->misreads = 1;
        }
        r = testing_scrub(slow, &h);
        CHECK(o->fixer == NULL && o->misreads == 0);
        CHECK_INT(r.damages + r.new_bad + r.bad + h.damages + h.affected, ==,
                  0);
        CHECK(testing_is_as_written(&s));
        repo_close(slow);
    }
    testing_check_quiet(repo);
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
}

static struct repo *collector;
static const char *unwanted;

/* Somebody collects the pack just before it is put in its place; after that the
 * rename makes it anew. */
static int
late_replace(struct blob *b, const char *name, const void *data, size_t len,
             struct err *err)
{
    struct blob *inner = testing_around_inner(b);
    struct err e = { 0 };
    bool existed = true;

    if (collector == NULL || name[0] != 'p')
        return blob_replace(inner, name, data, len, err);
    CHECK_OK(repo_delete(collector, &unwanted, 1, &e), &e);
    CHECK_INT(collect(TAKE(collector)).gc.removed_packs, ==, 2);
    CHECK_OK(blob_put(inner, name, data, len, &existed, &e), &e);
    CHECK(!existed);
    return 0;
}

/* What a repair brings back after it was collected goes with the next run. */
static void
a_pack_that_was_collected_meanwhile_does_not_stay(void)
{
    struct repo_scrub_options o = { .level = REPO_VERIFY_FRAMES };
    struct repo_scrub_sink sink = { 0 };
    char id[REPO_ID_SIZE], name[PACK_NAME_SIZE];
    struct repo *repo = testing_parity_repo(true, id), *slow;
    struct repo_scrub_result r;
    struct testing_subject s;
    struct err err = { 0 };
    struct other *around;

    testing_subject_of(&s, 'p', id);
    testing_flip(s.name, s.pack_len / 2);
    slow = open_other(&s, &around);
    around->around.ops.replace = late_replace;
    collector = repo;
    unwanted = id;
    CHECK_OK(repo_scrub_run(slow, &o, &sink, &r, &err), &err);
    CHECK(collector == NULL);
    CHECK_INT(r.damages + r.new_bad + r.bad, ==, 0);
    pack_name(&s.id, name);
    CHECK_OK(blob_size(repo->blob, name, &(uint64_t){ 0 }, &err), &err);
    (void)collect(repo);
    CHECK_INT(blob_size(repo->blob, name, &(uint64_t){ 0 }, &err), <, 0);
    CHECK_INT(testing_count_parities(repo), ==, 0);
    testing_check_quiet(repo);
    testing_subject_fini(&s);
    repo_close(slow);
    repo_close(repo);
    testing_dir_remove();
}

/* That its parity could not be written again is not the pack's damage. */
static void
a_repaired_pack_is_not_called_damaged(void)
{
    char id[REPO_ID_SIZE];
    struct repo_scrub_result r;
    struct testing_subject s;
    struct testing_heard h;
    struct repo *repo;

    repo_close(testing_parity_repo(true, id));
    testing_subject_of(&s, 'p', id);
    testing_flip(s.name, 100000);
    testing_flip(s.parity, s.object_len - 9);
    /* Change 1 is the cursor of the pass, 2 the metadata pack's if it comes to
     * that, one of them the pack, and the next its parity. */
    for (uint64_t n = 2;; n++) {
        struct err err = { 0 };

        repo = testing_repo_open(
            (struct blob_fault_plan){ .kind = BLOB_FAULT_ERROR, .n = n });
        if (testing_try_scrub(repo, REPO_VERIFY_FRAMES, &h, &r, &err) == 0 &&
            testing_is_as(s.name, s.pack, s.pack_len))
            break;
        repo_close(repo);
        CHECK_INT(n, <, 20);
    }
    CHECK_INT(r.repaired, ==, 1);
    CHECK_INT(r.damages + r.new_bad + r.bad + h.damages + h.affected, ==, 0);
    repo_close(repo);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    (void)testing_scrub(repo, &h);
    CHECK(testing_is_as_written(&s));
    testing_check_quiet(repo);
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
}

/* A store that does not answer once is not damage, and what it was asked for is
 * not given up. */
static void
a_store_that_is_away_for_a_moment_is_asked_again(void)
{
    uint64_t size = testing_parity_disk.size;
    CLEANUP(mem_free) uint8_t *got = xcalloc(1, size);
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, size);
    char id[REPO_ID_SIZE];
    struct testing_subject s;

    repo_close(testing_parity_repo(true, id));
    testing_subject_of(&s, 'p', id);
    testing_flip(s.name, s.pack_len / 2);
    testing_disk_read(&testing_parity_disk, 0, want, size);
    for (unsigned n = 1;; n++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        struct other *o;
        struct err err = { 0 };

        repo = open_other(&s, &o);
        CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
        o->away_after = n;
        if (repo_view_read(v, 0, 0, got, size, &err) < 0) {
            CHECK_INT(err.code, ==, ERR_UNAVAILABLE);
            CHECK_OK(repo_view_read(v, 0, 0, got, size, &err), &err);
        }
        CHECK(memcmp(got, want, size) == 0);
        if (o->away == 0)
            break;
    }
    testing_subject_fini(&s);
    testing_dir_remove();
}

/* Nor does a scrub call a pack damaged that it could not repair for that. */
static void
a_scrub_ends_when_the_store_is_away(void)
{
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id);
    struct repo_scrub_result r;
    struct testing_subject s;
    struct testing_heard h;
    struct other *o;

    testing_subject_of(&s, 'p', id);
    for (unsigned n = 1;; n += n / 5 + 1) {
        struct repo *slow = open_other(&s, &o);
        struct err err = { 0 };
        bool was_away;

        testing_flip(s.name, s.pack_len / 2);
        if (n % 2 == 0)
            testing_flip(s.parity, 50);
        o->away_after = n;
        if (testing_try_scrub(slow, REPO_VERIFY_FRAMES, &h, &r, &err) < 0)
            CHECK_INT(err.code, ==, ERR_UNAVAILABLE);
        /* Without its parity the pack is damaged, and that is told. */
        if (n % 2 != 0)
            CHECK_INT(r.new_bad + h.damages + h.affected, ==, 0);
        was_away = o->away > 0;
        repo_close(slow);
        testing_replace(s.name, s.pack, s.pack_len);
        testing_replace(s.parity, s.object, s.object_len);
        (void)testing_scrub(repo, &h);
        if (!was_away)
            break;
    }
    testing_check_quiet(repo);
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
}

/* After a compaction every frame is found by a map, which lies in a pack too.
 */
static void
moved_frames_are_read_from_parity_too(void)
{
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    const char *gone = a;
    struct repo *repo = testing_parity_repo(true, a);
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    for (uint64_t i = 0; i < CHUNKS / 2; i++)
        testing_disk_set(&testing_parity_disk, i, TESTING_RANDOM, 500 + i);
    testing_backup(repo, a, b);
    CHECK_OK(repo_delete(repo, &gone, 1, &err), &err);
    CHECK_INT(collect(repo).compact.packs_rewritten, >=, 1);
    testing_list_parities(repo, &n);
    repo_close(repo);
    for (size_t i = 0; i < n.count; i++) {
        struct testing_subject s;

        testing_subject_init(&s, n.names[i]);
        for (size_t at = 200; at < s.pack_len;
             at += s.pack_len / (s.name[0] == 'm' ? 9 : 3)) {
            CLEANUP(repo_close) struct repo *fresh = NULL;

            testing_flip(s.name, at);
            fresh = testing_repo_open((struct blob_fault_plan){ 0 });
            CHECK(testing_reads(fresh, b));
            testing_replace(s.name, s.pack, s.pack_len);
        }
        testing_subject_fini(&s);
    }
    testing_dir_remove();
}

static struct repo *
open_as(struct repo *repo, const char *role)
{
    char path[128], id[REPO_ID_SIZE];
    struct repo_secret s = { .key_file = path };
    struct repo_keys_new n = { .role = role };
    struct repo *his = NULL;
    struct err err = { 0 };

    (void)snprintf(path, sizeof path, "%s/.%s.key", testing_dir, role);
    n.key_file = path;
    CHECK_OK(repo_keys_add(repo, &n, id, &err), &err);
    CHECK_OK(repo_open(testing_blob(), &s, &his, &err), &err);
    return his;
}

/* A maintainer's key reads no disk: what it cannot read is not damaged. */
static void
who_cannot_read_compares_checksums(void)
{
    static const char *const roles[] = { "maintainer", "backup-only" };
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id);
    struct testing_subject s;

    testing_subject_of(&s, 'p', id);
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
        struct repo *his = open_as(repo, roles[i]);
        struct repo_scrub_result r;
        struct testing_heard h;

        r = testing_scrub(his, &h);
        CHECK_INT(r.damages + r.new_bad + r.bad + h.damages + h.affected, ==,
                  0);
        CHECK(r.is_shallow);
        testing_flip(s.name, s.pack_len / 2);
        r = testing_scrub(his, &h);
        CHECK_INT(r.repaired, ==, 1);
        CHECK_INT(r.damages + r.new_bad + r.bad + h.affected, ==, 0);
        CHECK(testing_is_as_written(&s));
        /* The end of the pack, and too much of it: told, and the pass ends. */
        for (unsigned k = 0; k < 3; k++)
            testing_flip(s.name, s.pack_len - 1 - k * 2 * s.head.stripe);
        r = testing_scrub(his, &h);
        CHECK_INT(r.repaired, ==, 0);
        CHECK_INT(r.damages, >=, 1);
        testing_replace(s.name, s.pack, s.pack_len);
        repo_close(his);
    }
    (void)testing_scrub(repo, &(struct testing_heard){ 0 });
    testing_check_quiet(repo);
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
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
        { "kill -9 in a repair does no harm", kill_9_in_a_repair_does_no_harm },
        { "what is right at the second look is not damaged",
          what_is_right_at_the_second_look_is_not_damaged },
        { "a pack that was collected meanwhile does not stay",
          a_pack_that_was_collected_meanwhile_does_not_stay },
        { "a repaired pack is not called damaged",
          a_repaired_pack_is_not_called_damaged },
        { "a store that is away for a moment is asked again",
          a_store_that_is_away_for_a_moment_is_asked_again },
        { "a scrub ends when the store is away",
          a_scrub_ends_when_the_store_is_away },
        { "moved frames are read from parity too",
          moved_frames_are_read_from_parity_too },
        { "who cannot read compares checksums",
          who_cannot_read_compares_checksums },
    };
    int rc;

    testing_seed(14);
    rc = test_main(cases, ARRAY_SIZE(cases));
    testing_disk_fini(&testing_parity_disk);
    return rc;
}
