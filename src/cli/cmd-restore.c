/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep restore. The volume policy is InPlace unless said otherwise, as the
 * console's; the API's own default is RandomizeNames.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/table.h"
#include "cli/words.h"

#define WAIT_MS       3600000 /* a copy to a new VM takes its time */
#define WAIT_START_MS 60000

static bool
has_failed(const json_t *restore)
{
    return strcmp(
               jsonx_str_or(words_condition(restore, "Failure"), "status", ""),
               "True") == 0;
}

static const char *
state_of(const json_t *restore)
{
    if (jsonx_bool(restore, "status.complete"))
        return "Complete";
    return has_failed(restore) ? "Failed" : "InProgress";
}

static enum table_tone
tone_of(const json_t *restore)
{
    if (jsonx_bool(restore, "status.complete"))
        return TABLE_GOOD;
    return has_failed(restore) ? TABLE_BAD : TABLE_WARN;
}

/* What it does or waits for, or why it failed. */
static const char *
reason_of(const json_t *restore)
{
    return jsonx_str_or(words_condition(restore, has_failed(restore)
                                                     ? "Failure"
                                                     : "Progressing"),
                        "reason", "");
}

/* ---- list and show ---- */

static int
list_restores(struct cli *c, struct err *err)
{
    static const char *const heads[] = { "NAMESPACE", "NAME",   "SNAPSHOT",
                                         "TARGET",    "STATUS", "AGE",
                                         "MESSAGE",   NULL };
    CLEANUP(json_decref) json_t *list = cmd_list(c, &kind_vmrestore, err);

    if (list == NULL)
        return -1;
    if (cli_print(c, list))
        return 0;
    CLEANUP(table_free) struct table *t = table_new(heads + (c->ns != NULL));
    const json_t *items = json_object_get(list, "items");

    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *r = json_array_get(items, i);
        char age[WORDS_SIZE];

        words_age(jsonx_str(r, "metadata.creationTimestamp"), age);
        if (c->ns == NULL)
            table_add(t, TABLE_PLAIN, "%s",
                      jsonx_str_or(r, "metadata.namespace", ""));
        table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(r, "metadata.name", ""));
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(r, "spec.virtualMachineSnapshotName", ""));
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(r, "spec.target.name", ""));
        table_add(t, tone_of(r), "%s", state_of(r));
        table_add(t, TABLE_PLAIN, "%s", age);
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_bool(r, "status.complete") ? "" : reason_of(r));
    }
    if (table_rows(t) == 0)
        cli_say(c, "There is no restore. Make one: vmkeep restore create "
                   "SNAPSHOT --wait");
    else
        table_print(t, c->has_colour, stdout);
    return 0;
}

static void
print_restored(const json_t *r)
{
    const json_t *list = jsonx_get(r, "status.restores");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        CLEANUP(mem_free)
        char *text = xasprintf("%s as %s", jsonx_str_or(v, "volumeName", ""),
                               jsonx_str_or(v, "persistentVolumeClaim", ""));

        cmd_print_field(i == 0 ? "Disks:" : "", text);
    }
}

static void
print_lines(const char *label, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        cmd_print_field(i == 0 ? label : "",
                        json_string_value(json_array_get(list, i)));
}

static void
print_restore(const struct cli *c, const json_t *r)
{
    cmd_print_field("Name:", jsonx_str(r, "metadata.name"));
    cmd_print_field("Namespace:", jsonx_str(r, "metadata.namespace"));
    cmd_print_field("Snapshot:",
                    jsonx_str(r, "spec.virtualMachineSnapshotName"));
    cmd_print_field("Target:", jsonx_str(r, "spec.target.name"));
    cmd_print_field("Policy:", jsonx_str_or(r, "spec.volumeRestorePolicy",
                                            "RandomizeNames"));
    printf("%-14s", "Status:");
    table_print_toned(stdout, c->has_colour, tone_of(r), state_of(r));
    putchar('\n');
    cmd_print_field("", jsonx_bool(r, "status.complete") ? "" : reason_of(r));
    cmd_print_field("Done:", jsonx_str(r, "status.restoreTime"));
    print_restored(r);
    print_lines("Old disks:", jsonx_get(r, "status.vmkeep.trash"));
    cmd_print_field("  until:", jsonx_str(r, "status.vmkeep.trashUntil"));
    print_lines("Kept:", jsonx_get(r, "status.vmkeep.kept"));
    print_lines("Left out:", jsonx_get(r, "status.vmkeep.dropped"));
}

