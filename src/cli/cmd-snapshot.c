/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep snapshot. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/table.h"
#include "cli/words.h"

#define WAIT_MS 600000 /* longer than the server's own deadline, 5 minutes */

/* ---- what a snapshot is like ---- */

static enum table_tone
tone_of(const json_t *snapshot)
{
    const char *phase = jsonx_str_or(snapshot, "status.phase", "");

    if (strcmp(phase, "Failed") == 0)
        return TABLE_BAD;
    if (strcmp(phase, "Succeeded") != 0)
        return TABLE_WARN;
    return jsonx_bool(snapshot, "status.readyToUse") ? TABLE_GOOD : TABLE_BAD;
}

static const char *
state_of(const json_t *snapshot)
{
    const char *phase = jsonx_str_or(snapshot, "status.phase", "InProgress");

    if (strcmp(phase, "Succeeded") == 0 &&
        !jsonx_bool(snapshot, "status.readyToUse"))
        return "Damaged";
    return *phase == 0 ? "InProgress" : phase;
}

static bool
has_indication(const json_t *snapshot, const char *name)
{
    const json_t *list = jsonx_get(snapshot, "status.indications");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));

        if (s != NULL && strcmp(s, name) == 0)
            return true;
    }
    return false;
}

/* What its data is worth, in a few words. */
static const char *
consistency_of(const json_t *snapshot)
{
    if (jsonx_str(snapshot, "status.creationTime") == NULL)
        return "";
    if (has_indication(snapshot, "QuiesceFailed") ||
        has_indication(snapshot, "QuiesceTimeout"))
        return "as after a power failure: the guest was not frozen in time";
    if (has_indication(snapshot, "GuestAgent"))
        return "file systems were frozen by the guest agent";
    if (has_indication(snapshot, "Paused"))
        return "as after a power failure: the guest was paused";
    if (has_indication(snapshot, "Online"))
        return "as after a power failure: no guest agent answered";
    return "the virtual machine was off";
}

static enum table_tone
tone_of_consistency(const json_t *snapshot)
{
    return strncmp(consistency_of(snapshot), "as after", 8) == 0 ? TABLE_WARN
                                                                 : TABLE_PLAIN;
}

/* ---- list ---- */

static const char *const heads[] = { "NAMESPACE", "NAME",        "VM",
                                     "STATUS",    "AGE",         "FROZEN",
                                     "SIZE",      "INDICATIONS", NULL };
static const char *const wide_heads[] = { "NAMESPACE", "NAME",        "VM",
                                          "STATUS",    "AGE",         "FROZEN",
                                          "SIZE",      "INDICATIONS", "DISKS",
                                          "ERROR",     NULL };

static void
add_row(const struct cli *c, struct table *t, const json_t *s)
{
    CLEANUP(mem_free)
    char *indications = words_join(jsonx_get(s, "status.indications"), ",");
    CLEANUP(mem_free)
    char *disks =
        words_join(jsonx_get(s, "status.snapshotVolumes.includedVolumes"), ",");
    int64_t frozen = jsonx_int(s, "status.vmkeep.frozenMilliseconds", -1);
    char age[WORDS_SIZE], size[WORDS_SIZE] = "";

    words_age(jsonx_str_or(s, "status.creationTime",
                           jsonx_str_or(s, "metadata.creationTimestamp", "")),
              age);
    if (jsonx_get(s, "status.vmkeep.bytes") != NULL)
        words_bytes(jsonx_int(s, "status.vmkeep.bytes", 0), size);
    if (c->ns == NULL)
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(s, "metadata.namespace", ""));
    table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(s, "metadata.name", ""));
    table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(s, "spec.source.name", ""));
    table_add(t, tone_of(s), "%s", state_of(s));
    table_add(t, TABLE_PLAIN, "%s", age);
    if (frozen >= 0 && has_indication(s, "GuestAgent"))
        table_add(t, TABLE_PLAIN, "%lld ms", (long long)frozen);
    else
        table_add(t, TABLE_PLAIN, "%s", "");
    table_add(t, TABLE_PLAIN, "%s", size);
    table_add(t, tone_of_consistency(s), "%s", indications);
    if (c->format == CLI_WIDE) {
        table_add(t, TABLE_PLAIN, "%s", disks);
        table_add(t, TABLE_BAD, "%s",
                  jsonx_str_or(s, "status.error.message", ""));
    }
}

