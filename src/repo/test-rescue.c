/* SPDX-License-Identifier: Apache-2.0 */
/* Writers that find chunks in the packs of others, while these packs are
 * condemned, rewritten and removed. test-rescue [ROUNDS]. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/mem.h"
#include "repo/compact.h"
#include "repo/gc.h"
#include "repo/parity.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define LOG2   16u
#define CHUNK  ((size_t)1 << LOG2)
#define CHUNKS 32u
#define POOL   160u /* different chunks, of all backups together */

struct plan {
    uint32_t seeds[CHUNKS];
    char id[REPO_ID_SIZE];
};

static unsigned rounds = 3;

/* Chunks `first` and following ones. */
static struct plan
plan_of(uint32_t first)
{
    struct plan p = { 0 };

    for (uint32_t i = 0; i < CHUNKS; i++)
        p.seeds[i] = first + i;
    return p;
}

static struct repo *
open_repo(void)
{
    struct repo *repo = NULL;
    struct err err = { 0 };

    CHECK_OK(testing_repo_try_open(&repo, &err), &err);
    return repo;
}

static struct repo_backup *
write_backup(struct repo *repo, struct plan *p, const char *parent)
{
    struct repo_backup_options o = { .parent = parent, .threads = 1 };
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    uint8_t data[CHUNK];
    unsigned n = 9;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    memcpy(p->id, repo_backup_id(b), sizeof p->id);
    CHECK_OK(repo_backup_add_disk(b, "d", CHUNKS * CHUNK, LOG2, &n, &err),
             &err);
    for (unsigned c = 0; c < CHUNKS; c++) {
        testing_fill(data, CHUNK, p->seeds[c]);
        CHECK_OK(repo_backup_write(b, n, c * CHUNK, data, CHUNK, &err), &err);
    }
    return b;
}

static void
back_up(struct repo *repo, struct plan *p)
{
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct err err = { 0 };

    b = write_backup(repo, p, NULL);
    CHECK_OK(repo_backup_commit(b, "meta", 4, "uid", &err), &err);
}

static void
check_reads(struct repo *repo, const struct plan *p)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    uint8_t data[CHUNK], want[CHUNK];
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, p->id, &v, &err), &err);
    for (unsigned c = 0; c < CHUNKS; c++) {
        testing_fill(want, CHUNK, p->seeds[c]);
        CHECK_OK(repo_view_read(v, 0, c * CHUNK, data, CHUNK, &err), &err);
        CHECK(memcmp(data, want, CHUNK) == 0);
    }
}

static void
delete_one(struct repo *repo, const struct plan *p)
{
    const char *id = p->id;
    struct err err = { 0 };

    CHECK_OK(repo_delete(repo, &id, 1, &err), &err);
}

static struct repo_gc_result
collect(struct repo *repo, bool removes)
{
    struct repo_gc_options o = repo_gc_defaults();
    struct repo_gc_result r;
    struct err err = { 0 };

    o.undelete_s = 0;
    if (removes)
        o.grace_s = 0;
    CHECK_OK(repo_gc(repo, &o, NULL, &r, &err), &err);
    return r;
}

static void
compact(struct repo *repo)
{
    struct repo_compact_options o = { .dead_percent = 2, .rest_percent = 1 };
    struct repo_compact_sink sink = { 0 };
    struct repo_compact_result r;
    struct err err = { 0 };

    CHECK_OK(repo_compact(repo, &o, &sink, &r, &err), &err);
}

/* ---- one writer, and what happens before its commit ---------------------- */

enum what {
    CONDEMNED, /* all its chunks, in a pack that is still there */
    REWRITTEN, /* half of them moved, half left behind */
    REMOVED,   /* half of them moved, half gone */
    ALL_GONE,
};

static void
wait_until_found(struct repo_backup *b)
{
    struct repo_progress g = { 0 };

    for (unsigned i = 0; i < 60000; i++) {
        repo_backup_progress(b, &g);
        if (g.dup_bytes == CHUNKS * CHUNK)
            return;
        (void)usleep(1000);
    }
    CHECK_INT(g.dup_bytes, ==, CHUNKS * CHUNK);
}

