/* SPDX-License-Identifier: Apache-2.0 */
#include "base/macros.h"
#include "base/mem.h"
#include "controller/hrestore-plan.h"
#include "controller/hrestore-status.h"
#include "test.h"

#define T0 1000000000000 /* when the restore was created */

/* A restore that replaces a stopped VM by a good backup of it. */
static struct hrestore_seen
replacing(void)
{
    return (struct hrestore_seen){
        .ns = "default",
        .name = "r1",
        .now_ms = T0 + 1000,
        .created_ms = T0,
        .has_finalizer = true,
        .target_name = "vm1",
        .has_target = true,
        .target_uid = "u1",
        .backup_ns = "default",
        .backup_name = "b1",
        .has_backup = true,
        .is_backup_ready = true,
        .source_uid = "u1",
    };
}

static struct hrestore_seen
making_new(void)
{
    struct hrestore_seen s = replacing();

    s.is_new = true;
    s.has_target = false;
    s.target_uid = NULL;
    return s;
}

static struct hrestore_plan
plan_of(const struct hrestore_seen *s)
{
    struct hrestore_plan p;

    hrestore_plan_make(s, &p);
    return p;
}

static void
expect(const struct hrestore_seen *s, enum hrestore_step step,
       const char *message)
{
    struct hrestore_plan p = plan_of(s);

    if (p.step != step || strcmp(p.message, message) != 0)
        printf("# step %d: %s\n", p.step, p.message);
    CHECK_INT(p.step, ==, step);
    CHECK(strcmp(p.message, message) == 0);
}

static void
refused(const struct hrestore_seen *s, const char *message)
{
    struct hrestore_plan p = plan_of(s);

    if (!p.is_failed || strstr(p.message, message) == NULL)
        printf("# %s\n", p.message);
    CHECK(p.is_failed && !p.is_ready);
    CHECK(strstr(p.message, message) != NULL);
    CHECK(strcmp(p.phase, "Failed") == 0);
}

static void
a_vm_is_replaced(void)
{
    struct hrestore_seen s = replacing();

    s.has_finalizer = false;
    expect(&s, HRESTORE_BEGIN, "Initializing VirtualMachineRestore");
    s.has_finalizer = true;
    expect(&s, HRESTORE_PREFLIGHT, "Initializing VirtualMachineRestore");
    s.has_preflight = true;
    expect(&s, HRESTORE_LOCK, "Creating new PVCs");
    s.vm_restore = "r1";
    expect(&s, HRESTORE_START_JOB, "Creating new PVCs");
    s.job = HRESTORE_JOB_ACTIVE;
    expect(&s, HRESTORE_WATCH_JOB, "Creating new PVCs");
    CHECK(strcmp(plan_of(&s).phase, "Preparing") == 0);
    s.is_writing = s.has_traces = true;
    CHECK(strcmp(plan_of(&s).phase, "Writing") == 0);
    s.job = HRESTORE_JOB_ENDED;
    expect(&s, HRESTORE_END_JOB, "Creating new PVCs");
    s.job = HRESTORE_JOB_NONE;
    s.is_applied = true;
    expect(&s, HRESTORE_MARK, "Waiting for target vm to be ready");
    s.is_marked = true;
    expect(&s, HRESTORE_START_VM, "Waiting for target vm to be ready");
    s.has_started = true;
    expect(&s, HRESTORE_COMPLETE, "Waiting for target vm to be ready");
    s.has_completed = true;
    expect(&s, HRESTORE_NOTHING, "Operation complete");
    CHECK(plan_of(&s).is_ready);
}

static void
a_new_vm_is_made(void)
{
    struct hrestore_seen s = making_new();

    s.has_preflight = true;
    expect(&s, HRESTORE_START_JOB, "Creating new PVCs");
    s.is_applied = true;
    expect(&s, HRESTORE_NOTHING, "Waiting for target vm to be ready");
    CHECK_INT(plan_of(&s).again_ms, ==, HRESTORE_LOOK_MS);
    s.has_target = s.is_target_ours = s.is_marked = true;
    s.target_uid = "u2";
    s.is_halted = true;
    expect(&s, HRESTORE_COMPLETE, "Waiting for target vm to be ready");
}

