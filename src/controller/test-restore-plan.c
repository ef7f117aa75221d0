/* SPDX-License-Identifier: Apache-2.0 */
#include "base/macros.h"
#include "controller/restore-plan.h"
#include "test.h"

#define T0 1000000000000 /* when the restore was created */

/* A restore of a stopped VM from a good snapshot of it. */
static struct restore_seen
fresh(void)
{
    return (struct restore_seen){
        .ns = "default",
        .name = "r1",
        .now_ms = T0 + 1000,
        .created_ms = T0,
        .has_finalizer = true,
        .has_target = true,
        .target_uid = "u1",
        .snapshot_name = "s1",
        .has_snapshot = true,
        .is_snapshot_ready = true,
        .content_name = "c1",
        .has_content = true,
        .is_content_ready = true,
        .source_uid = "u1",
    };
}

static void
expect(const struct restore_seen *s, enum restore_step step,
       bool is_progressing, const char *reason)
{
    struct restore_plan p;

    restore_plan_make(s, &p);
    if (p.step != step || strcmp(p.reason, reason) != 0)
        printf("# step %d: %s\n", p.step, p.reason);
    CHECK_INT(p.step, ==, step);
    CHECK_INT(p.is_progressing, ==, is_progressing);
    CHECK(strcmp(p.reason, reason) == 0);
}

static void
the_way_to_success(void)
{
    struct restore_seen s = fresh();
    struct restore_plan p;

    s.has_finalizer = false;
    expect(&s, RESTORE_ADD_FINALIZER, true,
           "Initializing VirtualMachineRestore");
    s = fresh();
    expect(&s, RESTORE_LOCK, true, "Creating new PVCs");
    s.vm_restore = "r1";
    expect(&s, RESTORE_APPLY, true, "Creating new PVCs");
    s.is_applied = s.has_traces = true;
    expect(&s, RESTORE_MARK, true, "Updating target spec");
    s.is_marked = true;
    expect(&s, RESTORE_COMPLETE, true, "Updating target spec");
    s.has_completed = true;
    expect(&s, RESTORE_NOTHING, false, "Operation complete");
    restore_plan_make(&s, &p);
    CHECK(p.is_ready && !p.has_failure);
}

static void
a_new_vm_is_waited_for(void)
{
    struct restore_seen s = fresh();

    s.has_target = false;
    s.target_uid = NULL;
    expect(&s, RESTORE_APPLY, true, "Creating new PVCs");
    s.is_applied = true;
    expect(&s, RESTORE_NOTHING, true, "Waiting for target update");
    s.has_target = s.is_target_ours = true;
    s.target_uid = "u2"; /* other than the source: it is ours */
    expect(&s, RESTORE_MARK, true, "Updating target spec");
}

static void
a_running_target_follows_the_policy(void)
{
    struct restore_seen s = fresh();
    struct restore_plan p;

    s.is_target_active = true;
    expect(
        &s, RESTORE_NOTHING, false,
        "Waiting for target VM to be powered off. Please stop the restore target to proceed with restore or the operation will fail after 5m0s");
    s.now_ms = T0 + RESTORE_GRACE_MS - 1000;
    restore_plan_make(&s, &p);
    CHECK_INT(p.again_ms, ==, 1000);
    s.now_ms = T0 + RESTORE_GRACE_MS;
    restore_plan_make(&s, &p);
    CHECK(p.has_failure && p.step == RESTORE_NOTHING);
    CHECK(strncmp(p.reason, "Restore target failed to be ready within 5m0s.",
                  46) == 0);

    s.readiness = RESTORE_WAIT_EVENTUALLY;
    expect(
        &s, RESTORE_NOTHING, false,
        "Waiting for target VM to be powered off. Please stop the restore target to proceed with restore");

    s.readiness = RESTORE_FAIL_IMMEDIATE;
    restore_plan_make(&s, &p);
    CHECK(p.has_failure);

    s.readiness = RESTORE_STOP_TARGET;
    expect(&s, RESTORE_ASK_STOP, false,
           "Automatically stopping restore target for restore operation");
    s.stop_asked_ms = s.now_ms;
    expect(&s, RESTORE_NOTHING, false,
           "Automatically stopping restore target for restore operation");
    s.now_ms += RESTORE_STOP_MS;
    expect(&s, RESTORE_POWER_OFF, false,
           "Automatically stopping restore target for restore operation");
}

static void
a_source_that_is_not_ready_is_waited_for(void)
{
    struct restore_seen s = fresh();
    struct restore_plan p;

    s.has_snapshot = false;
    expect(&s, RESTORE_NOTHING, false, "VMSnapshot default/s1 does not exist");
    restore_plan_make(&s, &p);
    CHECK(p.is_error && p.again_ms == 5000 && !p.has_failure);
    s = fresh();
    s.is_snapshot_failed = true;
    expect(&s, RESTORE_NOTHING, false,
           "VMSnapshot default/s1 failed and is invalid to use");
    s = fresh();
    s.is_snapshot_ready = false;
    expect(&s, RESTORE_NOTHING, false, "VMSnapshot default/s1 not ready");
    s = fresh();
    s.has_content = false;
    expect(&s, RESTORE_NOTHING, false,
           "VMSnapshotContent default/c1 does not exist");
    s = fresh();
    s.is_content_ready = false;
    expect(&s, RESTORE_NOTHING, false,
           "VMSnapshotContent default/c1 not ready");
}

