/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t
clock_mono_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t
clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000u;
}

/* Set once by clock_init() [C]. */
static const char *shift_path;
static int64_t began_wall_s;
static uint64_t began_mono_ms;

static int64_t
shift_s(void)
{
    FILE *f = shift_path == NULL ? NULL : fopen(shift_path, "re");
    long long s = 0;

    if (f == NULL)
        return 0;
    /* NOLINTNEXTLINE(cert-err34-c): ten digits always fit */
    if (fscanf(f, "%10lld", &s) != 1)
        s = 0;
    (void)fclose(f);
    return s;
}

int64_t
clock_wall_s(void)
{
    return (int64_t)time(NULL) + shift_s();
}

void
clock_init(void)
{
    /* Before threads exist: NOLINTNEXTLINE(concurrency-mt-unsafe) */
    shift_path = getenv("VMKEEP_CLOCK_SHIFT");
    began_wall_s = clock_wall_s();
    began_mono_ms = clock_mono_ms();
}

int64_t
clock_patient_s(void)
{
    int64_t wall_s = clock_wall_s();
    int64_t most_s =
        began_wall_s + (int64_t)((clock_mono_ms() - began_mono_ms) / 1000u);

    return began_mono_ms == 0 || wall_s < most_s ? wall_s : most_s;
}

void
clock_sleep_until(uint64_t until_ms)
{
    struct timespec ts = { .tv_sec = (time_t)(until_ms / 1000u),
                           .tv_nsec = (long)(until_ms % 1000u) * 1000000L };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}

void
clock_sleep_ms(uint64_t ms)
{
    clock_sleep_until(clock_mono_ms() + ms);
}

/* Does it lie in the years 0 to 9999, which RFC 3339 can write? */
static bool
is_stamp(int64_t unix_s, struct tm *ret)
{
    time_t t = (time_t)unix_s;

    return gmtime_r(&t, ret) != NULL && ret->tm_year >= -1900 &&
           ret->tm_year <= 9999 - 1900;
}

void
clock_format_rfc3339(int64_t unix_s, char buf[CLOCK_RFC3339_SIZE])
{
    struct tm tm;

    if (!is_stamp(unix_s, &tm)) {
        (void)snprintf(buf, CLOCK_RFC3339_SIZE, "1970-01-01T00:00:00Z");
        return;
    }
    /* strftime()'s %Y has no leading zeros. */
    (void)snprintf(buf, CLOCK_RFC3339_SIZE, "%02d%02d",
                   (tm.tm_year + 1900) / 100, (tm.tm_year + 1900) % 100);
    (void)strftime(buf + 4, CLOCK_RFC3339_SIZE - 4, "-%m-%dT%H:%M:%SZ", &tm);
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Does `s` begin like `shape`, in which 'd' stands for a digit? */
static bool
has_shape(const char *s, const char *shape)
{
    for (; *shape != 0; s++, shape++)
        if (*shape == 'd' ? !is_digit(*s) : *s != *shape)
            return false;
    return true;
}

static int
two_digits(const char *s)
{
    return (s[0] - '0') * 10 + (s[1] - '0');
}

/* The part behind the seconds: an optional fraction, then Z or an offset. */
static int
parse_zone(const char *s, int64_t *ret_offset_s)
{
    int h, m;

    if (*s == '.') {
        if (!is_digit(s[1]))
            return -1;
        for (s++; is_digit(*s);)
            s++;
    }
    if ((*s == 'Z' || *s == 'z') && s[1] == 0) {
        *ret_offset_s = 0;
        return 0;
    }
    if ((*s != '+' && *s != '-') || !has_shape(s + 1, "dd:dd") || s[6] != 0)
        return -1;
    h = two_digits(s + 1);
    m = two_digits(s + 4);
    if (h > 23 || m > 59)
        return -1;
    *ret_offset_s = (int64_t)(h * 3600 + m * 60) * (*s == '-' ? -1 : 1);
    return 0;
}

/* By position, not by strptime(3): that takes blanks, short years, 30
 * February and second 61. */
static int
parse_stamp(const char *s, int64_t *ret_unix_s)
{
    struct tm tm = { 0 }, back;
    int64_t offset_s;
    time_t t;

    if (!has_shape(s, "dddd-dd-ddTdd:dd:dd") || parse_zone(s + 19, &offset_s))
        return -1;
    tm.tm_year = two_digits(s) * 100 + two_digits(s + 2) - 1900;
    tm.tm_mon = two_digits(s + 5) - 1;
    tm.tm_mday = two_digits(s + 8);
    tm.tm_hour = two_digits(s + 11);
    tm.tm_min = two_digits(s + 14);
    tm.tm_sec = two_digits(s + 17);
    back = tm;
    t = timegm(&back); /* normalises: 30 February becomes 2 March */
    if (back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday ||
        back.tm_hour != tm.tm_hour || back.tm_min != tm.tm_min ||
        back.tm_sec != tm.tm_sec || !is_stamp((int64_t)t - offset_s, &back))
        return -1;
    *ret_unix_s = (int64_t)t - offset_s;
    return 0;
}

int
clock_parse_rfc3339(const char *s, int64_t *ret_unix_s, struct err *err)
{
    if (parse_stamp(s, ret_unix_s) < 0)
        return err_set(err, ERR_INVALID, "\"%.40s\" is not an RFC 3339 time",
                       s);
    return 0;
}

/* Go's units in nanoseconds; "ms" must be tried before "m". */
static const struct {
    const char *unit;
    double ns;
} units[] = {
    { "ns", 1 },          { "us", 1e3 }, { "\xc2\xb5s", 1e3 }, /* micro sign */
    { "\xce\xbcs", 1e3 },                                      /* Greek mu */
    { "ms", 1e6 },        { "s", 1e9 },  { "m", 60e9 },        { "h", 3600e9 },
};

static const char *
parse_unit(const char *s, double *ret_ns)
{
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        size_t len = strlen(units[i].unit);

        if (strncmp(s, units[i].unit, len) == 0) {
            *ret_ns = units[i].ns;
            return s + len;
        }
    }
    return NULL;
}

