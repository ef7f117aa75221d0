/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/queue.h"
#include "test.h"

struct seen {
    atomic_int calls;
    atomic_int inside;
    atomic_int overlaps;
    atomic_int failures_wanted;
    int64_t again_ms;
    uint64_t work_ms;
};

static int
count(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct seen *s = arg;

    if (atomic_fetch_add(&s->inside, 1) > 0)
        atomic_fetch_add(&s->overlaps, 1);
    if (s->work_ms > 0)
        clock_sleep_ms(s->work_ms);
    atomic_fetch_sub(&s->inside, 1);
    if (atomic_fetch_add(&s->calls, 1) < atomic_load(&s->failures_wanted))
        return err_set(err, ERR_BUSY, "%s: not yet", key);
    *ret_again_ms = s->again_ms;
    return 0;
}

static void
a_key_is_worked_on_once(void)
{
    struct seen s = { .again_ms = QUEUE_DONE };
    struct queue *q = queue_new("t", 4, count, &s);

    queue_add(q, "a");
    queue_add(q, "a");
    queue_add(q, "a");
    queue_start(q);
    CHECK(queue_wait_idle(q, 5000));
    CHECK_INT(s.calls, ==, 1);
    queue_free(q);
}

static void
a_key_is_never_in_two_workers(void)
{
    struct seen s = { .again_ms = QUEUE_DONE, .work_ms = 2 };
    struct queue *q = queue_new("t", 8, count, &s);

    queue_start(q);
    for (int i = 0; i < 50; i++) {
        queue_add(q, "a");
        clock_sleep_ms(1);
    }
    CHECK(queue_wait_idle(q, 5000));
    CHECK_INT(s.overlaps, ==, 0);
    CHECK_INT(s.calls, >=, 2);
    queue_free(q);
}

static void
a_failed_key_comes_again(void)
{
    struct seen s = { .again_ms = QUEUE_DONE, .failures_wanted = 1 };
    struct queue *q = queue_new("t", 1, count, &s);

    queue_start(q);
    queue_add(q, "a");
    for (int i = 0; i < 500 && s.calls < 2; i++)
        clock_sleep_ms(10);
    CHECK_INT(s.calls, ==, 2);
    queue_free(q);
}

static void
again_after_is_kept(void)
{
    struct seen s = { .again_ms = 20 };
    struct queue *q = queue_new("t", 1, count, &s);

    queue_start(q);
    queue_add_after(q, "a", 10);
    for (int i = 0; i < 500 && s.calls < 3; i++)
        clock_sleep_ms(10);
    CHECK_INT(s.calls, >=, 3);
    queue_free(q);
}

/* A step that adds its own key for later must not come again at once. */
static struct queue *own_queue;

static int
adds_itself_for_later(void *arg, const char *key, int64_t *ret_again_ms,
                      struct err *err)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    queue_add_after(own_queue, key, 60000);
    *ret_again_ms = QUEUE_DONE;
    return 0;
}

static void
a_key_added_for_later_while_running_waits(void)
{
    atomic_int calls = 0;

    own_queue = queue_new("t", 4, adds_itself_for_later, &calls);
    queue_start(own_queue);
    queue_add(own_queue, "a");
    CHECK(queue_wait_idle(own_queue, 5000));
    clock_sleep_ms(50);
    CHECK_INT(calls, ==, 1);
    queue_free(own_queue);
}

static int
busy_then_quick(void *arg, const char *key, int64_t *ret_again_ms,
                struct err *err)
{
    if (strcmp(key, "slow") == 0)
        clock_sleep_ms(400);
    else
        atomic_store((atomic_ullong *)arg, clock_mono_ms());
    *ret_again_ms = QUEUE_DONE;
    return 0;
}

static void
a_time_is_kept_while_a_worker_is_busy(void)
{
    atomic_ullong when = 0;
    struct queue *q = queue_new("t", 2, busy_then_quick, &when);
    uint64_t begin = clock_mono_ms();

    queue_start(q);
    clock_sleep_ms(20);
    queue_add_after(q, "later", 50); /* one worker waits for this one... */
    clock_sleep_ms(10);
    queue_add(q, "slow"); /* ...and may be the one that takes this */
    clock_sleep_ms(250);
    CHECK_INT(when, >, begin);
    CHECK_INT(when - begin, <, 250);
    queue_free(q);
}

static int
stirs(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    if (strcmp(key, "a") == 0 && !atomic_load((atomic_bool *)arg))
        queue_add(own_queue, "a"); /* for ever, until "b" had its turn */
    if (strcmp(key, "b") == 0)
        atomic_store((atomic_bool *)arg, true);
    clock_sleep_ms(1);
    *ret_again_ms = QUEUE_DONE;
    return 0;
}

static void
a_key_that_always_comes_again_starves_nobody(void)
{
    atomic_bool b_had_its_turn = false;

    own_queue = queue_new("t", 1, stirs, &b_had_its_turn);
    queue_add(own_queue, "a");
    queue_start(own_queue);
    clock_sleep_ms(5);
    queue_add(own_queue, "b");
    CHECK(queue_wait_idle(own_queue, 5000));
    CHECK(b_had_its_turn);
    queue_free(own_queue);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a key is worked on once", a_key_is_worked_on_once },
        { "a key is never in two workers", a_key_is_never_in_two_workers },
        { "a failed key comes again", a_failed_key_comes_again },
        { "'again after' is kept", again_after_is_kept },
        { "a key added for later while running waits",
          a_key_added_for_later_while_running_waits },
        { "a time is kept while a worker is busy",
          a_time_is_kept_while_a_worker_is_busy },
        { "a key that always comes again starves nobody",
          a_key_that_always_comes_again_starves_nobody },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
