/* SPDX-License-Identifier: Apache-2.0 */
/* Harvester's VirtualMachineBackup, of type backup (to the target) or snapshot
 * (beside the disks).
 *
 * Where Harvester's webhook differs: the whole spec is immutable, not only the
 * type; shareable disks are left out and listed instead of refusing the
 * virtual machine.
 * source  spec harvester 1.1, 6.1; DESIGN 4, 9
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "types/rules.h"
#include "types/schema.h"

#define NOTE_HOLD     "vmkeep.io/hold"
#define NOTE_TARGET   "vmkeep.io/backup-target"
#define NOTE_QUIESCE  "vmkeep.io/quiesce"
#define NOTE_SCHEDULE "harvesterhci.io/svmbackupId"

static const char *const versions[] = { "v1beta1", NULL };
static const char *const short_names[] = { "vmbackup", "vmbackups", NULL };
static const struct kind_column columns[] = {
    { "SOURCE_KIND", "string", ".spec.source.kind", "VirtualMachine.", 0 },
    { "SOURCE_NAME", "string", ".spec.source.name", "Of what it is.", 0 },
    { "TYPE", "string", ".spec.type", "backup or snapshot.", 0 },
    { "READY_TO_USE", "boolean", ".status.readyToUse", "It can be restored.",
      0 },
    { "AGE", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { "ERROR", "string", ".status.error.message", "What went wrong.", 0 },
    { "PHASE", "string", ".status.vmkeep.phase", "Reading, Ready ...", 1 },
    { "PROGRESS", "integer", ".status.progress", "0 to 100.", 1 },
    { "TARGET", "string", ".status.vmkeep.target", "Where it is kept.", 1 },
    { "STORED", "string", NULL, "What it added to the target.", 1 },
    { NULL },
};

static char *
cell(const struct kind_column *col, const json_t *object)
{
    int64_t n = jsonx_int(object, "status.vmkeep.storedBytes", -1);

    return n < 0 ? NULL : rules_size(n);
}

static void
set_defaults(json_t *object)
{
    json_t *spec = json_object_get(object, "spec");

    if (json_is_object(spec) && json_object_get(spec, "type") == NULL)
        jsonx_set_str(spec, "type", "backup");
}

static const char *
note(const json_t *object, const char *key)
{
    return json_string_value(
        json_object_get(jsonx_get(object, "metadata.annotations"), key));
}

static bool
is_backup(const json_t *object)
{
    return strcmp(jsonx_str_or(object, "spec.type", "backup"), "backup") == 0;
}

static void
check_source(const json_t *object, struct causes *causes)
{
    const char *group = jsonx_str(object, "spec.source.apiGroup");

    if (*jsonx_str_or(object, "spec.source.name", "") == 0)
        causes_add(causes, "FieldValueInvalid", "spec.source.name",
                   "source VM name is empty");
    if (strcmp(jsonx_str_or(object, "spec.source.kind", ""),
               "VirtualMachine") != 0)
        causes_add(causes, "FieldValueInvalid", "spec.source.kind",
                   "unsupported source: want kind VirtualMachine");
    if (group != NULL && strcmp(group, RULES_KUBEVIRT_GROUP) != 0)
        causes_add(causes, "FieldValueInvalid", "spec.source.apiGroup",
                   "unsupported source: want apiGroup " RULES_KUBEVIRT_GROUP);
}

static void
check_deadline(const json_t *object, struct causes *causes)
{
    static const char field[] = "spec.fsFreezeDeadline";
    const char *text = jsonx_str(object, field);
    struct err err;
    int64_t ms;

    if (text == NULL)
        return;
    if (clock_parse_duration(text, &ms, &err) < 0)
        causes_add(causes, "FieldValueInvalid", field,
                   "Invalid value: \"%.40s\": want a number with a unit, as "
                   "500ms, 30s or 1m",
                   text);
    else if (ms < 0)
        causes_add(causes, "FieldValueInvalid", field,
                   "Invalid value: \"%.40s\": must not be negative", text);
}

static void
check_quiesce(const json_t *object, struct causes *causes)
{
    const char *how = note(object, NOTE_QUIESCE);

    if (how == NULL || strcmp(how, "required") == 0 ||
        strcmp(how, "preferred") == 0 || strcmp(how, "none") == 0)
        return;
    causes_add(causes, "FieldValueNotSupported",
               "metadata.annotations[" NOTE_QUIESCE "]",
               "Unsupported value: \"%.40s\": supported values: \"required\", "
               "\"preferred\", \"none\"",
               how);
}

static void
check_vm(const struct kind_request *rq, struct causes *causes)
{
    const char *name = jsonx_str(rq->object, "spec.source.name");
    CLEANUP(json_decref)
    json_t *vm = rq->lookup->get(rq->lookup->arg, &kind_vm.gvr, rq->ns, name);
    const char *state = jsonx_str_or(vm, "status.printableStatus", "");

    if (vm == NULL)
        causes_add(causes, "FieldValueInvalid", "spec.source.name",
                   "virtualmachines.kubevirt.io \"%.63s\" not found: there is "
                   "no such virtual machine in the namespace %.63s",
                   name, rq->ns);
    else if (rules_is_vm_undefined(vm))
        causes_add(causes, "FieldValueInvalid", "spec.source.name",
                   "virtualmachines.kubevirt.io \"%.63s\" not found: libvirt "
                   "has no such domain any more",
                   name);
    else if (strcmp(state, "Migrating") == 0)
        causes_add(causes, "FieldValueInvalid", "spec.source.name",
                   "vm %.63s/%.63s is in migration", rq->ns, name);
}

static void
check_target(const struct kind_request *rq, struct causes *causes)
{
    const char *wanted = note(rq->object, NOTE_TARGET);
    const char *name = wanted != NULL && *wanted != 0 ? wanted : "default";
    CLEANUP(json_decref) json_t *target = NULL;

    if (!is_backup(rq->object))
        return;
    target = rq->lookup->get(rq->lookup->arg, &kind_backuptarget.gvr, "", name);
    if (target != NULL &&
        jsonx_str(target, "metadata.deletionTimestamp") == NULL)
        return;
    if (name == wanted)
        causes_add(causes, "FieldValueInvalid",
                   "metadata.annotations[" NOTE_TARGET "]",
                   "backup target \"%.63s\" is not set: there is no such "
                   "BackupTarget",
                   name);
    else
        causes_add(causes, "FieldValueInvalid", "spec.type",
                   "backup target is not set: create a BackupTarget named "
                   "default, or name another one in the "
                   "annotation " NOTE_TARGET);
}

/* Backups and snapshots share their names. Two of the same type are told
 * apart by the store. */
