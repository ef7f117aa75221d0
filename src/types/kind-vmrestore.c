/* SPDX-License-Identifier: Apache-2.0 */
/* VirtualMachineRestore. The snapshot may not exist or not be ready yet: the
 * controller waits for it.
 *
 * Where KubeVirt's webhook differs: its patch parser (types/restorepatch.h);
 * a restore that has failed for good does not block another one; a VM with
 * UEFI variables can be restored as another one, which gets a copy; one with
 * a TPM too, if the annotation vmkeep.io/tpm says what becomes of its state.
 * source  spec kubevirt 1.3, 4.3; DESIGN 7
 */
#include <string.h>

#include "base/mem.h"
#include "types/restorepatch.h"
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1beta1", "v1alpha1", NULL };
static const char *const short_names[] = { "vmrestore", "vmrestores", NULL };
static const struct kind_column columns[] = {
    { "TargetKind", "string", ".spec.target.kind", "VirtualMachine.", 0 },
    { "TargetName", "string", ".spec.target.name", "What is restored.", 0 },
    { "Complete", "boolean", ".status.complete", "It is done.", 0 },
    { "RestoreTime", "date", ".status.restoreTime", "When it was done.", 0 },
    { "Error", "string", NULL, "What is in the way.", 1 },
    { NULL },
};

static bool
has_failed(const json_t *restore)
{
    return rules_condition_is(restore, "Failure", "True");
}

/* Why it failed, or what it waits for. */
static char *
cell(const struct kind_column *col, const json_t *object)
{
    const char *type = has_failed(object) ? "Failure" : "Progressing";

    if (!has_failed(object) && (jsonx_bool(object, "status.complete") ||
                                !rules_condition_is(object, type, "False")))
        return NULL;
    return xstrdup(jsonx_str_or(rules_condition(object, type), "reason", ""));
}

static void
set_defaults(json_t *object)
{
    json_t *spec = json_object_get(object, "spec");

    if (json_is_object(spec) &&
        json_object_get(spec, "targetReadinessPolicy") == NULL)
        jsonx_set_str(spec, "targetReadinessPolicy", "WaitGracePeriod");
}

/* A new VM will have this name, and its domain too. */
static void
check_target_name(const json_t *spec, struct causes *causes)
{
    const char *name = jsonx_str_or(spec, "target.name", "");

    if (rules_is_label(name))
        return;
    causes_add(causes, "FieldValueInvalid", "spec.target.name",
               "Invalid value: \"%.63s\": a lowercase RFC 1123 label must "
               "consist of lower case alphanumeric characters or '-', and "
               "must start and end with an alphanumeric character, 63 at most",
               name);
}

static void
check_patches(const json_t *spec, struct causes *causes)
{
    const json_t *patches = json_object_get(spec, "patches");
    const char *target = jsonx_str_or(spec, "target.name", "");

    for (size_t i = 0; i < json_array_size(patches); i++) {
        const char *text = json_string_value(json_array_get(patches, i));
        struct err err;

        if (text == NULL)
            continue; /* the schema's check says it */
        CLEANUP(json_decref)
        json_t *ops = restorepatch_parse(text, target, &err);

        if (ops == NULL)
            causes_add(causes, "FieldValueInvalid", "spec.patches", "%s",
                       err.msg);
    }
}

static bool
is_override_empty(const json_t *item)
{
    return *jsonx_str_or(item, "restoreName", "") == 0 &&
           json_object_size(json_object_get(item, "labels")) == 0 &&
           json_object_size(json_object_get(item, "annotations")) == 0;
}

