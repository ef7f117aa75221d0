/* SPDX-License-Identifier: Apache-2.0 */
/* Backups on hold cannot be deleted; deleted ones can be taken back; bad
 * frames are remembered; all of it by whoever reads the log anew. */
#include "base/mem.h"
#include "repo/badset.h"
#include "repo/hold.h"
#include "repo/repo-id.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define LOG2  16u
#define CHUNK ((size_t)1 << LOG2)

static void
make(struct repo *repo, uint64_t seed, char id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct testing_disk d = { .name = "d", .size = 3 * CHUNK, .log2 = LOG2 };
    struct err err = { 0 };
    unsigned n;

    testing_disk_set(&d, 0, TESTING_RANDOM, seed);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d.name, d.size, d.log2, &n, &err), &err);
    CHECK_OK(testing_disk_write(&d, b, n, &err), &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    testing_disk_fini(&d);
}

static int
delete_one(struct repo *repo, const char *id, struct err *err)
{
    const char *ids[] = { id };

    return repo_delete(repo, ids, 1, err);
}

/* The ids in the list, in its order, are these? */
static void
check_list(struct repo *repo, const char *a, const char *b)
{
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    size_t n = 0, damage = 0;
    struct err err = { 0 };

    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_INT(damage, ==, 0);
    CHECK_INT(n, ==, (a != NULL) + (b != NULL));
    CHECK(a == NULL || strcmp(e[0].id, a) == 0);
    CHECK(b == NULL || strcmp(e[n - 1].id, b) == 0);
}

/* Another program may put what it likes into the log; no terminal gets it. */
static void
a_refusal_says_the_reason_as_a_list_does(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    char a[REPO_ID_SIZE], *reason;
    uint8_t id[16];
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    make(repo, 1, a);
    CHECK(repo_id_parse(a, id));
    CHECK_OK(commitlog_append_hold(repo->log, id, "\033[2Jcourt", &err), &err);
    CHECK_ERR(delete_one(repo, a, &err), &err, ERR_CONFLICT);
    CHECK(strchr(err.msg, '\033') == NULL && strstr(err.msg, "court") != NULL);
    /* Nor is a character cut in two. */
    reason = xcalloc(1, 100);
    memset(reason, 'x', 79);
    memcpy(reason + 79, "\xc3\xa4rger", 6);
    CHECK_OK(repo_hold_set(repo, a, reason, &err), &err);
    CHECK_ERR(delete_one(repo, a, &err), &err, ERR_CONFLICT);
    CHECK(strstr(err.msg, "xxx): release") != NULL);
    free(reason);
    testing_dir_remove();
}

static void
a_backup_on_hold_cannot_be_deleted(void)
{
    struct repo *repo, *other;
    CLEANUP(mem_free) struct repo_hold *h = NULL;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    const char *both[] = { b, a };
    struct err err = { 0 };
    size_t n = 0;

    testing_dir_make();
    repo = testing_repo_create(true);
    make(repo, 1, a);
    make(repo, 2, b);
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(repo_hold_set(repo, a, "the auditors", &err), &err);
    CHECK_ERR(delete_one(other, a, &err), &err, ERR_CONFLICT);
    CHECK(strstr(err.msg, "the auditors") != NULL);
    CHECK_ERR(repo_delete(other, both, 2, &err), &err, ERR_CONFLICT);
    check_list(other, a, b); /* and nothing was deleted */
    CHECK_OK(repo_hold_set(other, a, "others", &err), &err);
    CHECK_OK(repo_hold_list(repo, &h, &n, &err), &err);
    CHECK_INT(n, ==, 1);
    CHECK(strcmp(h[0].id, a) == 0 && strcmp(h[0].reason, "others") == 0);
    CHECK_OK(repo_hold_clear(repo, a, &err), &err);
    CHECK_ERR(repo_hold_clear(repo, a, &err), &err, ERR_NOT_FOUND);
    CHECK_OK(delete_one(other, a, &err), &err);
    CHECK_ERR(repo_hold_set(repo, a, "", &err), &err, ERR_NOT_FOUND);
    CHECK_ERR(repo_hold_set(repo, b, "two\nlines", &err), &err, ERR_INVALID);
    check_list(repo, b, NULL);
    repo_close(other);
    repo_close(repo);
    testing_dir_remove();
}