static int
show_restore(struct cli *c, struct err *err)
{
    CLEANUP(json_decref)
    json_t *r = cmd_get(c, &kind_vmrestore, c->args[0], err);

    if (r == NULL)
        return -1;
    if (!cli_print(c, r))
        print_restore(c, r);
    return 0;
}

/* ---- create ---- */

struct plan {
    char *name;
    const char *target;
    const char *policy;
    bool is_in_place;
};

/* Say what cannot work before anything is made. */
static int
check_target(struct cli *c, const struct plan *p, const json_t *snapshot,
             struct err *err)
{
    CLEANUP(json_decref) json_t *vm = cmd_get(c, &kind_vm, p->target, err);

    if (vm == NULL)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    if (strcmp(jsonx_str_or(vm, "metadata.uid", ""),
               jsonx_str_or(snapshot, "status.sourceUID", "")) != 0)
        return err_set(err, ERR_EXISTS,
                       "virtual machine \"%s\" is there, and is not the one "
                       "that was snapshotted: choose another name with --to",
                       p->target);
    if (jsonx_bool(vm, "status.created") && !cli_has(c, "stop"))
        return err_set(err, ERR_CONFLICT,
                       "virtual machine \"%s\" runs: stop it first (vmkeep vm "
                       "stop %s --wait), or add --stop",
                       p->target, p->target);
    return 0;
}

static int
check_snapshot(const char *name, const json_t *snapshot, struct err *err)
{
    if (strcmp(jsonx_str_or(snapshot, "status.phase", ""), "Failed") == 0)
        return err_set(err, ERR_INVALID,
                       "snapshot \"%s\" failed and holds nothing", name);
    if (jsonx_str(snapshot, "status.creationTime") != NULL &&
        !jsonx_bool(snapshot, "status.readyToUse"))
        return err_set(
            err, ERR_CORRUPT, "snapshot \"%s\" cannot be restored: %s", name,
            jsonx_str_or(snapshot, "status.error.message", "it is not ready"));
    return 0;
}

static json_t *
make_restore(const struct cli *c, const struct plan *p)
{
    json_t *r =
        json_pack("{s:s, s:s, s:{s:s}, s:{s:{s:s, s:s, s:s}, s:s, s:s}}",
                  "apiVersion", "snapshot.kubevirt.io/v1beta1", "kind",
                  "VirtualMachineRestore", "metadata", "name", p->name, "spec",
                  "target", "apiGroup", "kubevirt.io", "kind", "VirtualMachine",
                  "name", p->target, "virtualMachineSnapshotName", c->args[0],
                  "volumeRestorePolicy", p->policy);
    json_t *patches = json_array();
    const char *patch;

    if (cli_has(c, "stop"))
        jsonx_set_str(r, "spec.targetReadinessPolicy", "StopTarget");
    for (size_t i = 0; (patch = cli_value_at(c, "patch", i)) != NULL; i++)
        json_array_append_new(patches, json_string(patch));
    if (json_array_size(patches) > 0)
        jsonx_set(r, "spec.patches", patches);
    else
        json_decref(patches);
    return r;
}

struct restore_wait {
    struct cmd_progress progress;
    const char *name;
    json_t *last;
};

static int
seen_restore(void *arg, const json_t *object, struct err *err)
{
    struct restore_wait *w = arg;

    if (object == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "restore \"%s\" was deleted before it was done",
                       w->name);
    if (has_failed(object))
        return err_set(err, ERR_CANCELLED, "restore \"%s\" failed: %s", w->name,
                       reason_of(object));
    cmd_progress_say(&w->progress, reason_of(object));
    if (!jsonx_bool(object, "status.complete"))
        return 0;
    w->last = json_deep_copy(object);
    return 1;
}

static int
wait_restore(struct cli *c, const struct plan *p, struct err *err)
{
    struct restore_wait w = {
        .progress = { .cli = c, .began_ms = clock_mono_ms() }, .name = p->name
    };
    int64_t timeout_ms;

    if (cli_timeout(c, WAIT_MS, &timeout_ms, err) < 0 ||
        client_wait(c->client, &kind_vmrestore.gvr, c->ns, p->name,
                    (uint64_t)timeout_ms, seen_restore, &w, err) < 0)
        return -1;
    if (!cli_print(c, w.last))
        print_restore(c, w.last);
    json_decref(w.last);
    return 0;
}