static void
a_dry_run_changes_nothing(void)
{
    struct hrestore_seen s = replacing();

    s.is_dry_run = true;
    expect(&s, HRESTORE_PREFLIGHT, "Initializing VirtualMachineRestore");
    s.has_preflight = true;
    expect(&s, HRESTORE_COMPLETE, "Initializing VirtualMachineRestore");
    s.has_completed = true;
    expect(&s, HRESTORE_NOTHING, "Dry run complete: nothing was changed");
}

static void
a_wrong_target_ends_it_at_once(void)
{
    struct hrestore_seen s = replacing();

    s.target_uid = "u9";
    refused(&s, "the VM vm1 is another one than the backup is of");
    s.replace_uid = "u9";
    CHECK(!plan_of(&s).is_failed);
    s = replacing();
    s.has_target = false;
    refused(&s, "can't replace nonexistent vm vm1");
    s = making_new();
    s.has_target = true;
    s.target_uid = "u9";
    refused(&s, "VM vm1 is already exists");
    s = replacing();
    s.is_backup_snapshot = true;
    refused(&s, "delete policy with backup type snapshot");
    s.is_retain = true;
    CHECK(!plan_of(&s).is_failed);
    s = replacing();
    s.has_backup = false;
    refused(&s, "can't get vmbackup default/b1");
}

static void
others_are_waited_for_with_an_end(void)
{
    struct hrestore_seen s = replacing();

    s.is_target_active = true;
    expect(&s, HRESTORE_NOTHING,
           "Please stop the VM \"vm1\" before doing a restore");
    CHECK(plan_of(&s).again_ms > 0);
    s.now_ms = T0 + HRESTORE_WAIT_MS;
    refused(&s, "Please stop the VM");
    s = replacing();
    s.vm_snapshot = "s1";
    expect(&s, HRESTORE_NOTHING, "vm snapshot s1 in progress");
    s = replacing();
    s.is_backup_ready = false;
    expect(&s, HRESTORE_NOTHING, "this VMBackup is not ready: default/b1");
    CHECK(plan_of(&s).again_ms > 0 && !plan_of(&s).is_failed);
}

static void
errors_are_repeated_with_pauses_and_an_end(void)
{
    struct hrestore_seen s = making_new();

    s.error = "disk vda: 1 MiB free";
    s.tries = 1;
    s.last_try_ms = s.now_ms;
    expect(&s, HRESTORE_NOTHING, "disk vda: 1 MiB free");
    CHECK_INT(plan_of(&s).again_ms, ==, HRESTORE_RETRY_MS);
    s.tries = 2;
    CHECK_INT(plan_of(&s).again_ms, ==, 2 * HRESTORE_RETRY_MS);
    s.now_ms += 2 * HRESTORE_RETRY_MS;
    expect(&s, HRESTORE_PREFLIGHT, "Initializing VirtualMachineRestore");
    s.tries = HRESTORE_TRIES;
    refused(&s, "disk vda: 1 MiB free");
    s.tries = 1;
    s.is_error_final = true;
    refused(&s, "disk vda: 1 MiB free");
    s.has_traces = true;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_UNDO);
    s.has_failed = true;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_UNDO);
    s.has_traces = false;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_NOTHING);
}

static void
a_vm_that_does_not_start_ends_it(void)
{
    struct hrestore_seen s = making_new();

    s.is_applied = s.has_target = s.is_target_ours = s.is_marked = true;
    s.target_uid = "u2";
    s.start_tries = 1;
    s.error = "failed to start vm: no memory";
    s.last_try_ms = s.now_ms;
    expect(&s, HRESTORE_NOTHING, s.error);
    s.now_ms += HRESTORE_RETRY_MS;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_START_VM);
    s.start_tries = HRESTORE_START_TRIES;
    refused(&s, "the VM was restored, but: failed to start vm");
}

