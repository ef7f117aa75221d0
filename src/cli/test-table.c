/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "cli/table.h"
#include "cli/words.h"
#include "test.h"

static char *
printed(const struct table *t, bool has_colour)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    table_print(t, has_colour, f);
    fclose(f);
    return text;
}

static void
columns_are_as_wide_as_they_need_to_be(void)
{
    static const char *const heads[] = { "NAME", "STATUS", NULL };
    CLEANUP(table_free) struct table *t = table_new(heads);
    CLEANUP(mem_free) char *plain = NULL, *toned = NULL;

    table_add(t, TABLE_PLAIN, "%s", "m\xc3\xa4rchen");
    table_add(t, TABLE_GOOD, "%s", "Running");
    table_add(t, TABLE_PLAIN, "%s", "b\033[2Jad");
    table_add(t, TABLE_PLAIN, "%s", "");
    plain = printed(t, false);
    CHECK(strcmp(plain, "NAME      STATUS\n"
                        "m\xc3\xa4rchen   Running\n"
                        "b?[2Jad   -\n") == 0);
    toned = printed(t, true);
    CHECK(strstr(toned, "\033[32mRunning\033[0m\n") != NULL);
    CHECK_INT(table_rows(t), ==, 2);
}

static void
a_terminal_gets_no_commands(void)
{
    char text[] = "a\033[2J\nb\xc2\x9b"
                  "1mc\177 m\xc3\xa4rchen \xc2\xa7";
    char lines[] = "a\rb\nc\td";

    words_clean(text);
    CHECK(strcmp(text, "a?[2J?b??1mc? m\xc3\xa4rchen \xc2\xa7") == 0);
    words_clean_lines(lines);
    CHECK(strcmp(lines, "a?b\nc?d") == 0);
}

static void
sizes_are_for_people(void)
{
    static const struct {
        int64_t n;
        const char *want;
    } rows[] = { { 0, "0 B" },
                 { 1023, "1023 B" },
                 { 1536, "1.5 KiB" },
                 { 209715200, "200 MiB" },
                 { (int64_t)3 << 40, "3.0 TiB" } };
    char text[WORDS_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        words_bytes(rows[i].n, text);
        if (strcmp(text, rows[i].want) != 0)
            test_fail(__FILE__, __LINE__, rows[i].want, text);
    }
    words_age("nonsense", text);
    CHECK(*text == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "columns are as wide as they need to be",
          columns_are_as_wide_as_they_need_to_be },
        { "a terminal gets no commands", a_terminal_gets_no_commands },
        { "sizes are for people", sizes_are_for_people },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
