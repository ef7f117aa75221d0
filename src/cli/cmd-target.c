/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep target: the places that backups are written to. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cmd.h"
#include "cli/table.h"
#include "cli/words.h"

#define WAIT_MS        60000
#define DELETE_WAIT_MS 60000

static const char *
ready_of(const json_t *target)
{
    return jsonx_str_or(words_condition(target, "Ready"), "status", "Unknown");
}

static bool
is_ready(const json_t *target)
{
    return strcmp(ready_of(target), "True") == 0;
}

static const char *
message_of(const json_t *target)
{
    return is_ready(target)
               ? ""
               : jsonx_str_or(words_condition(target, "Ready"), "message", "");
}

static enum table_tone
tone_of(const json_t *target)
{
    const char *ready = ready_of(target);

    if (strcmp(ready, "True") == 0)
        return TABLE_GOOD;
    return strcmp(ready, "False") == 0 ? TABLE_BAD : TABLE_WARN;
}

/* "1.5 GiB of 4.0 GiB", or "". Caller frees. */
static char *
room_of(const json_t *target)
{
    char free_bytes[WORDS_SIZE], all[WORDS_SIZE];

    if (jsonx_get(target, "status.freeBytes") == NULL)
        return xstrdup("");
    words_bytes(jsonx_int(target, "status.freeBytes", 0), free_bytes);
    words_bytes(jsonx_int(target, "status.capacityBytes", 0), all);
    return xasprintf("%s of %s", free_bytes, all);
}

static const char *
encryption_of(const json_t *target)
{
    const json_t *is = jsonx_get(target, "status.encrypted");

    if (!json_is_boolean(is))
        return "";
    return json_is_true(is) ? "yes" : "no";
}

/* ---- list ---- */

static void
add_row(const struct cli *c, struct table *t, const json_t *target)
{
    const json_t *backups = jsonx_get(target, "status.backups");
    CLEANUP(mem_free) char *room = room_of(target);
    char age[WORDS_SIZE];

    words_age(jsonx_str(target, "status.lastSyncTime"), age);
    table_add(t, TABLE_PLAIN, "%s", jsonx_str_or(target, "metadata.name", ""));
    table_add(t, TABLE_PLAIN, "%s",
              jsonx_str_or(target, "spec.directory.path", ""));
    table_add(t, tone_of(target), "%s", ready_of(target));
    if (json_is_integer(backups))
        table_add(t, TABLE_PLAIN, "%lld",
                  (long long)json_integer_value(backups));
    else
        table_add(t, TABLE_PLAIN, "%s", "");
    table_add(t, TABLE_PLAIN, "%s", room);
    table_add(t, TABLE_PLAIN, "%s", encryption_of(target));
    table_add(t, TABLE_PLAIN, "%s", age);
    table_add(t, TABLE_BAD, "%s", message_of(target));
}

static int
list_targets(struct cli *c, struct err *err)
{
    static const char *const heads[] = { "NAME",    "PATH",  "READY",
                                         "BACKUPS", "FREE",  "ENCRYPTED",
                                         "SYNCED",  "ERROR", NULL };
    CLEANUP(json_decref) json_t *list = cmd_list(c, &kind_backuptarget, err);

    if (list == NULL)
        return -1;
    cmd_print_list(c, list, heads, add_row,
                   "There is no backup target. Make one: vmkeep target create "
                   "/srv/backups --wait");
    return 0;
}

/* ---- show ---- */

static void
show_pending(const json_t *target)
{
    const json_t *list = jsonx_get(target, "status.pendingDeletions");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        CLEANUP(mem_free)
        char *text = xasprintf("%s/%s", jsonx_str_or(v, "namespace", "?"),
                               jsonx_str_or(v, "name", "?"));

        cmd_print_field(i == 0 ? "To delete:" : "", text);
    }
}

