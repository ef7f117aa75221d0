/* SPDX-License-Identifier: Apache-2.0 */
/* controller/guardclient.c: one request, one answer, over a SEQPACKET pair.
 *
 * The socket belongs to one thread at a time: take_turn() waits for it under
 * the mutex and hands it over, the conversation itself runs without a lock.
 * An answer that does not come within ANSWER_MS, a closed socket or a dead
 * process all end the same way: the guard is dropped (its end of the socket
 * closes, so it does what it is armed for, and exits) and the next arm starts
 * another. The duties of a dropped guard are still done by it.
 */
#include "controller/guardclient.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "virt/guardproto.h"

#define ANSWER_MS  2000
#define STARTUP_MS 10000 /* it opens its own connection to libvirt first */

struct guardclient {
    const char *path, *uri; /* [C] */
    pthread_mutex_t mutex;
    pthread_cond_t turn;
    bool is_taken GUARDED_BY(guardclient_lock);
    /* Of the thread that has the turn: */
    int fd; /* -1: no guard */
    pid_t pid;
    uint64_t patience_ms; /* STARTUP_MS until the first answer */
    uint64_t last_id;
};

static void
lock(struct guardclient *g) ACQUIRE(guardclient_lock) NO_TSA
{
    pthread_mutex_lock(&g->mutex);
}

static void
unlock(struct guardclient *g) RELEASE(guardclient_lock) NO_TSA
{
    pthread_mutex_unlock(&g->mutex);
}

static void
take_turn(struct guardclient *g)
{
    lock(g);
    while (g->is_taken)
        pthread_cond_wait(&g->turn, &g->mutex);
    g->is_taken = true;
    unlock(g);
}

static void
give_turn(struct guardclient *g)
{
    lock(g);
    g->is_taken = false;
    pthread_cond_signal(&g->turn);
    unlock(g);
}

/* Let go of the guard: it sees the end of its socket. */
static void
drop(struct guardclient *g)
{
    if (g->fd >= 0)
        (void)close(g->fd);
    g->fd = -1;
}

/* Collect a guard that has ended; true when there is none (any more). */
static bool
is_reaped(struct guardclient *g)
{
    if (g->pid > 0 && waitpid(g->pid, NULL, WNOHANG) != 0)
        g->pid = 0;
    return g->pid == 0;
}

static int
ensure(struct guardclient *g, struct err *err)
{
    const char *argv[] = { g->path, "--uri", g->uri, NULL };
    int pair[2];

    if (is_reaped(g))
        drop(g);
    if (g->fd >= 0)
        return 0;
    /* A dropped guard that still works on its duties is not waited for: it
     * ends by itself and init, or is_reaped() of a later turn, collects it. */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "guard: socketpair");
    if (spawn_start(argv, pair[1], &g->pid, err) < 0) {
        g->pid = 0;
        (void)close(pair[0]);
        (void)close(pair[1]);
        return err_wrap(err, "guard %s", g->path);
    }
    (void)close(pair[1]);
    g->fd = pair[0];
    g->patience_ms = STARTUP_MS;
    return 0;
}

/* Wait for the answer about `id`; others (late ones) are skipped. */
static int
await(struct guardclient *g, uint64_t id, struct err *err)
{
    uint64_t until_ms = clock_mono_ms() + g->patience_ms;
    struct guardproto answer;
    char got[GUARDPROTO_MAX];

    for (;;) {
        uint64_t now_ms = clock_mono_ms();
        struct pollfd p = { .fd = g->fd, .events = POLLIN };

        if (now_ms >= until_ms)
            return err_set(err, ERR_UNAVAILABLE, "guard: no answer in %llu ms",
                           (unsigned long long)g->patience_ms);
        if (poll(&p, 1, (int)(until_ms - now_ms)) <= 0)
            continue;

        ssize_t n = recv(g->fd, got, sizeof got, 0);

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return err_set(err, ERR_UNAVAILABLE, "guard: it has ended");
        if (guardproto_decode(got, (size_t)n, &answer, err) < 0)
            return err_wrap(err, "guard");
        if (answer.id != id)
            continue;
        if (answer.verb == GUARDPROTO_REFUSED)
            return err_set(err, ERR_UNAVAILABLE,
                           "guard: refused (no connection to libvirt)");
        break;
    }
    g->patience_ms = ANSWER_MS;
    return 0;
}

static int
converse(struct guardclient *g, const struct guardproto *say, struct err *err)
{
    char text[GUARDPROTO_MAX];
    size_t len = guardproto_encode(say, text);

    if (send(g->fd, text, len, MSG_NOSIGNAL) < 0)
        return err_set(err, ERR_UNAVAILABLE, "guard: send: %s",
                       strerrordesc_np(errno));
    return await(g, say->id, err);
}

struct guardclient *
guardclient_new(const char *path, const char *uri)
{
    struct guardclient *g = xcalloc(1, sizeof *g);

    g->path = path;
    g->uri = uri;
    g->fd = -1;
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->turn, NULL);
    return g;
}

void
guardclient_free(struct guardclient *g)
{
    if (g == NULL)
        return;
    drop(g);
    pthread_cond_destroy(&g->turn);
    pthread_mutex_destroy(&g->mutex);
    free(g);
}

int
guardclient_arm(struct guardclient *g, const struct guardclient_duty *duty,
                uint64_t *ret_id, struct err *err)
{
    struct guardproto say = { .verb = GUARDPROTO_ARM,
                              .resume = duty->resume,
                              .thaw = duty->thaw,
                              .deadline_ms = duty->deadline_ms };

    (void)snprintf(say.uuid, sizeof say.uuid, "%s", duty->vm_uuid);
    take_turn(g);
    /* Twice: the first failure may be a guard that died long ago. */
    int rc = ensure(g, err);

    for (int i = 0; rc == 0 && i < 2; i++) {
        say.id = ++g->last_id;
        rc = converse(g, &say, err);
        if (rc == 0)
            break;
        drop(g);
        if (i == 0)
            rc = ensure(g, err);
    }
    give_turn(g);
    if (rc == 0)
        *ret_id = say.id;
    return rc;
}

void
guardclient_disarm(struct guardclient *g, uint64_t id)
{
    struct guardproto say = { .verb = GUARDPROTO_DISARM, .id = id };
    struct err err;

    take_turn(g);
    /* Without its answer we do not know: end it, it thaws what is thawed. */
    if (g->fd >= 0 && converse(g, &say, &err) < 0)
        drop(g);
    give_turn(g);
}
