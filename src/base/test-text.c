/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/text.h"
#include "test.h"

static void
check(const char *text, bool keeps_lines, const char *want)
{
    char s[128];

    (void)snprintf(s, sizeof s, "%s", text);
    text_clean(s, keeps_lines);
    CHECK(strcmp(s, want) == 0);
}

static void
text_that_is_fine_stays(void)
{
    check("", false, "");
    check("the auditors", false, "the auditors");
    check("für Prüfer, 監査人, 🔒", false, "für Prüfer, 監査人, 🔒");
    check("one\ntwo", true, "one\ntwo");
}

static void
nothing_reaches_the_terminal(void)
{
    check("\033[2J\033]0;x\a", false, "?[2J?]0;x?");
    check("a\r\nb\tc\177", false, "a??b?c?");
    check("a\r\nb", true, "a?\nb");
    check("\xc2\x9b"
          "31m",
          false, "??31m"); /* C1: CSI */
    check("\xe2\x80\xae"
          "txt.exe",
          false, "???txt.exe"); /* right to left */
    check("\xe2\x81\xa6x", false, "???x");
}

static void
what_is_no_utf8_goes(void)
{
    check("\x9b"
          "31m",
          false, "?31m");
    check("a\xff\xfe"
          "b",
          false, "a??b");
    check("\xc0\x9b", false, "??");           /* ESC, too long */
    check("\xed\xa0\x80", false, "???");      /* a surrogate */
    check("\xf4\x90\x80\x80", false, "????"); /* beyond U+10FFFF */
    check("cut \xe2\x82", false, "cut ??");
}

static void
a_cut_never_splits_a_character(void)
{
    CHECK(text_fit("", 10) == 0);
    CHECK(text_fit("abc", 3) == 3 && text_fit("abc", 2) == 2);
    CHECK(text_fit("a\xc3\xa9z", 2) == 1 && text_fit("a\xc3\xa9z", 3) == 3);
    CHECK(text_fit("\xf0\x9f\x94\x92", 3) == 0);
    CHECK(text_fit("\xff\xff\xff", 2) == 2); /* no UTF-8: by bytes */
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "text that is fine stays", text_that_is_fine_stays },
        { "nothing reaches the terminal", nothing_reaches_the_terminal },
        { "what is no UTF-8 goes", what_is_no_utf8_goes },
        { "a cut never splits a character", a_cut_never_splits_a_character },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
