/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep vm: what there is, what protects it, and its power. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/table.h"
#include "cli/words.h"

#define WAIT_MS 300000

/* ---- what protects a VM ---- */

struct protection {
    size_t n;                /* usable ones */
    const char *newest;      /* RFC 3339; NULL: none */
    const char *newest_name; /* of that */
};

/* Those of another machine that had the same name do not count, where it is
 * known whose they are. */
static bool
is_of(const json_t *object, const json_t *vm)
{
    const char *uid = jsonx_str(object, "status.sourceUID");

    if (strcmp(jsonx_str_or(object, "metadata.namespace", ""),
               jsonx_str_or(vm, "metadata.namespace", "")) != 0 ||
        strcmp(jsonx_str_or(object, "spec.source.name", ""),
               jsonx_str_or(vm, "metadata.name", "")) != 0)
        return false;
    return uid == NULL ||
           strcmp(uid, jsonx_str_or(vm, "metadata.uid", "")) == 0;
}

static struct protection
protection_of(const json_t *vm, const json_t *list)
{
    const json_t *items = json_object_get(list, "items");
    struct protection p = { 0, NULL, NULL };

    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *s = json_array_get(items, i);
        const char *time =
            jsonx_str_or(s, "status.vmkeep.cutTime",
                         jsonx_str_or(s, "status.creationTime", ""));

        if (!jsonx_bool(s, "status.readyToUse") || !is_of(s, vm) ||
            strcmp(jsonx_str_or(s, "spec.type", "backup"), "backup") != 0)
            continue;
        p.n++;
        if (p.newest == NULL || strcmp(time, p.newest) > 0) {
            p.newest = time;
            p.newest_name = jsonx_str(s, "metadata.name");
        }
    }
    return p;
}

static enum table_tone
tone_of_status(const char *status)
{
    if (strcmp(status, "Running") == 0)
        return TABLE_GOOD;
    if (strcmp(status, "Unknown") == 0 || strcmp(status, "Undefined") == 0)
        return TABLE_BAD;
    return strcmp(status, "Stopped") == 0 ? TABLE_PLAIN : TABLE_WARN;
}

/* The volumes that a snapshot would hold. */
static char *
disks_of(const json_t *vm)
{
    const json_t *list = jsonx_get(vm, "status.volumeSnapshotStatuses");
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);

        if (jsonx_bool(v, "enabled"))
            buf_printf(&out, "%s%s", out.len == 0 ? "" : ",",
                       jsonx_str_or(v, "name", ""));
    }
    return buf_take_str(&out);
}

/* ---- list ---- */

/* What it has of one sort; a machine with nothing stands out. */
static void
add_protection(struct table *t, const struct protection *p, bool is_bare)
{
    enum table_tone tone = is_bare     ? TABLE_BAD
                           : p->n == 0 ? TABLE_WARN
                                       : TABLE_PLAIN;
    char age[WORDS_SIZE];

    words_age(p->newest, age);
    table_add(t, tone, "%zu", p->n);
    table_add(t, tone, "%s", p->n == 0 ? "never" : age);
}

static void
add_row(const struct cli *c, struct table *t, const json_t *vm,
        const struct protection *snapshots, const struct protection *backups)
{
    const char *status = jsonx_str_or(vm, "status.printableStatus", "");
    CLEANUP(mem_free) char *disks = disks_of(vm);
    bool is_bare = snapshots->n + backups->n == 0;

    if (c->ns == NULL)
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(vm, "metadata.namespace", ""));
    table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(vm, "metadata.name", ""));
    table_add(t, tone_of_status(status), "%s", status);
    table_add(t, TABLE_PLAIN, "%s", disks);
    add_protection(t, snapshots, is_bare);
    add_protection(t, backups, is_bare);
    if (c->format == CLI_WIDE) {
        table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(vm, "metadata.uid", ""));
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(vm, "status.vmkeep.domain", ""));
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(vm, "spec.runStrategy", ""));
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(vm, "status.nodeName", ""));
    }
}

static const char *const heads[] = { "NAMESPACE", "NAME",        "STATUS",
                                     "DISKS",     "SNAPSHOTS",   "LAST",
                                     "BACKUPS",   "LAST",        "UUID",
                                     "DOMAIN",    "RUNSTRATEGY", "NODE",
                                     NULL };
static const char *const short_heads[] = { "NAMESPACE", "NAME",      "STATUS",
                                           "DISKS",     "SNAPSHOTS", "LAST",
                                           "BACKUPS",   "LAST",      NULL };

