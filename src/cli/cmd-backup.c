/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep backup: what is kept on a backup target. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/table.h"
#include "cli/words.h"

#define WAIT_MS        86400000 /* a first backup takes its time */
#define DELETE_WAIT_MS 600000

/* ---- what a backup is like ---- */

static const char *
phase_of(const json_t *b)
{
    const char *phase = jsonx_str_or(b, "status.vmkeep.phase", "");

    if (jsonx_bool(b, "status.readyToUse"))
        return "Ready";
    if (*phase != 0 && strcmp(phase, "Ready") != 0)
        return phase;
    if (jsonx_str(b, "status.creationTime") != NULL)
        return "NotReady";
    return jsonx_get(b, "status.error") != NULL ? "Error" : "Pending";
}

static bool
has_failed(const json_t *b)
{
    return strcmp(phase_of(b), "Failed") == 0;
}

static enum table_tone
tone_of(const json_t *b)
{
    const char *phase = phase_of(b);

    if (strcmp(phase, "Ready") == 0)
        return TABLE_GOOD;
    return strcmp(phase, "Failed") == 0 || strcmp(phase, "NotReady") == 0 ||
                   strcmp(phase, "Error") == 0
               ? TABLE_BAD
               : TABLE_WARN;
}

static bool
is_snapshot(const json_t *b)
{
    return strcmp(jsonx_str_or(b, "spec.type", ""), "snapshot") == 0;
}

static const char *
error_of(const json_t *b)
{
    const char *why = jsonx_str(b, "status.error.message");

    if (why == NULL && strcmp(phase_of(b), "NotReady") == 0)
        why = jsonx_str(words_condition(b, "Ready"), "reason");
    return why == NULL ? "" : why;
}

/* How the changes of its disks were found: "Incremental", or each once. */
static char *
method_of(const json_t *b)
{
    const json_t *list = jsonx_get(b, "status.vmkeep.tracking");
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *m = jsonx_str_or(json_array_get(list, i), "method", "");

        if (out.len == 0 || strstr(buf_str(&out), m) == NULL)
            buf_printf(&out, "%s%s", out.len == 0 ? "" : ",", m);
    }
    if (out.len == 0 && is_snapshot(b))
        buf_add_str(&out, "Snapshot");
    return buf_take_str(&out);
}

static void
bytes_at(const json_t *b, const char *path, char buf[WORDS_SIZE])
{
    buf[0] = 0;
    if (jsonx_get(b, path) != NULL)
        words_bytes(jsonx_int(b, path, 0), buf);
}

/* The sizes of its disks together. */
static void
size_of(const json_t *b, char buf[WORDS_SIZE])
{
    const json_t *list = jsonx_get(b, "status.volumeBackups");
    int64_t sum = 0;

    for (size_t i = 0; i < json_array_size(list); i++)
        sum += jsonx_int(json_array_get(list, i), "volumeSize", 0);
    buf[0] = 0;
    if (sum > 0)
        words_bytes(sum, buf);
}

static const char *
cut_time_of(const json_t *b)
{
    return jsonx_str_or(
        b, "status.vmkeep.cutTime",
        jsonx_str_or(b, "status.creationTime",
                     jsonx_str_or(b, "metadata.creationTimestamp", "")));
}

static const char *
verified_of(const json_t *b)
{
    const char *status =
        jsonx_str_or(words_condition(b, "Verified"), "status", "");

    return strcmp(status, "True") == 0    ? "yes"
           : strcmp(status, "False") == 0 ? "DAMAGED"
                                          : "";
}

/* ---- list ---- */

static const char *const heads[] = { "NAMESPACE", "NAME", "VM",     "STATUS",
                                     "AGE",       "SIZE", "STORED", "METHOD",
                                     "TARGET",    NULL };
static const char *const wide_heads[] = {
    "NAMESPACE", "NAME",   "VM",     "STATUS",   "AGE",   "SIZE", "STORED",
    "METHOD",    "TARGET", "FROZEN", "VERIFIED", "ERROR", NULL
};

