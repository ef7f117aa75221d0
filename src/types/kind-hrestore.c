/* SPDX-License-Identifier: Apache-2.0 */
/* Harvester's VirtualMachineRestore: a new virtual machine of a backup, or the
 * one that is there brought back to it.
 *
 * Where Harvester's webhook differs: a virtual machine is replaced only by a
 * backup of itself (its UID says so), or when the annotation
 * vmkeep.io/replace-uid names the UID of the other one; a policy that is
 * neither delete nor retain is refused instead of taken for delete; disks that
 * a snapshot uses are kept at the end instead of refusing the restore; a
 * restore can be deleted at any time; one that failed blocks nothing.
 * source  spec harvester 1.2, 6.2; DESIGN 7, 9
 */
#include <string.h>

#include "base/mem.h"
#include "types/rules.h"
#include "types/schema.h"

#define NOTE_REPLACE "vmkeep.io/replace-uid"
#define NOTE_DRY_RUN "vmkeep.io/dry-run"

#define FIELD_NAME   "spec.target.name"
#define FIELD_BACKUP "spec.virtualMachineBackupName"

static const char *const versions[] = { "v1beta1", NULL };
static const char *const short_names[] = { "vmrestore", "vmrestores", NULL };
static const struct kind_column columns[] = {
    { "TARGET_KIND", "string", ".spec.target.kind", "VirtualMachine.", 0 },
    { "TARGET_NAME", "string", ".spec.target.name", "What is restored.", 0 },
    { "COMPLETE", "boolean", ".status.complete", "It is done.", 0 },
    { "AGE", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { "ERROR", "string", NULL, "What went wrong.", 0 },
    { "PHASE", "string", ".status.vmkeep.phase", "Writing, Complete ...", 1 },
    { "PROGRESS", "integer", ".status.progress", "0 to 100.", 1 },
    { NULL },
};

static char *
cell(const struct kind_column *col, const json_t *object)
{
    const json_t *c = rules_condition(object, "InProgress");

    if (strcmp(jsonx_str_or(c, "reason", ""), "Error") != 0)
        return NULL;
    return xstrdup(jsonx_str_or(c, "message", ""));
}

static const char *
note(const json_t *object, const char *key)
{
    const char *s = json_string_value(
        json_object_get(jsonx_get(object, "metadata.annotations"), key));

    return s != NULL ? s : "";
}

static bool
is_snapshot(const json_t *backup)
{
    return strcmp(jsonx_str_or(backup, "spec.type", ""), "snapshot") == 0;
}

static bool
is_dry_run(const json_t *object)
{
    return strcmp(note(object, NOTE_DRY_RUN), "true") == 0;
}

/* What can be said without looking anything up. */
static void
check_spec(const json_t *object, struct causes *causes)
{
    const json_t *spec = json_object_get(object, "spec");
    const char *group = jsonx_str(spec, "target.apiGroup");
    const char *dry_run = note(object, NOTE_DRY_RUN);

    if (!rules_is_label(jsonx_str_or(spec, "target.name", "")))
        causes_add(causes, "FieldValueInvalid", FIELD_NAME,
                   "Target VM name is invalid, err: \"%.63s\": a lowercase RFC "
                   "1123 label must consist of lower case alphanumeric "
                   "characters or '-', and must start and end with an "
                   "alphanumeric character, 63 at most",
                   jsonx_str_or(spec, "target.name", ""));
    if (strcmp(jsonx_str_or(spec, "target.kind", ""), "VirtualMachine") != 0)
        causes_add(causes, "FieldValueInvalid", "spec.target.kind",
                   "unsupported target: want kind VirtualMachine");
    if (group != NULL && strcmp(group, RULES_KUBEVIRT_GROUP) != 0)
        causes_add(causes, "FieldValueInvalid", "spec.target.apiGroup",
                   "unsupported target: want apiGroup " RULES_KUBEVIRT_GROUP);
    if (*jsonx_str_or(spec, "virtualMachineBackupName", "") == 0)
        causes_add(causes, "FieldValueRequired", FIELD_BACKUP,
                   "Required value");
    if (*dry_run != 0 && strcmp(dry_run, "true") != 0 &&
        strcmp(dry_run, "false") != 0)
        causes_add(causes, "FieldValueNotSupported",
                   "metadata.annotations[" NOTE_DRY_RUN "]",
                   "Unsupported value: \"%.40s\": supported values: \"true\", "
                   "\"false\"",
                   dry_run);
}

static void
check_backup_state(const json_t *backup, const char *ns, const char *name,
                   struct causes *causes)
{
    if (backup == NULL)
        causes_add(causes, "FieldValueInvalid", FIELD_BACKUP,
                   "can't get vmbackup %.63s/%.63s: "
                   "virtualmachinebackups.harvesterhci.io \"%.63s\" not found",
                   ns, name, name);
    else if (jsonx_str(backup, "metadata.deletionTimestamp") != NULL)
        causes_add(causes, "FieldValueInvalid", FIELD_BACKUP,
                   "vmbackup %.63s/%.63s is deleted", ns, name);
    else if (strcmp(jsonx_str_or(backup, "spec.source.kind", ""),
                    "VirtualMachine") != 0)
        causes_add(causes, "FieldValueInvalid", FIELD_BACKUP,
                   "unsupported backup source kind");
    else if (!jsonx_bool(backup, "status.readyToUse"))
        causes_add(
            causes, "FieldValueInvalid", FIELD_BACKUP,
            "VMBackup %.63s/%.63s is not ready: %.120s", ns, name,
            jsonx_str_or(backup, "status.error.message", "it is not complete"));
}

static void
check_backup_target(const struct kind_request *rq, const json_t *backup,
                    struct causes *causes)
{
    const char *name = jsonx_str_or(backup, "status.vmkeep.target", "default");
    const char *want = jsonx_str(backup, "status.vmkeep.repositoryUUID");
    CLEANUP(json_decref)
    json_t *target =
        rq->lookup->get(rq->lookup->arg, &kind_backuptarget.gvr, "", name);
    const char *is = jsonx_str(target, "status.repositoryUUID");

    if (target == NULL)
        causes_add(causes, "FieldValueInvalid", FIELD_BACKUP,
                   "backup target is not set: there is no BackupTarget "
                   "\"%.63s\"",
                   name);
    else if (want != NULL && is != NULL && strcmp(is, want) != 0)
        causes_add(causes, "FieldValueInvalid", FIELD_BACKUP,
                   "backup target %.63s is not matched in vmBackup: it is the "
                   "repository %.36s, the backup is in %.36s",
                   name, is, want);
}

/* Type snapshot is done by a snapshot restore in the same namespace. */
static void
check_snapshot_rules(const struct kind_request *rq, const json_t *backup,
                     struct causes *causes)
{
    const json_t *spec = json_object_get(rq->object, "spec");

    if (strcmp(rq->ns, jsonx_str_or(backup, "metadata.namespace", "")) != 0)
        causes_add(causes, "FieldValueInvalid", FIELD_BACKUP,
                   "restore to other namespace with backup type snapshot is "
                   "not supported");
    if (!jsonx_bool(spec, "newVM") &&
        strcmp(jsonx_str_or(spec, "deletionPolicy", ""), "retain") != 0)
        causes_add(causes, "FieldValueInvalid", FIELD_BACKUP,
                   "delete policy with backup type snapshot for replacing VM "
                   "is not supported");
}

/* The virtual machine whose identity is kept must be the only one. */
static void
check_mac(const struct kind_request *rq, const json_t *backup,
          struct causes *causes)
{
    static const char field[] = "spec.keepMacAddress";
    const char *uid = jsonx_str(backup, "status.sourceUID");
    CLEANUP(json_decref)
    json_t *list = rq->lookup->list(rq->lookup->arg, &kind_vm.gvr, NULL);

    for (size_t i = 0; uid != NULL && i < json_array_size(list); i++) {
        const json_t *vm = json_array_get(list, i);

        if (strcmp(jsonx_str_or(vm, "metadata.uid", ""), uid) != 0 ||
            rules_is_vm_undefined(vm))
            continue;
        causes_add(causes, "FieldValueInvalid", field,
                   "can't keep the MAC addresses because the source vm is "
                   "still existent: %.63s/%.63s",
                   jsonx_str_or(vm, "metadata.namespace", "?"),
                   jsonx_str_or(vm, "metadata.name", "?"));
    }
}

/* Another restore that gave the same addresses to a virtual machine that is
 * there, or is about to. */
static void
check_mac_twin(const struct kind_request *rq, struct causes *causes)
{
    const json_t *spec = json_object_get(rq->object, "spec");
    CLEANUP(json_decref)
    json_t *list = rq->lookup->list(rq->lookup->arg, &kind_hrestore.gvr, NULL);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *r = json_array_get(list, i);
        const json_t *its = json_object_get(r, "spec");
        CLEANUP(json_decref) json_t *vm = NULL;

        if (!jsonx_bool(its, "newVM") || !jsonx_bool(its, "keepMacAddress") ||
            is_dry_run(r) ||
            !jsonx_equal(json_object_get(its, "virtualMachineBackupName"),
                         json_object_get(spec, "virtualMachineBackupName")) ||
            !jsonx_equal(
                json_object_get(its, "virtualMachineBackupNamespace"),
                json_object_get(spec, "virtualMachineBackupNamespace")))
            continue;
        vm = rq->lookup->get(rq->lookup->arg, &kind_vm.gvr,
                             jsonx_str_or(r, "metadata.namespace", ""),
                             jsonx_str_or(its, "target.name", ""));
        if (!rules_is_restore_active(r) &&
            (vm == NULL || rules_is_vm_undefined(vm)))
            continue;
        causes_add(causes, "FieldValueInvalid", "spec.keepMacAddress",
                   "the new VM would have the same macaddress as the "
                   "vmrestore %.63s/%.63s",
                   jsonx_str_or(r, "metadata.namespace", "?"),
                   jsonx_str_or(r, "metadata.name", "?"));
        return;
    }
}

