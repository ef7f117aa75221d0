/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "test.h"

static void
it_grows_and_ends_in_a_nul(void)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    char want[4096];

    for (size_t i = 0; i < sizeof want - 1; i++) {
        want[i] = (char)('a' + i % 26);
        buf_add_char(&b, want[i]);
        CHECK_INT(b.len, ==, i + 1);
        CHECK_INT(b.data[b.len], ==, 0);
    }
    want[sizeof want - 1] = 0;
    CHECK(strcmp(buf_str(&b), want) == 0);
}

static void
an_empty_buffer_reads_as_an_empty_string(void)
{
    struct buf b = BUF_INIT;

    CHECK(strcmp(buf_str(&b), "") == 0);
    buf_truncate(&b, 0);
    buf_add(&b, NULL, 0);
    CHECK(strcmp(buf_str(&b), "") == 0);
    char *s = buf_take_str(&b);
    CHECK(s != NULL && *s == 0);
    free(s);
    CHECK(b.data == NULL && b.len == 0);
    buf_fini(&b);
}

static void
printf_appends_at_every_length(void)
{
    char want[700] = "";

    for (int n = 0; n < 600; n++) {
        struct buf b = BUF_INIT;

        buf_add_str(&b, "x");
        buf_printf(&b, "%*s", n, "");
        (void)snprintf(want, sizeof want, "x%*s", n, "");
        CHECK_INT(b.len, ==, n + 1);
        CHECK(strcmp(buf_str(&b), want) == 0);
        buf_fini(&b);
    }
}

static void
truncate_and_take_leave_it_usable(void)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_add(&b, "one\0two", 7);
    buf_truncate(&b, 4);
    CHECK_INT(b.len, ==, 4);
    CLEANUP(mem_free) char *s = buf_take_str(&b);
    CHECK(memcmp(s, "one", 4) == 0);
    buf_add_str(&b, "next");
    CHECK(strcmp(buf_str(&b), "next") == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "it grows and ends in a NUL", it_grows_and_ends_in_a_nul },
        { "an empty buffer reads as an empty string",
          an_empty_buffer_reads_as_an_empty_string },
        { "printf appends at every length", printf_appends_at_every_length },
        { "truncate and take leave it usable",
          truncate_and_take_leave_it_usable },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
