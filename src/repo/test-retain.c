/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy keeps: by a table, against a plain implementation that trusts
 * its stamps, and under clocks that lie. */
#include "base/clock.h"
#include "base/mem.h"
#include "repo/retain.h"
#include "repo/test-model.h"
#include "test.h"

#define DAY   86400
#define YEAR  (365 * DAY)
#define NOW   1793000000 /* 2026-10-26 */
#define ITEMS 200

static struct retain_item
item(const char *group, uint64_t seq, int64_t at)
{
    return (
        struct retain_item){ .group = group, .seq = seq, .created_unix_s = at };
}

static int64_t
at(const char *text)
{
    int64_t s;
    struct err err;

    CHECK_OK(clock_parse_rfc3339(text, &s, &err), &err);
    return s;
}

static unsigned
kept(const struct retain_item *items, size_t n)
{
    unsigned k = 0;

    for (size_t i = 0; i < n; i++)
        k += items[i].reasons != 0;
    return k;
}

/* ---- a table ---- */

static void
rules_keep_the_newest_of_each(void)
{
    struct retain_item v[] = {
        item("vm", 1, at("2024-12-31T23:00:00Z")),
        item("vm", 2, at("2025-01-01T01:00:00Z")),
        item("vm", 3, at("2025-03-30T01:30:00Z")), /* a Sunday */
        item("vm", 4, at("2025-03-31T00:30:00Z")), /* a Monday */
        item("vm", 5, at("2025-03-31T00:45:00Z")),
        item("vm", 6, at("2025-03-31T05:00:00Z")),
    };
    const struct {
        struct retain_policy p;
        const char *kept; /* a letter per item */
    } rows[] = {
        { { .last = 2 }, "....kk" },
        { { .last = 9 }, "kkkkkk" },
        { { .hourly = 2 }, "....kk" },
        { { .daily = 2 }, "..k..k" },
        { { .weekly = 2 }, "..k..k" },
        { { .weekly = 3 }, ".kk..k" },
        { { .monthly = 2 }, ".k...k" },
        { { .yearly = 2 }, "k....k" },
        { { .within_s = DAY }, "...kkk" },
        { { .within_s = 2 * DAY }, "..kkkk" },
        { { 0 }, "kkkkkk" },
        { { .last = 1, .yearly = 2 }, "k....k" },
    };

    for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
        retain_apply(&rows[r].p, v, ARRAY_SIZE(v), at("2025-04-01T00:00:00Z"));
        for (size_t i = 0; i < ARRAY_SIZE(v); i++)
            CHECK_INT(v[i].reasons != 0, ==, rows[r].kept[i] == 'k');
    }
}

static void
groups_and_holds_stand_for_themselves(void)
{
    struct retain_policy p = { .last = 1 };
    struct retain_item v[] = { item("b", 4, NOW - DAY),
                               item("a", 1, NOW - 3 * DAY),
                               item("b", 3, NOW - 2 * DAY),
                               item("a", 2, NOW - 2 * DAY) };
    CLEANUP(mem_free) char *text = NULL;

    v[1].is_held = true;
    retain_apply(&p, v, 4, NOW);
    CHECK(strcmp(v[0].group, "a") == 0 && v[0].seq == 1);
    CHECK_INT(v[0].reasons, ==, RETAIN_HELD);
    CHECK_INT(v[1].reasons, ==, RETAIN_LAST | RETAIN_NEWEST);
    CHECK_INT(v[2].reasons, ==, 0);
    CHECK_INT(v[3].reasons, ==, RETAIN_LAST | RETAIN_NEWEST);
    text = retain_reasons_text(v[3].reasons | RETAIN_HELD);
    CHECK(strcmp(text, "last,hold,newest") == 0);
}

static void
a_bad_backup_takes_nobodys_place(void)
{
    struct retain_policy p = { .last = 1, .daily = 1 };
    struct retain_item v[] = { item("a", 1, NOW - 3 * DAY),
                               item("a", 2, NOW - 2 * DAY),
                               item("a", 3, NOW - DAY) };

    v[2].is_bad = true;
    retain_apply(&p, v, 3, NOW);
    CHECK_INT(v[0].reasons, ==, 0);
    CHECK((v[1].reasons & RETAIN_NEWEST) != 0);
    CHECK((v[1].reasons & RETAIN_DAILY) != 0);
    v[0].is_bad = v[1].is_bad = true; /* sorted as before */
    retain_apply(&p, v, 3, NOW);
    CHECK((v[2].reasons & RETAIN_NEWEST) != 0);
}

