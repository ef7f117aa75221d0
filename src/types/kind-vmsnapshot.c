/* SPDX-License-Identifier: Apache-2.0 */
/* VirtualMachineSnapshot. The source may not exist yet: the controller waits
 * for it until the deadline.
 * source  spec kubevirt 1.1, 4.1
 */
#include <string.h>

#include "base/clock.h"
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1beta1", "v1alpha1", NULL };
static const char *const short_names[] = { "vmsnapshot", "vmsnapshots", NULL };
static const struct kind_column columns[] = {
    { "SourceKind", "string", ".spec.source.kind", "VirtualMachine.", 0 },
    { "SourceName", "string", ".spec.source.name", "Of what it is.", 0 },
    { "Phase", "string", ".status.phase", "InProgress, Succeeded, Failed ...",
      0 },
    { "ReadyToUse", "boolean", ".status.readyToUse", "It can be restored.", 0 },
    { "CreationTime", "date", ".status.creationTime",
      "The instant whose data was kept.", 0 },
    { "Error", "string", ".status.error.message", "What went wrong.", 0 },
    { NULL },
};

static void
check_deadline(const json_t *object, struct causes *causes)
{
    const char *text = jsonx_str(object, "spec.failureDeadline");
    struct err err;
    int64_t ms;

    if (text == NULL || clock_parse_duration(text, &ms, &err) == 0)
        return;
    causes_add(causes, "FieldValueInvalid", "spec.failureDeadline",
               "Invalid value: \"%.40s\": want a number with a unit, as 30s, "
               "5m or 1h30m; 0 for no deadline",
               text);
}

/* Anything but Delete keeps the data for ever: a slip must not. */
static void
check_policy(const json_t *object, struct causes *causes)
{
    const char *policy = jsonx_str_or(object, "spec.deletionPolicy", "");

    if (policy[0] != 0 && strcmp(policy, "Delete") != 0 &&
        strcmp(policy, "Retain") != 0)
        causes_add(causes, "FieldValueNotSupported", "spec.deletionPolicy",
                   "Unsupported value: \"%.40s\": supported values: "
                   "\"Delete\", \"Retain\"",
                   policy);
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    if (rq->op == KIND_UPDATE)
        rules_check_spec_unchanged(rq, causes);
    if (rq->op != KIND_CREATE)
        return 0;
    rules_check_vm_ref(jsonx_get(rq->object, "spec.source"), "spec.source",
                       causes);
    check_deadline(rq->object, causes);
    check_policy(rq->object, causes);
    return 0;
}

const struct kind kind_vmsnapshot = {
    .gvr = { "snapshot.kubevirt.io", "v1beta1", "virtualmachinesnapshots",
             "VirtualMachineSnapshot", true, true, true },
    .versions = versions,
    .singular = "virtualmachinesnapshot",
    .short_names = short_names,
    .categories = rules_in_all,
    .verbs = rules_verbs,
    .columns = columns,
    .validate = validate,
    .schema_json = schema_virtualmachinesnapshot,
};
