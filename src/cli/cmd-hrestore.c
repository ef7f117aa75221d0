/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep restore, of a backup: Harvester's VirtualMachineRestore. The words of
 * the command line say what is wanted; whether a machine is made or replaced
 * follows from what is there, so that a lost one comes back by the same
 * command.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/table.h"
#include "cli/words.h"

#define WAIT_MS      86400000
#define WAIT_STOP_MS 300000

static bool
has_failed(const json_t *restore)
{
    const json_t *c = words_condition(restore, "InProgress");

    return !jsonx_bool(restore, "status.complete") &&
           strcmp(jsonx_str_or(c, "status", ""), "False") == 0 &&
           strcmp(jsonx_str_or(c, "reason", ""), "Error") == 0;
}

const char *
cmd_hrestore_state(const json_t *restore)
{
    const char *phase = jsonx_str_or(restore, "status.vmkeep.phase", "");

    if (jsonx_bool(restore, "status.complete"))
        return "Complete";
    if (has_failed(restore))
        return "Failed";
    return *phase == 0 ? "Pending" : phase;
}

const char *
cmd_hrestore_message(const json_t *restore)
{
    return jsonx_str_or(words_condition(restore, "InProgress"), "message", "");
}

static enum table_tone
tone_of(const json_t *restore)
{
    if (jsonx_bool(restore, "status.complete"))
        return TABLE_GOOD;
    return has_failed(restore) ? TABLE_BAD : TABLE_WARN;
}

/* ---- show ---- */

static void
print_restored(const json_t *r)
{
    const json_t *list = jsonx_get(r, "status.restores");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        const char *claim =
            jsonx_str_or(v, "persistentVolumeClaimSpec.metadata.name", "?");
        char size[WORDS_SIZE];
        CLEANUP(mem_free) char *text = NULL;

        words_bytes(jsonx_int(v, "volumeSize", 0), size);
        text = xasprintf("%s as %s, %s", jsonx_str_or(v, "volumeName", ""),
                         claim, size);
        cmd_print_field(i == 0 ? "Disks:" : "", text);
    }
}

void
cmd_hrestore_print(const struct cli *c, const json_t *r)
{
    CLEANUP(mem_free)
    char *from = xasprintf(
        "%s/%s", jsonx_str_or(r, "spec.virtualMachineBackupNamespace", "?"),
        jsonx_str_or(r, "spec.virtualMachineBackupName", "?"));
    int64_t ms = jsonx_int(r, "status.vmkeep.milliseconds", 0);

    cmd_print_field("Name:", jsonx_str(r, "metadata.name"));
    cmd_print_field("Namespace:", jsonx_str(r, "metadata.namespace"));
    cmd_print_field("Backup:", from);
    cmd_print_field("Target:", jsonx_str(r, "spec.target.name"));
    cmd_print_field("", jsonx_bool(r, "spec.newVM") ? "made new" : "replaced");
    printf("%-14s", "Status:");
    table_print_toned(stdout, c->has_colour, tone_of(r), cmd_hrestore_state(r));
    putchar('\n');
    cmd_print_field(
        "", jsonx_bool(r, "status.complete") ? "" : cmd_hrestore_message(r));
    cmd_print_field("Done:", jsonx_str(r, "status.restoreTime"));
    if (ms > 0)
        printf("%-14s%.1f s\n", "Took:", (double)ms / 1000);
    if (jsonx_bool(r, "status.vmkeep.identityKept"))
        cmd_print_field("Identity:", "UUID and MAC addresses are the old ones");
    print_restored(r);
    cmd_print_lines("Checked:", jsonx_get(r, "status.vmkeep.preflight"));
    cmd_print_lines("Left out:", jsonx_get(r, "status.vmkeep.dropped"));
    cmd_print_lines("Old disks:", jsonx_get(r, "status.vmkeep.trash"));
    cmd_print_field("  until:", jsonx_str(r, "status.vmkeep.trashUntil"));
    cmd_print_lines("Kept:", jsonx_get(r, "status.vmkeep.kept"));
}

/* ---- what is to be done ---- */

struct plan {
    const json_t *backup;
    const char *name;
    const char *target;
    char *vm_uid;  /* of what is replaced; NULL: a new one is made */
    bool is_other; /* it is not the one that was backed up */
    bool is_dry_run;
};

static int
check_words(const struct cli *c, struct err *err)
{
    static const char *const of_snapshots[] = { "policy", "patch" };

    for (size_t i = 0; i < ARRAY_SIZE(of_snapshots); i++) {
        if (cli_has(c, of_snapshots[i]))
            return err_set(err, ERR_INVALID,
                           "--%s is for restores of snapshots",
                           of_snapshots[i]);
    }
    if (cli_has(c, "start") && cli_has(c, "halted"))
        return err_set(err, ERR_INVALID, "--start and --halted: one of them");
    return 0;
}

