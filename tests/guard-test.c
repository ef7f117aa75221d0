/* SPDX-License-Identifier: Apache-2.0 */
/* guard-test GUARD UUID SCENARIO: a vmkeepd of a few lines for tests/guard.sh.
 *
 * It starts the guard, arms it, does something to the guest, prints "ready"
 * and sleeps, to be killed. Scenarios:
 *   freeze    thaw=1, 60 s; freeze
 *   hung      the same; the freeze is given 1 s and may fail
 *   suspend   resume=1 thaw=1, 60 s; freeze, suspend
 *   deadline  thaw=1, 1.5 s; freeze
 *   disarm    thaw=1, 60 s; freeze, disarm
 *   idle      no arm
 *   nonsense  thaw=1, 60 s; freeze; bytes that are no message
 */
#include <sys/socket.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/spawn.h"
#include "virt/guardproto.h"
#include "virt/virt.h"

static int
say(int fd, const struct guardproto *msg, enum guardproto_verb wanted)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char text[GUARDPROTO_MAX];
    struct guardproto got;
    struct err err;
    uint64_t since_ms = clock_mono_ms();
    ssize_t n = send(fd, text, guardproto_encode(msg, text), MSG_NOSIGNAL);

    if (n < 0 || poll(&p, 1, 12000) != 1)
        return -1;
    n = recv(fd, text, sizeof text, 0);
    if (n <= 0 || guardproto_decode(text, (size_t)n, &got, &err) < 0)
        return -1;
    printf("answer %d for %llu in %llu ms\n", (int)got.verb,
           (unsigned long long)got.id,
           (unsigned long long)(clock_mono_ms() - since_ms));
    return got.verb == wanted && got.id == msg->id ? 0 : -1;
}

static int
touch_guest(struct virt *v, const char *uuid, const char *scenario,
            struct err *err)
{
    bool is_hung = strcmp(scenario, "hung") == 0;
    unsigned n = 0;

    if (virt_freeze(v, uuid, is_hung ? 1000 : 10000, &n, err) < 0) {
        printf("freeze: %s\n", err->msg);
        return is_hung ? 0 : -1;
    }
    printf("frozen %u\n", n);
    if (strcmp(scenario, "suspend") == 0)
        return virt_suspend(v, uuid, err);
    return 0;
}

static int
run(const char *uuid, const char *scenario, int fd, struct virt *v)
{
    struct guardproto arm = {
        .verb = GUARDPROTO_ARM, .id = 1, .thaw = true, .deadline_ms = 60000
    };
    struct guardproto disarm = { .verb = GUARDPROTO_DISARM, .id = 1 };
    struct err err = { 0 };

    (void)snprintf(arm.uuid, sizeof arm.uuid, "%s", uuid);
    if (strcmp(scenario, "deadline") == 0)
        arm.deadline_ms = 1500;
    arm.resume = strcmp(scenario, "suspend") == 0;
    if (strcmp(scenario, "idle") == 0)
        return 0;
    if (say(fd, &arm, GUARDPROTO_ARMED) < 0)
        return -1;
    if (touch_guest(v, uuid, scenario, &err) < 0) {
        printf("%s\n", err.msg);
        return -1;
    }
    if (strcmp(scenario, "disarm") == 0)
        return say(fd, &disarm, GUARDPROTO_DISARMED);
    if (strcmp(scenario, "nonsense") == 0)
        return send(fd, "FREE BEER", 9, MSG_NOSIGNAL) == 9 ? 0 : -1;
    return 0;
}

int
main(int argc, char **argv)
{
    const char *uri = getenv("LIBVIRT_URI");
    int pair[2];
    pid_t pid;
    struct err err = { 0 };

    if (argc != 4 || uri == NULL ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return 2;

    const char *guard[] = { argv[1], "--uri", uri, NULL };
    CLEANUP(virt_close) struct virt *v = virt_open(uri, NULL, NULL, &err);

    if (v == NULL || spawn_start(guard, pair[1], &pid, &err) < 0) {
        printf("%s\n", err.msg);
        return 1;
    }
    (void)close(pair[1]);
    printf("guard %d\n", (int)pid);
    (void)fflush(stdout);
    (void)virt_wait_connected(v, 3000);
    if (run(argv[2], argv[3], pair[0], v) < 0) {
        printf("failed\n");
        return 1;
    }
    printf("ready\n");
    (void)fflush(stdout);
    (void)sleep(600);
    return 0;
}
