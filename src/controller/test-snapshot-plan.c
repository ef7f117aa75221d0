/* SPDX-License-Identifier: Apache-2.0 */
#include "base/macros.h"
#include "controller/snapshot-plan.h"
#include "test.h"

#define T0 1000000000000 /* when the snapshot was created */

/* A snapshot of a VM that is there and free, one second old. */
static struct snapshot_seen
fresh(void)
{
    return (struct snapshot_seen){
        .ns = "default",
        .name = "s1",
        .now_ms = T0 + 1000,
        .created_ms = T0,
        .deadline_ms = SNAPSHOT_DEADLINE_MS,
        .has_finalizer = true,
        .source_name = "vm1",
        .has_vm = true,
    };
}

static struct snapshot_seen
locked(void)
{
    struct snapshot_seen s = fresh();

    s.vm_snapshot = "s1";
    return s;
}

static struct snapshot_seen
done(void)
{
    struct snapshot_seen s = fresh();

    s.has_succeeded = s.has_content = s.is_content_cut = s.is_content_ready =
        true;
    s.is_ready = true;
    return s;
}

static void
expect(const struct snapshot_seen *s, enum snapshot_step step,
       const char *phase, const char *progressing)
{
    struct snapshot_plan p;

    snapshot_plan_make(s, &p);
    CHECK_INT(p.step, ==, step);
    if (strcmp(p.phase, phase) != 0 || strcmp(p.progressing, progressing) != 0)
        printf("# %s: %s\n", p.phase, p.progressing);
    CHECK(strcmp(p.phase, phase) == 0);
    CHECK(strcmp(p.progressing, progressing) == 0);
}

static void
the_way_to_success(void)
{
    struct snapshot_seen s = fresh();

    s.has_finalizer = false;
    expect(&s, SNAPSHOT_ADD_FINALIZER, "InProgress",
           "Source locked and operation in progress");
    s.has_finalizer = true;
    expect(&s, SNAPSHOT_LOCK, "InProgress",
           "Source locked and operation in progress");
    s = locked();
    expect(&s, SNAPSHOT_CUT, "InProgress",
           "Source locked and operation in progress");
    s.has_content = s.is_content_cut = true;
    expect(&s, SNAPSHOT_UNLOCK, "Succeeded", "Operation complete");
    s = done();
    expect(&s, SNAPSHOT_NOTHING, "Succeeded", "Operation complete");
}

static void
who_cannot_lock_says_why(void)
{
    struct snapshot_seen s = fresh();
    struct snapshot_plan p;

    s.has_vm = false;
    expect(&s, SNAPSHOT_NOTHING, "InProgress", "Source does not exist");
    s = fresh();
    s.vm_trouble = "volume doesnt exist: vm1-vda";
    expect(&s, SNAPSHOT_NOTHING, "InProgress",
           "Source not locked source default/vm1 volume doesnt exist: vm1-vda");
    s = fresh();
    s.vm_snapshot = "s0";
    expect(&s, SNAPSHOT_NOTHING, "InProgress",
           "Source not locked snapshot \"s0\" in progress");
    s = fresh();
    s.vm_restore = "r0";
    expect(&s, SNAPSHOT_NOTHING, "InProgress",
           "Source not locked restore \"r0\" in progress");
    snapshot_plan_make(&s, &p);
    CHECK(!p.is_progressing && !p.is_ready && !p.has_failure);
    CHECK_INT(p.again_ms, ==, 5000);
}

