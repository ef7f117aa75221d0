/* SPDX-License-Identifier: Apache-2.0 */
/* Node: a host that runs vmkeepd, projected: what `status.nodeName` of a
 * virtual machine names.
 * source  DESIGN 4
 */
#include <string.h>

#include "base/mem.h"
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1", NULL };
static const char *const short_names[] = { "no", NULL };
static const struct kind_column columns[] = {
    { "Status", "string", NULL, "Ready: it is connected to libvirt.", 0 },
    { "Roles", "string", NULL, "What it is for.", 0 },
    { "Age", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { "Version", "string", ".status.nodeInfo.kubeletVersion", "Of vmkeepd.",
      0 },
    { "OS-Image", "string", ".status.nodeInfo.osImage", "Its distribution.",
      1 },
    { "Kernel-Version", "string", ".status.nodeInfo.kernelVersion",
      "Its kernel.", 1 },
    { NULL },
};

static char *
cell(const struct kind_column *col, const json_t *object)
{
    if (strcmp(col->name, "Roles") == 0)
        return xstrdup("hypervisor");
    return xstrdup(rules_condition_is(object, "Ready", "True") ? "Ready"
                                                               : "NotReady");
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    if (rq->op == KIND_CREATE)
        return err_set(err, ERR_UNSUPPORTED,
                       "nodes are the hosts that run vmkeepd, and appear here "
                       "by themselves");
    if (rq->op == KIND_DELETE)
        return err_set(err, ERR_DENIED,
                       "nodes \"%s\" is forbidden: it is the host that this "
                       "vmkeepd runs on",
                       jsonx_str_or(rq->old, "metadata.name", "?"));
    if (rq->op == KIND_UPDATE)
        rules_check_spec_unchanged(rq, causes);
    return 0;
}

const struct kind kind_node = {
    .gvr = { "", "v1", "nodes", "Node", false, true, false },
    .versions = versions,
    .singular = "node",
    .short_names = short_names,
    .verbs = rules_projected_verbs,
    .is_projected = true,
    .columns = columns,
    .cell = cell,
    .validate = validate,
    .schema_json = schema_node,
};
