/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "controller/backup-hold.h"
#include "repo/hold.h"
#include "test.h"

static void
only_ones_own_hold_is_changed(void)
{
    static const struct {
        const char *want, *put, *have;
        enum backup_hold_deed deed;
    } cases[] = {
        { "a", "a", NULL, BACKUP_HOLD_SET },
        { "", "", NULL, BACKUP_HOLD_SET },
        { "a", "a", "a", BACKUP_HOLD_NOTHING },
        { "b", "a", "a", BACKUP_HOLD_SET },
        { "b", "a", "b", BACKUP_HOLD_NOTHING }, /* killed before it was noted */
        { "b", "a", NULL, BACKUP_HOLD_SET },
        { "a", "a", "theirs", BACKUP_HOLD_NOTHING },
        { NULL, "a", "a", BACKUP_HOLD_CLEAR },
        { NULL, "", "", BACKUP_HOLD_CLEAR },
        { NULL, "a", "theirs", BACKUP_HOLD_NOTHING },
        { NULL, "a", NULL, BACKUP_HOLD_NOTHING },
        { NULL, NULL, "theirs", BACKUP_HOLD_NOTHING },
        { NULL, NULL, NULL, BACKUP_HOLD_NOTHING },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        CHECK_INT(
            backup_hold_decide(cases[i].want, cases[i].put, cases[i].have), ==,
            cases[i].deed);
}

static char *
wanted(const char *annotation)
{
    CLEANUP(json_decref)
    json_t *o = json_pack("{s:{s:{s:s*}}}", "metadata", "annotations",
                          "vmkeep.io/hold", annotation);

    return backup_hold_wanted(o);
}

static void
a_reason_is_one_that_a_repository_takes(void)
{
    CLEANUP(mem_free) char *none = wanted(NULL);
    CLEANUP(mem_free) char *off = wanted("false");
    CLEANUP(mem_free) char *empty = wanted("");
    CLEANUP(mem_free) char *plain = wanted("the auditors");
    CLEANUP(mem_free) char *lines = wanted("one\ntwo\x1b[2J");
    CLEANUP(mem_free) char *longest = NULL;
    char text[REPO_HOLD_REASON_MAX + 40];

    CHECK(none == NULL && off == NULL);
    CHECK(strcmp(empty, "") == 0);
    CHECK(strcmp(plain, "the auditors") == 0);
    CHECK(strcmp(lines, "one?two?[2J") == 0);
    memset(text, 'x', sizeof text);
    memcpy(text + REPO_HOLD_REASON_MAX - 1, "ü", 2); /* over the edge */
    text[sizeof text - 1] = 0;
    longest = wanted(text);
    CHECK_INT(strlen(longest), ==, REPO_HOLD_REASON_MAX - 1);
}

static void
what_ends_with_an_object_is_its_own(void)
{
    CLEANUP(json_decref)
    json_t *held = json_pack("{s:{s:{s:s}}, s:{s:{s:s}}}", "metadata",
                             "annotations", "vmkeep.io/hold", "a", "status",
                             "vmkeep", "repositoryHold", "a");
    CLEANUP(json_decref)
    json_t *released =
        json_pack("{s:{s:{s:s}}}", "status", "vmkeep", "repositoryHold", "a");

    CHECK(backup_hold_mine(held) == NULL);
    CHECK(strcmp(backup_hold_mine(released), "a") == 0);
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "only one's own hold is changed", only_ones_own_hold_is_changed },
        { "a reason is one that a repository takes",
          a_reason_is_one_that_a_repository_takes },
        { "what ends with an object is its own",
          what_ends_with_an_object_is_its_own },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
