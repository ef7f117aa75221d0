/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of backups, of their restores and of targets, over a few objects
 * that are "there". */
#include "base/mem.h"
#include "test.h"
#include "types/kind.h"

static json_t *
parse(const char *text)
{
    struct err err = { 0 };
    json_t *v = jsonx_parse(text, strlen(text), &err);

    if (v == NULL)
        test_fail(__FILE__, __LINE__, text, err.msg);
    return v;
}

#define NAMED(ns, name, more)                                                  \
    "{\"metadata\":{\"namespace\":\"" ns "\",\"name\":\"" name "\"" more "}"
#define UID(uid) ",\"uid\":\"" uid "\""
#define BACKUP(ns, name, type, status)                                         \
    NAMED(ns, name, "")                                                        \
    ",\"spec\":{\"source\":{\"kind\":\"VirtualMachine\",\"name\":\"web\"},"    \
    "\"type\":\"" type "\"},\"status\":{" status "}}"

/* What is there; [kind of the object]. */
static const struct {
    const struct kind *kind;
    const char *text;
} there[] = {
    { &kind_vm, NAMED("default", "web", UID("u1")) "}" },
    { &kind_vm, NAMED("default", "db", UID("u2")) "}" },
    { &kind_vm, NAMED("default", "on", UID("u3")) ",\"status\":{\"created\":"
                                                  "true}}" },
    { &kind_vm,
      NAMED("default", "gone",
            UID("u4")) ",\"status\":{\"printableStatus\":\"Undefined\"}}" },
    { &kind_backuptarget,
      NAMED("", "default", "") ",\"status\":{\"repositoryUUID\":\"r1\"}}" },
    { &kind_vmbackup, BACKUP("default", "b1", "backup",
                             "\"readyToUse\":true,\"sourceUID\":\"u1\","
                             "\"vmkeep\":{\"target\":\"default\","
                             "\"repositoryUUID\":\"r1\"}") },
    { &kind_vmbackup, BACKUP("default", "b4", "backup",
                             "\"readyToUse\":true,\"sourceUID\":\"u4\"") },
    { &kind_vmbackup, BACKUP("default", "running", "backup",
                             "\"vmkeep\":{\"phase\":\"Reading\",\"target\":"
                             "\"default\"}") },
    { &kind_vmbackup,
      BACKUP("default", "alien", "backup",
             "\"readyToUse\":true,\"vmkeep\":{\"repositoryUUID\":\"r2\"}") },
    { &kind_vmbackup, BACKUP("default", "lost", "backup",
                             "\"readyToUse\":true,\"vmkeep\":{\"target\":"
                             "\"usb\"}") },
    { &kind_vmbackup, BACKUP("default", "s1", "snapshot",
                             "\"readyToUse\":true,\"sourceUID\":\"u1\"") },
    { &kind_hrestore,
      NAMED("default", "r4",
            "") ",\"spec\":{\"target\":{\"name\":\"db\"},"
                "\"virtualMachineBackupName\":\"b4\","
                "\"virtualMachineBackupNamespace\":\"default\"}}" },
    { &kind_hrestore,
      NAMED("default", "failed",
            "") ",\"spec\":{\"target\":{\"name\":\"web\"},"
                "\"virtualMachineBackupName\":\"b1\","
                "\"virtualMachineBackupNamespace\":\"default\"},"
                "\"status\":{\"complete\":false,\"conditions\":[{"
                "\"type\":\"InProgress\",\"status\":\"False\","
                "\"reason\":\"Error\",\"message\":\"no space\"}]}}" },
};

static json_t *
get(void *arg, const struct gvr *gvr, const char *ns, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(there); i++) {
        CLEANUP(json_decref) json_t *v = NULL;

        if (&there[i].kind->gvr != gvr)
            continue;
        v = parse(there[i].text);
        if (strcmp(jsonx_str(v, "metadata.namespace"), ns) == 0 &&
            strcmp(jsonx_str(v, "metadata.name"), name) == 0)
            return TAKE(v);
    }
    return NULL;
}