static void
the_deadline_ends_what_is_not_done(void)
{
    struct snapshot_seen s = locked();
    struct snapshot_plan p;

    s.now_ms = T0 + SNAPSHOT_DEADLINE_MS;
    expect(&s, SNAPSHOT_UNDO_UNLOCK, "Failed", "Operation failed");
    snapshot_plan_make(&s, &p);
    CHECK(p.has_failure && !p.is_ready);
    s.vm_snapshot = NULL;
    expect(&s, SNAPSHOT_NOTHING, "Failed", "Operation failed");
    s = locked();
    s.deadline_ms = -1;
    expect(&s, SNAPSHOT_UNDO_UNLOCK, "Failed", "Operation failed");
    s = locked();
    s.deadline_ms = 0;
    s.now_ms = T0 + 1000000000;
    expect(&s, SNAPSHOT_CUT, "InProgress",
           "Source locked and operation in progress");
    s = done();
    s.now_ms = T0 + 1000000000;
    expect(&s, SNAPSHOT_NOTHING, "Succeeded", "Operation complete");
    /* The wait never goes beyond it. */
    s = fresh();
    s.has_vm = false;
    s.deadline_ms = 3000;
    snapshot_plan_make(&s, &p);
    CHECK_INT(p.again_ms, ==, 2000);
}

static void
the_deadline_says_what_was_waited_for(void)
{
    struct snapshot_seen s = fresh();
    struct snapshot_plan p;

    s.now_ms = T0 + SNAPSHOT_DEADLINE_MS;
    s.has_vm = false;
    snapshot_plan_make(&s, &p);
    CHECK(p.error != NULL &&
          strcmp(p.error, "Source does not exist: there is no virtual machine "
                          "\"vm1\" in the namespace \"default\"") == 0);
    s.has_vm = true;
    s.vm_trouble = "volume doesnt exist: c1";
    snapshot_plan_make(&s, &p);
    CHECK(p.error != NULL &&
          strcmp(p.error, "Source not locked source default/vm1 volume "
                          "doesnt exist: c1") == 0);
    s.error = "the last try's";
    snapshot_plan_make(&s, &p);
    CHECK(p.error == s.error);
    /* Later nothing is added. */
    s.error = NULL;
    s.has_failed = true;
    snapshot_plan_make(&s, &p);
    CHECK(p.error == NULL);
}

static void
failed_stays_failed(void)
{
    struct snapshot_seen s = fresh();

    s.has_failed = true;
    s.deadline_ms = 0;
    expect(&s, SNAPSHOT_NOTHING, "Failed", "Operation failed");
    s.has_content = true;
    expect(&s, SNAPSHOT_DELETE_CONTENT, "Failed", "Operation failed");
}

static void
a_freeze_that_fails_is_tried_again(void)
{
    static const struct {
        unsigned failures;
        int64_t after_ms; /* since the last try */
        enum snapshot_step step;
        int64_t again_ms;
    } rows[] = {
        { 1, 0, SNAPSHOT_NOTHING, 5000 },
        { 1, 4999, SNAPSHOT_NOTHING, 1 },
        { 1, 5000, SNAPSHOT_CUT, -1 },
        { 2, 5000, SNAPSHOT_NOTHING, 15000 },
        { 2, 20000, SNAPSHOT_CUT, -1 },
        { 3, 20000, SNAPSHOT_NOTHING, 40000 },
        { 3, 60000, SNAPSHOT_CUT, -1 },
        { 4, 60000, SNAPSHOT_NOTHING, SNAPSHOT_DEADLINE_MS - 61000 },
    };
    struct snapshot_plan p;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct snapshot_seen s = locked();

        s.error = "command Freeze failed";
        s.freeze_failures = rows[i].failures;
        s.last_try_ms = T0 + 1000;
        s.now_ms = s.last_try_ms + rows[i].after_ms;
        snapshot_plan_make(&s, &p);
        CHECK_INT(p.step, ==, rows[i].step);
        CHECK_INT(p.again_ms, ==, rows[i].again_ms);
        CHECK(strcmp(p.progressing, "In error state") == 0);
        CHECK(p.error != NULL && !p.has_failure);
    }
}

