/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/resource.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/job.h"
#include "test.h"

struct seen {
    atomic_int inside, most, ended, freed;
    atomic_bool may_end;
    bool fails;
};

static int
work(struct job *job, void *arg, struct err *err)
{
    struct seen *s = arg;
    int now = atomic_fetch_add(&s->inside, 1) + 1;
    int most = atomic_load(&s->most);

    while (now > most && !atomic_compare_exchange_weak(&s->most, &most, now))
        ;
    while (!atomic_load(&s->may_end) && !job_is_cancelled(job))
        clock_sleep_ms(1);
    atomic_fetch_sub(&s->inside, 1);
    atomic_fetch_add(&s->ended, 1);
    if (s->fails)
        return err_set(err, ERR_NO_SPACE, "the target is full");
    return job_check(job, err);
}

static void
count_free(void *arg)
{
    struct seen *s = arg;

    atomic_fetch_add(&s->freed, 1);
}

static int
start(struct jobs *jobs, const char *key, struct seen *s, struct err *err)
{
    struct job_spec spec = {
        .key = key, .fn = work, .arg = s, .free_arg = count_free
    };

    return job_start(jobs, &spec, err);
}

static enum job_state
wait_for_end(struct jobs *jobs, const char *key, struct err *err)
{
    enum job_state state = JOB_NONE;

    for (int i = 0; i < 5000; i++) {
        state = job_look(jobs, key, NULL, err);
        if (state == JOB_DONE || state == JOB_FAILED)
            break;
        clock_sleep_ms(1);
    }
    return state;
}

static void
no_more_run_at_once_than_allowed(void)
{
    struct jobs *jobs = job_pool_new(2);
    struct seen s = { 0 };
    struct err err;
    char key[8];

    for (int i = 0; i < 6; i++) {
        (void)snprintf(key, sizeof key, "j%d", i);
        CHECK_OK(start(jobs, key, &s, &err), &err);
    }
    for (int i = 0; i < 5000 && atomic_load(&s.inside) < 2; i++)
        clock_sleep_ms(1);
    CHECK_INT(s.inside, ==, 2);
    CHECK_INT(job_look(jobs, "j5", NULL, NULL), ==, JOB_WAITING);
    atomic_store(&s.may_end, true);
    for (int i = 0; i < 6; i++) {
        (void)snprintf(key, sizeof key, "j%d", i);
        CHECK_INT(wait_for_end(jobs, key, &err), ==, JOB_DONE);
    }
    CHECK_INT(s.most, ==, 2);
    job_pool_free(jobs);
    CHECK_INT(s.freed, ==, 6);
}

static int
ask_niceness(struct job *job, void *arg, struct err *err)
{
    *(int *)arg = getpriority(PRIO_PROCESS, 0); /* of this thread */
    return job_check(job, err);
}

static void
a_job_gives_way_to_guests(void)
{
    struct jobs *jobs = job_pool_new(1);
    int before = getpriority(PRIO_PROCESS, 0), inside = -1;
    struct job_spec spec = { .key = "a", .fn = ask_niceness, .arg = &inside };
    struct err err;

    CHECK_OK(job_start(jobs, &spec, &err), &err);
    CHECK_INT(wait_for_end(jobs, "a", &err), ==, JOB_DONE);
    CHECK_INT(inside, >=, JOB_NICE);
    CHECK_INT(getpriority(PRIO_PROCESS, 0), ==, before); /* only the job */
    job_pool_free(jobs);
}

static void
a_key_has_one_job_until_it_is_forgotten(void)
{
    struct jobs *jobs = job_pool_new(2);
    struct seen s = { 0 };
    struct err err;

    CHECK_OK(start(jobs, "a", &s, &err), &err);
    CHECK_ERR(start(jobs, "a", &s, &err), &err, ERR_EXISTS);
    CHECK(!job_forget(jobs, "a")); /* it runs */
    atomic_store(&s.may_end, true);
    CHECK_INT(wait_for_end(jobs, "a", &err), ==, JOB_DONE);
    CHECK(job_forget(jobs, "a"));
    CHECK(job_forget(jobs, "a"));
    CHECK_INT(job_look(jobs, "a", NULL, NULL), ==, JOB_NONE);
    CHECK_OK(start(jobs, "a", &s, &err), &err);
    job_pool_free(jobs);
    CHECK_INT(s.freed, ==, 3);
}