static void
it_can_be_deleted_at_any_time(void)
{
    struct hrestore_seen s = replacing();

    s.is_deleting = true;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_REMOVE_FINALIZER);
    s.has_traces = true;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_UNDO);
    s.job = HRESTORE_JOB_ENDED;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_END_JOB);
    s.job = HRESTORE_JOB_ACTIVE;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_CANCEL_JOB);
    s.is_backup_away = true; /* it hangs */
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_ABANDON_JOB);
    s.job = HRESTORE_JOB_ABANDONED;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_REMOVE_FINALIZER);
    s.job = HRESTORE_JOB_NONE;
    s.is_applied = true;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_UNDO);
    s.has_completed = true;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_REMOVE_FINALIZER);
    s.has_finalizer = false;
    CHECK_INT(plan_of(&s).step, ==, HRESTORE_NOTHING);
}

/* ---- the status ---- */

static void
is(const json_t *v, const char *path, const char *text)
{
    const char *got = jsonx_str_or(v, path, "-");

    if (strcmp(got, text) != 0)
        printf("# %s: %s\n", path, got);
    CHECK(strcmp(got, text) == 0);
}

static void
conditions_are_harvesters(void)
{
    struct hrestore_seen s = making_new();
    struct hrestore_plan p = plan_of(&s);
    CLEANUP(json_decref) json_t *a = hrestore_status_plan(NULL, &p, 100);
    CLEANUP(json_decref) json_t *b = NULL;
    CLEANUP(json_decref) json_t *c = NULL;

    is(a, "conditions.0.type", "InProgress");
    is(a, "conditions.0.status", "True");
    is(a, "conditions.0.message", "Initializing VirtualMachineRestore");
    is(a, "conditions.1.type", "Ready");
    is(a, "conditions.1.status", "False");
    CHECK(json_is_false(json_object_get(a, "complete")));
    b = hrestore_status_plan(a, &p, 200);
    CHECK(jsonx_equal(json_object_get(a, "conditions"),
                      json_object_get(b, "conditions")));
    s.error = "broken";
    s.is_error_final = true;
    p = plan_of(&s);
    c = hrestore_status_plan(a, &p, 300);
    is(c, "conditions.0.status", "False");
    is(c, "conditions.0.reason", "Error");
    is(c, "conditions.0.message", "broken");
    is(c, "conditions.0.lastTransitionTime", "1970-01-01T00:05:00Z");
    is(c, "conditions.1.reason", "Error");
    is(c, "conditions.1.lastTransitionTime", "1970-01-01T00:01:40Z");
    is(c, "conditions.1.lastUpdateTime", "1970-01-01T00:05:00Z");
}

static json_t *
rows(void)
{
    return json_pack("{s:i, s:[{s:s, s:i, s:i}, {s:s, s:i, s:i}]}", "progress",
                     0, "restores", "volumeName", "vda", "volumeSize", 1000,
                     "progress", 0, "volumeName", "vdb", "volumeSize", 3000,
                     "progress", 0);
}

static void
progress_is_of_bytes_and_never_goes_back(void)
{
    CLEANUP(json_decref) json_t *status = rows();
    CLEANUP(json_decref)
    json_t *volumes = json_pack("{s:i, s:i}", "vda", 1000, "vdb", 1000);
    struct hrestore_status_moved m = { .done = 2000,
                                       .all = 4000,
                                       .volumes = volumes,
                                       .since_s = 10,
                                       .now_s = 20 };
    CLEANUP(json_decref) json_t *a = hrestore_status_progress(status, &m);
    CLEANUP(json_decref) json_t *b = NULL;

    CHECK_INT(jsonx_int(a, "progress", -1), ==, 50);
    CHECK_INT(jsonx_int(a, "restores.0.progress", -1), ==, 100);
    CHECK_INT(jsonx_int(a, "restores.1.progress", -1), ==, 33);
    CHECK_INT(jsonx_int(a, "vmkeep.bytesPerSecond", -1), ==, 200);
    CHECK_INT(jsonx_int(a, "vmkeep.secondsLeft", -1), ==, 10);
    m.done = 1000;
    b = hrestore_status_progress(a, &m);
    CHECK_INT(jsonx_int(b, "progress", -1), ==, 50);
    m.done = m.all;
    json_decref(b);
    b = hrestore_status_progress(a, &m);
    CHECK_INT(jsonx_int(b, "progress", -1), ==, 99);
}

