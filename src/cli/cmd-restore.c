/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep restore, of a snapshot or of a backup (cmd-hrestore.c): two kinds of
 * one name, which are shown together. "backup/NAME" and "snapshot/NAME" say
 * which is meant; a bare name will do where only one is there.
 *
 * The volume policy of a snapshot's restore is InPlace unless said otherwise,
 * as the console's; the API's own default is RandomizeNames.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/table.h"
#include "cli/words.h"

#define WAIT_MS        3600000 /* a copy to a new VM takes its time */
#define WAIT_START_MS  60000
#define DELETE_WAIT_MS 600000

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

static bool
is_of_backup(const json_t *restore)
{
    return strncmp(jsonx_str_or(restore, "apiVersion", ""), "harvesterhci.io/",
                   16) == 0;
}

/* Both kinds, in one list. */
static json_t *
list_both(struct cli *c, struct err *err)
{
    CLEANUP(json_decref) json_t *list = cmd_list(c, &kind_vmrestore, err);
    CLEANUP(json_decref)
    json_t *others = list == NULL ? NULL : cmd_list(c, &kind_hrestore, err);
    json_t *all;

    if (others == NULL)
        return NULL;
    all = json_pack("{s:s, s:s, s:[]}", "apiVersion", "v1", "kind", "List",
                    "items");
    json_array_extend(json_object_get(all, "items"),
                      json_object_get(list, "items"));
    json_array_extend(json_object_get(all, "items"),
                      json_object_get(others, "items"));
    return all;
}

/* "backup/friday"; caller frees. */
static char *
source_of(const json_t *r)
{
    const char *ns = jsonx_str_or(r, "metadata.namespace", "");
    const char *from =
        jsonx_str_or(r, "spec.virtualMachineBackupNamespace", ns);

    if (!is_of_backup(r))
        return xasprintf(
            "snapshot/%s",
            jsonx_str_or(r, "spec.virtualMachineSnapshotName", ""));
    return xasprintf(
        "backup/%s%s%s", jsonx_str_or(r, "spec.virtualMachineBackupName", ""),
        strcmp(ns, from) == 0 ? "" : " in ", strcmp(ns, from) == 0 ? "" : from);
}

static const char *
any_state_of(const json_t *r)
{
    return is_of_backup(r) ? cmd_hrestore_state(r) : state_of(r);
}

static void
add_row(const struct cli *c, struct table *t, const json_t *r)
{
    bool is_complete = jsonx_bool(r, "status.complete");
    const char *state = any_state_of(r);
    CLEANUP(mem_free) char *source = source_of(r);
    char age[WORDS_SIZE];

    words_age(jsonx_str(r, "metadata.creationTimestamp"), age);
    if (c->ns == NULL)
        table_add(t, TABLE_PLAIN, "%s",
                  jsonx_str_or(r, "metadata.namespace", ""));
    table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(r, "metadata.name", ""));
    table_add(t, TABLE_PLAIN, "%s", source);
    table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(r, "spec.target.name", ""));
    if (is_of_backup(r) && strcmp(state, "Writing") == 0)
        table_add(t, TABLE_WARN, "Writing %lld %%",
                  (long long)jsonx_int(r, "status.progress", 0));
    else
        table_add(t,
                  is_complete                    ? TABLE_GOOD
                  : strcmp(state, "Failed") == 0 ? TABLE_BAD
                                                 : TABLE_WARN,
                  "%s", state);
    table_add(t, TABLE_PLAIN, "%s", age);
    table_add(t, TABLE_PLAIN, "%s",
              is_complete       ? ""
              : is_of_backup(r) ? cmd_hrestore_message(r)
                                : reason_of(r));
}

static int
list_restores(struct cli *c, struct err *err)
{
    static const char *const heads[] = { "NAMESPACE", "NAME",   "FROM",
                                         "TARGET",    "STATUS", "AGE",
                                         "MESSAGE",   NULL };
    CLEANUP(json_decref) json_t *list = list_both(c, err);

    if (list == NULL)
        return -1;
    cmd_print_list(c, list, heads + (c->ns != NULL), add_row,
                   "There is no restore. Make one: vmkeep restore create "
                   "SNAPSHOT --wait");
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
    cmd_print_lines("Old disks:", jsonx_get(r, "status.vmkeep.trash"));
    cmd_print_field("  until:", jsonx_str(r, "status.vmkeep.trashUntil"));
    cmd_print_lines("Kept:", jsonx_get(r, "status.vmkeep.kept"));
    cmd_print_lines("Left out:", jsonx_get(r, "status.vmkeep.dropped"));
}

/* What "backup/NAME", "snapshot/NAME" or a bare name means. */
struct choice {
    const char *name;
    bool takes_snapshot, takes_backup;
};

static struct choice
choice_of(const char *word)
{
    if (strncmp(word, "backup/", 7) == 0)
        return (struct choice){ word + 7, false, true };
    if (strncmp(word, "snapshot/", 9) == 0)
        return (struct choice){ word + 9, true, false };
    return (struct choice){ word, true, true };
}