/* A list that is old, or empty, because nobody can look says so. */
static void
say_away(struct cli *c)
{
    CLEANUP(mem_free) char *path = client_path(&kind_node.gvr, NULL, NULL);
    CLEANUP(json_decref) json_t *nodes = NULL;
    const json_t *items;
    struct err unused;

    if (client_call(c->client, "GET", path, NULL, &nodes, &unused) < 0)
        return; /* not everybody may see nodes */
    items = json_object_get(nodes, "items");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *node = json_array_get(items, i);
        const json_t *ready = words_condition(node, "Ready");

        if (ready != NULL && strcmp(jsonx_str_or(ready, "status", ""), "True"))
            cli_say(c, "\nWarning: host %s: %s",
                    jsonx_str_or(node, "metadata.name", "?"),
                    jsonx_str_or(ready, "message", "not ready"));
    }
}

/* How many have nothing, and what to do about the first. */
static void
say_bare(struct cli *c, size_t n, size_t all, const json_t *first)
{
    const char *name = jsonx_str_or(first, "metadata.name", "");
    const char *ns = jsonx_str_or(first, "metadata.namespace", "default");
    CLEANUP(mem_free)
    char *in_ns = c->ns == NULL && strcmp(ns, "default") != 0
                      ? xasprintf("-n %s ", ns)
                      : xstrdup(c->in_ns);

    if (n > 0)
        cli_say(c,
                "\n%zu of %zu %s neither a snapshot nor a backup. Make one: "
                "vmkeep snapshot create %s%s --wait, vmkeep backup create "
                "%s%s --wait",
                n, all, n == 1 ? "has" : "have", in_ns, name, in_ns, name);
}

static int
list_vms(struct cli *c, struct err *err)
{
    CLEANUP(json_decref) json_t *vms = cmd_list(c, &kind_vm, err);
    CLEANUP(json_decref) json_t *snapshots = NULL;
    CLEANUP(json_decref) json_t *backups = NULL;
    size_t skip = c->ns != NULL, bare = 0;
    const json_t *first = NULL;

    if (vms == NULL)
        return -1;
    if (cli_print(c, vms))
        return 0;
    snapshots = cmd_list(c, &kind_vmsnapshot, err);
    backups = snapshots == NULL ? NULL : cmd_list(c, &kind_vmbackup, err);
    if (backups == NULL)
        return -1;
    CLEANUP(table_free)
    struct table *t =
        table_new((c->format == CLI_WIDE ? heads : short_heads) + skip);
    const json_t *items = json_object_get(vms, "items");

    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *vm = json_array_get(items, i);
        struct protection s = protection_of(vm, snapshots);
        struct protection b = protection_of(vm, backups);

        add_row(c, t, vm, &s, &b);
        if (s.n + b.n == 0 && bare++ == 0)
            first = vm;
    }
    if (table_rows(t) == 0) {
        cli_say(c, "There is no virtual machine%s%s.",
                c->ns == NULL ? "" : " in namespace ",
                c->ns == NULL ? "" : c->ns);
        say_away(c);
        return 0;
    }
    table_print(t, c->has_colour, stdout);
    say_bare(c, bare, table_rows(t), first);
    say_away(c);
    return 0;
}

/* ---- show ---- */

static void
show_disks(const struct cli *c, const json_t *vm)
{
    static const char *const disk_heads[] = { "DISK",   "SIZE", "FORMAT",
                                              "LAYERS", "FILE", "SNAPSHOTS",
                                              NULL };
    const json_t *list = jsonx_get(vm, "status.vmkeep.disks");
    CLEANUP(table_free) struct table *t = table_new(disk_heads);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *d = json_array_get(list, i);
        const char *excluded = jsonx_str(d, "excluded");
        char size[WORDS_SIZE] = "";

        if (jsonx_get(d, "size") != NULL)
            words_bytes(jsonx_int(d, "size", 0), size);
        table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(d, "name", ""));
        table_add(t, TABLE_PLAIN, "%s", size);
        table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(d, "format", ""));
        table_add(t, TABLE_PLAIN, "%lld", (long long)jsonx_int(d, "layers", 0));
        table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(d, "path", ""));
        table_add(t, excluded == NULL ? TABLE_GOOD : TABLE_WARN, "%s%s",
                  excluded == NULL ? "included" : "no: ",
                  excluded == NULL ? "" : excluded);
    }
    if (table_rows(t) == 0)
        return;
    putchar('\n');
    table_print(t, c->has_colour, stdout);
}