static json_t *
list(void *arg, const struct gvr *gvr, const char *ns)
{
    json_t *found = json_array();

    for (size_t i = 0; i < ARRAY_SIZE(there); i++) {
        CLEANUP(json_decref) json_t *v = NULL;

        if (&there[i].kind->gvr != gvr)
            continue;
        v = parse(there[i].text);
        if (ns == NULL || strcmp(jsonx_str(v, "metadata.namespace"), ns) == 0)
            json_array_append(found, v);
    }
    return found;
}

static const struct kind_lookup lookup = { NULL, get, list };

struct rule {
    const char *object, *field, *message; /* NULL: fine */
};

/* `message` is what the first cause begins with. */
static void
check_one(const struct kind *k, enum kind_op op, const char *old,
          const struct rule *rule)
{
    CLEANUP(json_decref) json_t *was = old == NULL ? NULL : parse(old);
    CLEANUP(json_decref) json_t *is = parse(rule->object);
    const char *ns = jsonx_str_or(is, "metadata.namespace", "default");
    struct kind_request rq = { op, ns, is, was, &lookup };
    struct causes causes = { .n = 0 };
    struct err err = { 0 };

    if (k->set_defaults != NULL)
        k->set_defaults(is);
    CHECK_OK(k->validate(&rq, &causes, &err), &err);
    if (rule->message == NULL) {
        if (causes.n > 0)
            test_fail(__FILE__, __LINE__, rule->object, causes.v[0].message);
        return;
    }
    if (causes.n == 0)
        test_fail(__FILE__, __LINE__, rule->object, "was not refused");
    if (strcmp(causes.v[0].field, rule->field) != 0)
        test_fail(__FILE__, __LINE__, rule->field, causes.v[0].field);
    if (strncmp(causes.v[0].message, rule->message, strlen(rule->message)) != 0)
        test_fail(__FILE__, __LINE__, rule->message, causes.v[0].message);
}

#define NEW(note, spec)                                                        \
    "{\"metadata\":{\"name\":\"n\",\"annotations\":{" note                     \
    "}},\"spec\":{" spec "}}"
#define OF(vm)                                                                 \
    "\"source\":{\"apiGroup\":\"kubevirt.io\",\"kind\":\"VirtualMachine\","    \
    "\"name\":\"" vm "\"}"