/* Leave only the snapshots of one VM in the list. */
static int
list_snapshots(struct cli *c, struct err *err)
{
    CLEANUP(json_decref) json_t *list = cmd_list(c, &kind_vmsnapshot, err);
    const char *vm = c->n_args > 0 ? c->args[0] : NULL;
    CLEANUP(mem_free)
    char *none =
        xasprintf("There is no snapshot%s%s. Make one: vmkeep snapshot "
                  "create %s%s --wait",
                  vm == NULL ? "" : " of ", vm == NULL ? "" : vm, c->in_ns,
                  vm == NULL ? "VM" : vm);

    if (list == NULL)
        return -1;
    if (vm != NULL)
        cmd_keep_of_vm(list, vm);
    cmd_print_list(
        c, list, (c->format == CLI_WIDE ? wide_heads : heads) + (c->ns != NULL),
        add_row, none);
    return 0;
}

/* ---- show ---- */

static void
show_excluded(const json_t *s)
{
    const json_t *list = jsonx_get(s, "status.vmkeep.excluded");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        CLEANUP(mem_free)
        char *text = xasprintf("%s: %s", jsonx_str_or(v, "volume", ""),
                               jsonx_str_or(v, "reason", ""));

        cmd_print_field(i == 0 ? "Left out:" : "", text);
    }
    if (json_array_size(list) > 0)
        return;
    CLEANUP(mem_free)
    char *text = words_join(
        jsonx_get(s, "status.snapshotVolumes.excludedVolumes"), ", ");

    cmd_print_field("Left out:", text);
}

static void
show_times(const json_t *s)
{
    int64_t frozen = jsonx_int(s, "status.vmkeep.frozenMilliseconds", -1);
    int64_t paused = jsonx_int(s, "status.vmkeep.pausedMilliseconds", 0);
    char size[WORDS_SIZE];

    if (frozen >= 0 && has_indication(s, "GuestAgent"))
        printf("%-14s%lld ms\n", "Frozen for:", (long long)frozen);
    if (paused > 0)
        printf("%-14s%lld ms\n", "Paused for:", (long long)paused);
    if (jsonx_get(s, "status.vmkeep.bytes") != NULL) {
        words_bytes(jsonx_int(s, "status.vmkeep.bytes", 0), size);
        cmd_print_field("On disk:", size);
    }
}

static void
print_snapshot(const struct cli *c, const json_t *s)
{
    CLEANUP(mem_free)
    char *disks = words_join(
        jsonx_get(s, "status.snapshotVolumes.includedVolumes"), ", ");
    CLEANUP(mem_free)
    char *indications = words_join(jsonx_get(s, "status.indications"), ", ");
    const json_t *notes = jsonx_get(s, "metadata.annotations");

    cmd_print_field("Name:", jsonx_str(s, "metadata.name"));
    cmd_print_field("Namespace:", jsonx_str(s, "metadata.namespace"));
    cmd_print_field("Of:", jsonx_str(s, "spec.source.name"));
    cmd_print_field("Description:",
                    json_string_value(json_object_get(notes, "description")));
    printf("%-14s", "Status:");
    table_print_toned(stdout, c->has_colour, tone_of(s), state_of(s));
    putchar('\n');
    cmd_print_field("Error:", jsonx_str(s, "status.error.message"));
    cmd_print_field("Taken:", jsonx_str(s, "status.creationTime"));
    cmd_print_field("Restored:", jsonx_str(s, "status.vmkeep.restoredTime"));
    cmd_print_field("Disks:", disks);
    show_excluded(s);
    cmd_print_field("Consistency:", consistency_of(s));
    cmd_print_field("Indications:", indications);
    show_times(s);
    cmd_print_field(
        "When deleted:",
        strcmp(jsonx_str_or(s, "spec.deletionPolicy", "Delete"), "Delete") == 0
            ? "its data goes with it"
            : "its data stays");
}

