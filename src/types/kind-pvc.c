/* SPDX-License-Identifier: Apache-2.0 */
/* PersistentVolumeClaim: a disk file, projected. One that is attached to a
 * domain can not be deleted; a detached one that vmkeep owns can, and its file
 * goes with it. Such a claim carries the label vmkeep.io/detached=true.
 * source  DESIGN 4, "Disks"
 */
#include <string.h>

#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1", NULL };
static const char *const short_names[] = { "pvc", NULL };
static const char *const verbs[] = { "delete", "get",   "list", "patch",
                                     "update", "watch", NULL };
static const struct kind_column columns[] = {
    { "Status", "string", ".status.phase", "Bound, Pending or Lost.", 0 },
    { "Volume", "string", ".spec.volumeName", "The disk.", 0 },
    { "Capacity", "string", ".status.capacity.storage", "Virtual size.", 0 },
    { "Access Modes", "string", NULL, "Who may use it.", 0 },
    { "StorageClass", "string", ".spec.storageClassName",
      "Snapshot driver and pool.", 0 },
    { "Age", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { "VolumeMode", "string", ".spec.volumeMode", "File or block device.", 1 },
    { NULL },
};

static char *
cell(const struct kind_column *col, const json_t *object)
{
    static const struct {
        const char *mode, *text;
    } names[] = { { "ReadWriteOnce", "RWO" },
                  { "ReadOnlyMany", "ROX" },
                  { "ReadWriteMany", "RWX" },
                  { "ReadWriteOncePod", "RWOP" } };
    const json_t *modes = jsonx_get(object, "spec.accessModes");
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < json_array_size(modes); i++) {
        const char *mode = json_string_value(json_array_get(modes, i));

        for (size_t k = 0; mode != NULL && k < ARRAY_SIZE(names); k++) {
            if (strcmp(mode, names[k].mode) == 0)
                buf_printf(&out, "%s%s", out.len == 0 ? "" : ",",
                           names[k].text);
        }
    }
    return buf_take_str(&out);
}

static int
refuse_delete(const json_t *claim, struct err *err)
{
    const json_t *labels = jsonx_get(claim, "metadata.labels");
    const char *detached =
        json_string_value(json_object_get(labels, "vmkeep.io/detached"));
    const json_t *notes = jsonx_get(claim, "metadata.annotations");
    const char *path =
        json_string_value(json_object_get(notes, "vmkeep.io/path"));

    if (detached != NULL && strcmp(detached, "true") == 0)
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "persistentvolumeclaims \"%s\" is a disk that a virtual "
                   "machine uses%s%s: detach it there first (virsh "
                   "detach-disk)",
                   jsonx_str_or(claim, "metadata.name", "?"),
                   path == NULL ? "" : ", the file ", path == NULL ? "" : path);
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    if (rq->op == KIND_CREATE)
        return err_set(err, ERR_UNSUPPORTED,
                       "persistentvolumeclaims are the disk files of virtual "
                       "machines and of restores; they cannot be created "
                       "here: make a disk with \"virsh vol-create-as\" and "
                       "attach it with \"virsh attach-disk\"");
    if (rq->op == KIND_DELETE)
        return refuse_delete(rq->old, err);
    if (rq->op == KIND_UPDATE &&
        !jsonx_equal(json_object_get(rq->object, "spec"),
                     json_object_get(rq->old, "spec")))
        causes_add(causes, "FieldValueForbidden", "spec",
                   "Forbidden: spec is immutable after creation");
    return 0;
}

const struct kind kind_pvc = {
    .gvr = { "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true,
             true, false },
    .versions = versions,
    .singular = "persistentvolumeclaim",
    .short_names = short_names,
    .verbs = verbs,
    .is_projected = true,
    .columns = columns,
    .cell = cell,
    .validate = validate,
    .schema_json = schema_persistentvolumeclaim,
};
