/* SPDX-License-Identifier: Apache-2.0 */
#include "api/tokens.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "test.h"

static char dir[] = "/tmp/test-tokens-XXXXXX";

static void
a_token_is_found_again_and_kept_as_a_digest(void)
{
    struct err err = { 0 };
    struct tokens *t = tokens_open(dir, &err);
    CLEANUP(mem_free) char *path = xasprintf("%s/tokens", dir);
    CLEANUP(mem_free) char *user = NULL;
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    char one[TOKEN_SIZE], two[TOKEN_SIZE];
    struct stat st;

    CHECK(t != NULL);
    CHECK_OK(tokens_mint(t, "alice", one, &err), &err);
    CHECK_OK(tokens_mint(t, "bob", two, &err), &err);
    CHECK_INT(strlen(one), ==, TOKEN_SIZE - 1);
    CHECK(strcmp(one, two) != 0);
    tokens_free(t);
    t = tokens_open(dir, &err);
    CHECK(t != NULL);
    user = tokens_find(t, one);
    CHECK(user != NULL && strcmp(user, "alice") == 0);
    one[10] = one[10] == 'a' ? 'b' : 'a';
    CHECK(tokens_find(t, one) == NULL && tokens_find(t, "") == NULL);
    tokens_free(t);
    CHECK_OK(file_read_all(path, 1 << 16, &b, &err), &err);
    CHECK(strstr(buf_str(&b), two) == NULL);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
}

static void
bad_names_and_bad_files_are_refused(void)
{
    struct err err = { 0 };
    struct tokens *t = tokens_open(dir, &err);
    CLEANUP(mem_free) char *path = xasprintf("%s/tokens", dir);
    char token[TOKEN_SIZE];
    FILE *f;

    CHECK(t != NULL);
    CHECK_ERR(tokens_mint(t, "", token, &err), &err, ERR_INVALID);
    CHECK_ERR(tokens_mint(t, "a b", token, &err), &err, ERR_INVALID);
    CHECK_ERR(tokens_mint(t, "a\nb", token, &err), &err, ERR_INVALID);
    tokens_free(t);
    f = fopen(path, "a");
    CHECK(f != NULL && fputs("nonsense\n", f) >= 0 && fclose(f) == 0);
    CHECK(tokens_open(dir, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_CORRUPT);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a token is found again and kept as a digest",
          a_token_is_found_again_and_kept_as_a_digest },
        { "bad names and bad files are refused",
          bad_names_and_bad_files_are_refused },
    };
    const char *const rm[] = { "rm", "-rf", "--", dir, NULL };
    struct err err = { 0 };
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    rc = test_main(cases, ARRAY_SIZE(cases));
    CHECK_OK(spawn_run(rm, 5000, NULL, &err), &err);
    return rc;
}
