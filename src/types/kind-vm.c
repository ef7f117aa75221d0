/* SPDX-License-Identifier: Apache-2.0 */
/* VirtualMachine: a libvirt domain, projected. Labels, annotations,
 * finalizers, owners and spec.runStrategy can be written; the rest is
 * libvirt's. While a snapshot or a restore holds the VM, its disks and its
 * running state cannot be changed.
 * source  DESIGN 4, "VM and domain"; spec kubevirt 2.3, 3.6, 4.4
 */
#include <string.h>

#include "base/mem.h"
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1", NULL };
static const char *const short_names[] = { "vm", "vms", NULL };
static const struct kind_column columns[] = {
    { "Age", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { "Status", "string", ".status.printableStatus",
      "Running, Stopped, Paused ...", 0 },
    { "Ready", "string", NULL, "It runs.", 0 },
    { "RunStrategy", "string", ".spec.runStrategy", "Whether it is to run.",
      1 },
    { "Node", "string", ".status.nodeName", "The host that has it.", 1 },
    { NULL },
};

static char *
cell(const struct kind_column *col, const json_t *object)
{
    const json_t *ready = rules_condition(object, "Ready");

    if (ready != NULL)
        return xstrdup(jsonx_str_or(ready, "status", ""));
    return xstrdup(jsonx_bool(object, "status.ready") ? "True" : "False");
}

static bool
has_changed(const struct kind_request *rq, const char *path)
{
    return !jsonx_equal(jsonx_get(rq->object, path), jsonx_get(rq->old, path));
}

static bool
are_disks_changed(const struct kind_request *rq)
{
    return has_changed(rq, "spec.template.spec.volumes") ||
           has_changed(rq, "spec.template.spec.domain.devices.disks");
}

static bool
is_running_state_changed(const struct kind_request *rq)
{
    return has_changed(rq, "spec.runStrategy") ||
           has_changed(rq, "spec.running");
}

static void
check_guards(const struct kind_request *rq, struct causes *causes)
{
    const char *snapshot = jsonx_str(rq->old, "status.snapshotInProgress");
    const char *restore = jsonx_str(rq->old, "status.restoreInProgress");

    if (snapshot != NULL && *snapshot != 0) {
        if (are_disks_changed(rq))
            causes_add(causes, "FieldValueNotSupported", "spec",
                       "Cannot update vm disks or volumes until snapshot "
                       "\"%s\" completes",
                       snapshot);
        if (is_running_state_changed(rq))
            causes_add(causes, "FieldValueNotSupported", "spec",
                       "Cannot update vm running state until snapshot \"%s\" "
                       "completes",
                       snapshot);
    }
    if (restore != NULL && *restore != 0 && is_running_state_changed(rq))
        causes_add(causes, "FieldValueNotSupported", "spec",
                   "Cannot update VM runStrategy until restore \"%s\" "
                   "completes",
                   restore);
}

static void
check_update(const struct kind_request *rq, struct causes *causes)
{
    size_t before = causes->n;

    check_guards(rq, causes);
    if (causes->n > before)
        return;
    if (jsonx_get(rq->object, "spec.running") != NULL &&
        jsonx_get(rq->object, "spec.runStrategy") != NULL) {
        causes_add(causes, "FieldValueInvalid", "spec.running",
                   "Running and RunStrategy are mutually exclusive. Note that "
                   "Running is deprecated, please use RunStrategy instead.");
        return;
    }
    rules_check_projected(rq, causes);
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    switch (rq->op) {
    case KIND_CREATE:
        return err_set(err, ERR_UNSUPPORTED,
                       "virtual machines are libvirt's domains and appear "
                       "here by themselves: define one with \"virsh define "
                       "FILE\" or virt-install, or make one of a snapshot with "
                       "a VirtualMachineRestore");
    case KIND_DELETE: {
        CLEANUP(mem_free) char *domain = rules_domain_of(rq->old);

        return err_set(err, ERR_DENIED,
                       "virtualmachines.kubevirt.io \"%s\" is forbidden: it is "
                       "a libvirt domain; remove it there, with: virsh "
                       "undefine %s (its snapshots are kept)",
                       jsonx_str_or(rq->old, "metadata.name", "?"), domain);
    }
    case KIND_UPDATE:
        check_update(rq, causes);
        return 0;
    case KIND_UPDATE_STATUS:
    default:
        return 0;
    }
}

const struct kind kind_vm = {
    .gvr = { "kubevirt.io", "v1", "virtualmachines", "VirtualMachine", true,
             true, true },
    .versions = versions,
    .singular = "virtualmachine",
    .short_names = short_names,
    .categories = rules_in_all,
    .verbs = rules_projected_verbs,
    .is_projected = true,
    .columns = columns,
    .cell = cell,
    .validate = validate,
    .schema_json = schema_virtualmachine,
};