static void
show_protection(const struct cli *c, const json_t *vm, const json_t *list,
                const char *label, const char *noun)
{
    struct protection p = protection_of(vm, list);
    char age[WORDS_SIZE];
    CLEANUP(mem_free) char *text = NULL;

    words_age(p.newest, age);
    if (p.n > 0) {
        text = xasprintf("%zu, the newest %s old: %s", p.n, age, p.newest_name);
        cmd_print_field(label, text);
        return;
    }
    printf("%-14s", label);
    table_print_toned(stdout, c->has_colour, TABLE_WARN, "none");
    printf("; make one: vmkeep %s create %s%s --wait\n", noun, c->in_ns,
           jsonx_str_or(vm, "metadata.name", ""));
}

static int
show_vm(struct cli *c, struct err *err)
{
    CLEANUP(json_decref) json_t *vm = cmd_get(c, &kind_vm, c->args[0], err);
    CLEANUP(json_decref) json_t *snapshots = NULL;
    CLEANUP(json_decref) json_t *backups = NULL;
    const json_t *agent, *ready;

    if (vm == NULL)
        return -1;
    if (cli_print(c, vm))
        return 0;
    snapshots = cmd_list(c, &kind_vmsnapshot, err);
    backups = snapshots == NULL ? NULL : cmd_list(c, &kind_vmbackup, err);
    if (backups == NULL)
        return -1;
    agent = words_condition(vm, "AgentConnected");
    ready = words_condition(vm, "Ready");
    cmd_print_field("Name:", jsonx_str(vm, "metadata.name"));
    cmd_print_field("Namespace:", jsonx_str(vm, "metadata.namespace"));
    cmd_print_field(
        "", jsonx_str(words_condition(vm, "NamespaceAccepted"), "message"));
    cmd_print_field("Domain:", jsonx_str(vm, "status.vmkeep.domain"));
    cmd_print_field("UUID:", jsonx_str(vm, "metadata.uid"));
    cmd_print_field("Host:", jsonx_str(vm, "status.nodeName"));
    cmd_print_field("Status:", jsonx_str(vm, "status.printableStatus"));
    cmd_print_field("", jsonx_str(ready, "message"));
    cmd_print_field("Run strategy:", jsonx_str(vm, "spec.runStrategy"));
    if (jsonx_bool(vm, "status.created"))
        cmd_print_field("Guest agent:",
                        agent != NULL ? "connected: snapshots are consistent"
                                      : "not connected: snapshots are as after "
                                        "a power failure");
    cmd_print_field("Snapshot now:",
                    jsonx_str(vm, "status.snapshotInProgress"));
    cmd_print_field("Restore now:", jsonx_str(vm, "status.restoreInProgress"));
    show_protection(c, vm, snapshots, "Snapshots:", "snapshot");
    show_protection(c, vm, backups, "Backups:", "backup");
    show_disks(c, vm);
    return 0;
}

/* ---- power ---- */

static int
power(struct cli *c, const char *verb, const char *status, const json_t *body,
      struct err *err)
{
    const char *vm = c->args[0];
    int64_t timeout_ms;

    if (cli_timeout(c, WAIT_MS, &timeout_ms, err) < 0 ||
        cmd_power(c, vm, verb, body, err) < 0)
        return -1;
    if (cli_has(c, "wait") &&
        cmd_wait_power(c, vm, status, (uint64_t)timeout_ms, err) < 0)
        return -1;
    cli_done(c, vm, "virtual machine \"%s\" %s", vm,
             cli_has(c, "wait")           ? status
             : strcmp(verb, "start") == 0 ? "is starting"
                                          : "is stopping");
    return 0;
}

static int
start_vm(struct cli *c, struct err *err)
{
    CLEANUP(json_decref) json_t *body = json_object();

    if (cli_has(c, "paused"))
        jsonx_set(body, "paused", json_true());
    return power(c, "start", cli_has(c, "paused") ? "Paused" : "Running", body,
                 err);
}

static int
stop_vm(struct cli *c, struct err *err)
{
    CLEANUP(json_decref) json_t *body = json_object();
    const char *grace = cli_value(c, "grace-period");
    int64_t ms = 0;

    if (grace != NULL && (clock_parse_duration(grace, &ms, err) < 0 || ms < 0))
        return err_set(err, ERR_INVALID,
                       "--grace-period \"%s\": want a duration, as 30s", grace);
    if (grace != NULL || cli_has(c, "force"))
        jsonx_set(body, "gracePeriod",
                  json_integer(cli_has(c, "force") ? 0 : ms / 1000));
    return power(c, "stop", "Stopped", body, err);
}

/* ---- release ---- */

