/* SPDX-License-Identifier: Apache-2.0 */
/* controller/content.c: VirtualMachineSnapshotContent: is it there, and its
 * end.
 *
 * spec.vmkeep.cut says how the cut went (controller/capture.c); the status is
 * made from it and from a look at the layers, so a wiped status comes back.
 * Deleting drops the cut's references, which is durable at once; layers that
 * nobody needs any more are merged or removed right after, and what has to
 * wait (another child, a full disk) is left to controller/tidy.c: the
 * object does not wait for it.
 */
#include "controller/content.h"

#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/mem.h"
#include "controller/capture.h"
#include "controller/guestcut.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/recover.h"
#include "controller/tidy.h"
#include "controller/tracking.h"

#define LOOK_AGAIN_MS (5 * 60 * 1000)

static const char *
vm_uuid_of(const json_t *content)
{
    return jsonx_str(content, "spec.source.virtualMachine.metadata.uid");
}

/* The cut's name: the snapshot's UID, which the content's name carries. */
static const char *
cut_id_of(const char *content_name)
{
    static const char prefix[] = "vmsnapshot-content-";
    const char *id = content_name + sizeof prefix - 1;

    return strncmp(content_name, prefix, sizeof prefix - 1) == 0 &&
                   uuid_is_valid(id)
               ? id
               : NULL;
}

/* ---- status ---- */

/* Which of the volumes does the check's complaint name? All, if none. */
static bool
is_blamed(const json_t *list, size_t i, const char *complaint)
{
    bool is_any_named = false;

    for (size_t k = 0; k < json_array_size(list); k++) {
        const char *volume =
            jsonx_str_or(json_array_get(list, k), "volumeName", "?");
        char *word = xasprintf("disk %s:", volume);
        bool is_named = strstr(complaint, word) != NULL;

        free(word);
        if (is_named && k == i)
            return true;
        is_any_named = is_any_named || is_named;
    }
    return !is_any_named;
}

static json_t *
volume_statuses(const json_t *content, const char *complaint, struct buf *names)
{
    const json_t *list = jsonx_get(content, "spec.volumeBackups");
    json_t *statuses = json_array();

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name =
            jsonx_str_or(json_array_get(list, i), "volumeSnapshotName", "");
        bool is_bad = complaint != NULL && is_blamed(list, i, complaint);
        json_t *s = json_pack("{s:s, s:s, s:b}", "volumeSnapshotName", name,
                              "creationTime",
                              jsonx_str_or(content, "spec.vmkeep.cut.time", ""),
                              "readyToUse", !is_bad);

        if (is_bad) {
            (void)json_object_set_new(s, "error",
                                      json_pack("{s:s}", "message", complaint));
            buf_printf(names, "%s%s", names->len > 0 ? "," : "", name);
        }
        (void)json_array_append_new(statuses, s);
    }
    return statuses;
}

/* `complaint` NULL: all is well. */
static json_t *
status_of(const json_t *content, const char *complaint)
{
    CLEANUP(buf_fini) struct buf names = BUF_INIT;
    const json_t *old = json_object_get(content, "status");
    json_t *status = old == NULL ? json_object() : json_deep_copy(old);
    json_t *volumes = volume_statuses(content, complaint, &names);

    jsonx_set_str(status, "creationTime",
                  jsonx_str(content, "spec.vmkeep.cut.time"));
    (void)json_object_set_new(status, "readyToUse",
                              json_boolean(complaint == NULL));
    if (complaint != NULL) {
        CLEANUP(mem_free)
        char *text = xasprintf("VolumeSnapshots (%s) missing", buf_str(&names));

        objutil_error(status, text, clock_wall_s());
    } else {
        objutil_error(status, NULL, 0);
    }
    (void)json_object_set_new(status, "volumeSnapshotStatus", volumes);
    return status;
}

/* Is everything there? 0 yes, 1 no (`why` says what), -1: cannot tell now.
 * Under a READ lock: a merge moves files between two looks. */
static int
look(struct ctl *ctl, const json_t *content, const char *name, struct err *why,
     struct err *err)
{
    const char *vm_uuid = vm_uuid_of(content), *cut_id = cut_id_of(name);
    const json_t *layers = jsonx_get(content, "spec.vmkeep.layers");
    int rc;

