/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/backup-plan.h"
#include "test.h"

#define BASE .has_finalizer = true, .is_begun = true, .now_ms = 1000

static void
each_state_has_its_step(void)
{
    static const struct {
        struct backup_plan_seen seen;
        enum backup_plan_step want;
    } rows[] = {
        { { .now_ms = 1 }, BACKUP_ADD_FINALIZER },
        { { .has_finalizer = true }, BACKUP_BEGIN },
        /* waiting for the cut */
        { { BASE, .retry_ms = 1500 }, BACKUP_NOTHING },
        { { BASE, .trouble = "no target" }, BACKUP_TROUBLE },
        { { BASE }, BACKUP_TAKE_TURN },
        { { BASE, .is_turn_taken = true }, BACKUP_NOTHING },
        { { BASE, .has_turn = true }, BACKUP_CUT },
        { { BASE, .has_turn = true, .has_traces = true }, BACKUP_CUT },
        { { BASE, .has_turn = true, .retry_ms = 1001 }, BACKUP_NOTHING },
    /* reading */
#define CUT BASE, .has_turn = true, .has_traces = true, .is_cut = true
        { { CUT }, BACKUP_READ },
        { { CUT, .retry_ms = 2000 }, BACKUP_NOTHING },
        { { CUT, .trouble = "the VM is gone" }, BACKUP_READ },
        { { CUT, .job = JOB_WAITING }, BACKUP_WATCH },
        { { CUT, .job = JOB_RUNNING }, BACKUP_WATCH },
        { { CUT, .job = JOB_DONE }, BACKUP_COMPLETE },
        { { CUT, .job = JOB_FAILED }, BACKUP_READ_FAILED },
        { { CUT, .job = JOB_FAILED, .is_job_cancelled = true },
          BACKUP_NOTHING },
        /* ended */
        { { CUT, .is_done = true, .job = JOB_DONE }, BACKUP_FORGET },
        { { CUT, .is_done = true }, BACKUP_CLEAN },
        { { BASE, .is_done = true, .has_turn = true }, BACKUP_CLEAN },
        { { BASE, .is_done = true }, BACKUP_CHECK },
        { { BASE, .is_done = true, .trouble = "x" }, BACKUP_CHECK },
        { { CUT, .has_failed = true, .job = JOB_RUNNING }, BACKUP_CANCEL },
        { { CUT, .has_failed = true }, BACKUP_CLEAN },
        { { BASE, .has_failed = true }, BACKUP_NOTHING },
        /* deleted */
        { { .is_deleting = true }, BACKUP_NOTHING },
        { { CUT, .is_deleting = true, .job = JOB_RUNNING }, BACKUP_CANCEL },
        { { CUT, .is_deleting = true, .job = JOB_WAITING }, BACKUP_CANCEL },
        { { CUT, .is_deleting = true, .job = JOB_FAILED }, BACKUP_FORGET },
        { { CUT, .is_deleting = true, .job = JOB_DONE }, BACKUP_FORGET },
        { { CUT, .is_deleting = true }, BACKUP_CLEAN },
        { { BASE, .is_deleting = true, .has_turn = true }, BACKUP_CLEAN },
        { { BASE, .is_deleting = true }, BACKUP_END },
        { { BASE, .is_deleting = true, .is_done = true }, BACKUP_END },
        { { .is_deleting = true, .has_finalizer = true }, BACKUP_END },
        /* the target does not answer */
        { { CUT, .job = JOB_RUNNING, .is_target_away = true }, BACKUP_WATCH },
        { { CUT, .has_failed = true, .job = JOB_RUNNING,
            .is_target_away = true },
          BACKUP_ABANDON },
        { { CUT, .is_deleting = true, .job = JOB_RUNNING,
            .is_target_away = true },
          BACKUP_ABANDON },
        { { CUT, .is_deleting = true, .job = JOB_ABANDONED }, BACKUP_CLEAN },
        { { BASE, .is_deleting = true, .job = JOB_ABANDONED }, BACKUP_END },
        /* nobody has looked at it yet */
        { { .has_finalizer = true, .is_target_unknown = true },
          BACKUP_NOTHING },
        { { BASE, .trouble = "x", .is_target_unknown = true }, BACKUP_NOTHING },
        { { CUT, .is_target_unknown = true }, BACKUP_NOTHING },
        { { CUT, .is_deleting = true, .is_target_unknown = true },
          BACKUP_CLEAN },
        { { BASE, .is_deleting = true, .is_target_unknown = true },
          BACKUP_NOTHING },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        CHECK_INT(backup_plan_make(&rows[i].seen).step, ==, rows[i].want);
}

static void
it_waits_as_long_as_said(void)
{
    struct backup_plan_seen s = { BASE, .retry_ms = 1500 };

    CHECK_INT(backup_plan_make(&s).again_ms, ==, 500);
}

static void
tries_are_bounded(void)
{
    int64_t before = 0;

    for (unsigned i = 1; i <= 5; i++) {
        struct backup_plan_retry r =
            backup_plan_retry_after(i, ERR_UNAVAILABLE);

        CHECK(!r.is_final && r.pause_ms > before);
        before = r.pause_ms;
    }
    CHECK(backup_plan_retry_after(6, ERR_UNAVAILABLE).is_final);
    CHECK(!backup_plan_retry_after(5, ERR_NO_SPACE).is_final);
    CHECK(!backup_plan_retry_after(1, ERR_CORRUPT).is_final);
    CHECK(backup_plan_retry_after(2, ERR_CORRUPT).is_final);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "each state has its step", each_state_has_its_step },
        { "it waits as long as said", it_waits_as_long_as_said },
        { "tries are bounded", tries_are_bounded },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
