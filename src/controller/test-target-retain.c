/* SPDX-License-Identifier: Apache-2.0 */
/* Which backups a target's retention looks at, and when maintenance is due. */
#include "base/mem.h"
#include "controller/target-due.h"
#include "controller/target-retain.h"
#include "test.h"

static json_t *
parse(const char *text)
{
    struct err err;
    json_t *v = jsonx_parse(text, strlen(text), &err);

    if (v == NULL)
        printf("# %s\n", err.msg);
    CHECK(v != NULL);
    return v;
}

static void
the_policy_is_read(void)
{
    CLEANUP(json_decref)
    json_t *some =
        parse("{\"spec\":{\"retention\":{\"keepLast\":3,\"keepHourly\":24,"
              "\"keepDaily\":7,\"keepWeekly\":4,\"keepMonthly\":12,"
              "\"keepYearly\":2,\"keepWithin\":\"30d\"}}}");
    CLEANUP(json_decref) json_t *none = parse("{\"spec\":{}}");
    CLEANUP(json_decref)
    json_t *odd = parse("{\"spec\":{\"retention\":{\"keepWithin\":\"soon\"}}}");
    struct retain_policy p;
    struct err err;

    CHECK_OK(target_retain_policy(some, &p, &err), &err);
    CHECK(p.last == 3 && p.hourly == 24 && p.daily == 7 && p.weekly == 4);
    CHECK(p.monthly == 12 && p.yearly == 2);
    CHECK_INT(p.within_s, ==, 30 * 86400);
    CHECK_OK(target_retain_policy(none, &p, &err), &err);
    CHECK(retain_policy_is_empty(&p));
    CHECK_ERR(target_retain_policy(odd, &p, &err), &err, ERR_INVALID);
}

static bool
counts(const char *text, bool *ret_is_bad)
{
    CLEANUP(json_decref) json_t *v = parse(text);

    return target_retain_counts(v, "default", ret_is_bad);
}

static void
only_finished_backups_of_the_target_count(void)
{
    bool is_bad = true;

    CHECK(counts("{\"spec\":{\"type\":\"backup\"},\"status\":{\"readyToUse\":"
                 "true,\"vmkeep\":{\"target\":\"default\",\"phase\":\"Ready\"}}"
                 "}",
                 &is_bad));
    CHECK(!is_bad);
    CHECK(counts("{\"status\":{\"readyToUse\":true,\"conditions\":[{\"type\":"
                 "\"Verified\",\"status\":\"False\"}],\"vmkeep\":{\"target\":"
                 "\"default\",\"phase\":\"Ready\"}}}",
                 &is_bad));
    CHECK(is_bad);
    CHECK(!counts("{\"status\":{\"vmkeep\":{\"target\":\"other\",\"phase\":"
                  "\"Ready\"}}}",
                  &is_bad));
    CHECK(!counts("{\"status\":{\"vmkeep\":{\"target\":\"default\",\"phase\":"
                  "\"Reading\"}}}",
                  &is_bad));
    CHECK(!counts("{\"spec\":{\"type\":\"snapshot\"},\"status\":{\"vmkeep\":{"
                  "\"target\":\"default\",\"phase\":\"Ready\"}}}",
                  &is_bad));
    CHECK(!counts("{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:"
                  "00Z\"},\"status\":{\"vmkeep\":{\"target\":\"default\","
                  "\"phase\":\"Ready\"}}}",
                  &is_bad));
}

static void
the_annotation_holds(void)
{
    CLEANUP(json_decref)
    json_t *held =
        parse("{\"metadata\":{\"annotations\":{\"vmkeep.io/hold\":\"why\"}}}");
    CLEANUP(json_decref)
    json_t *released = parse(
        "{\"metadata\":{\"annotations\":{\"vmkeep.io/hold\":\"false\"}}}");
    CLEANUP(json_decref) json_t *none = parse("{\"metadata\":{}}");

    CHECK(target_retain_is_held(held));
    CHECK(!target_retain_is_held(released));
    CHECK(!target_retain_is_held(none));
}

static void
maintenance_is_due_after_its_interval(void)
{
    CHECK_INT(target_due_in_s(1000, 900, 0, 300), ==, 200);
    CHECK_INT(target_due_in_s(1000, 0, 900, 300), ==, 200);
    CHECK_INT(target_due_in_s(1200, 900, 0, 300), ==, 0);
    CHECK_INT(target_due_in_s(1000, 900, 0, 0), ==, -1);
    CHECK_INT(target_due_in_s(1000, 1100, 0, 300), ==, 400);
    CHECK_INT(target_due_in_s(1000, 10 * 365 * 86400, 0, 300), ==, 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "the policy is read", the_policy_is_read },
        { "only finished backups of the target count",
          only_finished_backups_of_the_target_count },
        { "the annotation holds", the_annotation_holds },
        { "maintenance is due after its interval",
          maintenance_is_due_after_its_interval },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
