/* SPDX-License-Identifier: Apache-2.0 */
/* Packs are rewritten; whatever happens meanwhile, every backup reads as
 * before. test-compact [SEEDS]. */
#include "base/mem.h"
#include "repo/compact.h"
#include "repo/logstate.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define LOG2    16u
#define CHUNK   ((size_t)1 << LOG2)
#define CHUNKS  96u
#define BACKUPS 7u

struct kept {
    char id[REPO_ID_SIZE];
    uint32_t seeds[CHUNKS]; /* 0: zeros */
    bool is_deleted;
};

static struct kept all[64];
static unsigned all_count;
static unsigned seeds = 1;

/* Seed 0: zeros. */
static void
fill(uint8_t *out, uint32_t seed)
{
    memset(out, 0, CHUNK);
    if (seed != 0)
        testing_fill(out, CHUNK, seed);
}

/* A backup of what the one before has, and `changes` new chunks. */
static void
back_up(struct repo *repo, unsigned changes)
{
    struct kept *before = all_count > 0 ? &all[all_count - 1] : NULL;
    struct repo_backup_options o = { .threads = 2 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct kept *k = &all[all_count++];
    struct err err = { 0 };
    uint8_t data[CHUNK];
    unsigned n = 9;

    *k = (struct kept){ 0 };
    if (before != NULL) {
        memcpy(k->seeds, before->seeds, sizeof k->seeds);
        if (!before->is_deleted)
            o.parent = before->id;
    }
    for (unsigned i = 0; i < changes; i++)
        k->seeds[testing_below(CHUNKS)] =
            (uint32_t)(testing_random() | 1) & UINT32_MAX;
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    memcpy(k->id, repo_backup_id(b), sizeof k->id);
    CHECK_OK(repo_backup_add_disk(b, "d", CHUNKS * CHUNK, LOG2, &n, &err),
             &err);
    for (unsigned c = 0; c < CHUNKS; c++) {
        if (o.parent != NULL && k->seeds[c] == before->seeds[c])
            continue;
        fill(data, k->seeds[c]);
        CHECK_OK(repo_backup_write(b, n, c * CHUNK, data, CHUNK, &err), &err);
    }
    CHECK_OK(repo_backup_commit(b, "meta", 4, "uid", &err), &err);
}

static void
delete_one(struct repo *repo, unsigned i)
{
    const char *id = all[i].id;
    struct err err = { 0 };

    if (all[i].is_deleted)
        return;
    CHECK_OK(repo_delete(repo, &id, 1, &err), &err);
    all[i].is_deleted = true;
}

/* As a collector would for good: no longer to be taken back. */
static void
drop_deleted(struct repo *repo)
{
    struct commitlog_condemn c = { 0 };
    const struct logstate *s;
    struct err err = { 0 };

    CHECK_OK(commitlog_state_take(repo->log, &s, &err), &err);
    c.base_seq = s->last_seq;
    c.drops = xcalloc(s->deleted_count + 1, 16);
    for (size_t i = 0; i < s->deleted_count; i++)
        memcpy(c.drops[c.drop_count++], s->deleted[i].backup.commit.id, 16);
    commitlog_state_give(repo->log);
    if (c.drop_count > 0)
        CHECK_OK(commitlog_append_condemn(repo->log, &c, &err), &err);
    commitlog_condemn_fini(&c);
}

static int
write_out(void *arg, uint64_t off, const void *data, size_t len,
          struct err *err)
{
    uint8_t *disk = arg;

    (void)err;
    memcpy(disk + off, data, len);
    return 0;
}

static void
check_view(struct repo_view *v, const struct kept *k)
{
    CLEANUP(mem_free) uint8_t *disk = xcalloc(CHUNKS, CHUNK);
    struct repo_sink sink = { .write = write_out, .arg = disk };
    uint8_t data[CHUNK], want[CHUNK];
    struct err err = { 0 };

    CHECK_OK(repo_view_restore(v, 0, 0, CHUNKS * CHUNK, 2, &sink, &err), &err);
    for (unsigned c = 0; c < CHUNKS; c++) {
        fill(want, k->seeds[c]);
        CHECK(memcmp(disk + c * CHUNK, want, CHUNK) == 0);
        if (c % 7 != 0)
            continue;
        CHECK_OK(repo_view_read(v, 0, c * CHUNK, data, CHUNK, &err), &err);
        CHECK(memcmp(data, want, CHUNK) == 0);
    }
}

static void
check_backups(struct repo *repo)
{
    struct repo_verify_sink sink = { 0 };
    struct err err = { 0 };
    uint64_t damages = 99;

    for (unsigned i = 0; i < all_count; i++) {
        CLEANUP(repo_view_close) struct repo_view *v = NULL;

        if (all[i].is_deleted)
            continue;
        CHECK_OK(repo_view_open(repo, all[i].id, &v, &err), &err);
        check_view(v, &all[i]);
    }
    for (unsigned level = 0; level <= REPO_VERIFY_TREES; level++) {
        CHECK_OK(repo_verify(repo, (enum repo_verify_level)level, 2, &sink,
                             &damages, &err),
                 &err);
        CHECK_INT(damages, ==, 0);
    }
}

/* As a collector would: what was rewritten goes. Returns how many. */
static unsigned
remove_sources(struct repo *repo)
{
    CLEANUP(mem_free) struct logstate_moved *moved = NULL;
    const struct logstate *s;
    struct err err = { 0 };
    unsigned gone = 0;
    size_t n;

    CHECK_OK(commitlog_state_take(repo->log, &s, &err), &err);
    n = s->moved_count;
    moved = xcalloc(n + 1, sizeof *moved);
    if (n > 0)
        memcpy(moved, s->moved, n * sizeof *moved);
    commitlog_state_give(repo->log);
    for (size_t i = 0; i < n; i++) {
        char name[PACK_NAME_SIZE];
        uint64_t size;

        pack_name(&moved[i].pack, name);
        if (blob_size(repo->blob, name, &size, &err) < 0)
            continue;
        CHECK_OK(blob_remove(repo->blob, name, &err), &err);
        gone++;
    }
    return gone;
}

static struct repo_compact_result
compact(struct repo *repo, const struct repo_compact_sink *sink)
{
    struct repo_compact_options o = { .dead_percent = 2, .rest_percent = 1 };
    struct repo_compact_sink none = { 0 };
    struct repo_compact_result r;
    struct err err = { 0 };

    CHECK_OK(repo_compact(repo, &o, sink != NULL ? sink : &none, &r, &err),
             &err);
    return r;
}

/* A chain of backups of which every other one is gone. */
static struct repo *
make(bool is_encrypted)
{
    struct repo *repo = testing_repo_create(is_encrypted);

    all_count = 0;
    back_up(repo, 2 * CHUNKS);
    for (unsigned i = 1; i < BACKUPS; i++)
        back_up(repo, CHUNKS / 4);
    for (unsigned i = 0; i < BACKUPS; i += 2)
        delete_one(repo, i);
    drop_deleted(repo);
    return repo;
}

static void
backups_read_as_before(void)
{
    for (unsigned seed = 1; seed <= 2 * seeds; seed++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(repo_close) struct repo *other = NULL;
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        struct repo_compact_result r;
        struct err err = { 0 };

        testing_seed(seed);
        testing_dir_make();
        repo = make(seed % 2 == 0);
        CHECK_OK(testing_repo_try_open(&other, &err), &err);
        CHECK_OK(repo_view_open(other, all[5].id, &v, &err), &err);
        for (unsigned round = 0; round < 2; round++) {
            r = compact(repo, NULL);
            CHECK(r.packs_rewritten > 0);
            CHECK_INT(r.packs_skipped, ==, 0);
            CHECK(r.bytes_written < r.bytes_rewritten);
            check_backups(repo);
            CHECK(remove_sources(repo) > 0);
            check_backups(repo);
            check_view(v, &all[5]); /* that knew nothing of it */
            r = compact(repo, NULL);
            CHECK_INT(r.packs_rewritten, ==, 0);
            for (unsigned i = 0; i < 3; i++)
                back_up(repo, CHUNKS / 4);
            delete_one(repo, all_count - 2);
            delete_one(repo, all_count - 3);
            delete_one(repo, 3 + 2 * round);
            drop_deleted(repo);
        }
        {
            CLEANUP(repo_close) struct repo *again = NULL;

            CHECK_OK(testing_repo_try_open(&again, &err), &err);
            check_backups(again);
        }
        repo_view_close(TAKE(v));
        testing_dir_remove();
    }
}

static void
a_crash_leaves_nothing_worse(void)
{
    static const enum blob_fault_kind kinds[] = { BLOB_FAULT_CRASH,
                                                  BLOB_FAULT_LOST,
                                                  BLOB_FAULT_ERROR };
    const unsigned step = TEST_LOOKS_FOR_RACES ? 20 : seeds > 1 ? 1 : 5;
    bool is_last = false;

    for (uint64_t n = 1; !is_last; n += step) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(repo_close) struct repo *dying = NULL;
        struct blob_fault_plan plan = { .kind = kinds[n % 3], .n = n };
        struct repo_compact_options o = { .dead_percent = 2 };
        struct repo_compact_sink sink = { 0 };
        struct repo_compact_result r;
        struct err err = { 0 };

        testing_seed(7);
        testing_dir_make();
        repo = make(true);
        dying = testing_repo_open(plan);
        is_last = repo_compact(dying, &o, &sink, &r, &err) == 0 &&
                  blob_fault_changes(dying->blob) < n;
        (void)remove_sources(repo);
        check_backups(repo);
        (void)compact(repo, NULL);
        (void)remove_sources(repo);
        check_backups(repo);
        testing_dir_remove();
    }
}