static void
backups_are_refused_in_harvesters_words(void)
{
    static const struct rule rules[] = {
        { NEW("", OF("web")), NULL, NULL },
        { NEW("", OF("web") ",\"type\":\"snapshot\""), NULL, NULL },
        { NEW("", OF("")), "spec.source.name", "source VM name is empty" },
        { NEW("", OF("web") ",\"fsFreezeDeadline\":\"-1s\""),
          "spec.fsFreezeDeadline",
          "Invalid value: \"-1s\": must not be negative" },
        { NEW("", OF("web") ",\"fsFreezeDeadline\":\"soon\""),
          "spec.fsFreezeDeadline", "Invalid value: \"soon\"" },
        { NEW("", OF("nobody")), "spec.source.name",
          "virtualmachines.kubevirt.io \"nobody\" not found" },
        { NEW("", OF("gone")), "spec.source.name",
          "virtualmachines.kubevirt.io \"gone\" not found" },
        { NEW("\"vmkeep.io/backup-target\":\"usb\"", OF("web")),
          "metadata.annotations[vmkeep.io/backup-target]",
          "backup target \"usb\" is not set" },
        { NEW("\"vmkeep.io/backup-target\":\"usb\"",
              OF("web") ",\"type\":\"snapshot\""),
          NULL, NULL },
        { NEW("\"vmkeep.io/quiesce\":\"maybe\"", OF("web")),
          "metadata.annotations[vmkeep.io/quiesce]", "Unsupported value" },
        { NEW("", "\"source\":{\"kind\":\"Pod\",\"name\":\"web\"}"),
          "spec.source.kind", "unsupported source" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        check_one(&kind_vmbackup, KIND_CREATE, NULL, &rules[i]);
}

static void
a_backup_never_changes(void)
{
    static const char was[] = NEW("\"harvesterhci.io/svmbackupId\":\"a/b\"",
                                  OF("web") ",\"type\":\"backup\"");
    static const struct rule rules[] = {
        { NEW("\"x\":\"y\",\"harvesterhci.io/svmbackupId\":\"a/b\"",
              OF("web") ",\"type\":\"backup\""),
          NULL, NULL },
        { NEW("\"harvesterhci.io/svmbackupId\":\"a/b\"",
              OF("web") ",\"type\":\"snapshot\""),
          "spec.type", "spec.type is immutable" },
        { NEW("\"harvesterhci.io/svmbackupId\":\"a/b\"",
              OF("db") ",\"type\":\"backup\""),
          "spec", "spec is immutable after creation" },
        { NEW("\"harvesterhci.io/svmbackupId\":\"a/c\"",
              OF("web") ",\"type\":\"backup\""),
          "metadata.annotations[harvesterhci.io/svmbackupId]",
          "annotation harvesterhci.io/svmbackupId isn't allowed for "
          "updating" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        check_one(&kind_vmbackup, KIND_UPDATE, was, &rules[i]);
}

static void
backups_and_snapshots_share_their_names(void)
{
    CLEANUP(json_decref)
    json_t *v = parse("{\"metadata\":{\"name\":\"s1\"},\"spec\":{" OF(
        "web") ",\"type\":\"backup\"}}");
    struct kind_request rq = { KIND_CREATE, "default", v, NULL, &lookup };
    struct causes causes = { .n = 0 };
    struct err err = { 0 };

    CHECK_ERR(kind_vmbackup.validate(&rq, &causes, &err), &err, ERR_EXISTS);
    CHECK(strstr(err.msg, "already used by a snapshot") != NULL);
}

static void
what_is_being_read_or_written_is_not_deleted(void)
{
    CLEANUP(json_decref)
    json_t *b4 = get(NULL, &kind_vmbackup.gvr, "default", "b4");
    CLEANUP(json_decref)
    json_t *b1 = get(NULL, &kind_vmbackup.gvr, "default", "b1");
    CLEANUP(json_decref)
    json_t *target = parse("{\"metadata\":{\"name\":\"default\"},\"status\":{"
                           "\"conditions\":[{\"type\":\"Ready\",\"status\":"
                           "\"True\"}]}}");
    CLEANUP(json_decref)
    json_t *dead = parse("{\"metadata\":{\"name\":\"default\"},\"status\":{"
                         "\"conditions\":[{\"type\":\"Ready\",\"status\":"
                         "\"False\"}]}}");
    struct kind_request rq = { KIND_DELETE, "default", NULL, b4, &lookup };
    struct causes causes = { .n = 0 };
    struct err err = { 0 };

    CHECK_ERR(kind_vmbackup.validate(&rq, &causes, &err), &err, ERR_CONFLICT);
    CHECK(strstr(err.msg, "vmrestore default/r4 is in progress") != NULL);
    rq.old = b1; /* its restore has failed */
    CHECK_OK(kind_vmbackup.validate(&rq, &causes, &err), &err);
    rq.ns = "";
    rq.old = target;
    CHECK_ERR(kind_backuptarget.validate(&rq, &causes, &err), &err,
              ERR_CONFLICT);
    CHECK(strstr(err.msg, "default/running") != NULL);
    rq.old = dead;
    CHECK_OK(kind_backuptarget.validate(&rq, &causes, &err), &err);
}

#define RESTORE(vm, backup, more)                                              \
    "\"target\":{\"apiGroup\":\"kubevirt.io\",\"kind\":\"VirtualMachine\","    \
    "\"name\":\"" vm "\"},\"virtualMachineBackupName\":\"" backup              \
    "\",\"virtualMachineBackupNamespace\":\"default\"" more
#define NEW_VM ",\"newVM\":true"

static void
restores_are_refused_in_harvesters_words(void)
{
    static const struct rule rules[] = {
        { NEW("", RESTORE("web", "b1", "")), NULL, NULL },
        { NEW("", RESTORE("web2", "b1", NEW_VM)), NULL, NULL },
        { NEW("", RESTORE("Web 2", "b1", NEW_VM)), "spec.target.name",
          "Target VM name is invalid, err: " },
        { NEW("", RESTORE("web", "b0", "")), "spec.virtualMachineBackupName",
          "can't get vmbackup default/b0" },
        { NEW("", RESTORE("web", "running", "")),
          "spec.virtualMachineBackupName",
          "VMBackup default/running is not ready" },
        { NEW("", RESTORE("web", "lost", "")), "spec.virtualMachineBackupName",
          "backup target is not set" },
        { NEW("", RESTORE("x", "alien", NEW_VM)),
          "spec.virtualMachineBackupName",
          "backup target default is not matched in vmBackup" },
        { NEW("", RESTORE("web", "b1", NEW_VM)), "spec.newVM",
          "VM web is already exists" },
        { NEW("", RESTORE("none", "b1", "")), "spec.target.name",
          "can't replace nonexistent vm none" },
        { NEW("\"vmkeep.io/replace-uid\":\"u3\"", RESTORE("on", "b1", "")),
          "spec.target.name",
          "Please stop the VM \"on\" before doing a restore" },
        { NEW("\"vmkeep.io/dry-run\":\"yes\"", RESTORE("web", "b1", "")),
          "metadata.annotations[vmkeep.io/dry-run]", "Unsupported value" },
        { NEW("", RESTORE("web", "s1", "")), "spec.virtualMachineBackupName",
          "delete policy with backup type snapshot for replacing VM is not "
          "supported" },
        { NEW("", RESTORE("web", "s1", ",\"deletionPolicy\":\"retain\"")), NULL,
          NULL },
        { "{\"metadata\":{\"namespace\":\"other\"},\"spec\":{" RESTORE(
              "web9", "s1", NEW_VM) "}}",
          "spec.virtualMachineBackupName",
          "restore to other namespace with backup type snapshot is not "
          "supported" },
        { NEW("", RESTORE("web2", "b1", NEW_VM ",\"keepMacAddress\":true")),
          "spec.keepMacAddress",
          "can't keep the MAC addresses because the source vm is still "
          "existent" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        check_one(&kind_hrestore, KIND_CREATE, NULL, &rules[i]);
}

static void
only_the_vm_that_was_backed_up_is_replaced(void)
{
    static const struct rule rules[] = {
        { NEW("", RESTORE("db", "b1", "")), "spec.target.name",
          "the VM \"db\" is not the one that was backed up" },
        { NEW("\"vmkeep.io/replace-uid\":\"u9\"", RESTORE("web", "b1", "")),
          "spec.target.name",
          "the VM \"web\" is not the one that was backed up" },
        { NEW("\"vmkeep.io/replace-uid\":\"u2\"", RESTORE("db", "b1", "")),
          "spec.target.name",
          "Please wait for the previous VM restore on the default/db to be "
          "complete first" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        check_one(&kind_hrestore, KIND_CREATE, NULL, &rules[i]);
}

/* libvirt has lost the domain: it is made again, with its addresses. */
static void
an_undefined_vm_is_made_again(void)
{
    static const struct rule rules[] = {
        { NEW("", RESTORE("gone", "b4", NEW_VM ",\"keepMacAddress\":true")),
          NULL, NULL },
        { NEW("", RESTORE("gone", "b4", "")), "spec.target.name",
          "can't replace nonexistent vm gone" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        check_one(&kind_hrestore, KIND_CREATE, NULL, &rules[i]);
}

static void
a_restore_never_changes_and_can_be_deleted(void)
{
    static const char was[] = NEW("", RESTORE("web", "b1", ""));
    static const struct rule changed = {
        NEW("", RESTORE("db", "b1", "")), "spec",
        "VirtualMachineRestore spec is immutable"
    };
    CLEANUP(json_decref) json_t *old = parse(was);
    struct kind_request rq = { KIND_DELETE, "default", NULL, old, &lookup };
    struct causes causes = { .n = 0 };
    struct err err = { 0 };

    check_one(&kind_hrestore, KIND_UPDATE, was, &changed);
    CHECK_OK(kind_hrestore.validate(&rq, &causes, &err), &err);
}

#define TARGET(path, more) NEW("", "\"directory\":{\"path\":\"" path "\"}" more)
#define CODE(mode, more)   ",\"encryption\":{\"mode\":\"" mode "\"" more "}"

static void
targets_have_one_plain_path_and_the_key_file_of_their_mode(void)
{
    static const char path[] = "spec.directory.path";
    static const struct rule rules[] = {
        { TARGET("/srv/b", ""), NULL, NULL },
        { TARGET("/srv/..b/c.", ""), NULL, NULL },
        { TARGET("", ""), path, "Required value" },
        { TARGET("srv", ""), path, "Invalid value: \"srv\": must be an abs" },
        { TARGET("/", ""), path, "Invalid value: \"/\": must not be the root" },
        { TARGET("/srv/", ""), path, "Invalid value: \"/srv/\": must have" },
        { TARGET("/a//b", ""), path, "Invalid value: \"/a//b\": must have" },
        { TARGET("/a/../b", ""), path, "Invalid value: \"/a/../b\": must not" },
        { TARGET("/a/.", ""), path, "Invalid value: \"/a/.\": must not" },
        { TARGET("/b", CODE("None", "")), NULL, NULL },
        { TARGET("/b", CODE("KeyFile", ",\"keyFile\":\"/k\"")), NULL, NULL },
        { TARGET("/b", CODE("KeyFile", "")), "spec.encryption.keyFile",
          "Required value" },
        { TARGET("/b", CODE("Passphrase", ",\"passphraseFile\":\"p\"")),
          "spec.encryption.passphraseFile", "Invalid value: \"p\"" },
        { TARGET("/b", CODE("Generated", ",\"keyFile\":\"/k\"")),
          "spec.encryption.keyFile",
          "Forbidden: only with spec.encryption.mode KeyFile" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        check_one(&kind_backuptarget, KIND_CREATE, NULL, &rules[i]);
}

static void
a_target_stays_where_it_is(void)
{
    static const char was[] =
        NEW("", "\"type\":\"directory\",\"directory\":{\"path\":\"/b\"},"
                "\"encryption\":{\"mode\":\"KeyFile\",\"keyFile\":\"/k\"}");
    static const struct rule rules[] = {
        { TARGET("/b", CODE("KeyFile", ",\"keyFile\":\"/other\"")), NULL,
          NULL },
        { TARGET("/c", CODE("KeyFile", ",\"keyFile\":\"/k\"")),
          "spec.directory", "spec.directory is immutable" },
        { TARGET("/b", CODE("None", "")), "spec.encryption.mode",
          "spec.encryption.mode is immutable" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        check_one(&kind_backuptarget, KIND_UPDATE, was, &rules[i]);
}

static void
defaults_are_written_out(void)
{
    CLEANUP(json_decref) json_t *target = parse(TARGET("/b", ""));
    CLEANUP(json_decref) json_t *backup = parse(NEW("", OF("web")));

    kind_backuptarget.set_defaults(target);
    CHECK(strcmp(jsonx_str_or(target, "spec.type", ""), "directory") == 0);
    CHECK(strcmp(jsonx_str_or(target, "spec.encryption.mode", ""),
                 "Generated") == 0);
    kind_vmbackup.set_defaults(backup);
    CHECK(strcmp(jsonx_str_or(backup, "spec.type", ""), "backup") == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "backups are refused in Harvester's words",
          backups_are_refused_in_harvesters_words },
        { "a backup never changes", a_backup_never_changes },
        { "backups and snapshots share their names",
          backups_and_snapshots_share_their_names },
        { "what is being read or written is not deleted",
          what_is_being_read_or_written_is_not_deleted },
        { "restores are refused in Harvester's words",
          restores_are_refused_in_harvesters_words },
        { "only the VM that was backed up is replaced",
          only_the_vm_that_was_backed_up_is_replaced },
        { "an undefined VM is made again", an_undefined_vm_is_made_again },
        { "a restore never changes and can be deleted",
          a_restore_never_changes_and_can_be_deleted },
        { "targets have one plain path and the key file of their mode",
          targets_have_one_plain_path_and_the_key_file_of_their_mode },
        { "a target stays where it is", a_target_stays_where_it_is },
        { "defaults are written out", defaults_are_written_out },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