/* What is replaced is what was backed up, or what was named by its UID: a name
 * may have been given to another one since. */
static void
check_identity(const json_t *object, const json_t *vm, const json_t *backup,
               struct causes *causes)
{
    const char *is = jsonx_str_or(vm, "metadata.uid", "");
    const char *was = jsonx_str_or(backup, "status.sourceUID", "");
    const char *other = note(object, NOTE_REPLACE);

    if (strcmp(is, *other != 0 ? other : was) == 0)
        return;
    causes_add(causes, "FieldValueInvalid", FIELD_NAME,
               "the VM \"%.63s\" is not the one that was backed up (its UID "
               "is %.36s, not %.36s); to replace it all the same, set the "
               "annotation " NOTE_REPLACE " to its UID",
               jsonx_str_or(vm, "metadata.name", "?"), is,
               *other != 0 ? other : was);
}

static void
check_no_other(const struct kind_request *rq, const struct kind *k,
               struct causes *causes)
{
    const char *target = jsonx_str_or(rq->object, FIELD_NAME, "");
    CLEANUP(json_decref)
    json_t *list = rq->lookup->list(rq->lookup->arg, &k->gvr, rq->ns);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *r = json_array_get(list, i);

        if (strcmp(jsonx_str_or(r, FIELD_NAME, ""), target) != 0 ||
            !rules_is_restore_active(r) || is_dry_run(r) ||
            rules_condition_is(r, "Failure", "True"))
            continue;
        causes_add(causes, "FieldValueInvalid", FIELD_NAME,
                   "Please wait for the previous VM restore on the %.63s/%.63s "
                   "to be complete first: %.63s",
                   rq->ns, target, jsonx_str_or(r, "metadata.name", "?"));
        return;
    }
}