struct meanwhile {
    struct repo *other;
    bool is_done;
    bool compacts;
};

static int
do_meanwhile(void *arg, uint64_t done, uint64_t bytes)
{
    struct meanwhile *m = arg;

    (void)done;
    (void)bytes;
    if (m->is_done)
        return 0;
    m->is_done = true;
    if (m->compacts)
        CHECK(compact(m->other, NULL).packs_rewritten > 0);
    else
        back_up(m->other, CHUNKS / 4);
    return 0;
}

static void
run_meanwhile(bool compacts)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    struct meanwhile m = { .compacts = compacts };
    struct repo_compact_sink sink = { .progress = do_meanwhile, .arg = &m };
    struct repo_compact_result r;
    struct err err = { 0 };

    testing_seed(3);
    testing_dir_make();
    repo = make(true);
    CHECK_OK(testing_repo_try_open(&other, &err), &err);
    m.other = other;
    r = compact(repo, &sink);
    CHECK(m.is_done);
    if (compacts)
        CHECK(r.packs_skipped > 0);
    else
        CHECK(r.packs_rewritten > 0);
    CHECK(remove_sources(repo) > 0);
    check_backups(repo);
    check_backups(other);
    testing_dir_remove();
}

static void
a_backup_commits_meanwhile(void)
{
    run_meanwhile(false);
}

