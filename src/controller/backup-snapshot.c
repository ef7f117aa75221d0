/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-snapshot.c
 *
 * The snapshot is owned by the backup, and deleted with it; a snapshot of that
 * name that somebody else made is left alone, and is an error.
 */
#include "controller/backup-snapshot.h"

#include <string.h>

#include "base/mem.h"
#include "controller/backup-status.h"
#include "controller/capture.h"
#include "controller/objutil.h"

#define GONE_MS 1000

struct mirror {
    struct ctl *ctl;
    struct object **object;
    json_t *json; /* of the backup */
    struct object *snapshot, *content;
};

static void
mirror_fini_p(struct mirror *m)
{
    json_decref(m->json);
    object_unref(m->snapshot);
    object_unref(m->content);
}

static bool
is_owned(const struct mirror *m)
{
    const char *uid;

    for (size_t i = 0; (uid = object_owner(m->snapshot, i)) != NULL; i++)
        if (strcmp(uid, object_uid(*m->object)) == 0)
            return true;
    return false;
}

static int
see(struct mirror *m, struct err *err)
{
    const char *ns = object_ns(*m->object);

    m->json = object_json(*m->object);
    if (objutil_find(m->ctl, &kind_vmsnapshot, ns, object_name(*m->object),
                     &m->snapshot, err) < 0)
        return -1;
    if (m->snapshot == NULL)
        return 0;

    CLEANUP(mem_free)
    char *content = capture_content_name(object_uid(m->snapshot));

    return objutil_find(m->ctl, &kind_vmsnapshotcontent, ns, content,
                        &m->content, err);
}

static int
create(struct mirror *m, struct err *err)
{
    CLEANUP(object_unref) struct object *made = NULL;
    struct obj_write how = { .part = OBJ_MAIN };
    json_t *notes = jsonx_get(m->json, "metadata.annotations");
    CLEANUP(json_decref)
    json_t *o = json_pack(
        "{s:s, s:s, s:{s:s, s:s, s:[{s:s, s:s, s:s, s:s, s:b}]}, s:{s:{s:s, s:s, s:s}}}",
        "apiVersion", "snapshot.kubevirt.io/v1beta1", "kind",
        "VirtualMachineSnapshot", "metadata", "name", object_name(*m->object),
        "namespace", object_ns(*m->object), "ownerReferences", "apiVersion",
        "harvesterhci.io/v1beta1", "kind", "VirtualMachineBackup", "name",
        object_name(*m->object), "uid", object_uid(*m->object), "controller", 1,
        "spec", "source", "apiGroup", "kubevirt.io", "kind", "VirtualMachine",
        "name", jsonx_str_or(m->json, "spec.source.name", ""));

    if (json_object_get(notes, CAPTURE_EXCLUDE_ANNOTATION) != NULL)
        jsonx_set(
            o, "metadata.annotations",
            json_pack("{s:O}", CAPTURE_EXCLUDE_ANNOTATION,
                      json_object_get(notes, CAPTURE_EXCLUDE_ANNOTATION)));
    if (obj_create(m->ctl->store, &kind_vmsnapshot.gvr, object_ns(*m->object),
                   o, &how, &made, err) < 0)
        return err->code == ERR_EXISTS ? 0 : -1;
    return 0;
}

/* volumeBackups and source, from the content. */
static void
tell_content(const struct mirror *m, json_t *object)
{
    CLEANUP(json_decref) json_t *content = object_json(m->content);
    const json_t *list = jsonx_get(content, "spec.volumeBackups");
    const json_t *vm = jsonx_get(content, "spec.source.virtualMachine");
    json_t *volumes = json_array();

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);

        (void)json_array_append_new(
            volumes,
            json_pack("{s:O, s:O, s:s, s:O, s:b, s:i}", "name",
                      json_object_get(v, "volumeSnapshotName"), "volumeName",
                      json_object_get(v, "volumeName"), "csiDriverName",
                      "snapshot.vmkeep.io", "persistentVolumeClaim",
                      json_object_get(v, "persistentVolumeClaim"), "readyToUse",
                      jsonx_bool(content, "status.readyToUse"), "progress",
                      100));
    }
    jsonx_set(object, "status.volumeBackups", volumes);
    jsonx_set(object, "status.source",
              json_pack("{s:O, s:O}", "metadata",
                        json_object_get(vm, "metadata"), "spec",
                        json_object_get(vm, "spec")));
    jsonx_set_str(object, "status.sourceUID", jsonx_str(vm, "metadata.uid"));
    jsonx_set_str(object, "status.vmkeep.cutTime",
                  jsonx_str(content, "spec.vmkeep.cut.time"));
}