static void
deleting_follows_the_policy(void)
{
    struct snapshot_seen s = done();

    s.is_deleting = true;
    expect(&s, SNAPSHOT_DELETE_CONTENT, "Deleting", "VM snapshot is deleting");
    s.is_content_deleting = true;
    expect(&s, SNAPSHOT_NOTHING, "Deleting", "VM snapshot is deleting");
    s = done();
    s.is_deleting = s.is_retain = true;
    expect(&s, SNAPSHOT_REMOVE_FINALIZER, "Deleting",
           "VM snapshot is deleting");
    s.is_content_ready = false; /* Retain protects a ready content only */
    expect(&s, SNAPSHOT_DELETE_CONTENT, "Deleting", "VM snapshot is deleting");
    s = locked();
    s.is_deleting = true; /* in progress: undone first */
    expect(&s, SNAPSHOT_UNDO_UNLOCK, "Deleting", "VM snapshot is deleting");
    s.vm_snapshot = NULL;
    expect(&s, SNAPSHOT_REMOVE_FINALIZER, "Deleting",
           "VM snapshot is deleting");
    s.has_finalizer = false;
    expect(&s, SNAPSHOT_NOTHING, "Deleting", "VM snapshot is deleting");
}

static void
a_lost_content_is_not_ready(void)
{
    struct snapshot_seen s = done();
    struct snapshot_plan p;

    s.has_content = s.is_content_cut = s.is_content_ready = false;
    snapshot_plan_make(&s, &p);
    CHECK(strcmp(p.phase, "Succeeded") == 0 && !p.is_ready);
    CHECK(p.error != NULL && strcmp(p.ready, "Not ready") == 0);
    s = done();
    s.is_content_ready = false;
    s.content_error = "VolumeSnapshots (x) missing";
    snapshot_plan_make(&s, &p);
    CHECK(!p.is_ready && p.error == s.content_error);
}

static void
a_wiped_status_is_made_again(void)
{
    struct snapshot_seen s = done();
    struct snapshot_plan before, after;

    snapshot_plan_make(&s, &before);
    s.has_succeeded = s.is_ready = false;
    snapshot_plan_make(&s, &after);
    CHECK(strcmp(before.phase, after.phase) == 0);
    CHECK(before.is_ready && after.is_ready && after.step == before.step);
}

static void
expect_indications(const struct snapshot_moment *m, const char *want)
{
    struct snapshot_indication v[SNAPSHOT_INDICATIONS_MAX];
    unsigned n = snapshot_plan_indications(m, v);
    char got[200] = "";

    for (unsigned i = 0; i < n; i++) {
        (void)strcat(got, i > 0 ? " " : "");
        (void)strcat(got, v[i].name);
        CHECK(v[i].message[0] != 0);
    }
    if (strcmp(got, want) != 0)
        printf("# %s, want %s\n", got, want);
    CHECK(strcmp(got, want) == 0);
}

static void
indications_say_how_it_was(void)
{
    struct snapshot_moment m = { .is_online = false };

    expect_indications(&m, "");
    m.is_partial = true;
    expect_indications(&m, "PartialSnapshot");
    m = (struct snapshot_moment){ .is_online = true };
    expect_indications(&m, "NoGuestAgent Online");
    m.is_paused = m.has_agent = true;
    expect_indications(&m, "Online Paused");
    m.is_paused = false;
    m.is_quiesced = true;
    expect_indications(&m, "GuestAgent Online");
    m.is_quiesced = false;
    m.is_partial = true;
    expect_indications(&m, "GuestAgent Online QuiesceTimeout PartialSnapshot");
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a free VM is locked, cut and unlocked", the_way_to_success },
        { "who cannot lock says why", who_cannot_lock_says_why },
        { "the deadline ends what is not done",
          the_deadline_ends_what_is_not_done },
        { "the deadline says what was waited for",
          the_deadline_says_what_was_waited_for },
        { "failed stays failed", failed_stays_failed },
        { "a freeze that fails is tried again after 5, 20 and 60 s",
          a_freeze_that_fails_is_tried_again },
        { "deleting follows the policy", deleting_follows_the_policy },
        { "a snapshot without content is not ready",
          a_lost_content_is_not_ready },
        { "a wiped status is made again", a_wiped_status_is_made_again },
        { "indications say how it was", indications_say_how_it_was },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