static void
happen(enum what what, struct repo *repo, const struct plan *first,
       const struct plan *half)
{
    delete_one(repo, first);
    if (what == CONDEMNED || what == ALL_GONE)
        delete_one(repo, half);
    (void)collect(repo, false);
    if (what == REWRITTEN || what == REMOVED)
        compact(repo);
    if (what == REMOVED || what == ALL_GONE) {
        (void)collect(repo, true);
        CHECK(collect(repo, true).removed_packs < 100);
    }
}

static void
run(enum what what, bool is_encrypted)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    struct plan first = plan_of(1), half = plan_of(1 + CHUNKS / 2);
    struct plan mine = plan_of(1);
    struct repo_backup *b;
    struct repo_progress g;
    struct err err = { 0 };
    int rc;

    testing_dir_make();
    repo = testing_repo_create(is_encrypted);
    back_up(repo, &first);
    back_up(repo, &half); /* needs the second half of the first */
    other = open_repo();
    b = write_backup(other, &mine, NULL);
    wait_until_found(b);
    happen(what, repo, &first, &half);
    rc = repo_backup_commit(b, "meta", 4, "uid", &err);
    repo_backup_progress(b, &g);
    repo_backup_free(b);
    if (what == REMOVED || what == ALL_GONE) {
        CHECK_ERR(rc, &err, ERR_CONFLICT);
        back_up(other, &mine); /* the next run is as always */
    } else {
        CHECK_OK(rc, &err);
        CHECK(g.stored_bytes >
              (what == CONDEMNED ? CHUNKS : CHUNKS / 2) * CHUNK);
    }
    for (unsigned i = 0; i < 3; i++) {
        check_reads(repo, &mine);
        if (what == REWRITTEN || what == REMOVED)
            check_reads(repo, &half);
        testing_check_sound(repo);
        if (i == 1)
            compact(repo);
        (void)collect(repo, true);
    }
    testing_dir_remove();
}

static void
condemned_chunks_are_stored_again(void)
{
    run(CONDEMNED, true);
    run(CONDEMNED, false);
}

static void
moved_chunks_are_referred_to(void)
{
    run(REWRITTEN, true);
    run(REWRITTEN, false);
}

static void
chunks_that_are_gone_end_the_backup(void)
{
    run(REMOVED, true);
    run(ALL_GONE, true);
}

/* ---- at each change of the store that writers make ----------------------- */

struct event {
    enum what what;
    struct repo *repo;
    const struct plan *first, *half;
    bool is_over;
};

static void
on_change(void *arg)
{
    struct event *e = arg;

    happen(e->what, e->repo, e->first, e->half);
    e->is_over = true;
}

/* Eight writers that have found all of their chunks in packs of others; they
 * end one after the other, and before change n of one of them it happens.
 * False: it has fewer changes. */
static bool
run_at(enum what what, unsigned whose, uint64_t n)
{
    enum {
        AT_WORK = 8
    };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct plan first = plan_of(1), half = plan_of(1 + CHUNKS / 2);
    struct plan mine[AT_WORK];
    struct repo *repos[AT_WORK];
    struct repo_backup *b[AT_WORK];
    struct event event = { what, NULL, &first, &half, false };
    struct blob_fault_plan plan = {
        .kind = BLOB_FAULT_CALL, .n = n, .call = on_change, .arg = &event
    };

    testing_dir_make();
    repo = testing_repo_create(n % 2 == 0);
    event.repo = repo;
    back_up(repo, &first);
    back_up(repo, &half);
    for (unsigned i = 0; i < AT_WORK; i++) {
        mine[i] = plan_of(1);
        repos[i] = testing_repo_open(
            i == whose ? plan : (struct blob_fault_plan){ 0 });
        b[i] = write_backup(repos[i], &mine[i], NULL);
        if (!event.is_over)
            wait_until_found(b[i]);
    }
    for (unsigned i = 0; i < AT_WORK; i++) {
        struct err err = { 0 };

        if (repo_backup_commit(b[i], "meta", 4, "uid", &err) < 0) {
            /* Only who was robbed, and he is told. */
            CHECK(what == REMOVED || what == ALL_GONE);
            CHECK_INT(err.code, ==, ERR_CONFLICT);
            repo_backup_free(TAKE(b[i]));
            back_up(repos[i], &mine[i]);
        }
        repo_backup_free(b[i]);
    }
    for (unsigned i = 0; i < AT_WORK; i++) {
        check_reads(repo, &mine[i]);
        repo_close(repos[i]);
    }
    if (what == REWRITTEN || what == REMOVED || !event.is_over)
        check_reads(repo, &half);
    testing_check_sound(repo);
    (void)collect(repo, true);
    compact(repo);
    (void)collect(repo, true);
    (void)collect(repo, true);
    for (unsigned i = 0; i < AT_WORK; i++)
        check_reads(repo, &mine[i]);
    testing_check_sound(repo);
    testing_dir_remove();
    return event.is_over;
}

