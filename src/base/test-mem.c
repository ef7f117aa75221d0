/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/wait.h>

#include <signal.h>

#include "base/mem.h"
#include "test.h"

static void
strings_are_copied(void)
{
    CLEANUP(mem_free) char *a = xstrdup("one");
    CLEANUP(mem_free) char *b = xstrndup("twofold", 3);
    CLEANUP(mem_free) char *c = xasprintf("%s-%d", a, 7);

    CHECK(strcmp(a, "one") == 0 && strcmp(b, "two") == 0);
    CHECK(strcmp(c, "one-7") == 0);
    CHECK(xstrdup(NULL) == NULL);
}

static void
nothing_is_a_valid_size(void)
{
    CLEANUP(mem_free) void *a = xcalloc(0, 8);
    CLEANUP(mem_free) void *b = xrealloc(NULL, 0, 0);
    struct err err = { 0 };
    CLEANUP(mem_free) void *c = mem_try(0, "x", &err);

    CHECK(a != NULL && b != NULL && c != NULL);
}

static void
mem_try_fails_and_says_for_what(void)
{
    struct err err = { 0 };
    void *volatile p = mem_try(SIZE_MAX / 4, "chunk 3", &err);

    CHECK(p == NULL);
    CHECK_INT(err.code, ==, ERR_NO_MEMORY);
    CHECK(strstr(err.msg, "chunk 3: no memory for ") == err.msg);
}

static void
a_product_that_overflows_aborts(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        volatile size_t n = SIZE_MAX / 2;

        (void)signal(SIGABRT, SIG_DFL);
        free(xrealloc(NULL, n, 16));
        _exit(0);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

static void
a_wiped_secret_is_gone(void)
{
    char secret[] = "hunter2";

    mem_wipe(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++)
        CHECK_INT(secret[i], ==, 0);
    mem_wipe(NULL, 5);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "strings are copied", strings_are_copied },
        { "nothing is a valid size", nothing_is_a_valid_size },
        { "mem_try fails and says for what", mem_try_fails_and_says_for_what },
        { "a product that overflows aborts", a_product_that_overflows_aborts },
        { "a wiped secret is gone", a_wiped_secret_is_gone },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