/* "12", "1.5", ".5" without strtod, which takes "inf", hex and the locale. */
static const char *
parse_decimal(const char *s, double *ret_value)
{
    const char *start = s;
    double v = 0, scale = 1;
    bool any = false;

    for (; *s >= '0' && *s <= '9'; s++, any = true)
        v = v * 10 + (*s - '0');
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++, any = true) {
            scale /= 10;
            v += (*s - '0') * scale;
        }
    *ret_value = v;
    return any && s - start < 32 ? s : NULL;
}

int
clock_parse_duration(const char *s, int64_t *ret_ms, struct err *err)
{
    const char *p = s;
    double total_ns = 0, number, unit_ns = 0;
    bool negative = *p == '-';

    if (*p == '-' || *p == '+')
        p++;
    if (strcmp(p, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    do {
        p = parse_decimal(p, &number);
        if (p != NULL)
            p = parse_unit(p, &unit_ns);
        if (p == NULL)
            return err_set(
                err, ERR_INVALID,
                "\"%.40s\" is not a duration such as 30s, 5m or 1h30m", s);
        total_ns += number * unit_ns;
    } while (*p != 0);
    if (total_ns > 9.2233720368547e18)
        return err_set(err, ERR_INVALID, "duration \"%.40s\" is too long", s);
    *ret_ms = (int64_t)(total_ns / 1e6 + 0.5) * (negative ? -1 : 1);
    return 0;
}

static void
two_units(char buf[CLOCK_AGE_SIZE], int64_t major, char a, int64_t minor,
          char b)
{
    if (minor == 0)
        (void)snprintf(buf, CLOCK_AGE_SIZE, "%lld%c", (long long)major, a);
    else
        (void)snprintf(buf, CLOCK_AGE_SIZE, "%lld%c%lld%c", (long long)major, a,
                       (long long)minor, b);
}

/* The thresholds are those of kubectl's HumanDuration. */
void
clock_format_age(int64_t age_s, char buf[CLOCK_AGE_SIZE])
{
    int64_t m = age_s / 60, h = m / 60, d = h / 24;

    if (age_s < 0)
        (void)snprintf(buf, CLOCK_AGE_SIZE, age_s < -1 ? "<invalid>" : "0s");
    else if (age_s < 120)
        (void)snprintf(buf, CLOCK_AGE_SIZE, "%llds", (long long)age_s);
    else if (m < 10)
        two_units(buf, m, 'm', age_s % 60, 's');
    else if (h < 3)
        two_units(buf, m, 'm', 0, 's');
    else if (h < 8)
        two_units(buf, h, 'h', m % 60, 'm');
    else if (h < 48)
        two_units(buf, h, 'h', 0, 'm');
    else if (d < 8)
        two_units(buf, d, 'd', h % 24, 'h');
    else if (d < 365 * 2)
        two_units(buf, d, 'd', 0, 'h');
    else if (d < 365 * 8)
        two_units(buf, d / 365, 'y', d % 365, 'd');
    else
        two_units(buf, d / 365, 'y', 0, 'd');
}