static void
an_error_is_kept(void)
{
    struct jobs *jobs = job_pool_new(1);
    struct seen s = { .fails = true, .may_end = true };
    struct err err;

    CHECK_OK(start(jobs, "a", &s, &err), &err);
    CHECK_INT(wait_for_end(jobs, "a", &err), ==, JOB_FAILED);
    CHECK_INT(err.code, ==, ERR_NO_SPACE);
    CHECK(strcmp(err.msg, "the target is full") == 0);
    job_pool_free(jobs);
}

static void
a_running_and_a_waiting_job_can_be_cancelled(void)
{
    struct jobs *jobs = job_pool_new(1);
    struct seen s = { 0 };
    struct err err;

    CHECK_OK(start(jobs, "runs", &s, &err), &err);
    CHECK_OK(start(jobs, "waits", &s, &err), &err);
    while (atomic_load(&s.inside) == 0)
        clock_sleep_ms(1);
    job_cancel(jobs, "waits");
    CHECK_INT(wait_for_end(jobs, "waits", &err), ==, JOB_FAILED);
    CHECK_INT(err.code, ==, ERR_CANCELLED);
    job_cancel(jobs, "runs");
    CHECK_INT(wait_for_end(jobs, "runs", &err), ==, JOB_FAILED);
    CHECK_INT(err.code, ==, ERR_CANCELLED);
    CHECK_INT(s.ended, ==, 1); /* the other one never began */
    job_pool_free(jobs);
}

static void
stopping_ends_everything_and_starts_nothing(void)
{
    struct jobs *jobs = job_pool_new(1);
    struct seen s = { 0 };
    struct err err;

    CHECK_OK(start(jobs, "a", &s, &err), &err);
    CHECK_OK(start(jobs, "b", &s, &err), &err);
    job_pool_stop(jobs);
    CHECK_INT(job_look(jobs, "a", NULL, &err), ==, JOB_FAILED);
    CHECK_INT(err.code, ==, ERR_CANCELLED);
    CHECK_ERR(start(jobs, "c", &s, &err), &err, ERR_CANCELLED);
    job_pool_free(jobs);
    CHECK_INT(s.freed, ==, 3);
}

/* ---- the owner's queue ---- */

static int
count_key(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    atomic_int *calls = arg;

    (void)key;
    (void)err;
    atomic_fetch_add(calls, 1);
    *ret_again_ms = QUEUE_DONE;
    return 0;
}

static int
tell_steps(struct job *job, void *arg, struct err *err)
{
    struct job_progress p = { .all_bytes = 100000 };

    (void)arg;
    (void)err;
    for (; p.done_bytes < p.all_bytes; p.done_bytes += 100) {
        job_progress_set(job, &p);
        if (p.done_bytes % 10000 == 0)
            clock_sleep_ms(2); /* one poke may swallow the one before */
    }
    job_progress_set(job, &p);
    job_note_set(job, json_pack("{s:i}", "disks", 1));
    job_note_set(job, json_pack("{s:i}", "disks", 2));
    return 0;
}