/* 0, and NULL where it is not there. */
static int
find_one(struct cli *c, const struct kind *k, bool is_wanted, const char *name,
         json_t **ret, struct err *err)
{
    *ret = is_wanted ? cmd_get(c, k, name, err) : NULL;
    return is_wanted && *ret == NULL && err->code != ERR_NOT_FOUND ? -1 : 0;
}

/* The restore that a word names, and its kind. */
static json_t *
find_restore(struct cli *c, const char *word, const struct kind **ret_kind,
             struct err *err)
{
    struct choice choice = choice_of(word);
    CLEANUP(json_decref) json_t *of_snapshot = NULL;
    CLEANUP(json_decref) json_t *of_backup = NULL;

    if (find_one(c, &kind_vmrestore, choice.takes_snapshot, choice.name,
                 &of_snapshot, err) < 0 ||
        find_one(c, &kind_hrestore, choice.takes_backup, choice.name,
                 &of_backup, err) < 0)
        return NULL;
    if (of_snapshot != NULL && of_backup != NULL) {
        (void)err_set(err, ERR_INVALID,
                      "there are two restores \"%s\": say snapshot/%s or "
                      "backup/%s",
                      word, word, word);
        return NULL;
    }
    if (of_snapshot == NULL && of_backup == NULL) {
        (void)err_set(err, ERR_NOT_FOUND,
                      "there is no restore \"%s\" in namespace %s; see: "
                      "vmkeep restore list -A",
                      word, c->ns);
        return NULL;
    }
    *ret_kind = of_backup != NULL ? &kind_hrestore : &kind_vmrestore;
    return of_backup != NULL ? TAKE(of_backup) : TAKE(of_snapshot);
}

static int
show_restore(struct cli *c, struct err *err)
{
    const struct kind *k;
    CLEANUP(json_decref) json_t *r = find_restore(c, c->args[0], &k, err);

    if (r == NULL)
        return -1;
    if (cli_print(c, r))
        return 0;
    if (k == &kind_hrestore)
        cmd_hrestore_print(c, r);
    else
        print_restore(c, r);
    return 0;
}

static int
delete_restore(struct cli *c, void *arg, const char *word, struct err *err)
{
    const struct kind *k;
    CLEANUP(json_decref) json_t *r = find_restore(c, word, &k, err);

    (void)arg;
    if (r == NULL)
        return -1;
    return cmd_delete(c, k, "restore", choice_of(word).name, DELETE_WAIT_MS,
                      err);
}

static int
delete_restores(struct cli *c, struct err *err)
{
    return cmd_each_arg(c, delete_restore, NULL, err);
}

/* ---- create ---- */

struct plan {
    const char *name;
    const char *from; /* the snapshot */
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
                       "stop %s%s --wait), or add --stop",
                       p->target, c->in_ns, p->target);
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
                  "name", p->target, "virtualMachineSnapshotName", p->from,
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
        cli_say(c, "See how it goes: vmkeep restore show %s%s", c->in_ns,
                p->name);
    }
    return 0;
}

static int
check_words(const struct cli *c, struct err *err)
{
    static const char *const of_backups[] = { "retain", "keep-mac", "replace",
                                              "dry-run", "halted" };

    for (size_t i = 0; i < ARRAY_SIZE(of_backups); i++) {
        if (cli_has(c, of_backups[i]))
            return err_set(err, ERR_INVALID, "--%s is for restores of backups",
                           of_backups[i]);
    }
    return 0;
}

static int
create_of_snapshot(struct cli *c, const json_t *snapshot, const char *name,
                   struct err *err)
{
    const char *source = jsonx_str_or(snapshot, "spec.source.name", "");
    struct plan p = { .name = name,
                      .from = jsonx_str_or(snapshot, "metadata.name", ""),
                      .target = cli_value(c, "to") };
    CLEANUP(json_decref) json_t *wanted = NULL;
    CLEANUP(json_decref) json_t *made = NULL;

    if (check_words(c, err) < 0)
        return -1;
    if (p.target == NULL)
        p.target = source;
    p.is_in_place = strcmp(p.target, source) == 0;
    p.policy = cli_value(c, "policy");
    if (p.policy == NULL)
        p.policy = p.is_in_place ? "InPlace" : "PrefixTargetName";
    if (check_snapshot(p.from, snapshot, err) < 0 ||
        check_target(c, &p, snapshot, err) < 0)
        return -1;
    wanted = make_restore(c, &p);
    made = cmd_create(c, &kind_vmrestore, wanted, err);
    return made == NULL ? -1 : finish(c, &p, made, err);
}

/* The backup that a word names; it may be in another namespace. */
static int
find_backup(struct cli *c, const struct choice *choice, json_t **ret,
            struct err *err)
{
    const char *own = c->ns;
    const char *ns = cli_value(c, "backup-namespace");
    int rc;