static void
print_target(const struct cli *c, const json_t *target)
{
    const json_t *backups = jsonx_get(target, "status.backups");
    CLEANUP(mem_free) char *room = room_of(target);
    char text[WORDS_SIZE];

    cmd_print_field("Name:", jsonx_str(target, "metadata.name"));
    cmd_print_field("Directory:", jsonx_str(target, "spec.directory.path"));
    printf("%-14s", "Ready:");
    table_print_toned(stdout, c->has_colour, tone_of(target), ready_of(target));
    putchar('\n');
    cmd_print_field("", jsonx_str(words_condition(target, "Ready"), "message"));
    cmd_print_field("Repository:", jsonx_str(target, "status.repositoryUUID"));
    cmd_print_field("Encrypted:", encryption_of(target));
    cmd_print_field("Key:", jsonx_str(target, "status.keyFile"));
    if (json_is_integer(backups))
        printf("%-14s%lld\n",
               "Backups:", (long long)json_integer_value(backups));
    if (jsonx_get(target, "status.storedBytes") != NULL) {
        words_bytes(jsonx_int(target, "status.storedBytes", 0), text);
        cmd_print_field("Stored:", text);
    }
    cmd_print_field("Free:", room);
    cmd_print_field("Synced:", jsonx_str(target, "status.lastSyncTime"));
    cmd_print_field("Tested:", jsonx_str(target, "status.lastTestTime"));
    show_pending(target);
    if (jsonx_str(target, "status.keyFile") != NULL)
        cli_say(c, "\nKeep a copy of the key elsewhere: without it nothing "
                   "that is stored there can be read.");
}

static int
show_target(struct cli *c, struct err *err)
{
    CLEANUP(json_decref)
    json_t *target = cmd_get(c, &kind_backuptarget, c->args[0], err);

    if (target == NULL)
        return -1;
    if (!cli_print(c, target))
        print_target(c, target);
    return 0;
}

/* ---- waiting for a look at it ---- */

struct target_wait {
    struct cmd_progress progress;
    const char *name;
    const char *asked; /* the time of the request; NULL: just Ready */
    json_t *last;
};

/* The controller has answered what was asked. */
static bool
is_answered(const struct target_wait *w, const json_t *target)
{
    if (w->asked == NULL)
        return is_ready(target);
    return strcmp(jsonx_str_or(target, "status.lastTest", ""), w->asked) == 0 ||
           strcmp(jsonx_str_or(target, "status.lastTestTime", ""), w->asked) >=
               0;
}

static int
seen_target(void *arg, const json_t *object, struct err *err)
{
    struct target_wait *w = arg;

    if (object == NULL)
        return err_set(err, ERR_NOT_FOUND, "backup target \"%s\" is gone",
                       w->name);
    if (!is_answered(w, object)) {
        cmd_progress_say(&w->progress, message_of(object));
        return 0;
    }
    json_decref(w->last);
    w->last = json_deep_copy(object);
    return 1;
}

/* Show what was found, and say what is wrong with it. */
static int
wait_target(struct cli *c, const char *name, const char *asked, struct err *err)
{
    struct target_wait w = { .progress = { .cli = c,
                                           .began_ms = clock_mono_ms() },
                             .name = name,
                             .asked = asked };
    CLEANUP(json_decref) json_t *last = NULL;
    int64_t timeout_ms;
    int rc;

    if (cli_timeout(c, WAIT_MS, &timeout_ms, err) < 0)
        return -1;
    rc = client_wait(c->client, &kind_backuptarget.gvr, NULL, name,
                     (uint64_t)timeout_ms, seen_target, &w, err);
    last = w.last;
    if (rc < 0 && err->code == ERR_TIMEOUT && *w.progress.last != 0)
        return err_set(err, ERR_TIMEOUT,
                       "backup target \"%s\" is not ready: %s", name,
                       w.progress.last);
    if (rc < 0)
        return -1;
    if (!cli_print(c, last))
        print_target(c, last);
    if (is_ready(last))
        return 0;
    return err_set(err, ERR_CANCELLED, "backup target \"%s\" is not ready: %s",
                   name, message_of(last));
}

static int
test_target(struct cli *c, struct err *err)
{
    const char *name = c->args[0];
    char now[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(clock_wall_s(), now);
    if (cmd_annotate(c, &kind_backuptarget, name, "vmkeep.io/test", now, err) <
        0)
        return -1;
    return wait_target(c, name, now, err);
}

/* ---- create ---- */

/* Relative paths mean something to the shell, not to the daemon. */
static char *
absolute_path(const char *path)
{
    CLEANUP(mem_free) char *here = NULL;

    if (*path == '/')
        return xstrdup(path);
    here = getcwd(NULL, 0);
    return here == NULL ? xstrdup(path) : xasprintf("%s/%s", here, path);
}

static int
set_encryption(const struct cli *c, json_t *target, struct err *err)
{
    static const struct {
        const char *option, *mode, *field;
    } ways[] = {
        { "key-file", "KeyFile", "spec.encryption.keyFile" },
        { "passphrase-file", "Passphrase", "spec.encryption.passphraseFile" },
        { "no-encryption", "None", NULL },
    };
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        const char *value = cli_value(c, ways[i].option);
        CLEANUP(mem_free) char *path = NULL;

        if (value == NULL)
            continue;
        n++;
        jsonx_set_str(target, "spec.encryption.mode", ways[i].mode);
        path = absolute_path(value);
        if (ways[i].field != NULL)
            jsonx_set_str(target, ways[i].field, path);
    }
    if (n > 1)
        return err_set(err, ERR_INVALID,
                       "--key-file, --passphrase-file and --no-encryption: "
                       "one of them");
    return 0;
}

