/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bar.h"
#include "test.h"

static const struct bar_facts facts = { .what = "Reading",
                                        .done = 3LL << 30,
                                        .all = 4LL << 30,
                                        .per_second = 256LL << 20,
                                        .seconds_left = 4 };

static void
expect(const struct bar_facts *f, unsigned width, const char *want)
{
    struct buf b = BUF_INIT;

    bar_format(f, width, &b);
    if (strcmp(buf_str(&b), want) != 0)
        test_fail(__FILE__, __LINE__, want, buf_str(&b));
    buf_fini(&b);
}

static void
a_line_says_how_far_it_is_and_for_how_long(void)
{
    struct bar_facts f = facts;

    expect(&f, 0, "Reading  75 %  3.0 GiB of 4.0 GiB  256 MiB/s  4s left");
    f.seconds_left = -1;
    f.per_second = 0;
    expect(&f, 0, "Reading  75 %  3.0 GiB of 4.0 GiB");
    f.done = f.all + 1;
    expect(&f, 0, "Reading  100 %  4.0 GiB of 4.0 GiB");
}

static void
the_bar_takes_what_the_terminal_has_left(void)
{
    expect(
        &facts, 78,
        "Reading  [###############------] 75 %  3.0 GiB of 4.0 GiB  256 MiB/s  "
        "4s left");
    expect(&facts, 60, "Reading  75 %  3.0 GiB of 4.0 GiB  256 MiB/s  4s left");
    expect(&facts, 20, "Reading  75 %  3.0 ");
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a line says how far it is and for how long",
          a_line_says_how_far_it_is_and_for_how_long },
        { "the bar takes what the terminal has left",
          the_bar_takes_what_the_terminal_has_left },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