    c->ns = ns != NULL ? ns : own;
    rc = find_one(c, &kind_vmbackup, choice->takes_backup, choice->name, ret,
                  err);
    c->ns = own;
    return rc;
}

/* A backup of type snapshot and its snapshot have one name, and are one. */
static int
choose(const struct choice *choice, json_t **snapshot, json_t **backup,
       struct err *err)
{
    if (*snapshot == NULL && *backup == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "there is no snapshot and no backup \"%s\"; see: vmkeep "
                       "snapshot list -A, vmkeep backup list -A",
                       choice->name);
    if (*snapshot == NULL || *backup == NULL)
        return 0;
    if (strcmp(jsonx_str_or(*backup, "spec.type", ""), "snapshot") != 0)
        return err_set(err, ERR_INVALID,
                       "there are a snapshot and a backup \"%s\": say "
                       "snapshot/%s or backup/%s",
                       choice->name, choice->name, choice->name);
    json_decref(*backup);
    *backup = NULL;
    return 0;
}

static int
create_restore(struct cli *c, struct err *err)
{
    struct choice choice = choice_of(c->args[0]);
    CLEANUP(json_decref) json_t *snapshot = NULL;
    CLEANUP(json_decref) json_t *backup = NULL;
    CLEANUP(mem_free)
    char *name = c->n_args > 1
                     ? xstrdup(c->args[1])
                     : xasprintf("restore-%.200s-%llu", choice.name,
                                 (unsigned long long)clock_wall_s() * 1000 +
                                     clock_mono_ms() % 1000);
    int64_t unused;

    if (cli_has(c, "backup-namespace"))
        choice.takes_snapshot = false;
    if (cli_timeout(c, 0, &unused, err) < 0 ||
        find_one(c, &kind_vmsnapshot, choice.takes_snapshot, choice.name,
                 &snapshot, err) < 0 ||
        find_backup(c, &choice, &backup, err) < 0 ||
        choose(&choice, &snapshot, &backup, err) < 0)
        return -1;
    return backup != NULL ? cmd_hrestore_create(c, backup, name, err)
                          : create_of_snapshot(c, snapshot, name, err);
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
    { "halted", 0, NULL, "backup: leave it off; otherwise it is started" },
    { "retain", 0, NULL, "backup: keep the old disks, not in the trash" },
    { "keep-mac", 0, NULL, "backup, --to: the new one gets the MACs" },
    { "replace", 0, NULL,
      "backup: replace a machine that is not the one backed up" },
    { "backup-namespace", 0, "NAMESPACE", "where the backup is" },
    { "dry-run", 0, NULL, "backup: only look whether it would work" },
    { "wait", 'w', NULL, "wait until it is done, and show it" },
    { "timeout", 0, "DURATION",
      "with --wait: how long at most (1h; of a backup 24h)" },
    { NULL },
};
static const struct cli_option delete_options[] = {
    { "wait", 'w', NULL, "wait until they are gone" },
    { "timeout", 0, "DURATION", "with --wait: how long at most (10m)" },
    { NULL },
};

const struct cli_command cmd_restore_table[] = {
    { "restore", "create", "SNAPSHOT|BACKUP [NAME]", 1, 2,
      "bring a virtual machine back to what was kept",
      "In place, the machine gets back the disks and the definition of that\n"
      "moment; it must be off, or --stop. Its old disks are kept in a trash\n"
      "beside them for a day. With --to, a new machine is made and the old one\n"
      "is not touched. A machine that is lost is made again from its backup,\n"
      "with its UUID and its addresses. Where a snapshot and a backup have one\n"
      "name, say snapshot/NAME or backup/NAME.",
      "vmkeep restore create before-upgrade --stop --start\n"
      "vmkeep restore create before-upgrade --to web-2 --wait\n"
      "vmkeep restore create backup/friday --dry-run\n"
      "vmkeep restore create backup/friday --to web-2 --halted --wait\n"
      "vmkeep restore create before-upgrade --to web-2 --patch '{\"op\": "
      "\"replace\", \"path\": \"/spec/template/spec/domain/memory/guest\", "
      "\"value\": \"2Gi\"}'",
      create_options, create_restore },
    { "restore", "list", "", 0, 0,
      "show all restores, of snapshots and of backups", NULL,
      "vmkeep restore list\nvmkeep restore list -A", NULL, list_restores },
    { "restore", "show", "RESTORE", 1, 1,
      "show one restore: how it goes, and what became of the old disks", NULL,
      "vmkeep restore show restore-before-upgrade-1", NULL, show_restore },
    { "restore", "delete", "RESTORE...", 1, 1000,
      "delete restores; one that runs is given up",
      "What a finished restore has brought back stays. One that is given up\n"
      "leaves everything as it was.",
      "vmkeep restore delete restore-before-upgrade-1 --wait", delete_options,
      delete_restores },
    { NULL },
};
