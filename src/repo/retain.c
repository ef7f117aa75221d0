/* SPDX-License-Identifier: Apache-2.0 */
/* Stamps are what the clocks of hosts said, and a clock may be years off, set
 * by hand or by somebody who wants good backups to be pushed out. The order of
 * the log cannot be forged. So in a group, in that order, true times do not
 * decrease; where the stamps do, somebody was wrong, and it cannot be known
 * who. There are three readings, and each is right about one kind of error:
 *
 *   EARLIER  a backup is not older than the one before it: right when clocks
 *            were behind (stamps of the past are raised)
 *   LATER    a backup is not younger than the one after it: right when clocks
 *            were ahead (stamps of the future are lowered)
 *   MOST     the longest run of stamps that agree is true; the others lie
 *            between their neighbours
 *
 * Within a reading a stamp that was moved by more than SLOP_S is doubtful. The
 * doubtful ones take no place from the others: the rules choose among the
 * trusted first, and the doubtful are kept where they fall into the span that
 * was chosen, the newest per hour, day and so on.
 *
 * A stamp beyond `now` is not believed. If that of the last backup lies there,
 * `now` may be what is wrong, and the three readings are taken without it too.
 * What any reading keeps is kept: a wrong clock costs space, not backups.
 */
#include "repo/retain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define SLOP_S     3600 /* clocks of two hosts, and how long a backup takes */
#define YEAR_MAX_S 253402300799 /* 9999-12-31 */
#define DAY_S      86400

enum reading {
    READING_EARLIER,
    READING_LATER,
    READING_MOST,
    READINGS,
};

/* One group, in log order. */
struct group {
    struct retain_item *items;
    size_t count;
    int64_t *stamp;   /* of the item, within bounds */
    int64_t *time;    /* in this reading */
    bool *is_trusted; /* the stamp is (about) that time, and it can be read */
    bool *is_used;    /* scratch: it is believed */
    int64_t now;
};

static bool
is_future(const struct group *g, size_t i)
{
    return g->stamp[i] > g->now && g->stamp[i] - g->now > SLOP_S;
}

/* ---- readings ---- */

/* Give those that are not used a time between their neighbours that are. */
static void
fill_gaps(struct group *g)
{
    int64_t before = 0, after = g->now;

    for (size_t i = 0; i < g->count; i++) {
        if (g->is_used[i])
            before = g->stamp[i];
        g->time[i] = g->stamp[i] > before ? g->stamp[i] : before;
    }
    for (size_t i = g->count; i-- > 0;) {
        if (g->is_used[i])
            after = g->stamp[i];
        if (g->time[i] > after)
            g->time[i] = after;
    }
    for (size_t i = 1; i < g->count; i++)
        if (g->time[i] < g->time[i - 1])
            g->time[i] = g->time[i - 1];
}

static void
read_earlier(struct group *g)
{
    int64_t floor = 0;

    for (size_t i = 0; i < g->count; i++) {
        if (!is_future(g, i) && g->stamp[i] > floor)
            floor = g->stamp[i];
        g->time[i] = floor;
    }
}

static void
read_later(struct group *g)
{
    int64_t ceiling = g->now;

    for (size_t i = g->count; i-- > 0;) {
        if (g->stamp[i] < ceiling)
            ceiling = g->stamp[i];
        g->time[i] = ceiling;
    }
}

/* The longest subsequence that does not decrease, by patience sorting:
 * tails[k] ends the best run of k + 1. */
static void
read_most(struct group *g)
{
    size_t *tails = xcalloc(g->count, sizeof *tails), n = 0;
    size_t *from = xcalloc(g->count, sizeof *from);

    for (size_t i = 0; i < g->count; i++) {
        size_t lo = 0, hi = n;

        g->is_used[i] = false;
        if (is_future(g, i))
            continue;
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;

            if (g->stamp[tails[mid]] <= g->stamp[i])
                lo = mid + 1;
            else
                hi = mid;
        }
        from[i] = lo > 0 ? tails[lo - 1] : SIZE_MAX;
        tails[lo] = i;
        n = lo == n ? n + 1 : n;
    }
    for (size_t i = n > 0 ? tails[n - 1] : SIZE_MAX; i != SIZE_MAX; i = from[i])
        g->is_used[i] = true;
    fill_gaps(g);
    free(tails);
    free(from);
}

