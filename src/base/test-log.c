/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/log.h"
#include "test.h"

static char path[] = "/tmp/vk-log-XXXXXX";
static int saved_stderr;

static void
capture_begin(void)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_APPEND | O_CLOEXEC);

    CHECK_INT(fd, >=, 0);
    saved_stderr = dup(STDERR_FILENO);
    CHECK_INT(dup2(fd, STDERR_FILENO), >=, 0);
    (void)close(fd);
}

/* What was logged since; the number of its lines in *ret_lines. */
static const char *
capture_end(size_t *ret_lines)
{
    static char text[1 << 20];
    FILE *f = fopen(path, "r");

    CHECK_INT(dup2(saved_stderr, STDERR_FILENO), >=, 0);
    (void)close(saved_stderr);
    CHECK(f != NULL);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    (void)fclose(f);
    *ret_lines = 0;
    for (const char *s = text; (s = strchr(s, '\n')) != NULL; s++)
        ++*ret_lines;
    return text;
}

static void
a_name_cannot_forge_a_line(void)
{
    size_t lines;

    capture_begin();
    log_info("vm %s: started", "a\n2026-01-01T00:00:00Z error b\r\x1b[2J\x7f");
    const char *text = capture_end(&lines);
    CHECK_INT(lines, ==, 1);
    CHECK(strchr(text, '\r') == NULL && strchr(text, 0x1b) == NULL);
    CHECK(strstr(text, " info  vm a 2026-") != NULL);
}

static void
a_long_line_is_cut_and_still_ends(void)
{
    char huge[5000];
    size_t lines;

    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    capture_begin();
    log_error("%s", huge);
    log_error("next");
    const char *text = capture_end(&lines);
    CHECK_INT(lines, ==, 2);
    CHECK_INT(strlen(text), <, 2200);
}

static void
the_level_decides(void)
{
    size_t lines;

    capture_begin();
    log_debug("not seen");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("seen");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("not seen");
    log_set_level(LOG_LEVEL_INFO);
    const char *text = capture_end(&lines);
    CHECK_INT(lines, ==, 1);
    CHECK(strstr(text, "not seen") == NULL);
}

static void
the_journal_gets_its_prefix(void)
{
    size_t lines;

    CHECK_INT(setenv("JOURNAL_STREAM", "1:2", 1), ==, 0);
    CHECK_INT(setenv("VMKEEP_LOG", "debug", 1), ==, 0);
    log_init();
    capture_begin();
    log_error("one");
    log_debug("two");
    const char *text = capture_end(&lines);
    CHECK(strcmp(text, "<3>one\n<7>two\n") == 0);
    (void)unsetenv("JOURNAL_STREAM");
    log_init();
    log_set_level(LOG_LEVEL_INFO);
}

static void *
writer(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_info("thread says %0100d end", i);
    return arg;
}

static void
lines_of_threads_do_not_mix(void)
{
    pthread_t t[4];
    size_t lines, ends = 0;

    capture_begin();
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        CHECK_INT(pthread_create(&t[i], NULL, writer, NULL), ==, 0);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        CHECK_INT(pthread_join(t[i], NULL), ==, 0);
    for (const char *s = capture_end(&lines); (s = strstr(s, " end\n")) != NULL;
         s++)
        ends++;
    CHECK_INT(lines, ==, 2000);
    CHECK_INT(ends, ==, 2000);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a name cannot forge a line", a_name_cannot_forge_a_line },
        { "a long line is cut, and still ends",
          a_long_line_is_cut_and_still_ends },
        { "the level decides", the_level_decides },
        { "the journal gets its prefix", the_journal_gets_its_prefix },
        { "lines of threads do not mix", lines_of_threads_do_not_mix },
    };
    int fd = mkstemp(path);

    CHECK_INT(fd, >=, 0);
    (void)close(fd);
    int rc = test_main(cases, ARRAY_SIZE(cases));
    (void)unlink(path);
    return rc;
}
