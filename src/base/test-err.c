/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/err.h"
#include "test.h"

static int
fails(struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "disk %s: no such file", "vda");
}

static void *
makes_nothing(struct err *err)
{
    return err_sys_null(err, ENOSPC, "pack 7: write");
}

static void
messages_are_built_outwards(void)
{
    struct err err = { 0 };

    CHECK_ERR(fails(&err), &err, ERR_NOT_FOUND);
    CHECK_INT(err_wrap(&err, "snapshot %s", "default/s1"), ==, -1);
    CHECK(strcmp(err.msg, "snapshot default/s1: disk vda: no such file") == 0);
    CHECK_INT(err.code, ==, ERR_NOT_FOUND);
}

static void
an_errno_becomes_a_code_and_its_text(void)
{
    struct err err = { 0 };

    CHECK(makes_nothing(&err) == NULL);
    CHECK_INT(err.code, ==, ERR_NO_SPACE);
    CHECK_INT(err.sys_errno, ==, ENOSPC);
    CHECK(strcmp(err.msg, "pack 7: write: No space left on device") == 0);
    CHECK_INT(err_code_of_errno(EISDIR), ==, ERR_INVALID);
    CHECK_INT(err_code_of_errno(ECONNREFUSED), ==, ERR_UNAVAILABLE);
    CHECK_INT(err_code_of_errno(0x7777), ==, ERR_INTERNAL);
}

static void
a_message_may_quote_itself(void)
{
    struct err err = { 0 };

    (void)fails(&err);
    (void)err_set(&err, ERR_BUSY, "again: %s", err.msg);
    CHECK(strcmp(err.msg, "again: disk vda: no such file") == 0);
}

static void
a_long_message_ends_in_an_ellipsis_between_characters(void)
{
    char text[2000];
    struct err err = { 0 };

    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', sizeof text);
        for (size_t i = shift; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 4);
        text[sizeof text - 1] = 0;
        (void)err_set(&err, ERR_INVALID, "%s", text);
        size_t len = strlen(err.msg);
        CHECK_INT(len, <, sizeof err.msg);
        CHECK_INT(len, >, sizeof err.msg - 10);
        CHECK(strcmp(err.msg + len - 3, "...") == 0);
        CHECK_INT((len - 3 - shift) % 4, ==, 0);
    }
}

static void
bytes_that_are_no_text_do_not_pass(void)
{
    struct err err = { 0 };

    (void)err_set(&err, ERR_INVALID, "a\xff\xc0\xaf\xed\xa0\x80z");
    CHECK(strcmp(err.msg, "a??????z") == 0);
    (void)err_set(&err, ERR_INVALID, "two\nlines\x1b[31m \xc3\xa4");
    CHECK(strcmp(err.msg, "two lines [31m \xc3\xa4") == 0);
}

static void
every_code_has_its_row(void)
{
    for (int i = 0; i < ERR_CODE_COUNT; i++) {
        enum err_code code = (enum err_code)i;

        CHECK(err_code_name(code) != NULL);
        CHECK_INT(err_code_http(code), >=, 200);
        if (code != ERR_NONE)
            CHECK_INT(err_code_exit(code), >, 0);
        for (int j = 0; j < i; j++)
            CHECK_INT(err_code_exit(code), !=, err_code_exit((enum err_code)j));
    }
    CHECK(err_code_is_retryable(ERR_BUSY));
    CHECK(!err_code_is_retryable(ERR_CORRUPT));
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "messages are built outwards", messages_are_built_outwards },
        { "an errno becomes a code and its text",
          an_errno_becomes_a_code_and_its_text },
        { "a message may quote itself", a_message_may_quote_itself },
        { "a long message ends in an ellipsis, between characters",
          a_long_message_ends_in_an_ellipsis_between_characters },
        { "bytes that are no text do not pass",
          bytes_that_are_no_text_do_not_pass },
        { "every code has its row", every_code_has_its_row },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