/* What the claim of a restored disk is to get: it must be possible. */
static void
check_override(const json_t *list, size_t i, struct causes *causes)
{
    const json_t *item = json_array_get(list, i);
    const char *name = jsonx_str_or(item, "restoreName", "");
    char at[128];

    (void)snprintf(at, sizeof at, "spec.volumeRestoreOverrides[%zu].labels", i);
    rules_check_labels(json_object_get(item, "labels"), at, causes);
    (void)snprintf(at, sizeof at,
                   "spec.volumeRestoreOverrides[%zu].annotations", i);
    rules_check_keys(json_object_get(item, "annotations"), NULL, at, causes);
    (void)snprintf(at, sizeof at,
                   "spec.volumeRestoreOverrides[%zu].restoreName", i);
    if (*name != 0 && !rules_is_object_name(name))
        causes_add(causes, "FieldValueInvalid", at,
                   "Invalid value: \"%.80s\": a lowercase RFC 1123 subdomain "
                   "must consist of at most 253 lower case alphanumeric "
                   "characters, '-' or '.'",
                   name);
    for (size_t k = 0; *name != 0 && k < i; k++)
        if (strcmp(jsonx_str_or(json_array_get(list, k), "restoreName", ""),
                   name) == 0)
            causes_add(causes, "FieldValueDuplicate", at,
                       "Duplicate value: \"%.80s\"", name);
}

static void
check_overrides(const json_t *spec, struct causes *causes)
{
    const json_t *list = json_object_get(spec, "volumeRestoreOverrides");
    char at[128];

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);

        if (*jsonx_str_or(item, "volumeName", "") == 0) {
            (void)snprintf(at, sizeof at,
                           "spec.volumeRestoreOverrides[%zu].volumeName", i);
            causes_add(causes, "FieldValueRequired", at,
                       "must provide a volume name");
        }
        if (is_override_empty(item)) {
            (void)snprintf(at, sizeof at, "spec.volumeRestoreOverrides[%zu]",
                           i);
            causes_add(causes, "FieldValueRequired", at,
                       "must provide at least one overriden field");
        }
        check_override(list, i, causes);
    }
}

static bool
is_one_of(const char *s, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(s, names[i]) == 0)
            return true;
    }
    return false;
}

static void
check_policies(const json_t *spec, struct causes *causes)
{
    static const char *const volume[] = { "RandomizeNames", "InPlace",
                                          "PrefixTargetName", NULL };
    static const char *const ownership[] = { "Vm", "None", NULL };
    const char *p = jsonx_str(spec, "volumeRestorePolicy");

    if (p != NULL && !is_one_of(p, volume))
        causes_add(
            causes, "FieldValueInvalid", "spec.volumeRestorePolicy",
            "volume restore policy \"%.60s\" doesn't exist: want InPlace, RandomizeNames or PrefixTargetName",
            p);
    p = jsonx_str(spec, "volumeOwnershipPolicy");
    if (p != NULL && !is_one_of(p, ownership))
        causes_add(
            causes, "FieldValueInvalid", "spec.volumeOwnershipPolicy",
            "volume ownership policy \"%.60s\" doesn't exist: want Vm or None",
            p);
}

static void
check_in_progress(const struct kind_request *rq, struct causes *causes)
{
    const json_t *target = jsonx_get(rq->object, "spec.target");
    CLEANUP(json_decref)
    json_t *list =
        rq->lookup->list(rq->lookup->arg, &kind_vmrestore.gvr, rq->ns);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *other = json_array_get(list, i);

        if (!jsonx_equal(jsonx_get(other, "spec.target"), target) ||
            jsonx_bool(other, "status.complete") || has_failed(other))
            continue;
        causes_add(causes, "FieldValueInvalid", "spec.target",
                   "VirtualMachineRestore \"%s\" in progress",
                   jsonx_str_or(other, "metadata.name", "?"));
        return;
    }
}

static bool
has_tpm(const json_t *vm)
{
    return jsonx_bool(vm, "spec.template.spec.domain.devices.tpm.persistent");
}

/* What a new VM gets of a TPM: "Copy", "New"; NULL: not said. */
static const char *
tpm_note(const json_t *restore)
{
    return json_string_value(json_object_get(
        jsonx_get(restore, "metadata.annotations"), KIND_NOTE_TPM));
}