/* ---- against the plain implementation ---- */

static int64_t
plain_bucket(unsigned rule, int64_t t)
{
    char s[CLOCK_RFC3339_SIZE];
    static const unsigned digits[] = { 13, 10, 0, 7, 4 };

    if (rule == 2)
        return (t / DAY + 3) / 7;
    clock_format_rfc3339(t, s);
    s[digits[rule]] = 0;
    t = 0;
    for (const char *c = s; *c != 0; c++)
        if (*c >= '0' && *c <= '9')
            t = 10 * t + (*c - '0');
    return t;
}

static void
plain_apply(const struct retain_policy *p, const struct retain_item *v,
            size_t n, bool *keep)
{
    const unsigned counts[] = { p->hourly, p->daily, p->weekly, p->monthly,
                                p->yearly };

    for (size_t i = 0; i < n; i++)
        keep[i] = n - i <= p->last || i == n - 1 ||
                  (p->within_s > 0 &&
                   v[i].created_unix_s >=
                       v[n - 1].created_unix_s - (int64_t)p->within_s);
    for (unsigned r = 0; r < 5; r++) {
        unsigned left = counts[r];

        for (size_t i = n; i-- > 0 && left > 0;) {
            if (i + 1 < n && plain_bucket(r, v[i].created_unix_s) ==
                                 plain_bucket(r, v[i + 1].created_unix_s))
                continue;
            keep[i] = true;
            left--;
        }
    }
}

static struct retain_policy
random_policy(void)
{
    struct retain_policy p = { .daily = 1 + (unsigned)testing_below(10) };

    p.last = (unsigned)testing_below(5);
    p.hourly = (unsigned)testing_below(5);
    p.weekly = (unsigned)testing_below(5);
    p.monthly = (unsigned)testing_below(5);
    p.yearly = (unsigned)testing_below(3);
    p.within_s = testing_below(2) * testing_below(40) * DAY;
    return p;
}

/* Stamps that grow, up to about `now`. */
static size_t
random_items(struct retain_item *v, int64_t now)
{
    size_t n = 1 + testing_below(ITEMS / 2);
    int64_t t = now;

    for (size_t i = n; i-- > 0;) {
        t -= (int64_t)testing_below(testing_below(5) == 0 ? 30 * DAY : DAY);
        v[i] = item("vm", 10 * (i + 1), t);
    }
    return n;
}

static void
with_good_clocks_it_is_the_plain_policy(void)
{
    struct retain_item v[ITEMS];
    bool keep[ITEMS];

    for (unsigned round = 0; round < 500; round++) {
        struct retain_policy p = random_policy();
        size_t n = random_items(v, NOW);

        plain_apply(&p, v, n, keep);
        retain_apply(&p, v, n, NOW);
        for (size_t i = 0; i < n; i++)
            CHECK_INT(v[i].reasons != 0, ==, keep[i]);
    }
}

/* This host's clock decides nothing by itself. */
static void
a_wrong_clock_here_deletes_nothing_more(void)
{
    static const int64_t off[] = { -10 * (int64_t)YEAR, 10 * (int64_t)YEAR,
                                   -3 * DAY, INT64_MAX - NOW, -NOW };
    struct retain_item v[ITEMS];
    bool keep[ITEMS];

    for (unsigned round = 0; round < 500; round++) {
        struct retain_policy p = random_policy();
        size_t n = random_items(v, NOW);

        plain_apply(&p, v, n, keep);
        retain_apply(&p, v, n, NOW + off[round % ARRAY_SIZE(off)]);
        for (size_t i = 0; i < n; i++)
            CHECK(v[i].reasons != 0 || !keep[i]);
    }
}

/* Put backups with wrong stamps among the good ones: whatever the policy
 * keeps of the good ones by time, it keeps all the same. */
static void
check_liars(unsigned round, bool at_the_end, unsigned liars, int64_t lie,
            int64_t spread)
{
    struct retain_item v[ITEMS], all[2 * ITEMS];
    bool keep[ITEMS];
    struct retain_policy p = random_policy();
    size_t n, m = 0;

    p.last = 0; /* by count, not by time */
    n = random_items(v, NOW);
    plain_apply(&p, v, n, keep);
    memcpy(all, v, n * sizeof *v);
    for (unsigned i = 0; i < liars; i++) {
        uint64_t seq = at_the_end ? 10 * n + 1 + i : testing_below(10 * n + 10);

        if (seq % 10 == 0)
            seq++;
        all[n + m++] =
            item("vm", seq, NOW + lie + (spread > 0 ? (int64_t)i * spread : 0));
    }
    retain_apply(&p, all, n + m, NOW);
    for (size_t i = 0; i < n; i++) {
        if (!keep[i] || i + 1 == n) /* the newest is so no more */
            continue;
        for (size_t k = 0; k < n + m; k++)
            if (all[k].seq == v[i].seq && all[k].reasons == 0)
                CHECK_INT(round, ==, UINT32_MAX);
    }
}

