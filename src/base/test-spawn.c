/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/socket.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <signal.h>

#include "base/clock.h"
#include "base/spawn.h"
#include "test.h"

static void
output_and_exit_code_come_back(void)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    const char *const argv[] = { "sh", "-c", "echo one; echo two >&2; exit 3",
                                 NULL };
    struct err err = { 0 };
    int code = -1;

    CHECK_OK(spawn_run_code(argv, 10000, &out, &code, &err), &err);
    CHECK_INT(code, ==, 3);
    CHECK(strcmp(buf_str(&out), "one\n") == 0);
    CHECK_ERR(spawn_run(argv, 10000, NULL, &err), &err, ERR_INTERNAL);
    CHECK(strcmp(err.msg, "sh: two") == 0);
}

static void
arguments_are_never_read_by_a_shell(void)
{
    static const char *const hostile[] = {
        "$(touch /tmp/vk-owned)",
        "; touch /tmp/vk-owned",
        "-x",
        "a b  c",
        "'\"`\\",
        "*",
        "",
        "\n\t\xff",
    };
    struct err err = { 0 };

    (void)unlink("/tmp/vk-owned");
    for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
        CLEANUP(buf_fini) struct buf out = BUF_INIT;
        const char *const argv[] = { "printf", "%s", hostile[i], NULL };

        CHECK_OK(spawn_run(argv, 10000, &out, &err), &err);
        CHECK(strcmp(buf_str(&out), hostile[i]) == 0);
    }
    CHECK(access("/tmp/vk-owned", F_OK) < 0);
}

static void
a_child_that_hangs_is_ended_with_its_children(void)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    const char *const argv[] = { "sh", "-c", "sleep 60 & echo $!; wait", NULL };
    struct err err = { 0 };
    uint64_t before = clock_mono_ms();
    int grandchild;

    CHECK_ERR(spawn_run(argv, 1500, &out, &err), &err, ERR_TIMEOUT);
    CHECK_INT(clock_mono_ms() - before, <, 30000);
    grandchild = atoi(buf_str(&out));
    CHECK_INT(grandchild, >, 1);
    /* It is gone, or a zombie that somebody else has yet to reap. */
    for (int i = 0; i < 200 && kill(grandchild, 0) == 0; i++) {
        char path[64];

        (void)snprintf(path, sizeof path, "/proc/%d/stat", grandchild);
        FILE *f = fopen(path, "r");
        char state = 0;
        if (f == NULL)
            break;
        int n = fscanf(f, "%*d %*s %c", &state);
        (void)fclose(f);
        if (n == 1 && state == 'Z')
            break;
        CHECK_INT(i, <, 199);
        clock_sleep_ms(10);
    }
}

static void
a_child_that_closes_its_output_is_waited_for(void)
{
    const char *const argv[] = { "sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 4",
                                 NULL };
    struct err err = { 0 };
    int code = -1;

    CHECK_OK(spawn_run_code(argv, 10000, NULL, &code, &err), &err);
    CHECK_INT(code, ==, 4);
}

static void
a_child_that_a_signal_ended_says_so(void)
{
    const char *const argv[] = { "sh", "-c", "kill -9 $$", NULL };
    struct err err = { 0 };
    int code = -1;

    CHECK_OK(spawn_run_code(argv, 10000, NULL, &code, &err), &err);
    CHECK_INT(code, ==, 128 + SIGKILL);
    CHECK_ERR(spawn_run(argv, 10000, NULL, &err), &err, ERR_INTERNAL);
}

static void
a_program_that_is_not_there_is_not_found(void)
{
    const char *const argv[] = { "vmkeep-no-such-program", NULL };
    struct err err = { 0 };

    /* valgrind makes a fork() of vfork(): the child's word does not come. */
    if (getenv("VMKEEP_VALGRIND") != NULL)
        return;
    CHECK_ERR(spawn_run(argv, 1000, NULL, &err), &err, ERR_NOT_FOUND);
    CHECK(strstr(err.msg, "vmkeep-no-such-program") != NULL);
}

static void
no_space_left_is_told_apart(void)
{
    const char *const argv[] = {
        "sh", "-c", "echo 'x: write: No space left on device' >&2; exit 1", NULL
    };
    struct err err = { 0 };

    CHECK_ERR(spawn_run(argv, 10000, NULL, &err), &err, ERR_NO_SPACE);
}

static void
much_output_neither_blocks_nor_fills_memory(void)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    const char *const argv[] = {
        "sh", "-c", "head -c 20000000 /dev/zero; head -c 200000 /dev/zero >&2",
        NULL
    };
    struct err err = { 0 };

    CHECK_OK(spawn_run(argv, 20000, &out, &err), &err);
    CHECK_INT(out.len, ==, 16 << 20);
}

static void
a_child_gets_no_descriptor_and_no_secret(void)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    const char *const argv[] = {
        "sh", "-c", "ls /proc/self/fd | tr '\\n' ' '; echo $SECRET $LANG", NULL
    };
    struct err err = { 0 };
    int fd = open("/dev/null", O_RDONLY); /* no O_CLOEXEC, as a library may */

    CHECK_INT(fd, >=, 3);
    CHECK_INT(setenv("SECRET", "hunter2", 1), ==, 0);
    CHECK_OK(spawn_run(argv, 10000, &out, &err), &err);
    (void)close(fd);
    /* 3 is ls's own, reading the directory. */
    CHECK(strcmp(buf_str(&out), "0 1 2 3 C\n") == 0);
}

static void
a_started_child_talks_over_descriptor_3(void)
{
    const char *const argv[] = { "sh", "-c",
                                 "echo hello >&3; exec cat <&3 >/dev/null",
                                 NULL };
    struct err err = { 0 };
    char got[16] = "";
    int sv[2], status = 0;
    pid_t pid = -1;

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), ==, 0);
    CHECK_OK(spawn_start(argv, sv[1], &pid, &err), &err);
    (void)close(sv[1]);
    CHECK_INT(read(sv[0], got, sizeof got - 1), ==, 6);
    CHECK(strcmp(got, "hello\n") == 0);
    (void)close(sv[0]); /* its input ends, and so does it */
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "output and exit code come back", output_and_exit_code_come_back },
        { "arguments are never read by a shell",
          arguments_are_never_read_by_a_shell },
        { "a child that hangs is ended, with its children",
          a_child_that_hangs_is_ended_with_its_children },
        { "a child that closes its output is waited for",
          a_child_that_closes_its_output_is_waited_for },
        { "a child that a signal ended says so",
          a_child_that_a_signal_ended_says_so },
        { "a program that is not there is NOT_FOUND",
          a_program_that_is_not_there_is_not_found },
        { "'no space left' is told apart", no_space_left_is_told_apart },
        { "much output neither blocks nor fills memory",
          much_output_neither_blocks_nor_fills_memory },
        { "a child gets no descriptor and no secret",
          a_child_gets_no_descriptor_and_no_secret },
        { "a started child talks over descriptor 3",
          a_started_child_talks_over_descriptor_3 },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