static int
start_target(struct cli *c, const struct plan *p, struct err *err)
{
    if (cmd_power(c, p->target, "start", NULL, err) < 0 ||
        cmd_wait_power(c, p->target, "Running", WAIT_START_MS, err) < 0)
        return err_wrap(err, "it is restored, but did not start");
    cli_say(c, "virtual machine \"%s\" runs", p->target);
    return 0;
}

static int
finish(struct cli *c, const struct plan *p, json_t *made, struct err *err)
{
    if (cli_has(c, "wait") || cli_has(c, "start")) {
        if (wait_restore(c, p, err) < 0)
            return -1;
        return cli_has(c, "start") ? start_target(c, p, err) : 0;
    }
    if (!cli_print(c, made)) {
        printf("restore \"%s\" of \"%s\" begun\n", p->name, p->target);
        cli_say(c, "See how it goes: vmkeep restore show %s", p->name);
    }
    return 0;
}

static int
create_restore(struct cli *c, struct err *err)
{
    CLEANUP(json_decref)
    json_t *snapshot = cmd_get(c, &kind_vmsnapshot, c->args[0], err);
    CLEANUP(mem_free)
    char *name = c->n_args > 1
                     ? xstrdup(c->args[1])
                     : xasprintf("restore-%.200s-%llu", c->args[0],
                                 (unsigned long long)clock_wall_s() * 1000);
    CLEANUP(json_decref) json_t *wanted = NULL;
    CLEANUP(json_decref) json_t *made = NULL;
    int64_t unused;

    if (snapshot == NULL || cli_timeout(c, 0, &unused, err) < 0)
        return -1;
    const char *source = jsonx_str_or(snapshot, "spec.source.name", "");
    struct plan p = { .name = name, .target = cli_value(c, "to") };

    if (p.target == NULL)
        p.target = source;
    p.is_in_place = strcmp(p.target, source) == 0;
    p.policy = cli_value(c, "policy");
    if (p.policy == NULL)
        p.policy = p.is_in_place ? "InPlace" : "PrefixTargetName";
    if (check_snapshot(c->args[0], snapshot, err) < 0 ||
        check_target(c, &p, snapshot, err) < 0)
        return -1;
    wanted = make_restore(c, &p);
    made = cmd_create(c, &kind_vmrestore, wanted, err);
    return made == NULL ? -1 : finish(c, &p, made, err);
}

/* ---- the table ---- */

static const struct cli_option create_options[] = {
    { "to", 0, "NEWVM", "make a new virtual machine of this name" },
    { "policy", 0, "POLICY",
      "names of the disks: InPlace, RandomizeNames, PrefixTargetName" },
    { "stop", 0, NULL, "stop the virtual machine if it runs" },
    { "start", 0, NULL, "start it when it is restored; waits for that" },
    { "patch", 0, "JSON",
      "change the new machine: a JSON Patch operation; may be repeated" },
    { "wait", 'w', NULL, "wait until it is done, and show it" },
    { "timeout", 0, "DURATION", "with --wait: how long at most (1h)" },
    { NULL },
};

const struct cli_command cmd_restore_table[] = {
    { "restore", "create", "SNAPSHOT [NAME]", 1, 2,
      "bring a virtual machine back to what a snapshot kept",
      "In place, the machine gets back the disks and the definition of that\n"
      "moment; it must be off, or --stop. What it wrote since is kept in a\n"
      "trash beside the disks for a day. With --to, a new machine is made and\n"
      "the old one is not touched.",
      "vmkeep restore create before-upgrade --stop --start\n"
      "vmkeep restore create before-upgrade --to web-2 --wait\n"
      "vmkeep restore create before-upgrade --to web-2 --patch '{\"op\": "
      "\"replace\", \"path\": \"/spec/template/spec/domain/memory/guest\", "
      "\"value\": \"2Gi\"}'",
      create_options, create_restore },
    { "restore", "list", "", 0, 0, "show all restores", NULL,
      "vmkeep restore list\nvmkeep restore list -A", NULL, list_restores },
    { "restore", "show", "RESTORE", 1, 1,
      "show one restore: how it goes, and what became of the old disks", NULL,
      "vmkeep restore show restore-before-upgrade-1", NULL, show_restore },
    { NULL },
};
