/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/spawn.h"
#include "blob/blob-dir.h"
#include "controller/backup-session.h"
#include "test.h"

#define UID   "6f4c0b1e-0000-4000-8000-000000000001"
#define OTHER "6f4c0b1e-0000-4000-8000-000000000002"

static char dir[] = "/tmp/test-session-XXXXXX";
static struct repo *repo;

/* Begin, store something; the session's id. */
static struct repo_backup *
begin(const char *uid, const char *session)
{
    struct backup_session_want want = { .uid = uid, .session = session };
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    unsigned disk;

    CHECK_OK(backup_session_begin(repo, &want, &b, &err), &err);
    if (b != NULL)
        CHECK_OK(repo_backup_add_disk(b, "vda", 1 << 20, 0, &disk, &err), &err);
    return b;
}

static size_t
count(void)
{
    struct repo_entry *entries = NULL;
    size_t n = 0, damage;
    struct err err = { 0 };

    CHECK_OK(repo_list(repo, &entries, &n, &damage, &err), &err);
    free(entries);
    return n;
}

static void
a_session_that_died_is_gone_on_with(void)
{
    CLEANUP(repo_backup_free) struct repo_backup *dead = begin(UID, NULL);
    CLEANUP(repo_backup_free) struct repo_backup *next = NULL;
    struct err err = { 0 };

    CHECK(dead != NULL);
    next = begin(UID, repo_backup_id(dead));
    CHECK(next != NULL);
    /* Who lost it can commit no more. */
    CHECK_ERR(repo_backup_commit(dead, NULL, 0, UID, &err), &err, ERR_CONFLICT);
    CHECK_INT((long long)count(), ==, 0);
}

/* Its commit arrived after one had looked whether there was one. */
static void
a_session_that_did_commit_is_the_backup(void)
{
    CLEANUP(repo_backup_free) struct repo_backup *late = begin(UID, NULL);
    CLEANUP(repo_backup_free) struct repo_backup *again = NULL;
    struct err err = { 0 };
    char id[REPO_ID_SIZE];

    CHECK(late != NULL);
    memcpy(id, repo_backup_id(late), sizeof id);
    CHECK_OK(repo_backup_commit(late, NULL, 0, UID, &err), &err);
    CHECK_INT((long long)count(), ==, 1);
    CHECK(begin(UID, id) == NULL);
    CHECK_INT((long long)count(), ==, 1);

    /* Another object's session is no reason to leave this one without. */
    again = begin(OTHER, id);
    CHECK(again != NULL);
    CHECK_OK(repo_backup_commit(again, NULL, 0, OTHER, &err), &err);
    CHECK_INT((long long)count(), ==, 2);
}

static void
a_session_that_nobody_knows_is_no_obstacle(void)
{
    CLEANUP(repo_backup_free)
    struct repo_backup *b = begin(UID, "00000000-0000-4000-8000-000000000001");

    CHECK(b != NULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a session that died is gone on with",
          a_session_that_died_is_gone_on_with },
        { "a session that did commit is the backup",
          a_session_that_did_commit_is_the_backup },
        { "a session that nobody knows is no obstacle",
          a_session_that_nobody_knows_is_no_obstacle },
    };
    struct repo_options o = { .chunk_log2 = 16 };
    struct repo_secret s = { 0 };
    const char *const rm[] = { "rm", "-rf", "--", dir, NULL };
    struct blob *blob = NULL;
    struct err err;
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    CHECK_OK(blob_dir_open(dir, &blob, &err), &err);
    CHECK_OK(repo_create(blob, &o, &s, &repo, &err), &err);
    rc = test_main(cases, ARRAY_SIZE(cases));
    repo_close(repo);
    CHECK_OK(spawn_run(rm, 10000, NULL, &err), &err);
    return rc;
}