static void
add_wide(struct table *t, const json_t *b)
{
    int64_t frozen = jsonx_int(b, "status.vmkeep.frozenMilliseconds", -1);
    const char *verified = verified_of(b);

    if (frozen >= 0 && jsonx_bool(b, "status.vmkeep.quiesced"))
        table_add(t, TABLE_PLAIN, "%lld ms", (long long)frozen);
    else
        table_add(t, TABLE_PLAIN, "%s", "");
    table_add(t, *verified == 'D' ? TABLE_BAD : TABLE_PLAIN, "%s", verified);
    table_add(t, TABLE_BAD, "%s", error_of(b));
}

static void
add_row(const struct cli *c, struct table *t, const json_t *b)
{
    CLEANUP(mem_free) char *method = method_of(b);
    char age[WORDS_SIZE], size[WORDS_SIZE], stored[WORDS_SIZE];
    int64_t percent = jsonx_int(b, "status.progress", 0);

    words_age(cut_time_of(b), age);
    size_of(b, size);
    bytes_at(b, "status.vmkeep.storedBytes", stored);
    if (c->ns == NULL)
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(b, "metadata.namespace", ""));
    table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(b, "metadata.name", ""));
    table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(b, "spec.source.name", ""));
    if (strcmp(phase_of(b), "Reading") == 0)
        table_add(t, tone_of(b), "Reading %lld %%", (long long)percent);
    else
        table_add(t, tone_of(b), "%s", phase_of(b));
    table_add(t, TABLE_PLAIN, "%s", age);
    table_add(t, TABLE_PLAIN, "%s", size);
    table_add(t, TABLE_PLAIN, "%s", stored);
    table_add(t, TABLE_PLAIN, "%s", method);
    table_add(t, TABLE_PLAIN, "%s",
              jsonx_str_or(b, "status.vmkeep.target", ""));
    if (c->format == CLI_WIDE)
        add_wide(t, b);
}

static int
list_backups(struct cli *c, struct err *err)
{
    CLEANUP(json_decref) json_t *list = cmd_list(c, &kind_vmbackup, err);
    const char *vm = c->n_args > 0 ? c->args[0] : NULL;
    CLEANUP(mem_free)
    char *none = xasprintf("There is no backup%s%s. Make one: vmkeep backup "
                           "create %s%s --wait",
                           vm == NULL ? "" : " of ", vm == NULL ? "" : vm,
                           c->in_ns, vm == NULL ? "VM" : vm);

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

static const char *
consistency_of(const json_t *b)
{
    const json_t *quiesced = jsonx_get(b, "status.vmkeep.quiesced");

    if (!json_is_boolean(quiesced))
        return "";
    return json_is_true(quiesced)
               ? "file systems were frozen by the guest agent"
               : "as after a power failure, or the virtual machine was off";
}

static void
show_disks(const struct cli *c, const json_t *b)
{
    static const char *const disk_heads[] = { "DISK",   "SIZE",    "DONE",
                                              "METHOD", "CHANGED", "READ",
                                              "STORED", "WHY",     NULL };
    const json_t *list = jsonx_get(b, "status.volumeBackups");
    const json_t *tracking = jsonx_get(b, "status.vmkeep.tracking");
    CLEANUP(table_free) struct table *t = table_new(disk_heads);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        const char *name = jsonx_str_or(v, "volumeName", "");
        const json_t *how = jsonx_find(tracking, "volume", name);
        char text[WORDS_SIZE];

        bytes_at(v, "volumeSize", text);
        table_add(t, TABLE_PLAIN, "%s", name);
        table_add(t, TABLE_PLAIN, "%s", text);
        table_add(t, TABLE_PLAIN, "%lld %%",
                  (long long)jsonx_int(v, "progress", 0));
        table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(how, "method", ""));
        bytes_at(how, "dirtyBytes", text);
        table_add(t, TABLE_PLAIN, "%s", text);
        bytes_at(how, "readBytes", text);
        table_add(t, TABLE_PLAIN, "%s", text);
        bytes_at(how, "storedBytes", text);
        table_add(t, TABLE_PLAIN, "%s", text);
        table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(how, "reason", ""));
    }
    if (table_rows(t) == 0)
        return;
    putchar('\n');
    table_print(t, c->has_colour, stdout);
}

static void
show_excluded(const json_t *b)
{
    const json_t *list = jsonx_get(b, "status.vmkeep.excluded");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        CLEANUP(mem_free)
        char *text = xasprintf("%s: %s", jsonx_str_or(v, "volume", ""),
                               jsonx_str_or(v, "reason", ""));

        cmd_print_field(i == 0 ? "Left out:" : "", text);
    }
}

