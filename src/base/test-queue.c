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

int
main(void)
{
    static const struct test_case cases[] = {
        { "a key is worked on once", a_key_is_worked_on_once },
        { "a key is never in two workers", a_key_is_never_in_two_workers },
        { "a failed key comes again", a_failed_key_comes_again },
        { "'again after' is kept", again_after_is_kept },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
