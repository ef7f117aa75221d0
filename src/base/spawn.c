/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/mem.h"

enum {
    OUTPUT_MAX = 16 << 20,
    STDERR_MAX = 64 << 10
};

/* The environment of a child: PATH and what tests hand down; LANG=C so that
 * messages can be read. Secrets in our environment do not travel. */
static char **
child_env(void)
{
    static const char *const keep[] = {
        "PATH=",   "VMKEEP_",       "LIBVIRT_",      "HOME=",
        "TMPDIR=", "ASAN_OPTIONS=", "TSAN_OPTIONS=", "UBSAN_OPTIONS="
    };
    size_t n = 0;
    char **env;

    for (char **e = environ; *e != NULL; e++)
        n++;
    env = xcalloc(n + 2, sizeof *env);
    n = 0;
    for (char **e = environ; *e != NULL; e++)
        for (size_t i = 0; i < ARRAY_SIZE(keep); i++)
            if (strncmp(*e, keep[i], strlen(keep[i])) == 0)
                env[n++] = *e;
    static char lang[] = "LANG=C";
    env[n] = lang;
    return env;
}

/* What a child gets besides /dev/null as 0. */
struct child_fds {
    int out, err; /* -1: ours */
    const int *keep;
    size_t n_keep; /* become 3, 4, ... */
};

enum {
    KEEP_MAX = 32,
    HIGH_FD = 128, /* above what the kept ones become */
};

/* Copies out of the way of their own targets: dup2() of 4 to 3 must not
 * overwrite a 3 that is still wanted. They share locks and offset. */
static int
copy_high(const struct child_fds *fds, int high[KEEP_MAX], struct err *err)
{
    for (size_t i = 0; i < fds->n_keep; i++) {
        high[i] = fcntl(fds->keep[i], F_DUPFD_CLOEXEC, HIGH_FD);
        if (high[i] >= 0)
            continue;
        int saved = errno;

        while (i > 0)
            close(high[--i]);
        return err_sys(err, saved, "dup");
    }
    return 0;
}

static int
start(const char *const argv[], const struct child_fds *fds, pid_t *ret_pid,
      struct err *err)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, defaults;
    CLEANUP(mem_free) char **env = child_env();
    int high[KEEP_MAX];
    int rc;

    if (copy_high(fds, high, err) < 0)
        return -1;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    if (fds->out >= 0)
        posix_spawn_file_actions_adddup2(&fa, fds->out, 1);
    if (fds->err >= 0)
        posix_spawn_file_actions_adddup2(&fa, fds->err, 2);
    for (size_t i = 0; i < fds->n_keep; i++)
        posix_spawn_file_actions_adddup2(&fa, high[i], 3 + (int)i);
    posix_spawn_file_actions_addclosefrom_np(&fa, 3 + (int)fds->n_keep);
    posix_spawnattr_init(&attr);
    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETSID);
    /* posix_spawnp wants char *const *; it does not write to the strings. */
    union {
        const char *const *in;
        char *const *out;
    } args = { .in = argv };
    struct effect e = effect_begin("spawn", argv[0]);

    rc = posix_spawnp(ret_pid, argv[0], &fa, &attr, args.out, env);
    effect_end(&e);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    for (size_t i = 0; i < fds->n_keep; i++)
        close(high[i]);
    return rc != 0 ? err_sys(err, rc, "%s: start", argv[0]) : 0;
}

int
spawn_start(const char *const argv[], int keep_fd, pid_t *ret_pid,
            struct err *err)
{
    const struct child_fds fds = { -1, -1, &keep_fd, keep_fd >= 0 ? 1 : 0 };

    return start(argv, &fds, ret_pid, err);
}

int
spawn_start_logged(const char *const argv[], int keep_fd, int log_fd,
                   pid_t *ret_pid, struct err *err)
{
    const struct child_fds fds = { log_fd, log_fd, &keep_fd,
                                   keep_fd >= 0 ? 1 : 0 };

    return start(argv, &fds, ret_pid, err);
}

/* Read what there is; false at end of file. */
static bool
drain(int fd, struct buf *b, size_t max)
{
    char block[65536];
    ssize_t n = read(fd, block, sizeof block);

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (b != NULL && b->len < max)
        buf_add(b, block, (size_t)n < max - b->len ? (size_t)n : max - b->len);
    return n > 0;
}