static void
check_replace(const struct kind_request *rq, const json_t *vm,
              const json_t *backup, struct causes *causes)
{
    const char *name = jsonx_str_or(rq->object, FIELD_NAME, "");

    if (vm == NULL || rules_is_vm_undefined(vm)) {
        causes_add(causes, "FieldValueInvalid", FIELD_NAME,
                   "can't replace nonexistent vm %.63s: to make it again, set "
                   "spec.newVM",
                   name);
        return;
    }
    check_identity(rq->object, vm, backup, causes);
    if (!is_dry_run(rq->object) &&
        (jsonx_bool(vm, "status.ready") || jsonx_bool(vm, "status.created")))
        causes_add(causes, "FieldValueInvalid", FIELD_NAME,
                   "Please stop the VM \"%.63s\" before doing a restore", name);
    check_no_other(rq, &kind_hrestore, causes);
    check_no_other(rq, &kind_vmrestore, causes);
}

static void
check_new(const struct kind_request *rq, const json_t *vm, const json_t *backup,
          struct causes *causes)
{
    const char *name = jsonx_str_or(rq->object, FIELD_NAME, "");

    if (vm != NULL && !rules_is_vm_undefined(vm))
        causes_add(causes, "FieldValueInvalid", "spec.newVM",
                   "VM %.63s is already exists", name);
    check_no_other(rq, &kind_hrestore, causes);
    if (!jsonx_bool(rq->object, "spec.keepMacAddress"))
        return;
    check_mac(rq, backup, causes);
    check_mac_twin(rq, causes);
}

