/* SPDX-License-Identifier: Apache-2.0 */
/* VirtualMachineSnapshotContent: what a snapshot keeps. Made by vmkeep; one
 * written by hand would name disks and XML that nobody kept, so creation is
 * refused. It may be deleted: the snapshot is then not ready any more.
 * source  spec kubevirt 1.2, 2.7, 4.2
 */
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1beta1", "v1alpha1", NULL };
static const char *const short_names[] = { "vmsnapshotcontent",
                                           "vmsnapshotcontents", NULL };
static const char *const verbs[] = { "delete", "deletecollection",
                                     "get",    "list",
                                     "patch",  "update",
                                     "watch",  NULL };
static const struct kind_column columns[] = {
    { "ReadyToUse", "boolean", ".status.readyToUse", "It can be restored.", 0 },
    { "CreationTime", "date", ".status.creationTime",
      "The instant whose data was kept.", 0 },
    { "Error", "string", ".status.error.message", "What went wrong.", 0 },
    { NULL },
};

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    if (rq->op == KIND_CREATE)
        return err_set(err, ERR_UNSUPPORTED,
                       "virtualmachinesnapshotcontents are made by vmkeep: "
                       "create a VirtualMachineSnapshot instead");
    if (rq->op == KIND_UPDATE)
        rules_check_spec_unchanged(rq, causes);
    return 0;
}

const struct kind kind_vmsnapshotcontent = {
    .gvr = { "snapshot.kubevirt.io", "v1beta1",
             "virtualmachinesnapshotcontents", "VirtualMachineSnapshotContent",
             true, true, true },
    .versions = versions,
    .singular = "virtualmachinesnapshotcontent",
    .short_names = short_names,
    .categories = rules_in_all,
    .verbs = verbs,
    .is_projected = true,
    .columns = columns,
    .validate = validate,
    .schema_json = schema_virtualmachinesnapshotcontent,
};