static int
show_snapshot(struct cli *c, struct err *err)
{
    CLEANUP(json_decref)
    json_t *s = cmd_get(c, &kind_vmsnapshot, c->args[0], err);

    if (s == NULL)
        return -1;
    if (cli_print(c, s))
        return 0;
    print_snapshot(c, s);
    if (jsonx_bool(s, "status.readyToUse"))
        cli_say(c, "\nBring it back: vmkeep restore create %s%s --wait",
                c->in_ns, c->args[0]);
    return 0;
}

/* ---- create ---- */

static json_t *
make_snapshot(const struct cli *c, const char *name)
{
    json_t *s = json_pack("{s:s, s:s, s:{s:s}, s:{s:{s:s, s:s, s:s}}}",
                          "apiVersion", "snapshot.kubevirt.io/v1beta1", "kind",
                          "VirtualMachineSnapshot", "metadata", "name", name,
                          "spec", "source", "apiGroup", "kubevirt.io", "kind",
                          "VirtualMachine", "name", c->args[0]);
    CLEANUP(mem_free) char *excluded = cmd_excluded(c);
    const char *description = cli_value(c, "description");
    json_t *notes = json_object();

    if (*excluded != 0)
        json_object_set_new(notes, "vmkeep.io/exclude-volumes",
                            json_string(excluded));
    if (description != NULL)
        json_object_set_new(notes, "description", json_string(description));
    jsonx_set(s, "metadata.annotations", notes);
    jsonx_set_str(s, "spec.failureDeadline", cli_value(c, "deadline"));
    if (cli_has(c, "retain") || cli_has(c, "keep"))
        jsonx_set_str(s, "spec.deletionPolicy", "Retain");
    return s;
}

struct snapshot_wait {
    struct cmd_progress progress;
    const char *name;
    char obstacle[256]; /* what was in its way last */
    json_t *last;
};

static int
fail(const struct snapshot_wait *w, const json_t *object, struct err *err)
{
    const char *why = jsonx_str(object, "status.error.message");

    if (why == NULL)
        why = *w->obstacle != 0 ? w->obstacle
                                : "it was not done before its deadline";
    return err_set(err, ERR_CANCELLED,
                   "snapshot \"%s\" failed: %s; nothing of it is left on the "
                   "disks, the object stays until: vmkeep snapshot delete %s%s",
                   w->name, why, w->progress.cli->in_ns, w->name);
}

static int
seen_snapshot(void *arg, const json_t *object, struct err *err)
{
    struct snapshot_wait *w = arg;
    const json_t *progressing = words_condition(object, "Progressing");
    const char *reason = jsonx_str_or(progressing, "reason", "");
    const char *error = jsonx_str(object, "status.error.message");

    if (object == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "snapshot \"%s\" was deleted while it was made",
                       w->name);
    if (strcmp(jsonx_str_or(object, "status.phase", ""), "Failed") == 0)
        return fail(w, object, err);
    cmd_progress_say(&w->progress, error != NULL ? error : reason);
    (void)snprintf(w->obstacle, sizeof w->obstacle, "%s",
                   strcmp(jsonx_str_or(progressing, "status", ""), "False") == 0
                       ? reason
                       : "");
    if (!jsonx_bool(object, "status.readyToUse"))
        return 0;
    w->last = json_deep_copy(object);
    return 1;
}

static int
wait_snapshot(struct cli *c, const char *name, struct err *err)
{
    struct snapshot_wait w = {
        .progress = { .cli = c, .began_ms = clock_mono_ms() }, .name = name
    };
    int64_t timeout_ms;

    if (cli_timeout(c, WAIT_MS, &timeout_ms, err) < 0 ||
        client_wait(c->client, &kind_vmsnapshot.gvr, c->ns, name,
                    (uint64_t)timeout_ms, seen_snapshot, &w, err) < 0)
        return -1;
    if (!cli_print(c, w.last))
        print_snapshot(c, w.last);
    json_decref(w.last);
    return 0;
}