static void
progress_pokes_the_owner_now_and_then(void)
{
    struct jobs *jobs = job_pool_new(1);
    atomic_int calls = 0;
    struct queue *q = queue_new("t", 1, count_key, &calls);
    struct job_spec spec = {
        .key = "a", .fn = tell_steps, .queue = q, .queue_key = "ns/a"
    };
    struct job_progress p;
    struct err err;

    queue_start(q);
    CHECK_OK(job_start(jobs, &spec, &err), &err);
    CHECK_INT(wait_for_end(jobs, "a", &err), ==, JOB_DONE);
    CHECK(queue_wait_idle(q, 5000));
    /* On a busy machine one poke swallows more. */
    CHECK(calls >= 2 && calls <= 25);
    CHECK_INT(job_look(jobs, "a", &p, NULL), ==, JOB_DONE);
    CHECK_INT(p.done_bytes, ==, 100000);

    json_t *note = job_note_get(jobs, "a");

    CHECK_INT(jsonx_int(note, "disks", 0), ==, 2);
    json_decref(note);
    job_forget_queue(jobs, q);
    queue_free(q);
    job_pool_free(jobs);
}

static void
a_forgotten_queue_is_not_touched(void)
{
    struct jobs *jobs = job_pool_new(1);
    atomic_int calls = 0;
    struct queue *q = queue_new("t", 1, count_key, &calls);
    struct seen s = { 0 };
    struct job_spec spec = {
        .key = "a", .fn = work, .arg = &s, .queue = q, .queue_key = "ns/a"
    };
    struct err err;

    CHECK_OK(job_start(jobs, &spec, &err), &err);
    job_forget_queue(jobs, q);
    queue_free(q);
    atomic_store(&s.may_end, true);
    CHECK_INT(wait_for_end(jobs, "a", &err), ==, JOB_DONE);
    job_pool_free(jobs);
    CHECK_INT(calls, ==, 0);
}

/* ---- what hangs ---- */

/* It hears of no cancel. */
static int
hang(struct job *job, void *arg, struct err *err)
{
    struct seen *s = arg;

    (void)job;
    atomic_fetch_add(&s->inside, 1);
    while (!atomic_load(&s->may_end))
        clock_sleep_ms(1);
    atomic_fetch_add(&s->ended, 1);
    return s->fails ? err_set(err, ERR_NO_SPACE, "the target is full") : 0;
}

static void
wait_for(atomic_int *count, int n)
{
    for (int i = 0; i < 5000 && atomic_load(count) != n; i++)
        clock_sleep_ms(1);
    CHECK_INT(atomic_load(count), ==, n);
}

static int
start_hanging(struct jobs *jobs, const char *key, const char *group,
              struct seen *s, struct err *err)
{
    struct job_spec spec = {
        .key = key, .group = group, .fn = hang, .arg = s, .free_arg = count_free
    };

    return job_start(jobs, &spec, err);
}

static void
what_hangs_takes_nobodys_place(void)
{
    struct jobs *jobs = job_pool_new(1);
    struct seen far = { 0 }, later = { 0 }, near = { .may_end = true };
    struct err err;

    CHECK_OK(start_hanging(jobs, "far", "far", &far, &err), &err);
    wait_for(&far.inside, 1);
    CHECK_OK(start_hanging(jobs, "later", "far", &later, &err), &err);
    CHECK_OK(start_hanging(jobs, "near", "near", &near, &err), &err);
    CHECK_INT(job_look(jobs, "near", NULL, NULL), ==, JOB_WAITING);
    job_group_hold(jobs, "far", true);
    CHECK_INT(wait_for_end(jobs, "near", &err), ==, JOB_DONE);
    CHECK_INT(job_look(jobs, "later", NULL, NULL), ==, JOB_WAITING);
    job_group_hold(jobs, "far", false);
    CHECK_INT(job_look(jobs, "later", NULL, NULL), ==, JOB_WAITING);
    atomic_store(&far.may_end, true);
    wait_for(&later.inside, 1);
    atomic_store(&later.may_end, true);
    CHECK_INT(wait_for_end(jobs, "later", &err), ==, JOB_DONE);
    job_pool_free(jobs);
}

