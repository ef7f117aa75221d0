/* SPDX-License-Identifier: Apache-2.0 */
/* A list, the oldest first. A connection that was shut down stays on it until
 * its server has seen that, but does not count. shutdown(2) is called with the
 * lock held: strangers_left() comes before close(2), so the number is still
 * that connection's; it does not block. */
#include "api/strangers.h"

#include <sys/socket.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/mutex.h"

extern struct role strangers_lock;

struct stranger {
    struct stranger *prev, *next; /* while it is listed */
    int fd;
    uint64_t came_ms;
    bool is_listed, is_shut;
};

struct strangers {
    unsigned max;     /* [C] */
    uint64_t life_ms; /* [C] */
    pthread_mutex_t mutex;
    struct stranger *head GUARDED_BY(strangers_lock);
    struct stranger *tail GUARDED_BY(strangers_lock);
    unsigned count GUARDED_BY(strangers_lock); /* that are not shut */
};

static void
lock(struct strangers *s) ACQUIRE(strangers_lock) NO_TSA
{
    (void)pthread_mutex_lock(&s->mutex);
}

static void
unlock(struct strangers *s) RELEASE(strangers_lock) NO_TSA
{
    (void)pthread_mutex_unlock(&s->mutex);
}

struct strangers *NO_TSA
strangers_new(unsigned max, uint64_t life_ms)
{
    struct strangers *s = xcalloc(1, sizeof *s);

    s->max = max;
    s->life_ms = life_ms;
    (void)pthread_mutex_init(&s->mutex, NULL);
    return s;
}

void NO_TSA
strangers_free(struct strangers *s)
{
    if (s == NULL)
        return;
    (void)pthread_mutex_destroy(&s->mutex);
    free(s);
}

static void
end_locked(struct strangers *s, struct stranger *who) REQUIRES(strangers_lock)
{
    (void)shutdown(who->fd, SHUT_RDWR);
    who->is_shut = true;
    s->count--;
}

static void
unlist_locked(struct strangers *s, struct stranger *who)
    REQUIRES(strangers_lock)
{
    if (!who->is_listed)
        return;
    if (who->prev != NULL)
        who->prev->next = who->next;
    else
        s->head = who->next;
    if (who->next != NULL)
        who->next->prev = who->prev;
    else
        s->tail = who->prev;
    if (!who->is_shut)
        s->count--;
    who->is_listed = false;
}

static void
end_oldest_locked(struct strangers *s) REQUIRES(strangers_lock)
{
    struct stranger *who = s->head;

    while (who != NULL && who->is_shut)
        who = who->next;
    if (who != NULL)
        end_locked(s, who);
}

struct stranger *
strangers_came(struct strangers *s, int fd, uint64_t now_ms)
{
    struct stranger *who = xcalloc(1, sizeof *who);

    who->fd = fd;
    who->came_ms = now_ms;
    who->is_listed = true;
    lock(s);
    if (s->count >= s->max)
        end_oldest_locked(s);
    who->prev = s->tail;
    if (s->tail != NULL)
        s->tail->next = who;
    else
        s->head = who;
    s->tail = who;
    s->count++;
    unlock(s);
    return who;
}

void
strangers_known(struct strangers *s, struct stranger *who)
{
    lock(s);
    unlist_locked(s, who);
    unlock(s);
}

void
strangers_left(struct strangers *s, struct stranger *who)
{
    lock(s);
    unlist_locked(s, who);
    unlock(s);
    free(who);
}

void
strangers_tick(struct strangers *s, uint64_t now_ms)
{
    lock(s);
    for (struct stranger *who = s->head;
         who != NULL && now_ms - who->came_ms >= s->life_ms; who = who->next)
        if (!who->is_shut)
            end_locked(s, who);
    unlock(s);
}
