/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/socket.h>

#include <poll.h>
#include <unistd.h>

#include "api/strangers.h"
#include "test.h"

#define MAX     3
#define LIFE_MS 1000

struct peer {
    int ours, theirs;
    struct stranger *who;
};

static struct peer
come(struct strangers *s, uint64_t now_ms)
{
    int fd[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), ==, 0);
    return (struct peer){ fd[0], fd[1], strangers_came(s, fd[0], now_ms) };
}

static bool
is_ended(const struct peer *p)
{
    struct pollfd at = { .fd = p->theirs, .events = POLLRDHUP };

    return poll(&at, 1, 0) == 1;
}

static void
leave(struct strangers *s, struct peer *p)
{
    strangers_left(s, p->who);
    (void)close(p->ours);
    (void)close(p->theirs);
}

static void
one_too_many_ends_the_oldest(void)
{
    struct strangers *s = strangers_new(MAX, LIFE_MS);
    struct peer p[6];

    for (int i = 0; i < 3; i++)
        p[i] = come(s, 0);
    for (int i = 0; i < 3; i++)
        CHECK(!is_ended(&p[i]));
    p[3] = come(s, 0);
    CHECK(is_ended(&p[0]) && !is_ended(&p[1]));
    p[4] = come(s, 0);
    CHECK(is_ended(&p[1]) && !is_ended(&p[2]));
    leave(s, &p[2]); /* makes room */
    p[5] = come(s, 0);
    CHECK(!is_ended(&p[3]) && !is_ended(&p[4]) && !is_ended(&p[5]));
    for (int i = 0; i < 6; i++)
        if (i != 2)
            leave(s, &p[i]);
    strangers_free(s);
}

static void
who_is_known_stays(void)
{
    struct strangers *s = strangers_new(MAX, LIFE_MS);
    struct peer known = come(s, 0), p[5];

    strangers_known(s, known.who);
    strangers_known(s, known.who);
    for (int i = 0; i < 5; i++)
        p[i] = come(s, 10);
    strangers_tick(s, 100 * LIFE_MS);
    CHECK(!is_ended(&known));
    for (int i = 0; i < 5; i++) {
        CHECK(is_ended(&p[i]));
        leave(s, &p[i]);
    }
    leave(s, &known);
    strangers_free(s);
}

static void
none_outlives_its_time(void)
{
    struct strangers *s = strangers_new(MAX, LIFE_MS);
    struct peer a = come(s, 0), b = come(s, LIFE_MS / 2), c;

    strangers_tick(s, LIFE_MS - 1);
    CHECK(!is_ended(&a));
    strangers_tick(s, LIFE_MS);
    CHECK(is_ended(&a) && !is_ended(&b));
    c = come(s, LIFE_MS);
    strangers_tick(s, LIFE_MS + LIFE_MS / 2);
    CHECK(is_ended(&b) && !is_ended(&c));
    /* Too late: it was ended, and goes. */
    strangers_known(s, a.who);
    leave(s, &b);
    leave(s, &a);
    leave(s, &c);
    strangers_free(s);
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "one too many ends the oldest", one_too_many_ends_the_oldest },
        { "who is known stays", who_is_known_stays },
        { "none outlives its time", none_outlives_its_time },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