static int
create_target(struct cli *c, struct err *err)
{
    const char *name = c->n_args > 1 ? c->args[1] : "default";
    CLEANUP(mem_free) char *path = absolute_path(c->args[0]);
    CLEANUP(json_decref)
    json_t *wanted = json_pack(
        "{s:s, s:s, s:{s:s}, s:{s:s, s:{s:s}, s:{}}}", "apiVersion",
        "vmkeep.io/v1alpha1", "kind", "BackupTarget", "metadata", "name", name,
        "spec", "type", "directory", "directory", "path", path, "encryption");
    CLEANUP(json_decref) json_t *made = NULL;
    int64_t unused;

    if (cli_timeout(c, 0, &unused, err) < 0 ||
        set_encryption(c, wanted, err) < 0)
        return -1;
    made = cmd_create(c, &kind_backuptarget, wanted, err);
    if (made == NULL)
        return -1;
    if (cli_has(c, "wait"))
        return wait_target(c, name, NULL, err);
    if (!cli_print(c, made)) {
        printf("backup target \"%s\" made\n", name);
        cli_say(c, "See whether it is ready: vmkeep target show %s", name);
    }
    return 0;
}

static int
delete_targets(struct cli *c, struct err *err)
{
    if (cmd_delete_args(c, &kind_backuptarget, "backup target", DELETE_WAIT_MS,
                        err) < 0)
        return -1;
    cli_say(c, "What is stored there stays: the same path makes it a target "
               "again.");
    return 0;
}

/* ---- the table ---- */

static const struct cli_option create_options[] = {
    { "key-file", 0, "FILE", "encrypt with the key that FILE holds" },
    { "passphrase-file", 0, "FILE", "encrypt with the passphrase in FILE" },
    { "no-encryption", 0, NULL, "do not encrypt; who has the disk can read" },
    { "wait", 'w', NULL, "wait until it is ready, and show it" },
    { "timeout", 0, "DURATION", "with --wait: how long at most (1m)" },
    { NULL },
};
static const struct cli_option test_options[] = {
    { "timeout", 0, "DURATION", "how long to wait at most (1m)" },
    { NULL },
};
static const struct cli_option delete_options[] = {
    { "wait", 'w', NULL, "wait until it is gone" },
    { "timeout", 0, "DURATION", "with --wait: how long at most (1m)" },
    { NULL },
};

const struct cli_command cmd_target_table[] = {
    { "target", "create", "DIRECTORY [NAME]", 1, 2,
      "make a directory a place for backups",
      "An empty directory becomes a new repository; one that holds a\n"
      "repository is adopted, with the backups in it. It must lie beneath one\n"
      "of the target_roots of vmkeep.conf. The target named \"default\" (that\n"
      "is the NAME unless one is given) takes the backups that name no other.\n"
      "Without an option for it, vmkeepd makes a key: keep a copy of it.",
      "vmkeep target create /srv/backups --wait\n"
      "vmkeep target create /mnt/usb/vmkeep usb --passphrase-file "
      "/etc/vmkeep/usb.pass --wait",
      create_options, create_target },
    { "target", "list", "", 0, 0, "show all backup targets", NULL,
      "vmkeep target list\nvmkeep target list -o json", NULL, list_targets },
    { "target", "show", "TARGET", 1, 1,
      "show one: its state, its room, its key, what waits to be deleted", NULL,
      "vmkeep target show default", NULL, show_target },
    { "target", "test", "TARGET", 1, 1,
      "look now whether it can be written and is the right one",
      "It waits for the answer; the exit status says whether it is ready.",
      "vmkeep target test default", test_options, test_target },
    { "target", "delete", "TARGET...", 1, 1000,
      "forget a target; what is stored there stays",
      "Nothing in the directory is removed. The backups in it cannot be\n"
      "restored until the directory is made a target again.",
      "vmkeep target delete usb", delete_options, delete_targets },
    { NULL },
};
