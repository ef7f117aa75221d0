/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep-guard: no guest stays frozen or suspended because vmkeepd died.
 *
 * vmkeepd starts it with one end of a SOCK_SEQPACKET pair as descriptor 3 and
 * tells it by the words of virt/guardproto.h what it is about to do to a guest,
 * before it does it. The guard has its own connection to libvirt, open by then.
 * When the socket ends, a deadline passes or SIGTERM comes, it does its duties
 * (duty.c); at the end of the socket and at SIGTERM it then exits.
 *
 * It allocates little, spawns nothing, writes no file, and has no state that
 * outlives it: whatever vmkeepd finds frozen at its next start, it thaws itself
 * by its journal.
 */
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "guard/duty.h"

enum {
    PEER_FD = 3,
    /* vmkeepd gives us 10 s for the first answer and 2 s for the others. */
    CONNECT_FIRST_MS = 8000,
    CONNECT_MS = 1000,
};

struct guard {
    struct virt *virt;
    struct duty_list *duties;
    int connect_ms;
};

static void
answer(const struct guardproto *to, enum guardproto_verb verb)
{
    struct guardproto msg = { .verb = verb, .id = to->id };
    char text[GUARDPROTO_MAX];
    size_t len = guardproto_encode(&msg, text);

    /* A peer that is gone is seen by the next recv(). */
    if (send(PEER_FD, text, len, MSG_NOSIGNAL) < 0)
        log_debug("guard: answer: %s", strerrordesc_np(errno));
}

static void
on_arm(struct guard *g, const struct guardproto *msg)
{
    struct err err;

    if (!virt_wait_connected(g->virt, (uint64_t)g->connect_ms)) {
        log_error("guard: refused: no connection to libvirt");
        answer(msg, GUARDPROTO_REFUSED);
    } else if (duty_list_arm(g->duties, msg, &err) < 0) {
        log_error("guard: refused: %s", err.msg);
        answer(msg, GUARDPROTO_REFUSED);
    } else {
        answer(msg, GUARDPROTO_ARMED);
    }
    g->connect_ms = CONNECT_MS;
}

/* False at the end of the socket, or when the peer talks nonsense. */
static bool
on_message(struct guard *g)
{
    char text[GUARDPROTO_MAX];
    ssize_t n = recv(PEER_FD, text, sizeof text, MSG_DONTWAIT);
    struct guardproto msg;
    struct err err;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    if (guardproto_decode(text, (size_t)n, &msg, &err) < 0 ||
        (msg.verb != GUARDPROTO_ARM && msg.verb != GUARDPROTO_DISARM)) {
        log_error("guard: a message that is none: done with vmkeepd");
        return false;
    }
    if (msg.verb == GUARDPROTO_ARM) {
        on_arm(g, &msg);
    } else {
        duty_list_disarm(g->duties, msg.id);
        answer(&msg, GUARDPROTO_DISARMED);
    }
    return true;
}

static void
serve(struct guard *g, int signal_fd)
{
    struct pollfd p[2] = { { .fd = PEER_FD, .events = POLLIN },
                           { .fd = signal_fd, .events = POLLIN } };

    for (;;) {
        int timeout_ms = duty_list_check(g->duties);

        if (poll(p, 2, timeout_ms) < 0 && errno != EINTR)
            return;
        if (p[1].revents != 0 || (p[0].revents != 0 && !on_message(g)))
            return;
    }
}

/* TERM and INT end us, by way of the duties; HUP and PIPE do not. */
static int
open_signals(void)
{
    sigset_t set;

    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int
main(int argc, char **argv)
{
    struct err err = { 0 };
    struct guard g = { .connect_ms = CONNECT_FIRST_MS };
    int signal_fd;

    if (argc != 3 || strcmp(argv[1], "--uri") != 0) {
        fprintf(stderr, "usage: vmkeep-guard --uri URI    (started by vmkeepd, "
                        "with a socket as descriptor 3)\n");
        return 2;
    }
    log_init();
    signal_fd = open_signals();
    if (signal_fd < 0) {
        log_error("guard: signalfd: %s", strerrordesc_np(errno));
        return 1;
    }

    CLEANUP(virt_close)
    struct virt *virt = virt_open(argv[2], NULL, NULL, &err);

    if (virt == NULL) {
        log_error("guard: %s", err.msg);
        return 1;
    }
    g.virt = virt;

    CLEANUP(duty_list_free) struct duty_list *duties = duty_list_new(virt);

    g.duties = duties;
    serve(&g, signal_fd);
    duty_list_finish(g.duties);
    return 0;
}