static void
check_create(const struct kind_request *rq, struct causes *causes)
{
    const json_t *spec = json_object_get(rq->object, "spec");
    const char *ns = jsonx_str_or(spec, "virtualMachineBackupNamespace", "");
    const char *name = jsonx_str_or(spec, "virtualMachineBackupName", "");
    CLEANUP(json_decref) json_t *backup = NULL;
    CLEANUP(json_decref) json_t *vm = NULL;

    check_spec(rq->object, causes);
    if (causes->n > 0)
        return; /* what cannot be read is not looked up */
    backup = rq->lookup->get(rq->lookup->arg, &kind_vmbackup.gvr, ns, name);
    check_backup_state(backup, ns, name, causes);
    if (causes->n > 0)
        return;
    if (is_snapshot(backup))
        check_snapshot_rules(rq, backup, causes);
    else
        check_backup_target(rq, backup, causes);
    vm = rq->lookup->get(rq->lookup->arg, &kind_vm.gvr, rq->ns,
                         jsonx_str_or(spec, "target.name", ""));
    if (jsonx_bool(spec, "newVM"))
        check_new(rq, vm, backup, causes);
    else
        check_replace(rq, vm, backup, causes);
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    if (rq->op == KIND_CREATE)
        check_create(rq, causes);
    else if (rq->op == KIND_UPDATE &&
             !jsonx_equal(json_object_get(rq->object, "spec"),
                          json_object_get(rq->old, "spec")))
        causes_add(causes, "FieldValueInvalid", "spec",
                   "VirtualMachineRestore spec is immutable");
    return 0;
}

const struct kind kind_hrestore = {
    .gvr = { "harvesterhci.io", "v1beta1", "virtualmachinerestores",
             "VirtualMachineRestore", true, true, true },
    .versions = versions,
    .singular = "virtualmachinerestore",
    .short_names = short_names,
    .categories = rules_in_all,
    .verbs = rules_verbs,
    .columns = columns,
    .cell = cell,
    .validate = validate,
    .schema_json = schema_harvesterrestore,
};