static void
of_two_compactors_one_gives_up(void)
{
    run_meanwhile(true);
}

static void
a_rotten_frame_keeps_its_pack(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct repo_compact_result r;
    struct err err = { 0 };
    char path[256];
    FILE *f;

    testing_seed(5);
    testing_dir_make();
    repo = make(false);
    CHECK_OK(blob_list(repo->blob, "p/", &n, &err), &err);
    for (size_t i = 0; i < n.count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", testing_dir, n.names[i]);
        f = fopen(path, "r+b");
        CHECK(f != NULL);
        for (long at = 5000; fseek(f, at, SEEK_SET) == 0; at += 60000) {
            int byte = fgetc(f);

            if (byte == EOF)
                break;
            (void)fseek(f, at, SEEK_SET);
            (void)fputc(byte ^ 1, f);
        }
        CHECK(fclose(f) == 0);
    }
    r = compact(repo, NULL);
    CHECK(r.packs_skipped > 0);
    testing_dir_remove();
}

int
main(int argc, char **argv)
{
    static const struct test_case tests[] = {
        { "backups read as before", backups_read_as_before },
        { "a crash leaves nothing worse", a_crash_leaves_nothing_worse },
        { "a backup commits meanwhile", a_backup_commits_meanwhile },
        { "of two compactors one gives up", of_two_compactors_one_gives_up },
        { "a rotten frame keeps its pack", a_rotten_frame_keeps_its_pack },
    };

    if (argc > 1)
        seeds = (unsigned)strtoul(argv[1], NULL, 10);
    return test_main(tests, ARRAY_SIZE(tests));
}