static void
done_is_complete(void)
{
    CLEANUP(json_decref) json_t *status = rows();
    struct hrestore_plan p;
    CLEANUP(json_decref) json_t *a = NULL;
    CLEANUP(json_decref) json_t *dry = NULL;

    hrestore_plan_done(false, &p);
    a = hrestore_status_done(status, &p, false, 0);
    CHECK(jsonx_bool(a, "complete"));
    is(a, "restoreTime", "1970-01-01T00:00:00Z");
    CHECK_INT(jsonx_int(a, "progress", -1), ==, 100);
    CHECK_INT(jsonx_int(a, "restores.1.progress", -1), ==, 100);
    hrestore_plan_done(true, &p);
    dry = hrestore_status_done(status, &p, true, 0);
    CHECK(jsonx_bool(dry, "complete"));
    CHECK(json_object_get(dry, "progress") == NULL);
}

static void
a_row_has_the_claim_as_it_was(void)
{
    CLEANUP(json_decref)
    json_t *backup = json_pack(
        "{s:{s:[{s:s, s:s, s:{s:{s:s, s:{s:s}}, s:{s:s, s:s}}}]}}", "status",
        "volumeBackups", "name", "b1-volume-x", "volumeName", "vda",
        "persistentVolumeClaim", "metadata", "name", "x", "labels", "a", "b",
        "spec", "storageClassName", "sc", "volumeName", "pv");
    CLEANUP(mem_free) char *claim = hrestore_status_claim("b1", "U", "vda");
    const struct hrestore_status_volume v = {
        .ns = "n", .volume = "vda", .claim = claim, .size = 5
    };
    CLEANUP(json_decref) json_t *row = hrestore_status_row(backup, &v);
    char name[300];
    CLEANUP(mem_free) char *cut = NULL;

    is(row, "persistentVolumeClaimSpec.metadata.name", "restore-b1-U-vda");
    is(row, "persistentVolumeClaimSpec.metadata.namespace", "n");
    is(row, "persistentVolumeClaimSpec.metadata.labels.a", "b");
    is(row, "persistentVolumeClaimSpec.spec.storageClassName", "sc");
    is(row, "persistentVolumeClaimSpec.spec.volumeName", "-");
    is(row, "volumeBackupName", "b1-volume-x");
    CHECK_INT(jsonx_int(row, "volumeSize", 0), ==, 5);
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = 0;
    cut = hrestore_status_claim(name, "U", "vda");
    CHECK(strcmp(cut, "restore-U-vda") == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a vm is replaced", a_vm_is_replaced },
        { "a new vm is made", a_new_vm_is_made },
        { "a dry run changes nothing", a_dry_run_changes_nothing },
        { "a wrong target ends it at once", a_wrong_target_ends_it_at_once },
        { "others are waited for with an end",
          others_are_waited_for_with_an_end },
        { "errors are repeated with pauses and an end",
          errors_are_repeated_with_pauses_and_an_end },
        { "a vm that does not start ends it",
          a_vm_that_does_not_start_ends_it },
        { "it can be deleted at any time", it_can_be_deleted_at_any_time },
        { "conditions are harvesters", conditions_are_harvesters },
        { "progress is of bytes and never goes back",
          progress_is_of_bytes_and_never_goes_back },
        { "done is complete", done_is_complete },
        { "a row has the claim as it was", a_row_has_the_claim_as_it_was },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
