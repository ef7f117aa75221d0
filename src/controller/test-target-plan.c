/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "controller/target-plan.h"
#include "test.h"

static const char *const roots[] = { "/var/lib/vmkeep/targets", "/srv", NULL };

static void
only_what_lies_beneath_a_root_is_taken(void)
{
    const char *below = NULL;

    CHECK_INT(target_plan_root("/srv/b", roots, &below), ==, 1);
    CHECK(strcmp(below, "b") == 0);
    CHECK_INT(target_plan_root("/var/lib/vmkeep/targets/a/b", roots, &below),
              ==, 0);
    CHECK(strcmp(below, "a/b") == 0);
    CHECK_INT(target_plan_root("/srv", roots, &below), ==, -1);
    CHECK_INT(target_plan_root("/srv/", roots, &below), ==, -1);
    CHECK_INT(target_plan_root("/srvx/b", roots, &below), ==, -1);
    CHECK_INT(target_plan_root("/etc/b", roots, &below), ==, -1);
}

static void
a_directory_is_what_its_repository_says(void)
{
    static const struct {
        struct target_plan_seen seen;
        enum target_plan_step want;
    } rows[] = {
        { { "", false, false, NULL }, TARGET_MISSING },
        { { "", true, true, NULL }, TARGET_CREATE },
        { { "", true, false, NULL }, TARGET_FOREIGN },
        { { "", true, false, "u1" }, TARGET_ADOPT },
        { { "u1", true, false, "u1" }, TARGET_USE },
        { { "u1", true, false, "u2" }, TARGET_OTHER_REPO },
        { { "u1", false, false, NULL }, TARGET_UNMOUNTED },
        { { "u1", true, true, NULL }, TARGET_UNMOUNTED },
        { { "u1", true, false, NULL }, TARGET_UNMOUNTED },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        enum target_plan_step step = target_plan_make(&rows[i].seen);

        CHECK_INT(step, ==, rows[i].want);
        CHECK((target_plan_reason(step) == NULL) == (step <= TARGET_USE));
        CHECK((target_plan_message(step) == NULL) == (step <= TARGET_USE));
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "only what lies beneath a root is taken",
          only_what_lies_beneath_a_root_is_taken },
        { "a directory is what its repository says",
          a_directory_is_what_its_repository_says },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