/* F25. With few rounds: at every second one of one writer. */
static void
at_every_change_of_the_store(void)
{
    bool is_short = rounds < 10;
    unsigned places = 0;

    for (enum what what = CONDEMNED; what <= ALL_GONE; what++)
        for (unsigned i = 0; i < (is_short ? 1 : 8); i++) {
            unsigned whose = is_short ? what * 2 : i;
            uint64_t n = is_short ? 1 + what % 2 : 1;

            for (; run_at(what, whose, n); n += is_short ? 2 : 1)
                places++;
        }
    printf("# at %u places\n", places);
    CHECK_INT(places, >=, 8);
}

/* ---- all at once ---- */

#define WRITERS 8

static atomic_bool is_over;
static struct plan kept[WRITERS];

static void *
writer(void *arg)
{
    struct plan *p = arg;
    CLEANUP(repo_close) struct repo *repo = open_repo();
    uint64_t s = (uint64_t)(p - kept) + 1;

    for (unsigned round = 0; round < rounds; round++) {
        struct plan next = *p;
        struct repo_backup *b;
        struct err err = { 0 };

        for (unsigned c = 0; c < CHUNKS; c++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            if (round == 0 || s >> 62 == 0)
                next.seeds[c] = 1 + (uint32_t)(s >> 33) % POOL;
        }
        b = write_backup(repo, &next, round > 0 && s >> 63 == 0 ? p->id : NULL);
        CHECK_OK(repo_backup_commit(b, "meta", 4, "uid", &err), &err);
        repo_backup_free(b);
        if (round > 0)
            delete_one(repo, p);
        *p = next;
        check_reads(repo, p);
    }
    return NULL;
}

static void *
collector(void *arg)
{
    CLEANUP(repo_close) struct repo *repo = open_repo();

    (void)arg;
    while (!atomic_load(&is_over))
        (void)collect(repo, false);
    return NULL;
}

static void *
compactor(void *arg)
{
    CLEANUP(repo_close) struct repo *repo = open_repo();

    (void)arg;
    while (!atomic_load(&is_over))
        compact(repo);
    return NULL;
}

/* F25, F26: nobody waits, nobody fails. */
static void
writers_collectors_and_compactors_at_once(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    pthread_t writers[WRITERS], others[4];
    struct repo_gc_result r;

    testing_dir_make();
    repo = testing_repo_create(true);
    atomic_store(&is_over, false);
    for (unsigned i = 0; i < WRITERS; i++)
        CHECK(pthread_create(&writers[i], NULL, writer, &kept[i]) == 0);
    for (unsigned i = 0; i < 4; i++)
        CHECK(pthread_create(&others[i], NULL, i < 2 ? collector : compactor,
                             NULL) == 0);
    for (unsigned i = 0; i < WRITERS; i++)
        CHECK(pthread_join(writers[i], NULL) == 0);
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < 4; i++)
        CHECK(pthread_join(others[i], NULL) == 0);
    compact(repo);
    (void)collect(repo, true);
    r = collect(repo, true);
    CHECK_INT(r.waiting_packs, ==, 0);
    for (unsigned i = 0; i < WRITERS; i++)
        check_reads(repo, &kept[i]);
    testing_check_sound(repo);
    testing_dir_remove();
}