static void
stamps_that_lie_push_out_no_good_backup(void)
{
    for (unsigned round = 0; round < 500; round++) {
        unsigned few = 1 + (unsigned)testing_below(3);

        /* one clock ahead, one behind, anywhere */
        check_liars(round, false, few, 10 * (int64_t)YEAR, 0);
        check_liars(round, false, few, -10 * (int64_t)YEAR, 0);
        /* a flood: a day apart in the future, a day apart in the past */
        check_liars(round, true, 60, 10 * DAY, DAY);
        check_liars(round, true, 60, -5 * (int64_t)YEAR, DAY);
        check_liars(round, true, 60, 10 * (int64_t)YEAR, 30 * DAY);
    }
}

static void
stamps_out_of_all_bounds_are_taken(void)
{
    static const int64_t odd[] = { INT64_MIN, INT64_MAX, -1, 0, NOW };
    struct retain_policy p = { .daily = 2, .within_s = UINT64_MAX };
    struct retain_item v[ARRAY_SIZE(odd)];

    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        v[i] = item("", i, odd[i]);
    retain_apply(&p, v, ARRAY_SIZE(odd), NOW);
    CHECK_INT(kept(v, ARRAY_SIZE(odd)), ==, ARRAY_SIZE(odd));
    retain_apply(&p, v, ARRAY_SIZE(odd), INT64_MIN);
    retain_apply(&p, v, ARRAY_SIZE(odd), INT64_MAX);
    retain_apply(&p, v, 0, NOW);
}

/* What lied is let go in the end: it does not stay for ever. */
static void
a_liar_in_the_past_of_good_ones_goes_with_its_neighbours(void)
{
    struct retain_policy p = { .daily = 7 };
    struct retain_item v[40];

    for (size_t i = 0; i < 40; i++)
        v[i] = item("vm", i, NOW - (int64_t)(40 - i) * DAY);
    v[5].created_unix_s = 0;
    v[6].created_unix_s = NOW + 10 * (int64_t)YEAR;
    retain_apply(&p, v, 40, NOW);
    CHECK_INT(v[5].reasons, ==, 0);
    CHECK_INT(v[6].reasons, ==, 0);
    CHECK_INT(kept(v, 40), ==, 7);
}

static void
times_are_read(void)
{
    uint64_t s;
    struct err err;

    CHECK_OK(retain_parse_within("1y6m", &s, &err), &err);
    CHECK_INT(s, ==, (int64_t)(365 + 180) * DAY);
    CHECK_OK(retain_parse_within("36h", &s, &err), &err);
    CHECK_INT(s, ==, 36 * 3600);
    CHECK_ERR(retain_parse_within("", &s, &err), &err, ERR_INVALID);
    CHECK_ERR(retain_parse_within("7", &s, &err), &err, ERR_INVALID);
    CHECK_ERR(retain_parse_within("d", &s, &err), &err, ERR_INVALID);
    CHECK_ERR(retain_parse_within("99999999d", &s, &err), &err, ERR_INVALID);
    CHECK_ERR(retain_parse_within("9999999y", &s, &err), &err, ERR_INVALID);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "rules keep the newest of each", rules_keep_the_newest_of_each },
        { "groups and holds stand for themselves",
          groups_and_holds_stand_for_themselves },
        { "a bad backup takes nobody's place",
          a_bad_backup_takes_nobodys_place },
        { "with good clocks it is the plain policy",
          with_good_clocks_it_is_the_plain_policy },
        { "a wrong clock here deletes nothing more",
          a_wrong_clock_here_deletes_nothing_more },
        { "stamps that lie push out no good backup",
          stamps_that_lie_push_out_no_good_backup },
        { "stamps out of all bounds are taken",
          stamps_out_of_all_bounds_are_taken },
        { "a liar goes with its neighbours",
          a_liar_in_the_past_of_good_ones_goes_with_its_neighbours },
        { "times are read", times_are_read },
    };

    testing_seed(28);
    return test_main(cases, ARRAY_SIZE(cases));
}
