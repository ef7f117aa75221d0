/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "base/file.h"
#include "base/spawn.h"
#include "controller/secrets.h"
#include "test.h"

#define NAME "6f4c0b1e-0000-4000-8000-000000000001"

static char dir[] = "/tmp/test-secrets-XXXXXX";

static void
a_text_comes_back_after_a_restart(void)
{
    struct err err;
    CLEANUP(secrets_close) struct secrets *s = secrets_open(dir, &err);
    CLEANUP(secrets_free_text) char *text = NULL;

    CHECK(s != NULL);
    CHECK_ERR(secrets_get(s, NAME, &text, &err), &err, ERR_NOT_FOUND);
    CHECK_OK(secrets_put(s, NAME, "<domain/>", &err), &err);
    CHECK_OK(secrets_put(s, NAME, "<domain>2</domain>", &err), &err);

    CLEANUP(secrets_close) struct secrets *again = secrets_open(dir, &err);

    CHECK_OK(secrets_get(again, NAME, &text, &err), &err);
    CHECK(strcmp(text, "<domain>2</domain>") == 0);
    CHECK_OK(secrets_delete(again, NAME, &err), &err);
    CHECK_OK(secrets_delete(again, NAME, &err), &err);
}

static void
the_file_is_sealed_and_ours_alone(void)
{
    char path[200];
    struct err err;
    struct stat st;
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(secrets_close) struct secrets *s = secrets_open(dir, &err);

    CHECK(s != NULL);
    CHECK_OK(secrets_put(s, NAME, "password1234", &err), &err);
    (void)snprintf(path, sizeof path, "%s/secrets/%s", dir, NAME);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    CHECK_OK(file_read_all(path, 1000, &b, &err), &err);
    CHECK(memmem(b.data, b.len, "password", 8) == NULL);
    (void)snprintf(path, sizeof path, "%s/seal.key", dir);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
}

static void
names_that_are_no_uuid_are_refused(void)
{
    struct err err;
    char *text;
    CLEANUP(secrets_close) struct secrets *s = secrets_open(dir, &err);

    CHECK_ERR(secrets_put(s, "../x", "t", &err), &err, ERR_INVALID);
    CHECK_ERR(secrets_get(s, "../seal.key", &text, &err), &err, ERR_INVALID);
    CHECK_ERR(secrets_delete(s, "../seal.key", &err), &err, ERR_INVALID);
}

static void
a_bad_key_file_is_not_replaced(void)
{
    struct err err;
    CLEANUP(fd_close) int fd = -1;

    CHECK_OK(file_open_dir(dir, &fd, &err), &err);
    CHECK_OK(file_replace(fd, "seal.key", "short", 5, 0600, &err), &err);
    CHECK(secrets_open(dir, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_CORRUPT);
}

static void
only_the_host_that_wrote_a_text_can_mark_it(void)
{
    char other[] = "/tmp/vk-secretsXXXXXX";
    struct err err = { 0 };
    char a[SECRETS_MARK_SIZE], b[SECRETS_MARK_SIZE];
    const char *const rm[] = { "rm", "-rf", "--", other, NULL };

    CHECK(mkdtemp(other) != NULL);
    CLEANUP(secrets_close) struct secrets *here = secrets_open(dir, &err);
    CLEANUP(secrets_close) struct secrets *there = secrets_open(other, &err);

    CHECK(here != NULL && there != NULL);
    secrets_mark(here, "<domain/>", a);
    secrets_mark(here, "<domain/>", b);
    CHECK_INT(strlen(a), ==, 64);
    CHECK(strcmp(a, b) == 0);
    secrets_mark(here, "<domain />", b);
    CHECK(strcmp(a, b) != 0);
    secrets_mark(there, "<domain/>", b);
    CHECK(strcmp(a, b) != 0);
    CHECK_OK(spawn_run(rm, 10000, NULL, &err), &err);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a text comes back after a restart",
          a_text_comes_back_after_a_restart },
        { "the file is sealed and ours alone",
          the_file_is_sealed_and_ours_alone },
        { "names that are no UUID are refused",
          names_that_are_no_uuid_are_refused },
        { "only the host that wrote a text can mark it",
          only_the_host_that_wrote_a_text_can_mark_it },
        { "a bad key file is not replaced", a_bad_key_file_is_not_replaced },
    };
    const char *const rm[] = { "rm", "-rf", "--", dir, NULL };
    struct err err;
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    rc = test_main(cases, ARRAY_SIZE(cases));
    CHECK_OK(spawn_run(rm, 10000, NULL, &err), &err);
    return rc;
}