static void
check_tpm_note(const json_t *restore, struct causes *causes)
{
    const char *note = tpm_note(restore);

    if (note != NULL && strcmp(note, "Copy") != 0 && strcmp(note, "New") != 0)
        causes_add(causes, "FieldValueNotSupported",
                   "metadata.annotations[" KIND_NOTE_TPM "]",
                   "Unsupported value: \"%s\": supported values: \"Copy\", "
                   "\"New\"",
                   note);
}

/* The rules for a target that is not the VM that was snapshotted. */
static int
check_other_target(const struct kind_request *rq, const json_t *snapshot,
                   struct causes *causes, struct err *err)
{
    const char *name = jsonx_str_or(rq->object, "spec.target.name", "");
    const char *content_name =
        jsonx_str(snapshot, "status.virtualMachineSnapshotContentName");
    CLEANUP(json_decref)
    json_t *vm = rq->lookup->get(rq->lookup->arg, &kind_vm.gvr, rq->ns, name);

    if (vm != NULL &&
        strcmp(jsonx_str_or(vm, "metadata.uid", ""),
               jsonx_str_or(snapshot, "status.sourceUID", "-")) == 0)
        return 0;
    if (content_name == NULL)
        return err_set(err, ERR_INVALID,
                       "snapshot content name is nil in vmSnapshot status");
    CLEANUP(json_decref)
    json_t *content = rq->lookup->get(
        rq->lookup->arg, &kind_vmsnapshotcontent.gvr, rq->ns, content_name);

    if (content == NULL)
        return err_set(err, ERR_INVALID,
                       "VirtualMachineSnapshotContent %s does not exist",
                       content_name);
    const json_t *source = jsonx_get(content, "spec.source.virtualMachine");

    if (source == NULL)
        return err_set(err, ERR_INVALID, "unexpected snapshot source");
    bool is_return =
        vm == NULL &&
        strcmp(jsonx_str_or(source, "metadata.name", ""), name) == 0;

    if (has_tpm(source) && !is_return && tpm_note(rq->object) == NULL)
        causes_add(causes, "FieldValueInvalid", "spec",
                   "Restore to a different VM is not supported when "
                   "snapshotted VM has backend storage (persistent TPM or "
                   "EFI): the annotation " KIND_NOTE_TPM
                   " says whether the new VM gets a \"Copy\" of the TPM's "
                   "state or a \"New\" TPM");
    return 0;
}

static int
check_snapshot(const struct kind_request *rq, struct causes *causes,
               struct err *err)
{
    const char *name =
        jsonx_str_or(rq->object, "spec.virtualMachineSnapshotName", "");
    CLEANUP(json_decref)
    json_t *snapshot =
        rq->lookup->get(rq->lookup->arg, &kind_vmsnapshot.gvr, rq->ns, name);

    if (*name == 0)
        causes_add(causes, "FieldValueRequired",
                   "spec.virtualMachineSnapshotName", "Required value");
    if (snapshot == NULL)
        return 0;
    return check_other_target(rq, snapshot, causes, err);
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    const json_t *spec = json_object_get(rq->object, "spec");

    if (rq->op == KIND_UPDATE)
        rules_check_spec_unchanged(rq, causes);
    if (rq->op != KIND_CREATE)
        return 0;
    rules_check_vm_ref(json_object_get(spec, "target"), "spec.target", causes);
    check_target_name(spec, causes);
    check_patches(spec, causes);
    check_overrides(spec, causes);
    check_policies(spec, causes);
    check_tpm_note(rq->object, causes);
    if (causes->n > 0)
        return 0; /* what cannot be read is not looked up */
    if (check_snapshot(rq, causes, err) < 0)
        return -1;
    check_in_progress(rq, causes);
    return 0;
}

const struct kind kind_vmrestore = {
    .gvr = { "snapshot.kubevirt.io", "v1beta1", "virtualmachinerestores",
             "VirtualMachineRestore", true, true, true },
    .versions = versions,
    .singular = "virtualmachinerestore",
    .short_names = short_names,
    .categories = rules_in_all,
    .verbs = rules_verbs,
    .columns = columns,
    .cell = cell,
    .set_defaults = set_defaults,
    .validate = validate,
    .schema_json = schema_virtualmachinerestore,
};
