/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "test.h"

static void
stamps_are_parsed_strictly(void)
{
    static const struct {
        const char *text;
        int64_t unix_s;
    } good[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "2026-08-01T10:00:07Z", 1785578407 },
        { "2026-08-01T12:00:07+02:00", 1785578407 },
        { "2026-08-01T10:00:07.123456789Z", 1785578407 },
        { "2024-02-29T23:59:59z", 1709251199 },
        { "1969-12-31T23:59:59Z", -1 },
        { "1970-01-01T00:00:00-23:59", 86340 },
    };
    static const char *const bad[] = {
        "",
        "now",
        "2026-08-01",
        "2026-08-01 10:00:07Z",
        "2026-08-01T10:00:07",
        "2026-08-01T10:00:07ZZ",
        "2026-8-1T10:00:07Z",
        " 026-08-01T10:00:07Z",
        "2026-13-01T10:00:07Z",
        "2026-00-01T10:00:07Z",
        "2026-02-30T10:00:07Z",
        "2026-02-29T10:00:07Z",
        "2026-08-01T24:00:00Z",
        "2026-08-01T10:60:00Z",
        "2026-08-01T10:00:60Z",
        "2026-08-01T10:00:07.Z",
        "2026-08-01T10:00:07+2:00",
        "2026-08-01T10:00:07+ 2: 0",
        "2026-08-01T10:00:07+24:00",
        "2026-08-01T10:00:07+02:00x",
        "0000-01-01T00:00:00+23:59", /* in the year -1 */
        "9999-12-31T23:59:59-23:59", /* in the year 10000 */
    };
    struct err err = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        int64_t got = 0;

        CHECK_OK(clock_parse_rfc3339(good[i].text, &got, &err), &err);
        CHECK_INT(got, ==, good[i].unix_s);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int64_t got = 42;

        CHECK_ERR(clock_parse_rfc3339(bad[i], &got, &err), &err, ERR_INVALID);
        CHECK_INT(got, ==, 42);
    }
}

static void
stamps_survive_a_round_trip(void)
{
    struct err err = { 0 };

    for (int64_t t = 0; t < 250000000000; t += 86413 * 1009) {
        char text[CLOCK_RFC3339_SIZE];
        int64_t back = -1;

        clock_format_rfc3339(t, text);
        CHECK_OK(clock_parse_rfc3339(text, &back, &err), &err);
        CHECK_INT(back, ==, t);
    }
}

static void
years_have_four_digits(void)
{
    static const char *const texts[] = { "0000-01-01T00:00:00Z",
                                         "0999-12-31T23:59:59Z",
                                         "9999-12-31T23:59:59Z" };
    struct err err = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char text[CLOCK_RFC3339_SIZE];
        int64_t t = 0;

        CHECK_OK(clock_parse_rfc3339(texts[i], &t, &err), &err);
        clock_format_rfc3339(t, text);
        CHECK(strcmp(text, texts[i]) == 0);
    }
}

/* Source: time.ParseDuration of Go. */
static void
durations_are_those_of_go(void)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        { "0", 0 },
        { "5m", 300000 },
        { "1h30m", 5400000 },
        { "1.5h", 5400000 },
        { "90s", 90000 },
        { "300ms", 300 },
        { "1.5s", 1500 },
        { "-2s", -2000 },
        { "+2s", 2000 },
        { ".5s", 500 },
        { "1.s", 1000 },
        { "1h0.25s", 3600250 },
        { "1500us", 2 },
        { "2000\xc2\xb5s", 2 },
        { "2000\xce\xbcs", 2 },
        { "2562047h", 9223369200000 },
    };
    static const char *const bad[] = {
        "",       "5",    "s",           "-",   "1x",
        "1h2",    "1e3s", "0x1s",        "1 s", "inf",
        "1.2.3s", "--1s", "9999999999h", ".s",  "\xc2\xb5s",
    };
    struct err err = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        int64_t ms = 0;

        CHECK_OK(clock_parse_duration(good[i].text, &ms, &err), &err);
        CHECK_INT(ms, ==, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int64_t ms = 42;

        CHECK_ERR(clock_parse_duration(bad[i], &ms, &err), &err, ERR_INVALID);
        CHECK_INT(ms, ==, 42);
    }
}

/* Source: HumanDuration of k8s.io/apimachinery, which kubectl prints. */
static void
ages_are_those_of_kubectl(void)
{
    static const struct {
        int64_t s;
        const char *age;
    } rows[] = {
        { -2, "<invalid>" },
        { -1, "0s" },
        { 0, "0s" },
        { 119, "119s" },
        { 120, "2m" },
        { 435, "7m15s" },
        { 600, "10m" },
        { 10799, "179m" },
        { 10800, "3h" },
        { 11520, "3h12m" },
        { 8 * 3600, "8h" },
        { 47 * 3600 + 3599, "47h" },
        { 48 * 3600, "2d" },
        { 51 * 3600, "2d3h" },
        { 8 * 86400 + 3600, "8d" },
        { 40 * 86400, "40d" },
        { 729LL * 86400, "729d" },
        { 730LL * 86400, "2y" },
        { 800LL * 86400, "2y70d" },
        { 365LL * 9 * 86400, "9y" },
    };
    char text[CLOCK_AGE_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        clock_format_age(rows[i].s, text);
        CHECK(strcmp(text, rows[i].age) == 0);
    }
}

static void
the_extremes_fit_their_buffers(void)
{
    char age[CLOCK_AGE_SIZE], stamp[CLOCK_RFC3339_SIZE];

    clock_format_age(INT64_MAX, age);
    clock_format_age(INT64_MIN, age);
    CHECK(strcmp(age, "<invalid>") == 0);
    clock_format_rfc3339(INT64_MAX, stamp);
    CHECK_INT(strlen(stamp), ==, CLOCK_RFC3339_SIZE - 1);
    clock_format_rfc3339(253402300800, stamp); /* the year 10000 */
    CHECK_INT(strlen(stamp), ==, CLOCK_RFC3339_SIZE - 1);
}

static void
sleeping_takes_its_time(void)
{
    uint64_t before = clock_mono_ms();

    clock_sleep_ms(20);
    CHECK_INT(clock_mono_ms() - before, >=, 20);
    clock_sleep_until(before); /* in the past: returns */
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "stamps are parsed strictly", stamps_are_parsed_strictly },
        { "stamps survive a round trip", stamps_survive_a_round_trip },
        { "years have four digits", years_have_four_digits },
        { "durations are those of Go", durations_are_those_of_go },
        { "ages are those of kubectl", ages_are_those_of_kubectl },
        { "the extremes fit their buffers", the_extremes_fit_their_buffers },
        { "sleeping takes its time", sleeping_takes_its_time },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
