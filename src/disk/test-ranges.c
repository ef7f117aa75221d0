/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/ranges.h"
#include "test.h"

/* "a-b c-d": what is in the set. */
static const char *
text(const struct ranges *r)
{
    static char buf[512];
    size_t at = 0;

    buf[0] = 0;
    for (size_t i = 0; i < r->n; i++)
        at +=
            (size_t)snprintf(buf + at, sizeof buf - at, "%s%llu-%llu",
                             i == 0 ? "" : " ", (unsigned long long)r->v[i].off,
                             (unsigned long long)(r->v[i].off + r->v[i].len));
    return buf;
}

#define CHECK_SET(r, want) CHECK(strcmp(text(r), want) == 0)

static void
ranges_are_joined_and_sorted(void)
{
    CLEANUP(ranges_fini) struct ranges r = RANGES_INIT;

    ranges_add(&r, 10, 10);
    ranges_add(&r, 40, 10);
    ranges_add(&r, 0, 0);
    CHECK_SET(&r, "10-20 40-50");
    ranges_add(&r, 20, 5); /* touches */
    CHECK_SET(&r, "10-25 40-50");
    ranges_add(&r, 2, 3);
    CHECK_SET(&r, "2-5 10-25 40-50");
    ranges_add(&r, 30, 2);
    ranges_add(&r, 4, 27);
    CHECK_SET(&r, "2-32 40-50");
    ranges_add(&r, 0, 100);
    CHECK_SET(&r, "0-100");
    ranges_add(&r, UINT64_MAX - 5, 100);
    CHECK_INT(r.n, ==, 2);
    CHECK_INT(r.v[1].len, ==, 5);
}

static void
sets_are_widened_clipped_and_united(void)
{
    CLEANUP(ranges_fini) struct ranges r = RANGES_INIT;
    CLEANUP(ranges_fini) struct ranges other = RANGES_INIT;

    ranges_add(&r, 5, 1);
    ranges_add(&r, 17, 2);
    ranges_add(&r, 39, 2);
    ranges_align_out(&r, 8);
    CHECK_SET(&r, "0-8 16-24 32-48");
    ranges_clip(&r, 41);
    CHECK_SET(&r, "0-8 16-24 32-41");
    ranges_clip(&r, 32);
    CHECK_SET(&r, "0-8 16-24");
    ranges_add(&other, 8, 4);
    ranges_add(&other, 100, 1);
    ranges_union(&r, &other);
    CHECK_SET(&r, "0-12 16-24 100-101");
    CHECK_INT(ranges_bytes(&r), ==, 21);
    ranges_add(&r, UINT64_MAX - 3, 3);
    ranges_align_out(&r, 8); /* must not wrap */
    CHECK_INT(r.v[r.n - 1].off + r.v[r.n - 1].len, ==, (long long)UINT64_MAX);
}

static void
the_next_range_is_found(void)
{
    CLEANUP(ranges_fini) struct ranges r = RANGES_INIT;
    struct range x;

    CHECK(!ranges_next(&r, 0, &x));
    ranges_add(&r, 10, 10);
    ranges_add(&r, 40, 10);
    CHECK(ranges_next(&r, 0, &x) && x.off == 10 && x.len == 10);
    CHECK(ranges_next(&r, 15, &x) && x.off == 15 && x.len == 5);
    CHECK(ranges_next(&r, 20, &x) && x.off == 40 && x.len == 10);
    CHECK(ranges_next(&r, 49, &x) && x.off == 49 && x.len == 1);
    CHECK(!ranges_next(&r, 50, &x));
    CHECK(ranges_overlaps(&r, 19, 1) && !ranges_overlaps(&r, 20, 20));
    CHECK(ranges_overlaps(&r, 20, 21) && !ranges_overlaps(&r, 15, 0));
}

/* Against a bit for a byte. */
static void
random_sets_are_what_was_put_in(void)
{
    enum {
        SIZE = 300
    };
    uint32_t seed = 1;

    for (int round = 0; round < 2000; round++) {
        CLEANUP(ranges_fini) struct ranges r = RANGES_INIT;
        bool bits[SIZE] = { false };
        uint64_t pos = 0;
        struct range x;

        for (int i = 0; i < 12; i++) {
            seed = seed * 1664525 + 1013904223;
            uint64_t off = (seed >> 8) % SIZE;
            uint64_t len = (seed >> 20) % 30;

            len = len > SIZE - off ? SIZE - off : len;
            ranges_add(&r, off, len);
            for (uint64_t k = off; k < off + len; k++)
                bits[k] = true;
        }
        while (ranges_next(&r, pos, &x)) {
            for (; pos < x.off; pos++)
                CHECK(!bits[pos]);
            for (; pos < x.off + x.len; pos++)
                CHECK(bits[pos]);
        }
        for (; pos < SIZE; pos++)
            CHECK(!bits[pos]);
        for (size_t i = 1; i < r.n; i++)
            CHECK(r.v[i].off > r.v[i - 1].off + r.v[i - 1].len);
    }
}

static void
a_huge_set_stays_bounded_and_complete(void)
{
    CLEANUP(ranges_fini) struct ranges r = RANGES_INIT;
    uint64_t n = RANGES_MAX + 1000;

    for (uint64_t i = 0; i < n; i++)
        ranges_add(&r, i * 131072, 65536);
    CHECK_INT(r.n, <=, RANGES_MAX);
    for (uint64_t i = 0; i < n; i += 4321)
        CHECK(ranges_overlaps(&r, i * 131072 + 65535, 1));
    CHECK_INT(r.v[r.n - 1].off + r.v[r.n - 1].len, ==,
              (n - 1) * 131072 + 65536);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "ranges are joined and sorted", ranges_are_joined_and_sorted },
        { "sets are widened, clipped and united",
          sets_are_widened_clipped_and_united },
        { "the next range is found", the_next_range_is_found },
        { "random sets are what was put in", random_sets_are_what_was_put_in },
        { "a huge set stays bounded and complete",
          a_huge_set_stays_bounded_and_complete },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
