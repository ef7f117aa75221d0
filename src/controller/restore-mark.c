/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-mark.c: what objects say about a restore that is done.
 *
 * All of it may be repeated: marks are set, never counted. What users wrote
 * beside them stays.
 */
#include "controller/restore-mark.h"

#include <string.h>

#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/restore-define.h"

static void
merge_text(json_t *object, const char *path, const json_t *from)
{
    const char *key;
    json_t *v;
    json_t *to = jsonx_get(object, path);

    if (to == NULL && json_object_size(from) > 0) {
        to = json_object();
        jsonx_set(object, path, to);
    }
    json_object_foreach((json_t *)(uintptr_t)from, key, v)
    {
        if (json_is_string(v))
            (void)json_object_set(to, key, v);
    }
}

struct vm_mark {
    const struct restore_mark *m;
    const json_t *manifest; /* of a new VM; NULL: in place */
};

static int
put_vm_mark(void *arg, json_t *vm, struct err *err)
{
    const struct vm_mark *mark = arg;
    const struct restore_mark *m = mark->m;
    const char *strategy = jsonx_str(mark->manifest, "spec.runStrategy");

    (void)err;
    if (jsonx_get(vm, "metadata.annotations") == NULL)
        jsonx_set(vm, "metadata.annotations", json_object());
    if (mark->manifest != NULL && !m->is_bare) {
        jsonx_set_str(vm, "spec.runStrategy",
                      strategy == NULL ? "Halted" : strategy);
        merge_text(vm, "metadata.labels",
                   jsonx_get(mark->manifest, "metadata.labels"));
        merge_text(vm, "metadata.annotations",
                   jsonx_get(mark->manifest, "metadata.annotations"));
    }
    (void)json_object_set_new(jsonx_get(vm, "metadata.annotations"), m->note,
                              json_string(m->last));
    return 0;
}

struct claim_mark {
    const struct restore_mark *m;
    const json_t *override; /* of the volume; may be NULL */
};

static int
put_claim_mark(void *arg, json_t *claim, struct err *err)
{
    const struct claim_mark *mark = arg;
    const struct restore_mark *m = mark->m;
    json_t *labels =
        json_pack("{s:s, s:s}", "restore.kubevirt.io/source-vm-name",
                  jsonx_str_or(m->source_vm, "metadata.name", ""),
                  "restore.kubevirt.io/source-vm-namespace", m->ns);
    json_t *notes = json_pack(
        "{s:s, s:s}", m->name_note,
        jsonx_str_or(m->restore_json, "metadata.name", ""), m->note, m->last);

    (void)err;
    merge_text(claim, "metadata.labels", labels);
    merge_text(claim, "metadata.annotations", notes);
    merge_text(claim, "metadata.labels",
               json_object_get(mark->override, "labels"));
    merge_text(claim, "metadata.annotations",
               json_object_get(mark->override, "annotations"));
    json_decref(labels);
    json_decref(notes);
    return 0;
}

static const json_t *
override_of(const json_t *restore, const char *volume)
{
    return jsonx_find(jsonx_get(restore, "spec.volumeRestoreOverrides"),
                      "volumeName", volume);
}

int
restore_mark_claims(const struct restore_mark *m, struct err *err)
{
    const json_t *disks = m->disks;
    int rc = 0;

    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *disk = json_array_get(disks, i);
        const char *volume = jsonx_str_or(disk, "volume", "");
        const char *claim = jsonx_str_or(disk, "claim", "");
        struct obj_ref ref = objutil_ref(&kind_pvc, m->ns, claim);
        struct obj_write how = { .part = OBJ_MAIN };
        struct claim_mark mark = { m, override_of(m->restore_json, volume) };
        CLEANUP(object_unref) struct object *o = NULL;

        if (project_set_claim(m->ctl, m->ns, m->vm_name, volume, claim, err) <
            0)
            return -1;
        if (obj_update(m->ctl->store, &ref, &how, put_claim_mark, &mark, &o,
                       NULL, err) == 0)
            continue;
        if (err->code != ERR_NOT_FOUND)
            return -1;
        rc = 1;
    }
    return rc;
}

int
restore_mark_vm(const struct restore_mark *m, struct err *err)
{
    struct obj_ref ref = objutil_ref(&kind_vm, m->ns, m->vm_name);
    struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(object_unref) struct object *vm = NULL;
    CLEANUP(json_decref) json_t *manifest = NULL;
    struct vm_mark mark = { .m = m };

    if (m->is_new) {
        manifest = restore_define_manifest(m->restore_json, m->source_vm, err);
        if (manifest == NULL)
            return -1;
        mark.manifest = manifest;
    }
    return obj_update(m->ctl->store, &ref, &how, put_vm_mark, &mark, &vm, NULL,
                      err);
}

static int
set_owner(void *arg, json_t *restore, struct err *err)
{
    const struct object *vm = arg;
    json_t *list = jsonx_get(restore, "metadata.ownerReferences");

    (void)err;
    if (jsonx_find(list, "uid", object_uid(vm)) != NULL)
        return 1;
    if (list == NULL) {
        list = json_array();
        jsonx_set(restore, "metadata.ownerReferences", list);
    }
    (void)json_array_append_new(
        list, json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "apiVersion",
                        "kubevirt.io/v1", "kind", "VirtualMachine", "name",
                        object_name(vm), "uid", object_uid(vm), "controller", 1,
                        "blockOwnerDeletion", 1));
    return 0;
}

int
restore_mark_owner(struct ctl *ctl, struct object **restore, struct object *vm,
                   struct err *err)
{
    struct obj_ref ref = { object_gvr(*restore), object_ns(*restore),
                           object_name(*restore) };
    struct obj_write how = { .part = OBJ_MAIN, .uid = object_uid(*restore) };
    struct object *now = NULL;

    if (obj_update(ctl->store, &ref, &how, set_owner, vm, &now, NULL, err) < 0)
        return -1;
    object_unref(*restore);
    *restore = now;
    return 0;
}