/* Collect both streams until both end; false when the deadline passes. */
static bool
collect(int out, int errs, struct buf *ob, struct buf *eb, uint64_t deadline_ms)
{
    struct pollfd p[2] = { { .fd = out, .events = POLLIN },
                           { .fd = errs, .events = POLLIN } };

    while (p[0].fd >= 0 || p[1].fd >= 0) {
        uint64_t now = clock_mono_ms();

        if (now >= deadline_ms)
            return false;
        if (poll(p, 2,
                 (int)(deadline_ms - now > 1000 ? 1000 : deadline_ms - now)) <
            0)
            continue;
        if (p[0].revents != 0 && !drain(out, ob, OUTPUT_MAX))
            p[0].fd = -1;
        if (p[1].revents != 0 && !drain(errs, eb, STDERR_MAX))
            p[1].fd = -1;
    }
    return true;
}

/* The streams may end before the child does; it must not linger either. */
static bool
reap(pid_t pid, uint64_t deadline_ms, int *ret_status)
{
    for (uint64_t pause_ms = 1;; pause_ms = pause_ms < 20 ? pause_ms * 2 : 20) {
        pid_t got = waitpid(pid, ret_status, WNOHANG);

        assert(got >= 0 || errno == EINTR); /* SIGCHLD is never ignored here */
        if (got == pid)
            return true;
        if (clock_mono_ms() >= deadline_ms)
            return false;
        clock_sleep_ms(pause_ms);
    }
}

/* The last line that is not empty: where programs say what went wrong. */
static const char *
last_line(struct buf *b)
{
    char *line;

    while (b->len > 0 && b->data[b->len - 1] == '\n')
        buf_truncate(b, b->len - 1);
    if (b->len == 0)
        return "it said nothing";
    line = strrchr(b->data, '\n');
    return line == NULL ? b->data : line + 1;
}

static int
run(const char *const argv[], const struct child_fds *keep, uint64_t timeout_ms,
    struct buf *out, struct buf *errs, int *ret_status, struct err *err)
{
    uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
    int op[2], ep[2];
    pid_t pid;

    if (pipe2(op, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    if (pipe2(ep, O_CLOEXEC) < 0) {
        int saved = errno;

        close(op[0]);
        close(op[1]);
        return err_sys(err, saved, "pipe");
    }
    const struct child_fds fds = { op[1], ep[1], keep->keep, keep->n_keep };
    int rc = start(argv, &fds, &pid, err);

    close(op[1]);
    close(ep[1]);
    if (rc == 0 && !(collect(op[0], ep[0], out, errs, deadline_ms) &&
                     reap(pid, deadline_ms, ret_status))) {
        kill(-pid, SIGKILL); /* and what it started: it leads a session */
        while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
            ;
        rc = err_set(err, ERR_TIMEOUT, "%s: no end after %llu ms", argv[0],
                     (unsigned long long)timeout_ms);
    }
    close(op[0]);
    close(ep[0]);
    return rc;
}

static const struct child_fds no_fds = { -1, -1, NULL, 0 };

int
spawn_run_code(const char *const argv[], uint64_t timeout_ms,
               struct buf *ret_out, int *ret_code, struct err *err)
{
    CLEANUP(buf_fini) struct buf errs = BUF_INIT;
    int status = 0;

    if (run(argv, &no_fds, timeout_ms, ret_out, &errs, &status, err) < 0)
        return -1;
    *ret_code =
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

static int
run_checked(const char *const argv[], const struct child_fds *keep,
            uint64_t timeout_ms, struct buf *ret_out, struct err *err)
{
    CLEANUP(buf_fini) struct buf errs = BUF_INIT;
    int status = 0;

    if (run(argv, keep, timeout_ms, ret_out, &errs, &status, err) < 0)
        return -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (strstr(buf_str(&errs), "No space left on device") != NULL)
        return err_set(err, ERR_NO_SPACE, "%s: %s", argv[0], last_line(&errs));
    return err_set(err, ERR_INTERNAL, "%s: %s", argv[0], last_line(&errs));
}

int
spawn_run(const char *const argv[], uint64_t timeout_ms, struct buf *ret_out,
          struct err *err)
{
    return run_checked(argv, &no_fds, timeout_ms, ret_out, err);
}

int
spawn_run_keeping(const char *const argv[], const int *fds, size_t n,
                  uint64_t timeout_ms, struct err *err)
{
    const struct child_fds keep = { -1, -1, fds, n };

    assert(n <= KEEP_MAX);
    return run_checked(argv, &keep, timeout_ms, NULL, err);
}

int
spawn_run_keeping_code(const char *const argv[], const int *fds, size_t n,
                       uint64_t timeout_ms, int *ret_code, struct err *err)
{
    const struct child_fds keep = { -1, -1, fds, n };
    CLEANUP(buf_fini) struct buf errs = BUF_INIT;
    int status = 0;

    assert(n <= KEEP_MAX);
    if (run(argv, &keep, timeout_ms, NULL, &errs, &status, err) < 0)
        return -1;
    *ret_code =
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}
