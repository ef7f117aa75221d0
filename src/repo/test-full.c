/* SPDX-License-Identifier: Apache-2.0 */
/* F11: no space, at any put of packs, parity, index and log, and at any sync:
 * once, or from there on. What fails says why and gives its space back, what is
 * there stays whole, and the next run succeeds. */
#include <string.h>

#include "base/mem.h"
#include "repo/collect.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define CHUNKS 6u

static struct testing_disk disks[3];
static char ids[3][REPO_ID_SIZE];

/* A store leaves the last of its space to the log: blob_room(). Others may have
 * taken that. */
static const struct kind {
    enum blob_fault_kind kind;
    const char *spared;
    const char *what;
} kinds[] = {
    { BLOB_FAULT_ERROR, NULL, "once" },
    { BLOB_FAULT_FULL, "log/", "from then on but for the log" },
    { BLOB_FAULT_FULL, NULL, "from then on" },
};

static struct blob_fault_plan
plan_of(const struct kind *k, uint64_t n)
{
    return (
        struct blob_fault_plan){ .kind = k->kind, .n = n, .object = k->spared };
}

static int
backup(struct repo *repo, const char *parent, unsigned i, struct err *err)
{
    struct repo_backup_options o = { .threads = 1, .parent = parent };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    unsigned n;

    if (repo_backup_begin(repo, &o, &b, err) < 0)
        return -1;
    memcpy(ids[i], repo_backup_id(b), REPO_ID_SIZE);
    if (repo_backup_add_disk(b, "d", disks[i].size, disks[i].log2, &n, err) ==
            0 &&
        testing_disk_write(&disks[i], b, n, err) == 0 &&
        repo_backup_commit(b, "meta", 4, "uid", err) == 0)
        return 0;
    repo_backup_discard(b);
    return -1;
}

/* Disk i has half of the chunks of the one before. */
static void
make_disks(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(disks); i++) {
        if (i > 0)
            testing_disk_copy(&disks[i], &disks[i - 1]);
        else
            disks[i] = (struct testing_disk){ .name = "d",
                                              .size = (uint64_t)CHUNKS << 16,
                                              .log2 = 16 };
        for (uint64_t c = i % 2; c<CHUNKS; c += i> 0 ? 2 : 1)
            testing_disk_set(&disks[i], c, TESTING_RANDOM, 100 * i + c);
    }
}

/* A repository with the first `count` backups. */
static void
make_repo(bool is_encrypted, unsigned count)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct err err = { 0 };

    testing_dir_make();
    testing_has_parity = true;
    repo = testing_repo_create(is_encrypted);
    testing_has_parity = false;
    for (unsigned i = 0; i < count; i++)
        CHECK_OK(backup(repo, i > 0 ? ids[i - 1] : NULL, i, &err), &err);
}

static size_t
count_objects(struct repo *repo, const char *prefix)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    CHECK_OK(blob_list(repo->blob, prefix, &n, &err), &err);
    return n.count;
}

static size_t
count_of_packs(struct repo *repo)
{
    return count_objects(repo, "p/") + count_objects(repo, "m/");
}

/* Is it listed? Then it is whole. */
static bool
is_there(struct repo *repo, unsigned i)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct err err = { 0 };

    if (repo_view_open(repo, ids[i], &v, &err) < 0) {
        CHECK_INT(err.code, ==, ERR_NOT_FOUND);
        return false;
    }
    testing_disk_check(&disks[i], v);
    return true;
}

static int
collect(struct repo *repo, struct err *err)
{
    const struct repo_collect_options o = {
        .gc.kill_s = 0, .compact = { .dead_percent = 1, .rest_percent = 100 }
    };
    const struct repo_collect_sink sink = { 0 };
    struct repo_collect_result r;

    return repo_collect(repo, &o, &sink, &r, err);
}

/* ---- a backup ---- */

