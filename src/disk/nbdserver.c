/* SPDX-License-Identifier: Apache-2.0 */
/* The socket is named by way of a descriptor of its directory,
 * /proc/self/fd/N/UUID: the path of a directory may be longer than the 107
 * bytes of an AF_UNIX address, and a directory that was swept away (by
 * disk/sweep.h) cannot be bound in any more, whatever its path is by then.
 * The child holds the directory as its descriptor 3, by which disk/sweep.c
 * knows it.
 *
 * What the child says goes to a memory file: nobody has to read it while it
 * runs.
 */
#include "disk/nbdserver.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "base/uuid.h"

#define START_MS ((uint64_t)30 * 1000)
/* It ends when the last connection does; before the first, never. A reader
 * may be killed at any time. */
#define WRITER_MS ((uint64_t)10 * 1000)
#define READER_MS ((uint64_t)1000)
#define KILL_MS   ((uint64_t)10 * 1000)

struct nbdserver {
    int dir_fd, words_fd;
    char name[UUID_STR_SIZE + 8];
    char *image;
    pid_t pid;
    bool is_writable;
    bool is_reaped;
    uint64_t patience_ms; /* for its end, before it is killed */
    int status;           /* of waitpid() */
};

int
nbdserver_connect_at(int dirfd, const char *name, int *ret_fd, int *ret_errno)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        *ret_errno = errno;
        return -1;
    }
    if (snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dirfd,
                 name) >= (int)sizeof a.sun_path ||
        connect(fd, (const struct sockaddr *)&a, sizeof a) < 0) {
        *ret_errno = errno;
        close(fd);
        return -1;
    }
    *ret_fd = fd;
    return 0;
}

static int
start(struct nbdserver *s, const struct nbdserver_options *o, struct err *err)
{
    char socket_path[sizeof "/proc/self/fd/3/" + sizeof s->name];
    char connections[16];
    const char *argv[20];
    size_t n = 0;

    (void)snprintf(socket_path, sizeof socket_path, "/proc/self/fd/3/%s",
                   s->name);
    (void)snprintf(connections, sizeof connections, "%u", o->connections);
    argv[n++] = o->program != NULL ? o->program : "qemu-nbd";
    if (!o->is_writable)
        argv[n++] = "-r";
    else
        argv[n++] = "--discard=unmap";
    argv[n++] = "-f";
    argv[n++] = o->image->format;
    argv[n++] = "-e";
    argv[n++] = connections;
    argv[n++] = "-k";
    argv[n++] = socket_path;
    if (o->bitmap != NULL) {
        argv[n++] = "-B";
        argv[n++] = o->bitmap;
    }
    argv[n++] = "--";
    argv[n++] = o->image->path;
    argv[n] = NULL;
    return spawn_start_logged(argv, s->dir_fd, s->words_fd, &s->pid, err);
}

int
nbdserver_start(const struct nbdserver_options *o,
                struct nbdserver **ret_server, struct err *err)
{
    CLEANUP(nbdserver_free) struct nbdserver *s = xcalloc(1, sizeof *s);
    char uuid[UUID_STR_SIZE];

    uuid_random(uuid);
    (void)snprintf(s->name, sizeof s->name, "%s.sock", uuid);
    s->image = xstrdup(o->image->path);
    s->is_writable = o->is_writable;
    s->is_reaped = true; /* there is nobody yet */
    s->dir_fd = s->words_fd = -1;
    if (file_open_dir(o->dir, &s->dir_fd, err) < 0)
        return -1;
    s->words_fd = memfd_create("qemu-nbd", MFD_CLOEXEC);
    if (s->words_fd < 0)
        return err_sys(err, errno, "memfd_create");
    if (start(s, o, err) < 0)
        return -1;
    s->is_reaped = false;
    *ret_server = TAKE(s);
    return 0;
}

/* Has it ended, or does it before the deadline? */
static bool
has_ended(struct nbdserver *s, uint64_t deadline_ms)
{
    for (uint64_t pause_ms = 1; !s->is_reaped;
         pause_ms = pause_ms < 20 ? pause_ms * 2 : 20) {
        if (waitpid(s->pid, &s->status, WNOHANG) == s->pid)
            s->is_reaped = true;
        else if (clock_mono_ms() >= deadline_ms)
            return false;
        else
            clock_sleep_ms(pause_ms);
    }
    return true;
}