/* It was switched on, and nobody said that it may be switched off. */
static int
check_power(const struct cli *c, const struct plan *p, const json_t *vm,
            struct err *err)
{
    if (p->is_dry_run || cli_has(c, "stop") ||
        !jsonx_bool(vm, "status.created"))
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "virtual machine \"%s\" runs: stop it first (vmkeep vm stop "
                   "%s%s --wait), or add --stop",
                   p->target, c->in_ns, p->target);
}

static int
check_identity(const struct cli *c, struct plan *p, const json_t *vm,
               struct err *err)
{
    const char *uid = jsonx_str_or(vm, "metadata.uid", "");

    p->is_other =
        strcmp(uid, jsonx_str_or(p->backup, "status.sourceUID", "")) != 0;
    if (p->is_other && !cli_has(c, "replace"))
        return err_set(err, ERR_EXISTS,
                       "virtual machine \"%s\" is there, and is not the one "
                       "that was backed up: choose another name with --to, or "
                       "add --replace to give up its disks",
                       p->target);
    p->vm_uid = xstrdup(uid);
    return check_power(c, p, vm, err);
}

/* Before anything is stopped for it. */
static int
check_ready(const struct plan *p, struct err *err)
{
    const char *name = jsonx_str_or(p->backup, "metadata.name", "");

    if (jsonx_bool(p->backup, "status.readyToUse"))
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "backup \"%s\" is not ready: vmkeep backup show %s says why",
                   name, name);
}

/* Make or replace? */
static int
look_at_target(struct cli *c, struct plan *p, struct err *err)
{
    CLEANUP(json_decref) json_t *vm = NULL;

    if (check_ready(p, err) < 0)
        return -1;
    vm = cmd_get(c, &kind_vm, p->target, err);
    if (vm == NULL && err->code != ERR_NOT_FOUND)
        return -1;
    if (vm != NULL && strcmp(jsonx_str_or(vm, "status.printableStatus", ""),
                             "Undefined") != 0)
        return check_identity(c, p, vm, err);
    if (cli_has(c, "replace"))
        return err_set(err, ERR_NOT_FOUND,
                       "--replace: there is no virtual machine \"%s\"; "
                       "without the option a new one is made",
                       p->target);
    return 0;
}

/* ---- create ---- */

static json_t *
make_restore(const struct cli *c, const struct plan *p)
{
    json_t *r = json_pack(
        "{s:s, s:s, s:{s:s, s:{}}, s:{s:{s:s, s:s, s:s}, s:s, s:s, s:b, s:b}}",
        "apiVersion", "harvesterhci.io/v1beta1", "kind",
        "VirtualMachineRestore", "metadata", "name", p->name, "annotations",
        "spec", "target", "apiGroup", "kubevirt.io", "kind", "VirtualMachine",
        "name", p->target, "virtualMachineBackupName",
        jsonx_str_or(p->backup, "metadata.name", ""),
        "virtualMachineBackupNamespace",
        jsonx_str_or(p->backup, "metadata.namespace", ""), "newVM",
        (int)(p->vm_uid == NULL), "haltAfterRestore",
        (int)cli_has(c, "halted"));
    json_t *notes = jsonx_get(r, "metadata.annotations");

    if (cli_has(c, "keep-mac"))
        jsonx_set(r, "spec.keepMacAddress", json_true());
    if (p->vm_uid != NULL)
        jsonx_set_str(r, "spec.deletionPolicy",
                      cli_has(c, "retain") ? "retain" : "delete");
    if (p->is_other)
        json_object_set_new(notes, "vmkeep.io/replace-uid",
                            json_string(p->vm_uid));
    if (p->is_dry_run)
        json_object_set_new(notes, "vmkeep.io/dry-run", json_string("true"));
    return r;
}

struct hrestore_wait {
    struct cmd_progress progress;
    const char *name;
    bool is_dry_run;
    json_t *last;
};

/* The step; while it waits, for what. */
static void
say_progress(struct cmd_progress *p, const json_t *object)
{
    const char *state = cmd_hrestore_state(object);
    const char *message = cmd_hrestore_message(object);
    CLEANUP(mem_free)
    char *text = xasprintf("%s%s%s", state, *message == 0 ? "" : ": ", message);

    cmd_progress_say(p, strcmp(state, "Pending") == 0 ? text : state);
}