static int
seen_action(void *arg, const json_t *object, struct err *err)
{
    const char *phase = jsonx_str_or(object, "status.phase", "");

    if (object == NULL)
        return err_set(err, ERR_NOT_FOUND, "the action is gone");
    if (strcmp(phase, "Failed") == 0)
        return err_set(err, ERR_CONFLICT, "%s",
                       jsonx_str_or(object, "status.message", "it failed"));
    return strcmp(phase, "Succeeded") == 0;
}

/* Released under its snapshots, the machine would take their data along. */
static int
check_no_snapshots(struct cli *c, const char *vm, struct err *err)
{
    CLEANUP(json_decref) json_t *list = cmd_list(c, &kind_vmsnapshot, err);
    const json_t *items = json_object_get(list, "items");
    size_t n = 0;

    if (list == NULL)
        return -1;
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *s = json_array_get(items, i);

        n += strcmp(jsonx_str_or(s, "spec.source.name", ""), vm) == 0 &&
             strcmp(jsonx_str_or(s, "status.phase", ""), "Failed") != 0;
    }
    if (n == 0)
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "virtual machine \"%s\" has %zu snapshot%s; delete them "
                   "first: vmkeep snapshot list %s%s -o name | xargs vmkeep "
                   "snapshot delete %s--wait",
                   vm, n, n == 1 ? "" : "s", c->in_ns, vm, c->in_ns);
}

static int
release_vm(struct cli *c, struct err *err)
{
    CLEANUP(json_decref)
    json_t *action = json_pack(
        "{s:s, s:s, s:{s:s}, s:{s:s, s:s}}", "apiVersion", "vmkeep.io/v1alpha1",
        "kind", "VirtualMachineAction", "metadata", "generateName", "release-",
        "spec", "virtualMachineName", c->args[0], "action", "release");
    CLEANUP(json_decref) json_t *made = NULL;
    int64_t timeout_ms;

    if (cli_timeout(c, WAIT_MS, &timeout_ms, err) < 0 ||
        check_no_snapshots(c, c->args[0], err) < 0)
        return -1;
    made = cmd_create(c, &kind_action, action, err);
    if (made == NULL)
        return -1;
    if (client_wait(c->client, &kind_action.gvr, c->ns,
                    jsonx_str_or(made, "metadata.name", ""),
                    (uint64_t)timeout_ms, seen_action, NULL, err) < 0)
        return -1;
    cli_done(c, c->args[0],
             "virtual machine \"%s\" released: vmkeep keeps nothing of it",
             c->args[0]);
    return 0;
}

/* ---- the table ---- */

#define WAIT_OPTIONS                                                           \
    { "wait", 'w', NULL, "wait until it is so" },                              \
    {                                                                          \
        "timeout", 0, "DURATION", "with --wait: how long at most (5m)"         \
    }

static const struct cli_option start_options[] = {
    WAIT_OPTIONS,
    { "paused", 0, NULL, "leave the guest paused" },
    { NULL },
};
static const struct cli_option stop_options[] = {
    WAIT_OPTIONS,
    { "force", 0, NULL, "switch it off at once; the guest is not asked" },
    { "grace-period", 0, "DURATION", "switch it off if it still runs then" },
    { NULL },
};
static const struct cli_option release_options[] = {
    { "timeout", 0, "DURATION", "how long to wait at most (5m)" },
    { NULL },
};

const struct cli_command cmd_vm_table[] = {
    { "vm", "list", "", 0, 0, "show all virtual machines and their protection",
      "One with neither a usable snapshot nor a backup is marked, and counted\n"
      "below the table.",
      "vmkeep vm list\nvmkeep vm list -A -o wide\nvmkeep vm list -o name", NULL,
      list_vms },
    { "vm", "show", "VM", 1, 1, "show one virtual machine, with its disks",
      "For each disk: its file, how many files its chain has, and whether a\n"
      "snapshot holds it; if not, why.",
      "vmkeep vm show web-1\nvmkeep vm show web-1 -o yaml", NULL, show_vm },
    { "vm", "start", "VM", 1, 1, "start a virtual machine", NULL,
      "vmkeep vm start web-1 --wait", start_options, start_vm },
    { "vm", "stop", "VM", 1, 1, "shut a virtual machine down",
      "The guest is asked to shut down; --force does not ask.",
      "vmkeep vm stop web-1 --wait\nvmkeep vm stop web-1 --grace-period 2m\n"
      "vmkeep vm stop web-1 --force",
      stop_options, stop_vm },
    { "vm", "release", "VM", 1, 1, "remove every trace of vmkeep from it",
      "Its snapshots must be deleted first. Its disks stay as they are, under\n"
      "their own names, and libvirt alone manages it from then on. Old disks\n"
      "that a restore put into the trash are removed at once.",
      "vmkeep vm release web-1", release_options, release_vm },
    { NULL },
};