static void
an_abandoned_job_ends_alone(void)
{
    struct jobs *jobs = job_pool_new(2);
    struct seen s = { 0 }, waiting = { 0 };
    struct err err;

    CHECK_OK(start_hanging(jobs, "a", NULL, &s, &err), &err);
    wait_for(&s.inside, 1);
    job_abandon(jobs, "a");
    CHECK_INT(job_look(jobs, "a", NULL, NULL), ==, JOB_ABANDONED);
    CHECK_ERR(start_hanging(jobs, "a", NULL, &waiting, &err), &err, ERR_EXISTS);
    CHECK(!job_forget(jobs, "a"));
    CHECK_INT(s.freed, ==, 0);
    atomic_store(&s.may_end, true);
    wait_for(&s.freed, 1);
    CHECK_INT(job_look(jobs, "a", NULL, NULL), ==, JOB_NONE);

    /* One that has ended, or not begun, goes at once. */
    CHECK_OK(start_hanging(jobs, "b", NULL, &s, &err), &err);
    CHECK_INT(wait_for_end(jobs, "b", &err), ==, JOB_DONE);
    job_abandon(jobs, "b");
    CHECK_INT(s.freed, ==, 2);
    job_group_hold(jobs, "far", true);
    CHECK_OK(start_hanging(jobs, "c", "far", &s, &err), &err);
    job_abandon(jobs, "c");
    CHECK_INT(s.freed, ==, 3);
    job_abandon(jobs, "none");
    job_pool_free(jobs);
}

static void
an_answer_is_waited_for_and_not_for_ever(void)
{
    struct jobs *jobs = job_pool_new(2);
    atomic_int calls = 0;
    struct queue *q = queue_new("t", 1, count_key, &calls);
    struct seen s = { .may_end = true }, slow = { 0 }, unused = { 0 };
    struct job_spec spec = { .key = "a",
                             .fn = hang,
                             .arg = &s,
                             .free_arg = count_free,
                             .queue = q,
                             .queue_key = "ns/a" };
    void *got = NULL;
    struct err err;

    queue_start(q);
    CHECK_INT(job_ask(jobs, &spec, 60000, &got, &err), ==, 0);
    CHECK(got == &s && s.freed == 0); /* it is ours now */
    CHECK_INT(job_look(jobs, "a", NULL, NULL), ==, JOB_NONE);
    CHECK_INT(calls, ==, 0);

    spec.arg = &slow;
    CHECK_INT(job_ask(jobs, &spec, 10, &got, &err), ==, 1);
    spec.arg = &unused;
    CHECK_INT(job_ask(jobs, &spec, 10, &got, &err), ==, 1);
    CHECK_INT(unused.freed, ==, 1);
    atomic_store(&slow.may_end, true);
    wait_for(&calls, 1);
    CHECK_INT(job_ask(jobs, &spec, 0, &got, &err), ==, 0);
    CHECK(got == &slow);

    s.fails = true;
    spec.arg = &s;
    CHECK_ERR(job_ask(jobs, &spec, 60000, &got, &err), &err, ERR_NO_SPACE);
    CHECK_INT(s.freed, ==, 1);
    queue_free(q);
    job_pool_free(jobs);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "no more run at once than allowed",
          no_more_run_at_once_than_allowed },
        { "a job gives way to guests", a_job_gives_way_to_guests },
        { "a key has one job until it is forgotten",
          a_key_has_one_job_until_it_is_forgotten },
        { "an error is kept", an_error_is_kept },
        { "a running and a waiting job can be cancelled",
          a_running_and_a_waiting_job_can_be_cancelled },
        { "stopping ends everything and starts nothing",
          stopping_ends_everything_and_starts_nothing },
        { "progress pokes the owner now and then",
          progress_pokes_the_owner_now_and_then },
        { "a forgotten queue is not touched",
          a_forgotten_queue_is_not_touched },
        { "what hangs takes nobody's place", what_hangs_takes_nobodys_place },
        { "an abandoned job ends alone", an_abandoned_job_ends_alone },
        { "an answer is waited for, and not for ever",
          an_answer_is_waited_for_and_not_for_ever },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