/* ---- the space ---- */

/* Of packs. Each has its parity, and there is no other. */
static uint64_t
stored_bytes(struct repo *repo)
{
    static const char *const prefixes[] = { "p/", "m/" };
    uint64_t sum = 0, size = 0;
    size_t packs = 0, parities = 0;
    struct err err = { 0 };

    for (unsigned k = 0; k < 2; k++) {
        CLEANUP(blob_names_fini) struct blob_names n = { 0 };

        CHECK_OK(blob_list(repo->blob, prefixes[k], &n, &err), &err);
        for (size_t i = 0; i < n.count; i++) {
            struct pack_id id;

            if (parity_name_parse(n.names[i], &id)) {
                parities++;
                continue;
            }
            CHECK_OK(blob_size(repo->blob, n.names[i], &size, &err), &err);
            sum += size;
            packs++;
        }
    }
    CHECK_INT(parities, ==, packs);
    return sum;
}

/* What a repository takes that never had anything but these. */
static uint64_t
needed_bytes(const struct plan *plans, unsigned count, const bool *is_deleted)
{
    static bool seen[4096];
    uint64_t n = 0;

    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < count; i++)
        for (unsigned c = 0; c < CHUNKS && !is_deleted[i]; c++) {
            n += !seen[plans[i].seeds[c]];
            seen[plans[i].seeds[c]] = true;
        }
    return n * CHUNK;
}

static void
space_comes_back(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_compact_options o = { 0 }; /* as a user would */
    struct repo_compact_sink sink = { 0 };
    struct repo_compact_result r;
    static struct plan plans[100];
    bool is_deleted[100] = { false };
    uint64_t before, after, needed;
    struct err err = { 0 };

    testing_seed(11);
    testing_dir_make();
    testing_has_parity = true;
    repo = testing_repo_create(true);
    testing_has_parity = false;
    for (unsigned i = 0; i < 100; i++) {
        plans[i] = i == 0 ? plan_of(1) : plans[i - 1];
        for (unsigned k = 0; i > 0 && k < 4; k++)
            plans[i].seeds[testing_below(CHUNKS)] = 100 + 4 * i + k;
        back_up(repo, &plans[i]);
    }
    for (unsigned n = 0; n < 50;) {
        unsigned i = (unsigned)testing_below(100);

        if (is_deleted[i])
            continue;
        is_deleted[i] = true;
        delete_one(repo, &plans[i]);
        n++;
    }
    before = stored_bytes(repo);
    (void)collect(repo, true);
    CHECK_OK(repo_compact(repo, &o, &sink, &r, &err), &err);
    (void)collect(repo, true);
    (void)collect(repo, true);
    after = stored_bytes(repo);
    needed = needed_bytes(plans, 100, is_deleted);
    printf("# %llu KiB before, %llu after, %llu of chunks are needed\n",
           (unsigned long long)before / 1024, (unsigned long long)after / 1024,
           (unsigned long long)needed / 1024);
    CHECK(before > needed);
    CHECK(after - needed < (before - needed) * 5 / 100 + needed * 2 / 100);
    for (unsigned i = 0; i < 100; i += 1)
        if (!is_deleted[i])
            check_reads(repo, &plans[i]);
    testing_check_sound(repo);
    testing_dir_remove();
}

int
main(int argc, char **argv)
{
    static const struct test_case tests[] = {
        { "condemned chunks are stored again",
          condemned_chunks_are_stored_again },
        { "moved chunks are referred to", moved_chunks_are_referred_to },
        { "chunks that are gone end the backup",
          chunks_that_are_gone_end_the_backup },
        { "at every change of the store", at_every_change_of_the_store },
        { "writers, collectors and compactors at once",
          writers_collectors_and_compactors_at_once },
        { "space comes back", space_comes_back },
    };

    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    /* The last one is one thread's work. */
    return test_main(tests, ARRAY_SIZE(tests) - TEST_LOOKS_FOR_RACES);
}
