/* SPDX-License-Identifier: Apache-2.0 */
/* VirtualMachineAction: one thing to do to a virtual machine now. The API
 * makes one for each subresource request and answers when its status is final.
 * source  DESIGN 2, 4; spec kubevirt 5
 */
#include <string.h>

#include "base/clock.h"
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1alpha1", NULL };
static const char *const short_names[] = { "vmaction", "vmactions", NULL };
static const char *const categories[] = { "vmkeep", NULL };
static const struct kind_column columns[] = {
    { "VM", "string", ".spec.virtualMachineName", "To which.", 0 },
    { "Action", "string", ".spec.action", "What to do.", 0 },
    { "Phase", "string", ".status.phase", "Running, Succeeded, Failed.", 0 },
    { "Age", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { "Message", "string", ".status.message", "What went wrong.", 0 },
    { NULL },
};

static void
check_duration(const json_t *object, const char *path, struct causes *causes)
{
    const char *text = jsonx_str(object, path);
    struct err err;
    int64_t ms;

    if (text == NULL)
        return;
    if (clock_parse_duration(text, &ms, &err) < 0 || ms < 0)
        causes_add(causes, "FieldValueInvalid", path,
                   "Invalid value: \"%.40s\": want a duration, as 30s or 5m0s",
                   text);
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    if (rq->op == KIND_UPDATE)
        rules_check_spec_unchanged(rq, causes);
    if (rq->op != KIND_CREATE)
        return 0;
    if (*jsonx_str_or(rq->object, "spec.virtualMachineName", "") == 0)
        causes_add(causes, "FieldValueRequired", "spec.virtualMachineName",
                   "Required value");
    check_duration(rq->object, "spec.unfreezeTimeout", causes);
    check_duration(rq->object, "spec.deadline", causes);
    return 0;
}

const struct kind kind_action = {
    .gvr = { "vmkeep.io", "v1alpha1", "virtualmachineactions",
             "VirtualMachineAction", true, true, true },
    .versions = versions,
    .singular = "virtualmachineaction",
    .short_names = short_names,
    .categories = categories,
    .verbs = rules_verbs,
    .columns = columns,
    .validate = validate,
    .schema_json = schema_virtualmachineaction,
};
