/* SPDX-License-Identifier: Apache-2.0 */
/* Who changes keys is stopped at the worst moment, while somebody else changes
 * keys too. */
#include <string.h>

#include "base/mem.h"
#include "repo/repo-keys.h"
#include "repo/repo-private.h"
#include "repo/test-around.h"
#include "repo/test-model.h"

#define SIZE ((size_t)1 << 20)

static char hers[REPO_ID_SIZE], his[REPO_ID_SIZE];

/* Her key file; his is the test's. */
static const char *
her_key(void)
{
    static char path[128];

    (void)snprintf(path, sizeof path, "%s/.hers.key", testing_dir);
    return path;
}

static struct repo *
open_hers(void)
{
    struct repo_secret s = { .key_file = her_key() };
    struct repo *repo = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_open(testing_blob(), &s, &repo, &err), &err);
    return repo;
}

static void
check_backup(struct repo *repo)
{
    struct testing_disk d = { .name = "d", .size = SIZE, .log2 = 16 };
    struct repo_backup_options o = { .threads = 1 };
    struct repo_backup *b = NULL;
    char id[REPO_ID_SIZE];
    struct err err = { 0 };
    unsigned n;

    testing_disk_set(&d, 3, TESTING_RANDOM, 7);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    memcpy(id, repo_backup_id(b), sizeof id);
    CHECK_OK(repo_backup_add_disk(b, d.name, d.size, d.log2, &n, &err), &err);
    CHECK_OK(testing_disk_write(&d, b, n, &err), &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
    repo_backup_free(b);
    testing_backup_check(repo, id, &d);
    testing_disk_fini(&d);
}

struct waiting {
    struct testing_around around;
    /* Before the n-th list of slots, removal, or put of an entry. */
    void (*meanwhile)(void);
    unsigned lists, removes, entries;
};

static struct waiting *
waiting(struct blob *b)
{
    return container_of(b, struct waiting, around.blob);
}

static void
count_down(struct waiting *w, unsigned *left)
{
    if (*left > 0 && --*left == 0)
        w->meanwhile();
}

static int
waiting_put(struct blob *b, const char *name, const void *data, size_t len,
            bool *ret_existed, struct err *err)
{
    if (strncmp(name, "log/", 4) == 0)
        count_down(waiting(b), &waiting(b)->entries);
    return blob_put(testing_around_inner(b), name, data, len, ret_existed, err);
}

static int
waiting_list(struct blob *b, const char *prefix, struct blob_names *names,
             struct err *err)
{
    if (strcmp(prefix, "keys/") == 0)
        count_down(waiting(b), &waiting(b)->lists);
    return testing_around_list(b, prefix, names, err);
}

static int
waiting_remove(struct blob *b, const char *name, struct err *err)
{
    count_down(waiting(b), &waiting(b)->removes);
    return blob_remove(testing_around_inner(b), name, err);
}

static const char *
his_key(void)
{
    static char path[128];

    (void)snprintf(path, sizeof path, "%s.key", testing_dir);
    return path;
}

/* Opened with the full key of the test. */
static struct repo *
open_waiting(struct waiting **ret, void (*meanwhile)(void))
{
    struct repo_secret s = { .key_file = his_key() };
    struct waiting *w = testing_around_new(sizeof *w, testing_blob());
    struct repo *repo = NULL;
    struct err err = { 0 };

    w->around.ops.put = waiting_put;
    w->around.ops.list = waiting_list;
    w->around.ops.remove = waiting_remove;
    w->meanwhile = meanwhile;
    CHECK_OK(repo_open(&w->around.blob, &s, &repo, &err), &err);
    *ret = w;
    return repo;
}

static void
rotate_again(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct err err = { 0 };
    unsigned epoch = 0;
    size_t skipped = 9;

    CHECK_OK(testing_repo_try_open(&repo, &err), &err);
    CHECK_OK(repo_keys_rotate(repo, &epoch, &skipped, &err), &err);
    CHECK_INT(epoch, ==, 2);
}

/* It was stopped before it removed what it thinks is of no use any more. */
static void
a_rotation_that_wakes_up_takes_no_key_away(void)
{
    CLEANUP(repo_close) struct repo *slow = NULL;
    CLEANUP(repo_close) struct repo *now = NULL;
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    CLEANUP(blob_free) struct blob *blob = NULL;
    struct waiting *w = NULL;
    struct err err = { 0 };
    unsigned epoch = 0;
    size_t skipped = 9;

    testing_dir_make();
    repo_close(testing_repo_create(true));
    blob = testing_blob();
    slow = open_waiting(&w, rotate_again);
    w->lists = 3; /* who there is; who came since; what may go */
    CHECK_OK(repo_keys_rotate(slow, &epoch, &skipped, &err), &err);
    CHECK_INT(w->lists, ==, 0);
    CHECK_OK(testing_repo_try_open(&now, &err), &err);
    CHECK_INT(repo_info_get(now)->key_epoch, ==, 2);
    check_backup(now);
    CHECK_OK(blob_list(blob, "keys/", &n, &err), &err);
    CHECK_INT(n.count, ==, 2); /* the slot, and one grant */
    testing_dir_remove();
}

static void
add_hers(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_keys_new more = { .key_file = her_key() };
    struct err err = { 0 };

    CHECK_OK(testing_repo_try_open(&repo, &err), &err);
    CHECK_OK(repo_keys_add(repo, &more, hers, &err), &err);
}

/* Between the grants and the KEY of a rotation. */
static void
a_key_that_is_added_in_a_rotation_opens_what_comes_after(void)
{
    CLEANUP(repo_close) struct repo *slow = NULL;
    CLEANUP(repo_close) struct repo *now = NULL;
    struct waiting *w = NULL;
    struct err err = { 0 };
    unsigned epoch = 0;
    size_t skipped = 9;

    testing_dir_make();
    repo_close(testing_repo_create(true));
    slow = open_waiting(&w, add_hers);
    w->entries = 1;
    CHECK_OK(repo_keys_rotate(slow, &epoch, &skipped, &err), &err);
    CHECK_INT(w->entries, ==, 0);
    now = open_hers();
    CHECK_INT(repo_info_get(now)->key_epoch, ==, 1);
    check_backup(now);
    testing_dir_remove();
}

/* Opened before it: there is no key of the new epoch to give. */
static void
a_key_that_is_added_after_a_rotation_is_told(void)
{
    CLEANUP(repo_close) struct repo *old = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    CLEANUP(mem_free) struct repo_key *k = NULL;
    struct repo_keys_new more = { 0 };
    struct err err = { 0 };
    unsigned epoch = 0;
    size_t skipped = 9, n = 0;

    testing_dir_make();
    old = testing_repo_create(true);
    more.key_file = her_key();
    CHECK_OK(testing_repo_try_open(&other, &err), &err);
    CHECK_OK(repo_keys_rotate(other, &epoch, &skipped, &err), &err);
    CHECK_ERR(repo_keys_add(old, &more, hers, &err), &err, ERR_CONFLICT);
    CHECK_OK(repo_keys_list(old, &k, &n, &err), &err);
    CHECK_INT(n, ==, 1);
    testing_dir_remove();
}

static void
she_removes_his(void)
{
    CLEANUP(repo_close) struct repo *r = open_hers();
    struct err err = { 0 };

    CHECK_OK(repo_keys_remove(r, his, &err), &err);
}

static void
two_who_remove_each_other_leave_one(void)
{
    CLEANUP(repo_close) struct repo *full = NULL;
    CLEANUP(repo_close) struct repo *slow = NULL;
    CLEANUP(repo_close) struct repo *now = NULL;
    CLEANUP(mem_free) struct repo_key *k = NULL;
    struct repo_keys_new more = { 0 };
    struct waiting *w = NULL;
    struct err err = { 0 };
    size_t n = 0;

    testing_dir_make();
    full = testing_repo_create(true);
    more.key_file = her_key();
    CHECK_OK(repo_keys_list(full, &k, &n, &err), &err);
    memcpy(his, k[0].id, sizeof his);
    CHECK_OK(repo_keys_add(full, &more, hers, &err), &err);
    slow = open_waiting(&w, she_removes_his);
    w->removes = 1;
    CHECK_ERR(repo_keys_remove(slow, hers, &err), &err, ERR_CONFLICT);
    CHECK_INT(w->removes, ==, 0);
    now = open_hers();
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a rotation that wakes up takes no key away",
          a_rotation_that_wakes_up_takes_no_key_away },
        { "a key that is added in a rotation opens what comes after",
          a_key_that_is_added_in_a_rotation_opens_what_comes_after },
        { "a key that is added after a rotation is told",
          a_key_that_is_added_after_a_rotation_is_told },
        { "two who remove each other leave one",
          two_who_remove_each_other_leave_one },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