/* Another program may write what ours refuses. */
static void
a_reason_never_reaches_the_terminal_as_it_is(void)
{
    CLEANUP(mem_free) struct repo_hold *h = NULL;
    char a[REPO_ID_SIZE];
    uint8_t id[16];
    struct err err = { 0 };
    struct repo *repo;
    size_t n = 0;

    testing_dir_make();
    repo = testing_repo_create(true);
    make(repo, 1, a);
    CHECK(repo_id_parse(a, id));
    CHECK_ERR(repo_hold_set(repo, a, "\033[2J", &err), &err, ERR_INVALID);
    CHECK_ERR(repo_hold_set(repo, a, "\xc2\x9b", &err), &err, ERR_INVALID);
    CHECK_ERR(repo_hold_set(repo, a, "no \xff text", &err), &err, ERR_INVALID);
    CHECK_OK(commitlog_append_hold(repo->log, id, "\033]0;x\a\xff ü", &err),
             &err);
    CHECK_OK(repo_hold_list(repo, &h, &n, &err), &err);
    CHECK_INT(n, ==, 1);
    CHECK(strcmp(h[0].reason, "?]0;x?? ü") == 0);
    CHECK_ERR(delete_one(repo, a, &err), &err, ERR_CONFLICT);
    CHECK(strchr(err.msg, '\033') == NULL && strchr(err.msg, '\xff') == NULL);
    repo_close(repo);
    testing_dir_remove();
}

static void
a_deleted_backup_can_be_taken_back(void)
{
    struct repo *repo, *other;
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    const char *ids[] = { a, b };
    struct err err = { 0 };
    size_t n = 0;

    testing_dir_make();
    repo = testing_repo_create(false);
    make(repo, 1, a);
    make(repo, 2, b);
    CHECK_ERR(repo_hold_undelete(repo, ids, 1, &err), &err, ERR_NOT_FOUND);
    CHECK_OK(repo_delete(repo, ids, 2, &err), &err);
    check_list(repo, NULL, NULL);
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(repo_hold_deleted(other, &e, &n, &err), &err);
    CHECK_INT(n, ==, 2);
    CHECK(strcmp(e[0].id, a) == 0 && strcmp(e[0].object_uid, "uid") == 0);
    CHECK_OK(repo_hold_undelete(other, ids + 1, 1, &err), &err);
    check_list(repo, b, NULL);
    CHECK_ERR(repo_hold_undelete(repo, ids, 2, &err), &err, ERR_NOT_FOUND);
    CHECK_OK(repo_hold_undelete(repo, ids, 1, &err), &err);
    check_list(other, a, b); /* in the order of their commits */
    CHECK_OK(repo_view_open(other, a, &v, &err), &err);
    CHECK_OK(delete_one(other, a, &err), &err);
    CHECK_OK(repo_hold_undelete(other, ids, 1, &err), &err);
    check_list(repo, a, b);
    repo_view_close(TAKE(v));
    repo_close(other);
    repo_close(repo);
    testing_dir_remove();
}

static struct badset_frame
frame(unsigned i)
{
    struct badset_frame f = { .n = i % 7, .off8 = i / 7, .kind = i % 2 };

    f.session[0] = (uint8_t)(i % 3);
    f.id[0] = (uint8_t)i;
    return f;
}

static void
bad_frames_are_remembered(void)
{
    struct repo *repo, *other;
    CLEANUP(badset_fini) struct badset bad = { 0 };
    struct badset_frame all[3000];
    struct frame_loc loc = { .n = 3, .off8 = 1 };
    struct err err = { 0 };

    for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
        all[i] = frame(i);
    testing_dir_make();
    repo = testing_repo_create(false);
    CHECK_OK(commitlog_append_bad(repo->log, true, all, ARRAY_SIZE(all), &err),
             &err);
    CHECK_OK(commitlog_append_bad(repo->log, true, all, 5, &err), &err);
    CHECK_OK(commitlog_append_bad(repo->log, false, all, 10, &err), &err);
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(commitlog_bad(other->log, &bad, &err), &err);
    CHECK_INT(bad.count, ==, ARRAY_SIZE(all) - 10);
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        struct frame_loc l = { .n = all[i].n, .off8 = all[i].off8 };

        memcpy(l.session, all[i].session, 16);
        CHECK_INT(badset_has(&bad, all[i].kind, &l), ==, i >= 10);
    }
    CHECK(!badset_has(&bad, FRAME_DATA, &loc) || loc.off8 == 1);
    all[0].off8 = BADSET_ALL;
    all[0].n = 77;
    badset_add(&bad, &all[0]);
    loc.n = 77;
    loc.off8 = 12345;
    CHECK(badset_has(&bad, FRAME_DATA, &loc));
    CHECK(!badset_has(&bad, FRAME_META, &loc));
    repo_close(other);
    repo_close(repo);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a backup on hold cannot be deleted",
          a_backup_on_hold_cannot_be_deleted },
        { "a reason never reaches the terminal as it is",
          a_reason_never_reaches_the_terminal_as_it_is },
        { "a deleted backup can be taken back",
          a_deleted_backup_can_be_taken_back },
        { "bad frames are remembered", bad_frames_are_remembered },
        { "a refusal says the reason as a list does",
          a_refusal_says_the_reason_as_a_list_does },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