/* The last line that it wrote, less its own name. */
static void
last_words(const struct nbdserver *s, char *line, size_t size)
{
    char text[1024];
    ssize_t n;
    off_t len = lseek(s->words_fd, 0, SEEK_END);
    const char *p;

    line[0] = 0;
    n = pread(s->words_fd, text, sizeof text - 1,
              len > (off_t)sizeof text - 1 ? len - (off_t)sizeof text + 1 : 0);
    if (n <= 0)
        return;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    text[n] = 0;
    p = strrchr(text, '\n');
    p = p == NULL ? text : p + 1;
    if (strncmp(p, "qemu-nbd: ", 10) == 0)
        p += 10;
    (void)snprintf(line, size, "%.*s", (int)size - 1, p);
}

static int
fail_ended(const struct nbdserver *s, struct err *err)
{
    char line[300];
    enum err_code code = ERR_UNAVAILABLE;

    last_words(s, line, sizeof line);
    if (strstr(line, "lock") != NULL ||
        strstr(line, "Is another process using") != NULL)
        code = ERR_BUSY; /* Failed to get "write" lock, and a hint below it */
    else if (strstr(line, "No such file") != NULL)
        code = ERR_NOT_FOUND;
    else if (strstr(line, "No space left") != NULL)
        code = ERR_NO_SPACE;
    if (line[0] != 0)
        return err_set(err, code, "%s: qemu-nbd: %s", s->image, line);
    if (WIFSIGNALED(s->status))
        return err_set(err, code, "%s: qemu-nbd was killed by signal %d",
                       s->image, WTERMSIG(s->status));
    return err_set(err, code, "%s: qemu-nbd ended with code %d", s->image,
                   WEXITSTATUS(s->status));
}

int
nbdserver_connect(struct nbdserver *s, int *ret_fd, struct err *err)
{
    uint64_t deadline_ms = clock_mono_ms() + START_MS;

    for (uint64_t pause_ms = 1;; pause_ms = pause_ms < 20 ? pause_ms * 2 : 20) {
        int errnum;

        if (nbdserver_connect_at(s->dir_fd, s->name, ret_fd, &errnum) == 0) {
            s->patience_ms = s->is_writable ? WRITER_MS : READER_MS;
            return 0;
        }
        if (errnum != ENOENT && errnum != ECONNREFUSED)
            return err_sys(err, errnum, "%s: connect to qemu-nbd", s->image);
        if (has_ended(s, clock_mono_ms() + pause_ms))
            return fail_ended(s, err);
        if (clock_mono_ms() >= deadline_ms)
            return err_set(err, ERR_TIMEOUT,
                           "%s: qemu-nbd does not listen after %llu s",
                           s->image, (unsigned long long)START_MS / 1000);
    }
}

void
nbdserver_explain(struct nbdserver *s, struct err *err)
{
    struct err end = { .code = ERR_NONE };

    if (!has_ended(s, clock_mono_ms() + 1000) ||
        (WIFEXITED(s->status) && WEXITSTATUS(s->status) == 0))
        return;
    (void)fail_ended(s, &end);
    *err = end;
}

int
nbdserver_end(struct nbdserver *s, uint64_t ms, struct err *err)
{
    if (!has_ended(s, clock_mono_ms() + ms)) {
        (void)kill(s->pid, SIGKILL);
        /* In a hung file system it does not even die; it is init's then. */
        (void)has_ended(s, clock_mono_ms() + KILL_MS);
        return err_set(err, ERR_TIMEOUT,
                       "%s: qemu-nbd did not end after %llu ms", s->image,
                       (unsigned long long)ms);
    }
    if (WIFEXITED(s->status) && WEXITSTATUS(s->status) == 0)
        return 0;
    return fail_ended(s, err);
}

pid_t
nbdserver_pid(const struct nbdserver *s)
{
    return s->pid;
}

void
nbdserver_free(struct nbdserver *s)
{
    struct err ignored = { .code = ERR_NONE };

    if (s == NULL)
        return;
    if (!s->is_reaped && nbdserver_end(s, s->patience_ms, &ignored) < 0)
        s->is_reaped = true; /* or lost */
    if (s->dir_fd >= 0)      /* one that was killed leaves it there */
        (void)unlinkat(s->dir_fd, s->name, 0);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    if (s->words_fd >= 0)
        close(s->words_fd);
    free(s->image);
    free(s);
}