    if (cut_id == NULL || vm_uuid == NULL) {
        err_do_set(why, ERR_CORRUPT, "not made by vmkeep");
        return 1;
    }
    if (json_array_size(layers) == 0)
        return 0;
    if (vmlock_take(ctl->locks, vm_uuid, VMLOCK_READ, name, NULL, NULL, err) <
        0)
        return -1;
    rc = volume_cut_check(ctl->volume, vm_uuid, cut_id, why);
    vmlock_release(ctl->locks, vm_uuid, name);
    if (rc == 0 || why->code == ERR_NOT_FOUND || why->code == ERR_CORRUPT)
        return rc == 0 ? 0 : 1;
    *err = *why;
    return -1;
}

int
content_sync(struct ctl *ctl, struct object **content, struct err *err)
{
    CLEANUP(json_decref) json_t *json = object_json(*content);
    bool was_ready = jsonx_bool(json, "status.readyToUse");
    struct err why;
    int rc = look(ctl, json, object_name(*content), &why, err);

    if (rc < 0)
        return -1;
    CLEANUP(json_decref)
    json_t *status = status_of(json, rc == 0 ? NULL : why.msg);

    if (objutil_set_status(ctl, content, status, err) < 0)
        return -1;
    if (rc != 0 && was_ready)
        eventrec_warn(ctl->events, *content, "VolumeSnapshotMissing", "%s",
                      why.msg);
    return 0;
}

/* ---- the end ---- */

static int
drop_locked(struct ctl *ctl, struct object **content, const char *vm_uuid,
            const char *cut_id, struct err *err)
{
    struct err later;
    bool is_gone = false;
    size_t left = 0;

    if (recover_vm(ctl, vm_uuid, err) < 0 ||
        guestcut_drop(ctl, vm_uuid, cut_id, &is_gone, err) < 0)
        return -1;
    /* The reference is gone; the rest may fail and is tried again. */
    if (!is_gone &&
        (tracking_collect(ctl, vm_uuid, &left, &later) < 0 || left > 0))
        tidy_poke(ctl, vm_uuid);
    return objutil_finalizer(ctl, content, CAPTURE_FINALIZER, false, err);
}

static int
drop(struct loop *l, const char *key, struct object **content,
     const json_t *json, int64_t *ret_again_ms, struct err *err)
{
    struct ctl *ctl = loop_ctl(l);
    const char *vm_uuid = vm_uuid_of(json);
    const char *cut_id = cut_id_of(object_name(*content));
    int rc;

    if (vm_uuid == NULL || cut_id == NULL)
        return objutil_finalizer(ctl, content, CAPTURE_FINALIZER, false, err);
    rc = loop_take_vm(l, vm_uuid, VMLOCK_MERGE, key, ret_again_ms, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    rc = drop_locked(ctl, content, vm_uuid, cut_id, err);
    loop_give_vm(l, vm_uuid, key);
    if (rc == 0)
        project_poke(ctl, vm_uuid);
    if (rc < 0 && err->code == ERR_BUSY) {
        *ret_again_ms = LOOP_LATER_MS;
        return 0;
    }
    return rc;
}

static int
content_work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct loop *l = arg;
    struct ctl *ctl = loop_ctl(l);
    struct loop_key at;
    CLEANUP(object_unref) struct object *content = NULL;

    loop_key_parse(key, &at);
    *ret_again_ms = QUEUE_DONE;
    if (objutil_find(ctl, &kind_vmsnapshotcontent, at.ns, at.name, &content,
                     err) < 0)
        return -1;
    if (content == NULL)
        return 0;

    CLEANUP(json_decref) json_t *json = object_json(content);

    if (!object_is_deleting(content)) {
        effect_flow_set("snapshot");
        /* Somebody took it away: deleted without it, our layers would stay. */
        if (!objutil_has_finalizer(json, CAPTURE_FINALIZER) &&
            objutil_finalizer(ctl, &content, CAPTURE_FINALIZER, true, err) < 0)
            return -1;
        *ret_again_ms = LOOK_AGAIN_MS;
        if (content_sync(ctl, &content, err) == 0)
            return 0;
        *ret_again_ms = LOOP_LATER_MS;
        return err->code == ERR_BUSY ? 0 : -1;
    }
    effect_flow_set("snapshot-delete");
    if (!objutil_has_finalizer(json, CAPTURE_FINALIZER))
        return 0;
    return drop(l, key, &content, json, ret_again_ms, err);
}

static const struct gvr *const followed[] = { &kind_vmsnapshotcontent.gvr,
                                              NULL };
static const struct loop_spec spec = {
    .name = "content",
    .flow = "snapshot-delete",
    .workers = 4,
    .gvrs = followed,
    .work = content_work,
};

const struct ctl_part content_part = {
    .name = "content",
    .loop = &spec,
};