static void
a_target_that_is_not_free_is_refused(void)
{
    struct restore_seen s = fresh();

    s.target_uid = "u9";
    expect(
        &s, RESTORE_NOTHING, false,
        "restore source and restore target are different but restore target already exists");
    s = fresh();
    s.vm_restore = "r0";
    expect(&s, RESTORE_NOTHING, false, "vm restore r0 in progress");
    s = fresh();
    s.vm_snapshot = "s9";
    expect(&s, RESTORE_NOTHING, false, "vm snapshot s9 in progress");
}

static void
errors_are_tried_again_or_final(void)
{
    struct restore_seen s = fresh();
    struct restore_plan p;

    s.vm_restore = "r1";
    s.error = "no space";
    s.has_traces = true;
    s.last_try_ms = s.now_ms;
    expect(&s, RESTORE_NOTHING, false, "no space");
    s.now_ms += RESTORE_RETRY_MS;
    expect(&s, RESTORE_APPLY, false, "no space");
    s.now_ms = T0 + RESTORE_GIVE_UP_MS;
    restore_plan_make(&s, &p);
    CHECK(p.has_failure && p.step == RESTORE_UNDO_UNLOCK);
    s.now_ms = T0 + 2000;
    s.is_error_final = true;
    restore_plan_make(&s, &p);
    CHECK(p.has_failure && p.step == RESTORE_UNDO_UNLOCK);
    s.has_failed = true;
    s.vm_restore = NULL;
    s.has_traces = false;
    restore_plan_make(&s, &p);
    CHECK(p.has_failure && p.step == RESTORE_NOTHING);
}

static void
what_another_has_is_told_and_waited_for_briefly(void)
{
    struct restore_seen s = fresh();
    struct restore_plan p;

    s.error = "the UUID u7 is that of domain d7: choose another one";
    s.last_try_ms = s.now_ms;
    s.taken_since_ms = s.now_ms - 2000;
    expect(
        &s, RESTORE_NOTHING, false,
        "the UUID u7 is that of domain d7: choose another one, or the operation will fail after 5m0s");
    restore_plan_make(&s, &p);
    CHECK(p.is_error && !p.has_failure && p.again_ms == RESTORE_RETRY_MS);
    s.now_ms = s.taken_since_ms + RESTORE_GRACE_MS;
    expect(&s, RESTORE_NOTHING, false, s.error);
    restore_plan_make(&s, &p);
    CHECK(p.has_failure);
}

static void
it_can_be_deleted_at_any_time(void)
{
    struct restore_seen s = fresh();

    s.is_deleting = true;
    expect(&s, RESTORE_REMOVE_FINALIZER, false, "VM restore is deleting");
    s.vm_restore = "r1";
    expect(&s, RESTORE_UNDO_UNLOCK, false, "VM restore is deleting");
    s.vm_restore = NULL;
    s.has_traces = true;
    expect(&s, RESTORE_UNDO_UNLOCK, false, "VM restore is deleting");
    s.is_applied = true; /* too late to undo: completed first */
    expect(&s, RESTORE_MARK, true, "Updating target spec");
    s.has_completed = true;
    expect(&s, RESTORE_REMOVE_FINALIZER, false, "VM restore is deleting");
    s.has_finalizer = false;
    expect(&s, RESTORE_NOTHING, false, "VM restore is deleting");
}

static void
expect_claim(enum restore_naming naming, const char *override, const char *want)
{
    char claim[RESTORE_CLAIM_SIZE];

    restore_plan_claim(naming, override, "0-1", "copy", "vda", "vm1-vda",
                       claim);
    CHECK(strcmp(claim, want) == 0);
}

static void
disks_are_named_by_the_policy(void)
{
    char claim[RESTORE_CLAIM_SIZE], longest[100];

    expect_claim(restore_plan_naming(NULL), NULL, "restore-0-1-vda");
    expect_claim(restore_plan_naming("RandomizeNames"), NULL,
                 "restore-0-1-vda");
    expect_claim(restore_plan_naming("InPlace"), NULL, "vm1-vda");
    expect_claim(restore_plan_naming("PrefixTargetName"), NULL, "copy-vda");
    expect_claim(restore_plan_naming("InPlace"), "mine", "mine");
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    restore_plan_claim(RESTORE_PREFIX_TARGET_NAME, NULL, "0-1", longest, "vda",
                       NULL, claim);
    CHECK_INT(strlen(claim), ==, 63);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a stopped VM is locked, replaced, marked and done",
          the_way_to_success },
        { "a new VM is waited for", a_new_vm_is_waited_for },
        { "a running target follows the policy",
          a_running_target_follows_the_policy },
        { "a source that is not ready is waited for",
          a_source_that_is_not_ready_is_waited_for },
        { "a target that is not free is refused",
          a_target_that_is_not_free_is_refused },
        { "errors are tried again, or final", errors_are_tried_again_or_final },
        { "what another has is told, and waited for briefly",
          what_another_has_is_told_and_waited_for_briefly },
        { "a restore can be deleted at any time",
          it_can_be_deleted_at_any_time },
        { "disks are named by the policy", disks_are_named_by_the_policy },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