static void
take_reading(struct group *g, enum reading r)
{
    if (r == READING_EARLIER)
        read_earlier(g);
    else if (r == READING_LATER)
        read_later(g);
    else
        read_most(g);
    for (size_t i = 0; i < g->count; i++)
        g->is_trusted[i] =
            llabs(g->time[i] - g->stamp[i]) <= SLOP_S && !g->items[i].is_bad;
}

/* ---- rules ---- */

/* Months since the year 0 of the day `days` after 1970-01-01.
 * source: H. Hinnant, chrono-compatible low-level date algorithms */
static int64_t
month_of(int64_t days)
{
    int64_t z = days + 719468, era = z / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;

    return (yoe + era * 400 + (month <= 2)) * 12 + month - 1;
}

/* The hour, day ... that it falls into: numbers that grow with time. */
static int64_t
bucket_of(enum retain_reason rule, int64_t unix_s)
{
    int64_t day = unix_s / DAY_S; /* stamps are not negative */

    switch (rule) {
    case RETAIN_HOURLY:
        return unix_s / 3600;
    case RETAIN_WEEKLY:
        return (day + 3) / 7; /* 1970-01-01 was a Thursday */
    case RETAIN_MONTHLY:
        return month_of(day);
    case RETAIN_YEARLY:
        return month_of(day) / 12;
    case RETAIN_DAILY:
    case RETAIN_LAST:
    case RETAIN_WITHIN:
    case RETAIN_HELD:
    case RETAIN_NEWEST:
    case RETAIN_NO_POLICY:
    default:
        return day;
    }
}

/* The newest of each of up to `n` buckets not older than `floor`, among the
 * trusted or the doubtful. Times do not decrease, so one look back is enough.
 * Returns the oldest bucket that was chosen when all n were, else INT64_MIN. */
static int64_t
keep_buckets(struct group *g, enum retain_reason rule, unsigned n,
             bool of_trusted, int64_t floor)
{
    int64_t last = INT64_MAX;

    for (size_t i = g->count; i-- > 0 && n > 0;) {
        int64_t b = bucket_of(rule, g->time[i]);

        if (g->is_trusted[i] != of_trusted || b == last)
            continue;
        if (b < floor)
            break;
        last = b;
        n--;
        g->items[i].reasons |= rule;
    }
    return n == 0 ? last : INT64_MIN;
}

static void
keep_within(struct group *g, uint64_t within_s)
{
    size_t newest = g->count;
    int64_t from;

    for (size_t i = g->count; i-- > 0 && newest == g->count;)
        if (g->is_trusted[i])
            newest = i;
    if (newest == g->count) /* all are doubtful: by the last */
        newest = g->count - 1;
    from = within_s > YEAR_MAX_S ? 0 : g->time[newest] - (int64_t)within_s;
    for (size_t i = 0; i < g->count; i++)
        if (g->time[i] >= from)
            g->items[i].reasons |= RETAIN_WITHIN;
}

static void
keep_by_time(struct group *g, const struct retain_policy *p)
{
    const struct {
        enum retain_reason rule;
        unsigned n;
    } rules[] = {
        { RETAIN_HOURLY, p->hourly }, { RETAIN_DAILY, p->daily },
        { RETAIN_WEEKLY, p->weekly }, { RETAIN_MONTHLY, p->monthly },
        { RETAIN_YEARLY, p->yearly },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        int64_t floor;

        if (rules[i].n == 0)
            continue;
        floor = keep_buckets(g, rules[i].rule, rules[i].n, true, INT64_MIN);
        (void)keep_buckets(g, rules[i].rule, rules[i].n, false, floor);
    }
    if (p->within_s > 0)
        keep_within(g, p->within_s);
}

/* What needs no clock. */
static void
keep_by_order(struct group *g, const struct retain_policy *p)
{
    unsigned n = p->last;
    bool has_newest = false;

    for (size_t i = g->count; i-- > 0;) {
        struct retain_item *it = &g->items[i];

        if (it->is_held)
            it->reasons |= RETAIN_HELD;
        if (it->is_bad)
            continue;
        if (!has_newest)
            it->reasons |= RETAIN_NEWEST;
        has_newest = true;
        if (n > 0) {
            it->reasons |= RETAIN_LAST;
            n--;
        }
    }
    /* None can be restored whole: what there is may still be of use. */
    if (!has_newest)
        g->items[g->count - 1].reasons |= RETAIN_NEWEST;
}