static int
seen_restore(void *arg, const json_t *object, struct err *err)
{
    struct hrestore_wait *w = arg;
    bool is_over = has_failed(object) || jsonx_bool(object, "status.complete");

    if (object == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "restore \"%s\" was deleted before it was done",
                       w->name);
    if (!w->is_dry_run)
        say_progress(&w->progress, object);
    if (!w->is_dry_run && !is_over)
        cmd_progress_bytes(&w->progress, object);
    if (!is_over)
        return 0;
    w->last = json_deep_copy(object);
    return 1;
}

/* What was found; the object has served. */
static void
end_dry_run(struct cli *c, const struct plan *p, const json_t *last)
{
    CLEANUP(mem_free)
    char *path = client_path(&kind_hrestore.gvr, c->ns, p->name);
    const json_t *lines = jsonx_get(last, "status.vmkeep.preflight");
    struct err unused = { 0 };

    for (size_t i = 0; i < json_array_size(lines); i++) {
        CLEANUP(mem_free)
        char *line = xstrdup(json_string_value(json_array_get(lines, i)));

        if (line == NULL)
            continue;
        words_clean(line);
        puts(line);
    }
    cmd_print_lines("Left out:", jsonx_get(last, "status.vmkeep.dropped"));
    if (client_call(c->client, "DELETE", path, NULL, NULL, &unused) < 0)
        cli_say(c, "restore \"%s\" stays: %s", p->name, unused.msg);
}

static int
wait_restore(struct cli *c, const struct plan *p, struct err *err)
{
    struct hrestore_wait w = { .progress = { .cli = c,
                                             .began_ms = clock_mono_ms() },
                               .name = p->name,
                               .is_dry_run = p->is_dry_run };
    CLEANUP(json_decref) json_t *last = NULL;
    int64_t timeout_ms;
    int rc;

    if (cli_timeout(c, WAIT_MS, &timeout_ms, err) < 0)
        return -1;
    rc = client_wait(c->client, &kind_hrestore.gvr, c->ns, p->name,
                     (uint64_t)timeout_ms, seen_restore, &w, err);
    cmd_progress_end(&w.progress);
    last = w.last;
    if (rc < 0)
        return -1;
    if (p->is_dry_run && !cli_print(c, last))
        end_dry_run(c, p, last);
    else if (!p->is_dry_run && !cli_print(c, last))
        cmd_hrestore_print(c, last);
    if (has_failed(last))
        return err_set(err, ERR_CANCELLED,
                       p->is_dry_run ? "the restore would fail: %s"
                                     : "the restore failed: %s",
                       cmd_hrestore_message(last));
    if (p->is_dry_run)
        cli_say(c, "Nothing was touched. It would work.");
    return 0;
}

static int
stop_target(struct cli *c, const struct plan *p, struct err *err)
{
    CLEANUP(json_decref) json_t *vm = NULL;

    if (p->vm_uid == NULL || !cli_has(c, "stop") || p->is_dry_run)
        return 0;
    vm = cmd_get(c, &kind_vm, p->target, err);
    if (vm == NULL)
        return -1;
    if (!jsonx_bool(vm, "status.created"))
        return 0;
    if (cmd_power(c, p->target, "stop", NULL, err) < 0)
        return -1;
    return cmd_wait_power(c, p->target, "Stopped", WAIT_STOP_MS, err);
}

static int
create(struct cli *c, const struct plan *p, struct err *err)
{
    CLEANUP(json_decref) json_t *wanted = make_restore(c, p);
    CLEANUP(json_decref) json_t *made = NULL;

    if (stop_target(c, p, err) < 0)
        return -1;
    made = cmd_create(c, &kind_hrestore, wanted, err);
    if (made == NULL)
        return -1;
    if (p->is_dry_run || cli_has(c, "wait") || cli_has(c, "start"))
        return wait_restore(c, p, err);
    if (!cli_print(c, made)) {
        printf("restore \"%s\" of \"%s\" begun\n", p->name, p->target);
        cli_say(c, "See how it goes: vmkeep restore show %s%s", c->in_ns,
                p->name);
    }
    return 0;
}

int
cmd_hrestore_create(struct cli *c, const json_t *backup, const char *name,
                    struct err *err)
{
    struct plan p = { .backup = backup,
                      .name = name,
                      .target = cli_value(c, "to"),
                      .is_dry_run = cli_has(c, "dry-run") };
    int rc;

    if (p.target == NULL)
        p.target = jsonx_str_or(backup, "spec.source.name", "");
    rc = check_words(c, err) < 0 || look_at_target(c, &p, err) < 0
             ? -1
             : create(c, &p, err);
    free(p.vm_uid);
    return rc;
}