/* False: the plan lies behind all that a backup does. */
static bool
back_up_at(const struct kind *k, uint64_t n, unsigned *failed)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    size_t packs, segments;
    uint64_t changes;
    struct err err = { 0 };
    bool is_listed;
    int rc;

    make_repo(n % 2 == 0, 1);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    packs = count_of_packs(repo);
    segments = count_objects(repo, "x/");
    repo_close(TAKE(repo));
    repo = testing_repo_open(plan_of(k, n));
    rc = backup(repo, ids[0], 1, &err);
    changes = blob_fault_changes(repo->blob);
    repo_close(TAKE(repo));

    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK(is_there(repo, 0));
    is_listed = is_there(repo, 1);
    if (rc < 0) {
        CHECK_INT(err.code, ==, ERR_NO_SPACE);
        ++*failed;
    } else {
        CHECK(is_listed);
    }
    testing_check_sound(repo);
    /* Its space is free again, at the latest when it is taken for dead. */
    if (!is_listed && k->spared == NULL)
        CHECK_OK(collect(repo, &err), &err);
    if (!is_listed) {
        CHECK_INT(count_of_packs(repo), ==, packs);
        CHECK_INT(count_objects(repo, "x/"), ==, segments);
    }
    CHECK_OK(backup(repo, ids[0], 2, &err), &err);
    CHECK(is_there(repo, 2));
    testing_check_sound(repo);
    testing_dir_remove();
    return changes >= n;
}

static void
a_backup_fails_and_harms_nothing(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        unsigned failed = 0;
        uint64_t n = 1;

        while (back_up_at(&kinds[i], n, &failed))
            n++;
        printf("# no space %s: at %llu places, %u failed\n", kinds[i].what,
               (unsigned long long)n - 1, failed);
        CHECK(n > 10 && failed >= 6);
    }
}

/* ---- deletion, collection, compaction ---- */

static bool
collect_at(const struct kind *k, uint64_t n, unsigned *failed)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    const char *first[] = { ids[0] }, *last[] = { ids[1] };
    uint64_t changes;
    struct err err = { 0 };
    bool was_deleted;
    int rc;

    make_repo(n % 2 == 0, 2);
    repo = testing_repo_open(plan_of(k, n));
    rc = repo_delete(repo, first, 1, &err);
    if (rc == 0)
        rc = collect(repo, &err);
    changes = blob_fault_changes(repo->blob);
    repo_close(TAKE(repo));
    if (rc < 0) {
        CHECK_INT(err.code, ==, ERR_NO_SPACE);
        ++*failed;
    }

    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    was_deleted = !is_there(repo, 0);
    CHECK(was_deleted || rc < 0);
    CHECK(is_there(repo, 1));
    testing_check_sound(repo);
    if (!was_deleted)
        CHECK_OK(repo_delete(repo, first, 1, &err), &err);
    CHECK_OK(collect(repo, &err), &err);
    CHECK(is_there(repo, 1));
    testing_check_sound(repo);
    CHECK_OK(repo_delete(repo, last, 1, &err), &err);
    CHECK_OK(collect(repo, &err), &err);
    CHECK_OK(collect(repo, &err), &err);
    CHECK_INT(count_of_packs(repo), ==, 0); /* and parity */
    testing_dir_remove();
    return changes >= n;
}

static void
a_collection_fails_and_harms_nothing(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i += 2) {
        unsigned failed = 0;
        uint64_t n = 1;

        while (collect_at(&kinds[i], n, &failed))
            n += 1 + i / 2; /* once: everywhere */
        printf("# no space %s: at %llu places, %u failed\n", kinds[i].what,
               (unsigned long long)n - 1, failed);
        CHECK(n > 10 && failed >= 4);
    }
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "a backup fails and harms nothing",
          a_backup_fails_and_harms_nothing },
        { "a collection fails and harms nothing",
          a_collection_fails_and_harms_nothing },
    };
    int rc;

    testing_seed(11);
    make_disks();
    rc = test_main(tests, ARRAY_SIZE(tests));
    for (unsigned i = 0; i < ARRAY_SIZE(disks); i++)
        testing_disk_fini(&disks[i]);
    return rc;
}