/* A snapshot may wait for a VM that is to come; from the command line a name
 * that is not there is a slip: it is looked for first. */
static int
create_snapshot(struct cli *c, struct err *err)
{
    CLEANUP(mem_free)
    char *name = c->n_args > 1 ? xstrdup(c->args[1])
                               : cmd_default_name(c->args[0], "snapshot");
    CLEANUP(json_decref) json_t *wanted = make_snapshot(c, name);
    CLEANUP(json_decref) json_t *made = NULL;
    const char *deadline = cli_value(c, "deadline");
    int64_t unused;

    if (deadline != NULL && deadline[0] == '-') /* over before it began */
        return err_set(err, ERR_INVALID,
                       "--deadline \"%s\": want a duration, as 30s or 5m",
                       deadline);
    if (cli_timeout(c, 0, &unused, err) < 0 ||
        cmd_check_vm(c, c->args[0], err) < 0)
        return -1;
    made = cmd_create(c, &kind_vmsnapshot, wanted, err);
    if (made == NULL)
        return -1;
    if (cli_has(c, "wait"))
        return wait_snapshot(c, name, err);
    if (!cli_print(c, made)) {
        printf("snapshot \"%s\" of \"%s\" begun\n", name, c->args[0]);
        cli_say(c, "See how it goes: vmkeep snapshot show %s%s", c->in_ns,
                name);
    }
    return 0;
}

/* ---- delete ---- */

static int
delete_snapshots(struct cli *c, struct err *err)
{
    return cmd_delete_args(c, &kind_vmsnapshot, "snapshot", WAIT_MS, err);
}

/* ---- the table ---- */

static const struct cli_option create_options[] = {
    { "wait", 'w', NULL, "wait until it is ready, and show it" },
    { "timeout", 0, "DURATION", "with --wait: how long at most (10m)" },
    { "deadline", 0, "DURATION",
      "give it up after this time (5m; 0 for never)" },
    { "exclude", 0, "DISK", "leave this disk out; may be repeated" },
    { "description", 0, "TEXT", "what it is for" },
    { "retain", 0, NULL, "its data stays when the snapshot is deleted" },
    { "keep", 0, NULL, "the same as --retain" },
    { NULL },
};
static const struct cli_option delete_options[] = {
    { "wait", 'w', NULL, "wait until it is gone" },
    { "timeout", 0, "DURATION", "with --wait: how long at most (10m)" },
    { NULL },
};

const struct cli_command cmd_snapshot_table[] = {
    { "snapshot", "create", "VM [NAME]", 1, 2,
      "keep the disks and the definition of a virtual machine",
      "The machine may run. If its guest agent answers, its file systems are\n"
      "frozen for the instant of the cut, else the data is as after a power\n"
      "failure; both are shown. It goes on at once in either case.",
      "vmkeep snapshot create web-1 --wait\n"
      "vmkeep snapshot create web-1 before-upgrade --deadline 1m --wait\n"
      "vmkeep snapshot create web-1 --exclude vdb --description \"no data\"",
      create_options, create_snapshot },
    { "snapshot", "list", "[VM]", 0, 1,
      "show all snapshots, or those of one VM",
      "SIZE is what would come free if that one were deleted.",
      "vmkeep snapshot list\nvmkeep snapshot list web-1 -o wide\n"
      "vmkeep snapshot list -A -o json",
      NULL, list_snapshots },
    { "snapshot", "show", "SNAPSHOT", 1, 1,
      "show one snapshot: what is in it, and how good it is", NULL,
      "vmkeep snapshot show before-upgrade", NULL, show_snapshot },
    { "snapshot", "delete", "SNAPSHOT...", 1, 1000,
      "delete snapshots and their data",
      "The virtual machine and its other snapshots are not touched.",
      "vmkeep snapshot delete before-upgrade --wait", delete_options,
      delete_snapshots },
    { NULL },
};