static void
show_amounts(const json_t *b)
{
    static const struct {
        const char *label, *path;
    } rows[] = {
        { "Changed:", "status.vmkeep.dirtyBytes" },
        { "Read:", "status.vmkeep.readBytes" },
        { "Stored:", "status.vmkeep.storedBytes" },
    };
    int64_t frozen = jsonx_int(b, "status.vmkeep.frozenMilliseconds", -1);
    int64_t ms = jsonx_int(b, "status.vmkeep.milliseconds", 0);
    char text[WORDS_SIZE];

    if (frozen >= 0 && jsonx_bool(b, "status.vmkeep.quiesced"))
        printf("%-14s%lld ms\n", "Frozen for:", (long long)frozen);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        bytes_at(b, rows[i].path, text);
        cmd_print_field(rows[i].label, text);
    }
    if (ms > 0)
        printf("%-14s%.1f s\n", "Took:", (double)ms / 1000);
}

static void
show_verified(const struct cli *c, const json_t *b)
{
    const json_t *v = words_condition(b, "Verified");

    if (*verified_of(b) == 0)
        return;
    printf("%-14s", "Verified:");
    table_print_toned(stdout, c->has_colour,
                      *verified_of(b) == 'D' ? TABLE_BAD : TABLE_GOOD,
                      verified_of(b));
    putchar('\n');
    cmd_print_field("", jsonx_str(v, "message"));
    cmd_print_field("  at:", jsonx_str(b, "status.vmkeep.verifyTime"));
}

static void
print_backup(const struct cli *c, const json_t *b)
{
    const json_t *notes = jsonx_get(b, "metadata.annotations");

    cmd_print_field("Name:", jsonx_str(b, "metadata.name"));
    cmd_print_field("Namespace:", jsonx_str(b, "metadata.namespace"));
    cmd_print_field("Of:", jsonx_str(b, "spec.source.name"));
    cmd_print_field("Type:", jsonx_str(b, "spec.type"));
    cmd_print_field("Description:",
                    json_string_value(json_object_get(notes, "description")));
    printf("%-14s", "Status:");
    table_print_toned(stdout, c->has_colour, tone_of(b), phase_of(b));
    putchar('\n');
    cmd_print_field("Error:", error_of(b));
    cmd_print_field("Taken:", jsonx_str(b, "status.vmkeep.cutTime"));
    cmd_print_field("Complete:", jsonx_str(b, "status.creationTime"));
    cmd_print_field("Target:", jsonx_str(b, "status.vmkeep.target"));
    cmd_print_field("Compared with:",
                    jsonx_str(b, "status.vmkeep.parentBackupID"));
    show_excluded(b);
    cmd_print_field("Consistency:", consistency_of(b));
    show_amounts(b);
    if (jsonx_bool(b, "status.vmkeep.secretsRedacted"))
        cmd_print_field("Passwords:", "are not in it: the target is not "
                                      "encrypted");
    show_verified(c, b);
    cmd_print_field("On hold:", json_string_value(
                                    json_object_get(notes, "vmkeep.io/hold")));
    cmd_print_field("", jsonx_str(words_condition(b, "Held"), "message"));
    show_disks(c, b);
}

static int
show_backup(struct cli *c, struct err *err)
{
    CLEANUP(json_decref)
    json_t *b = cmd_get(c, &kind_vmbackup, c->args[0], err);

    if (b == NULL)
        return -1;
    if (cli_print(c, b))
        return 0;
    print_backup(c, b);
    if (jsonx_bool(b, "status.readyToUse"))
        cli_say(c,
                "\nBring it back: vmkeep restore create %s%s --stop --wait\n"
                "As a new one: vmkeep restore create %s%s --to %s-2 --wait",
                c->in_ns, c->args[0], c->in_ns, c->args[0],
                jsonx_str_or(b, "spec.source.name", ""));
    return 0;
}

/* ---- create ---- */

static void
set_note(json_t *notes, const char *key, const char *value)
{
    if (value != NULL && *value != 0)
        json_object_set_new(notes, key, json_string(value));
}

