/* SPDX-License-Identifier: Apache-2.0 */
/* StorageClass: how disks of it are snapshotted, projected: what
 * `spec.storageClassName` of a claim names.
 * source  DESIGN 4
 */
#include "base/mem.h"
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1", NULL };
static const char *const short_names[] = { "sc", NULL };
static const struct kind_column columns[] = {
    { "Provisioner", "string", ".provisioner", "Who makes its disks.", 0 },
    { "ReclaimPolicy", "string", ".reclaimPolicy",
      "What becomes of a disk whose claim is deleted.", 0 },
    { "VolumeBindingMode", "string", ".volumeBindingMode",
      "When a disk is made.", 0 },
    { "AllowVolumeExpansion", "boolean", ".allowVolumeExpansion",
      "A claim can be made larger.", 0 },
    { "Age", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { NULL },
};

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    static const char *const fixed[] = { "provisioner", "parameters",
                                         "reclaimPolicy", "volumeBindingMode",
                                         "allowVolumeExpansion" };

    if (rq->op == KIND_CREATE)
        return err_set(err, ERR_UNSUPPORTED,
                       "storageclasses are vmkeep's snapshot drivers, and "
                       "appear here by themselves");
    if (rq->op == KIND_DELETE)
        return err_set(err, ERR_DENIED,
                       "storageclasses \"%s\" is forbidden: it is a part of "
                       "vmkeep",
                       jsonx_str_or(rq->old, "metadata.name", "?"));
    for (size_t i = 0; rq->op == KIND_UPDATE && i < ARRAY_SIZE(fixed); i++)
        if (!jsonx_equal(json_object_get(rq->object, fixed[i]),
                         json_object_get(rq->old, fixed[i])))
            causes_add(causes, "FieldValueForbidden", fixed[i],
                       "Forbidden: updates to %s are forbidden.", fixed[i]);
    return 0;
}

const struct kind kind_storageclass = {
    .gvr = { "storage.k8s.io", "v1", "storageclasses", "StorageClass", false,
             false, false },
    .versions = versions,
    .singular = "storageclass",
    .short_names = short_names,
    .verbs = rules_projected_verbs,
    .is_projected = true,
    .columns = columns,
    .validate = validate,
    .schema_json = schema_storageclass,
};