static int64_t
bounded(int64_t unix_s)
{
    return unix_s < 0 ? 0 : unix_s > YEAR_MAX_S ? YEAR_MAX_S : unix_s;
}

static void
apply_to_group(const struct retain_policy *p, struct retain_item *items,
               size_t count, int64_t now)
{
    struct group g = {
        .items = items,
        .count = count,
        .stamp = xcalloc(count, sizeof *g.stamp),
        .time = xcalloc(count, sizeof *g.time),
        .is_trusted = xcalloc(count, sizeof *g.is_trusted),
        .is_used = xcalloc(count, sizeof *g.is_used),
        .now = bounded(now),
    };
    bool is_now_doubtful;

    for (size_t i = 0; i < count; i++)
        g.stamp[i] = bounded(items[i].created_unix_s);
    is_now_doubtful = is_future(&g, count - 1);
    keep_by_order(&g, p);
    for (enum reading r = 0; r < READINGS; r++) {
        take_reading(&g, r);
        keep_by_time(&g, p);
    }
    g.now = YEAR_MAX_S;
    for (enum reading r = 0; r < READINGS && is_now_doubtful; r++) {
        take_reading(&g, r);
        keep_by_time(&g, p);
    }
    free(g.stamp);
    free(g.time);
    free(g.is_trusted);
    free(g.is_used);
}

/* ---- the whole list ---- */

static int
compare_items(const void *a, const void *b)
{
    const struct retain_item *x = a, *y = b;
    int by_group = strcmp(x->group, y->group);

    if (by_group != 0)
        return by_group;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

bool
retain_policy_is_empty(const struct retain_policy *p)
{
    return p->last == 0 && p->hourly == 0 && p->daily == 0 && p->weekly == 0 &&
           p->monthly == 0 && p->yearly == 0 && p->within_s == 0;
}

void
retain_apply(const struct retain_policy *policy, struct retain_item *items,
             size_t count, int64_t now_unix_s)
{
    bool is_empty = retain_policy_is_empty(policy);

    if (count == 0)
        return;
    qsort(items, count, sizeof *items, compare_items);
    for (size_t i = 0; i < count; i++) {
        items[i].reasons = is_empty ? RETAIN_NO_POLICY : 0;
        if (is_empty && items[i].is_held)
            items[i].reasons |= RETAIN_HELD;
    }
    for (size_t from = 0, to; !is_empty && from < count; from = to) {
        for (to = from + 1;
             to < count && strcmp(items[from].group, items[to].group) == 0;)
            to++;
        apply_to_group(policy, items + from, to - from, now_unix_s);
    }
}

/* ---- words ---- */

char *
retain_reasons_text(unsigned reasons)
{
    static const char *const words[] = { "last",     "hourly",  "daily",
                                         "weekly",   "monthly", "yearly",
                                         "within",   "hold",    "newest",
                                         "no-policy" };
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if ((reasons & (1u << i)) == 0)
            continue;
        if (text.len > 0)
            buf_add_str(&text, ",");
        buf_add_str(&text, words[i]);
    }
    return xstrdup(text.len > 0 ? buf_str(&text) : "");
}

int
retain_parse_within(const char *text, uint64_t *ret_s, struct err *err)
{
    static const struct {
        char letter;
        uint64_t seconds;
    } units[] = {
        { 'h', 3600 },
        { 'd', DAY_S },
        { 'w', 7 * DAY_S },
        { 'm', (uint64_t)30 * DAY_S },
        { 'y', (uint64_t)365 * DAY_S },
    };
    uint64_t sum = 0;
    const char *p = text;

    while (*p != 0) {
        uint64_t n = 0, unit = 0;
        unsigned digits = 0;

        for (; *p >= '0' && *p <= '9' && digits < 7; p++, digits++)
            n = n * 10 + (uint64_t)(*p - '0');
        for (size_t i = 0; i < ARRAY_SIZE(units); i++)
            if (*p == units[i].letter)
                unit = units[i].seconds;
        if (digits == 0 || unit == 0)
            return err_set(err, ERR_INVALID,
                           "\"%.40s\": not a time like 36h, 30d, 8w, 6m, 2y",
                           text);
        sum += n * unit;
        p++;
    }
    if (sum == 0 || sum > YEAR_MAX_S)
        return err_set(err, ERR_INVALID, "\"%.40s\": out of range", text);
    *ret_s = sum;
    return 0;
}