static void
tell(const struct mirror *m, json_t *object)
{
    CLEANUP(json_decref) json_t *snapshot = object_json(m->snapshot);
    const char *phase = jsonx_str_or(snapshot, "status.phase", "");
    const char *message = jsonx_str(snapshot, "status.error.message");
    bool was_done =
        strcmp(jsonx_str_or(object, "status.vmkeep.phase", ""), "Ready") == 0;

    if (jsonx_get(object, "status.conditions") == NULL)
        backup_status_begin(object);
    jsonx_set_str(object, "status.vmkeep.snapshotName",
                  object_name(m->snapshot));
    if (m->content != NULL)
        tell_content(m, object);
    if (strcmp(phase, "Failed") == 0) {
        jsonx_set_str(object, "status.vmkeep.phase", "Failed");
        backup_status_failed(object,
                             message == NULL ? "snapshot failed" : message);
        return;
    }
    if (jsonx_bool(snapshot, "status.readyToUse")) {
        backup_status_kept(object, jsonx_str(snapshot, "status.creationTime"));
        jsonx_set_str(object, "status.vmkeep.phase", "Ready");
        return;
    }
    backup_status_error(object, message);
    if (was_done)
        backup_status_lost(object, "SnapshotNotReady",
                           message == NULL ? "Change back to non-ready"
                                           : message);
    else
        jsonx_set_str(object, "status.vmkeep.phase", "Cutting");
}

static int
write_status(struct mirror *m, json_t *object, struct err *err)
{
    return objutil_set_status(m->ctl, m->object,
                              json_object_get(object, "status"), err);
}

static int
mirror(struct mirror *m, int64_t *ret_again_ms, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_deep_copy(m->json);

    *ret_again_ms = QUEUE_DONE;
    if (is_owned(m)) {
        tell(m, object);
    } else {
        backup_status_begin(object);
        jsonx_set_str(object, "status.vmkeep.phase", "Failed");
        backup_status_failed(
            object,
            "there is a VirtualMachineSnapshot of this name already, made by somebody else");
    }
    return write_status(m, object, err) < 0 ? -1 : 1;
}

/* The snapshot is gone and was not to go: not ready any more. */
static int
lost(struct mirror *m, int64_t *ret_again_ms, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_deep_copy(m->json);

    *ret_again_ms = QUEUE_DONE;
    backup_status_lost(object, "SnapshotGone",
                       "its VirtualMachineSnapshot was deleted");
    return write_status(m, object, err) < 0 ? -1 : 1;
}

static int delete (struct mirror *m, int64_t *ret_again_ms, struct err *err)
{
    struct obj_ref at = objutil_ref(&kind_vmsnapshot, object_ns(*m->object),
                                    object_name(*m->object));
    struct obj_write how = { .part = OBJ_MAIN };

    *ret_again_ms = QUEUE_DONE;
    if (!objutil_has_finalizer(m->json, BACKUP_STATUS_FINALIZER))
        return 1;
    if (m->snapshot == NULL || !is_owned(m))
        return objutil_finalizer(m->ctl, m->object, BACKUP_STATUS_FINALIZER,
                                 false, err) < 0
                   ? -1
                   : 1;
    how.uid = object_uid(m->snapshot);
    *ret_again_ms = GONE_MS;
    if (!object_is_deleting(m->snapshot) &&
        obj_delete(m->ctl->store, &at, &how, NULL, NULL, err) < 0 &&
        err->code != ERR_NOT_FOUND)
        return -1;
    return 1;
}

int
backup_snapshot_step(struct ctl *ctl, struct object **object,
                     int64_t *ret_again_ms, struct err *err)
{
    CLEANUP(mirror_fini) struct mirror m = { .ctl = ctl, .object = object };

    if (see(&m, err) < 0)
        return -1;
    if (object_is_deleting(*object))
        return delete (&m, ret_again_ms, err);
    if (!objutil_has_finalizer(m.json, BACKUP_STATUS_FINALIZER))
        return objutil_finalizer(ctl, object, BACKUP_STATUS_FINALIZER, true,
                                 err);
    if (m.snapshot != NULL)
        return mirror(&m, ret_again_ms, err);
    if (jsonx_str(m.json, "status.vmkeep.snapshotName") != NULL)
        return lost(&m, ret_again_ms, err);
    return create(&m, err);
}
