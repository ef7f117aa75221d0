/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "repo/hint.h"
#include "repo/test-model.h"

#define PREFIX "hint/test/"

/* Write one after what is there, and read it back. */
static void
replace_it(struct repo *repo, const char *text)
{
    CLEANUP(buf_fini) struct buf before = BUF_INIT;
    CLEANUP(buf_fini) struct buf after = BUF_INIT;
    struct err err = { 0 };
    uint64_t number = 0;

    CHECK_OK(hint_load(repo, PREFIX, 100, &before, &number, &err), &err);
    CHECK_OK(hint_store(repo, PREFIX, number, text, strlen(text), &err), &err);
    CHECK_OK(hint_load(repo, PREFIX, 100, &after, &number, &err), &err);
    CHECK(strcmp(buf_str(&after), text) == 0);
}

static void
the_last_one_counts(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;

    testing_dir_make();
    repo = testing_repo_create(false);
    replace_it(repo, "one");
    replace_it(repo, "two");
    testing_dir_remove();
}

static void
names_that_are_not_ours_do_not_stop_it(void)
{
    static const char *const names[] = { PREFIX "99999999999999999999",
                                         PREFIX "18446744073709551615",
                                         PREFIX "007", PREFIX "9x" };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct err err = { 0 };
    bool existed;

    testing_dir_make();
    repo = testing_repo_create(false);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        CHECK_OK(blob_put(repo->blob, names[i], "x", 1, &existed, &err), &err);
    replace_it(repo, "one");
    replace_it(repo, "two");
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "the last one counts", the_last_one_counts },
        { "names that are not ours do not stop it",
          names_that_are_not_ours_do_not_stop_it },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
