/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/wait.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#include "base/buf.h"
#include "base/effect.h"
#include "base/file.h"
#include "test.h"

static char log_path[] = "/tmp/vk-effect-XXXXXX";

/* Five effects of the flow "walk", with one of another flow in between. */
static void
walk(void)
{
    for (int i = 0; i < 5; i++) {
        struct effect e;

        effect_flow_set(i == 2 ? "other" : NULL);
        e = effect_begin("aside", "-");
        effect_end(&e);
        effect_flow_set("walk");
        e = effect_begin("step", "leg");
        effect_end(&e);
    }
}

/* Walk in a child that is to die at `at`; how it ended, and what it logged. */
static int
walk_in_child(const char *at, struct buf *log)
{
    struct err err = { 0 };
    int status = 0;
    pid_t pid;

    CHECK_INT(truncate(log_path, 0), ==, 0);
    pid = fork();
    if (pid == 0) {
        (void)setenv("VMKEEP_CRASH_AT", at, 1);
        (void)setenv("VMKEEP_EFFECT_LOG", log_path, 1);
        effect_init();
        walk();
        _exit(7);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_OK(file_read_all(log_path, 65536, log, &err), &err);
    return status;
}

static size_t
lines_of(const struct buf *b, const char *flow)
{
    size_t n = 0;

    for (const char *s = buf_str(b); *s != 0; s = strchr(s, '\n') + 1)
        n += strncmp(s, flow, strlen(flow)) == 0;
    return n;
}

static void
a_child_dies_at_the_effect_that_was_named(void)
{
    for (size_t n = 1; n <= 5; n++)
        for (int after = 0; after < 2; after++) {
            CLEANUP(buf_fini) struct buf log = BUF_INIT;
            char at[64];

            (void)snprintf(at, sizeof at, "walk:%zu:%s", n,
                           after ? "after" : "before");
            int status = walk_in_child(at, &log);
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            CHECK_INT(lines_of(&log, "walk "), ==, n);
        }
}

static void
nobody_dies_without_being_asked(void)
{
    static const char *const at[] = { "",
                                      "walk:6:before",
                                      "run:1:before",
                                      "walk:0:after",
                                      "walk:1:sometime",
                                      "walk:1",
                                      "walk" };

    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        CLEANUP(buf_fini) struct buf log = BUF_INIT;
        int status = walk_in_child(at[i], &log);

        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        CHECK_INT(lines_of(&log, "walk "), ==, 5);
        CHECK_INT(lines_of(&log, "other "), ==, 1);
    }
}

static void
without_a_flow_nothing_is_counted(void)
{
    effect_flow_set(NULL);
    CHECK(effect_flow_get() == NULL);
    struct effect e = effect_begin("step", "leg");
    CHECK_INT(e.n, ==, 0);
    effect_end(&e);
}

static void *
other_thread(void *arg)
{
    CHECK(effect_flow_get() == NULL);
    effect_flow_set("mine");
    for (int i = 0; i < 1000; i++) {
        struct effect e = effect_begin("step", "leg");

        effect_end(&e);
    }
    return arg;
}

static void
threads_share_the_count_of_a_flow_but_not_the_flow(void)
{
    pthread_t t[4];

    effect_flow_set("mine");
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        CHECK_INT(pthread_create(&t[i], NULL, other_thread, NULL), ==, 0);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        CHECK_INT(pthread_join(t[i], NULL), ==, 0);
    struct effect e = effect_begin("step", "leg");
    CHECK_INT(e.n, ==, 4001);
    effect_end(&e);
    effect_flow_set(NULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a child dies at the effect that was named, before or after",
          a_child_dies_at_the_effect_that_was_named },
        { "nobody dies without being asked", nobody_dies_without_being_asked },
        { "without a flow nothing is counted",
          without_a_flow_nothing_is_counted },
        { "threads share the count of a flow, but not the flow",
          threads_share_the_count_of_a_flow_but_not_the_flow },
    };
    int fd = mkstemp(log_path);

    CHECK_INT(fd, >=, 0);
    (void)close(fd);
    int rc = test_main(cases, ARRAY_SIZE(cases));
    (void)unlink(log_path);
    return rc;
}