static int
check_name(const struct kind_request *rq, struct err *err)
{
    const char *name = jsonx_str_or(rq->object, "metadata.name", "");
    CLEANUP(json_decref) json_t *other = NULL;

    if (*name == 0)
        return 0;
    other = rq->lookup->get(rq->lookup->arg, &kind_vmbackup.gvr, rq->ns, name);
    if (other == NULL || is_backup(other) == is_backup(rq->object))
        return 0;
    return err_set(err, ERR_EXISTS,
                   "name \"%s\" is already used by a %s (backup and snapshot "
                   "share names)",
                   name, is_backup(other) ? "backup" : "snapshot");
}

static int
check_create(const struct kind_request *rq, struct causes *causes,
             struct err *err)
{
    check_source(rq->object, causes);
    check_deadline(rq->object, causes);
    check_quiesce(rq->object, causes);
    if (causes->n > 0)
        return 0; /* what cannot be read is not looked up */
    if (check_name(rq, err) < 0)
        return -1;
    check_vm(rq, causes);
    check_target(rq, causes);
    return 0;
}

static bool
is_note_changed(const struct kind_request *rq, const char *key)
{
    const char *is = note(rq->object, key);
    const char *was = note(rq->old, key);

    return strcmp(is != NULL ? is : "", was != NULL ? was : "") != 0;
}

static void
check_update(const struct kind_request *rq, struct causes *causes)
{
    static const char *const fixed[] = { NOTE_SCHEDULE, NOTE_TARGET };
    char at[128];

    if (is_backup(rq->object) != is_backup(rq->old))
        causes_add(causes, "FieldValueInvalid", "spec.type",
                   "spec.type is immutable");
    else
        rules_check_spec_unchanged(rq, causes);
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
        if (!is_note_changed(rq, fixed[i]))
            continue;
        (void)snprintf(at, sizeof at, "metadata.annotations[%s]", fixed[i]);
        causes_add(causes, "FieldValueForbidden", at,
                   "annotation %s isn't allowed for updating", fixed[i]);
    }
}

/* vmkeep.io/hold: until it is taken away nobody deletes it. */
static int
check_hold(const struct kind_request *rq, struct err *err)
{
    const char *hold = note(rq->old, NOTE_HOLD);

    if (hold == NULL || strcmp(hold, "false") == 0)
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "virtualmachinebackups.harvesterhci.io \"%s\" is on hold "
                   "(%.100s): remove its annotation " NOTE_HOLD " first",
                   jsonx_str_or(rq->old, "metadata.name", ""), hold);
}

/* Data that are being read are not deleted: the restore can be. */
static int
check_delete(const struct kind_request *rq, struct err *err)
{
    const char *name = jsonx_str_or(rq->old, "metadata.name", "");
    CLEANUP(json_decref)
    json_t *list = rq->lookup->list(rq->lookup->arg, &kind_hrestore.gvr, NULL);

    if (check_hold(rq, err) < 0)
        return -1;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *r = json_array_get(list, i);
        const json_t *spec = json_object_get(r, "spec");

        if (strcmp(jsonx_str_or(spec, "virtualMachineBackupName", ""), name) ==
                0 &&
            strcmp(jsonx_str_or(spec, "virtualMachineBackupNamespace", ""),
                   rq->ns) == 0 &&
            jsonx_str(r, "metadata.deletionTimestamp") == NULL &&
            rules_is_restore_active(r))
            return err_set(err, ERR_CONFLICT,
                           "vmrestore %s/%s is in progress: wait for it, or "
                           "delete it first",
                           jsonx_str_or(r, "metadata.namespace", "?"),
                           jsonx_str_or(r, "metadata.name", "?"));
    }
    return 0;
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    switch (rq->op) {
    case KIND_CREATE:
        return check_create(rq, causes, err);
    case KIND_UPDATE:
        check_update(rq, causes);
        return 0;
    case KIND_DELETE:
        return check_delete(rq, err);
    case KIND_UPDATE_STATUS:
        break;
    }
    return 0;
}

const struct kind kind_vmbackup = {
    .gvr = { "harvesterhci.io", "v1beta1", "virtualmachinebackups",
             "VirtualMachineBackup", true, true, true },
    .versions = versions,
    .singular = "virtualmachinebackup",
    .short_names = short_names,
    .categories = rules_in_all,
    .verbs = rules_verbs,
    .columns = columns,
    .cell = cell,
    .set_defaults = set_defaults,
    .validate = validate,
    .schema_json = schema_virtualmachinebackup,
};