static json_t *
make_backup(const struct cli *c, const char *name)
{
    json_t *b = json_pack(
        "{s:s, s:s, s:{s:s}, s:{s:{s:s, s:s, s:s}, s:s}}", "apiVersion",
        "harvesterhci.io/v1beta1", "kind", "VirtualMachineBackup", "metadata",
        "name", name, "spec", "source", "apiGroup", "kubevirt.io", "kind",
        "VirtualMachine", "name", c->args[0], "type", "backup");
    CLEANUP(mem_free) char *excluded = cmd_excluded(c);
    json_t *notes = json_object();

    set_note(notes, "vmkeep.io/exclude-volumes", excluded);
    set_note(notes, "vmkeep.io/backup-target", cli_value(c, "target"));
    set_note(notes, "vmkeep.io/quiesce", cli_value(c, "quiesce"));
    set_note(notes, "description", cli_value(c, "description"));
    jsonx_set(b, "metadata.annotations", notes);
    return b;
}

struct backup_wait {
    struct cmd_progress progress;
    const char *name;
    const char *asked; /* verify: the time of the request */
    json_t *last;
};

static int
seen_backup(void *arg, const json_t *object, struct err *err)
{
    struct backup_wait *w = arg;

    if (object == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "backup \"%s\" was deleted while it was made", w->name);
    if (has_failed(object))
        return err_set(err, ERR_CANCELLED,
                       "backup \"%s\" failed: %s; the object stays until: "
                       "vmkeep backup delete %s%s",
                       w->name, error_of(object), w->progress.cli->in_ns,
                       w->name);
    cmd_progress_say(&w->progress, *error_of(object) != 0 ? error_of(object)
                                                          : phase_of(object));
    if (!jsonx_bool(object, "status.readyToUse")) {
        cmd_progress_bytes(&w->progress, object);
        return 0;
    }
    w->last = json_deep_copy(object);
    return 1;
}

static int
wait_backup(struct cli *c, const char *name, struct err *err)
{
    struct backup_wait w = {
        .progress = { .cli = c, .began_ms = clock_mono_ms() }, .name = name
    };
    CLEANUP(json_decref) json_t *last = NULL;
    int64_t timeout_ms;
    int rc;

    if (cli_timeout(c, WAIT_MS, &timeout_ms, err) < 0)
        return -1;
    rc = client_wait(c->client, &kind_vmbackup.gvr, c->ns, name,
                     (uint64_t)timeout_ms, seen_backup, &w, err);
    cmd_progress_end(&w.progress);
    last = w.last;
    if (rc < 0)
        return -1;
    if (!cli_print(c, last))
        print_backup(c, last);
    return 0;
}

static int
create_backup(struct cli *c, struct err *err)
{
    CLEANUP(mem_free)
    char *name = c->n_args > 1 ? xstrdup(c->args[1])
                               : cmd_default_name(c->args[0], "backup");
    CLEANUP(json_decref) json_t *wanted = make_backup(c, name);
    CLEANUP(json_decref) json_t *made = NULL;
    int64_t unused;

    if (cli_timeout(c, 0, &unused, err) < 0 ||
        cmd_check_vm(c, c->args[0], err) < 0)
        return -1;
    made = cmd_create(c, &kind_vmbackup, wanted, err);
    if (made == NULL) {
        if (strstr(err->msg, "backup target is not set") != NULL)
            cli_say(c, "There is no backup target yet. Make one: vmkeep target "
                       "create /srv/backups --wait");
        return -1;
    }
    if (cli_has(c, "wait"))
        return wait_backup(c, name, err);
    if (!cli_print(c, made)) {
        printf("backup \"%s\" of \"%s\" begun\n", name, c->args[0]);
        cli_say(c, "See how it goes: vmkeep backup show %s%s", c->in_ns, name);
    }
    return 0;
}

/* ---- delete and verify ---- */

static int
delete_backups(struct cli *c, struct err *err)
{
    return cmd_delete_args(c, &kind_vmbackup, "backup", DELETE_WAIT_MS, err);
}

static int
seen_verified(void *arg, const json_t *object, struct err *err)
{
    struct backup_wait *w = arg;
    const json_t *v = words_condition(object, "Verified");

    if (object == NULL)
        return err_set(err, ERR_NOT_FOUND, "backup \"%s\" is gone", w->name);
    if (strcmp(jsonx_str_or(object, "status.vmkeep.lastVerify", ""),
               w->asked) != 0 &&
        strcmp(jsonx_str_or(object, "status.vmkeep.verifyTime", ""), w->asked) <
            0) {
        cmd_progress_bytes(&w->progress, object);
        return 0;
    }
    if (strcmp(jsonx_str_or(v, "status", ""), "True") == 0)
        return 1;
    return err_set(err, ERR_CORRUPT, "backup \"%s\" is damaged: %s", w->name,
                   jsonx_str_or(v, "message", "see: vmkeep backup show"));
}

