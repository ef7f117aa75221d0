/* SPDX-License-Identifier: Apache-2.0 */
/* VirtualMachineInstance: exists while the domain is active, projected.
 * source  spec kubevirt 1.5
 */
#include <string.h>

#include "base/mem.h"
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1", NULL };
static const char *const short_names[] = { "vmi", "vmis", NULL };
static const struct kind_column columns[] = {
    { "Age", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { "Phase", "string", ".status.phase", "Running ...", 0 },
    { "IP", "string", ".status.interfaces.0.ipAddress", "Its first address.",
      0 },
    { "NodeName", "string", ".status.nodeName", "The host that has it.", 0 },
    { "Ready", "string", NULL, "It runs.", 0 },
    { "Paused", "string", NULL, "Its processors stand still.", 1 },
    { NULL },
};

static char *
cell(const struct kind_column *col, const json_t *object)
{
    const json_t *c = rules_condition(object, col->name);

    return c == NULL ? NULL : xstrdup(jsonx_str_or(c, "status", ""));
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    switch (rq->op) {
    case KIND_CREATE:
        return err_set(err, ERR_UNSUPPORTED,
                       "an instance is there while its virtual machine runs: "
                       "start the virtual machine, with: virsh start DOMAIN");
    case KIND_DELETE: {
        CLEANUP(mem_free) char *domain = rules_domain_of(rq->old);

        return err_set(err, ERR_DENIED,
                       "virtualmachineinstances.kubevirt.io \"%s\" is "
                       "forbidden: it goes when its virtual machine stops; "
                       "stop that, with: virsh shutdown %s",
                       jsonx_str_or(rq->old, "metadata.name", "?"), domain);
    }
    case KIND_UPDATE:
        rules_check_projected(rq, causes);
        return 0;
    case KIND_UPDATE_STATUS:
    default:
        return 0;
    }
}

const struct kind kind_vmi = {
    .gvr = { "kubevirt.io", "v1", "virtualmachineinstances",
             "VirtualMachineInstance", true, true, true },
    .versions = versions,
    .singular = "virtualmachineinstance",
    .short_names = short_names,
    .categories = rules_in_all,
    .verbs = rules_projected_verbs,
    .is_projected = true,
    .columns = columns,
    .cell = cell,
    .validate = validate,
    .schema_json = schema_virtualmachineinstance,
};