static int
verify_one(struct cli *c, void *arg, const char *name, struct err *err)
{
    const int64_t *timeout_ms = arg;
    char now[CLOCK_RFC3339_SIZE];
    struct backup_wait w = { .progress = { .cli = c,
                                           .began_ms = clock_mono_ms() },
                             .name = name,
                             .asked = now };
    int rc;

    clock_format_rfc3339(clock_wall_s(), now);
    if (cmd_annotate(c, &kind_vmbackup, name, "vmkeep.io/verify", now, err) < 0)
        return -1;
    rc = client_wait(c->client, &kind_vmbackup.gvr, c->ns, name,
                     (uint64_t)*timeout_ms, seen_verified, &w, err);
    cmd_progress_end(&w.progress);
    if (rc == 0)
        cli_done(c, name, "backup \"%s\" is whole", name);
    return rc;
}

static int
verify_backups(struct cli *c, struct err *err)
{
    int64_t timeout_ms;

    if (cli_timeout(c, WAIT_MS, &timeout_ms, err) < 0)
        return -1;
    return cmd_each_arg(c, verify_one, &timeout_ms, err);
}

/* ---- the table ---- */

static const struct cli_option create_options[] = {
    { "wait", 'w', NULL, "wait until it is complete, and show it" },
    { "timeout", 0, "DURATION", "with --wait: how long at most (24h)" },
    { "target", 0, "TARGET", "where to (default: the target \"default\")" },
    { "quiesce", 0, "HOW",
      "freeze the guest's file systems: required, preferred, none" },
    { "exclude", 0, "DISK", "leave this disk out; may be repeated" },
    { "description", 0, "TEXT", "what it is for" },
    { NULL },
};
static const struct cli_option delete_options[] = {
    { "wait", 'w', NULL, "wait until they are gone" },
    { "timeout", 0, "DURATION", "with --wait: how long at most (10m)" },
    { NULL },
};
static const struct cli_option verify_options[] = {
    { "timeout", 0, "DURATION", "how long to wait at most (24h)" },
    { NULL },
};

const struct cli_command cmd_backup_table[] = {
    { "backup", "create", "VM [NAME]", 1, 2,
      "copy a virtual machine to a backup target",
      "The guest runs on; its file systems are frozen for the instant of the\n"
      "cut if its agent answers. The first backup reads every disk, the next\n"
      "ones read what was written since and store what differs. Each can be\n"
      "restored, and deleted, without the others. A backup outlives the\n"
      "machine, and this host.",
      "vmkeep backup create web-1 --wait\n"
      "vmkeep backup create web-1 friday --target usb --quiesce required",
      create_options, create_backup },
    { "backup", "list", "[VM]", 0, 1, "show all backups, or those of one VM",
      "STORED is what the backup added to the target, compressed. METHOD says\n"
      "how its changes were found: Full (nothing to compare with),\n"
      "Incremental, or Rescan (everything was read, what differs was stored).",
      "vmkeep backup list\nvmkeep backup list web-1 -o wide\n"
      "vmkeep backup list -A -o json",
      NULL, list_backups },
    { "backup", "show", "BACKUP", 1, 1,
      "show one backup: how it goes, what is in it, how good it is", NULL,
      "vmkeep backup show friday", NULL, show_backup },
    { "backup", "delete", "BACKUP...", 1, 1000, "delete backups and their data",
      "Other backups stay whole. Where the target cannot be written, the data\n"
      "go when it can be again; see: vmkeep target show. Deleting one that is\n"
      "being made cancels it.",
      "vmkeep backup delete friday --wait", delete_options, delete_backups },
    { "backup", "verify", "BACKUP...", 1, 1000,
      "read everything that a backup needs, and check it",
      "It waits for the answer: 0 if all is whole, 9 if something is damaged.",
      "vmkeep backup verify friday", verify_options, verify_backups },
    { NULL },
};
