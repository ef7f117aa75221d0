/* SPDX-License-Identifier: Apache-2.0 */
/* controller/snapshot-cut.c: a cut (controller/guestcut.c), and the content
 * that describes it.
 *
 * A cut without content is nobody's: whatever fails before the content is
 * there is undone at once, and what a crash left is undone by the next try.
 * What was reported as kept is therefore always described by a content.
 */
#include "controller/snapshot-cut.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/guestcut.h"
#include "controller/objutil.h"
#include "controller/recover.h"

static json_t *
instance_of(struct ctl *ctl, const struct snapshot_cut_job *job)
{
    struct obj_ref ref =
        objutil_ref(&kind_vmi, object_ns(job->snapshot),
                    jsonx_str_or(job->vm_json, "metadata.name", ""));
    CLEANUP(object_unref) struct object *o = cache_get(ctl->cache, &ref);

    return o == NULL ? NULL : object_json(o);
}

static int
create_content(const struct guestcut *g, const struct snapshot_cut_job *job,
               struct err *err)
{
    CLEANUP(json_decref) json_t *claims = guestcut_claims(g, job->vm_json);
    CLEANUP(json_decref)
    json_t *vmi = g->record.moment.is_online ? instance_of(g->ctl, job) : NULL;
    struct capture_input in = {
        .snapshot = job->snapshot_json,
        .vm = job->vm_json,
        .vmi = vmi,
        .claims = claims,
        .domain_xml = g->xml_redacted,
        .disks = &g->disks,
        .cut_disks = g->cut_disks,
        .cut = &g->record,
    };
    CLEANUP(json_decref) json_t *content = capture_content(&in);
    CLEANUP(object_unref) struct object *made = NULL;
    struct obj_write how = { .part = OBJ_MAIN };

    if (content == NULL)
        return err_set(err, ERR_INTERNAL, "the content cannot be written down");
    if (obj_create(g->ctl->store, &kind_vmsnapshotcontent.gvr,
                   object_ns(job->snapshot), content, &how, &made, err) < 0)
        return err_wrap(err, "VirtualMachineSnapshotContent");
    eventrec_normal(g->ctl->events, job->snapshot,
                    "SuccessfulVirtualMachineSnapshotContentCreate",
                    "Successfully created VirtualMachineSnapshotContent %s",
                    object_name(made));
    return 0;
}

int
snapshot_cut(struct ctl *ctl, const struct snapshot_cut_job *job,
             bool *ret_is_freeze_failure, struct err *err)
{
    const char *vm_uuid = jsonx_str_or(job->vm_json, "metadata.uid", "");
    const char *uid = object_uid(job->snapshot);
    CLEANUP(mem_free)
    char *exclude = guestcut_exclusions(job->vm_json, job->snapshot_json);
    struct guestcut_job what = { .kind = VOLUME_CUT_ANY,
                                 .uid = uid,
                                 .vm_uuid = vm_uuid,
                                 .exclude = exclude };
    CLEANUP(guestcut_fini) struct guestcut g = { 0 };
    struct err undo;

    *ret_is_freeze_failure = false;
    if (recover_vm(ctl, vm_uuid, err) < 0 ||
        guestcut_undo(ctl, vm_uuid, uid, err) < 0 ||
        guestcut_look(ctl, &what, &g, err) < 0)
        return -1;
    g.record.attempts = job->attempts;
    if (job->expires_ms != 0 && clock_mono_ms() >= job->expires_ms)
        return err_set(err, ERR_TIMEOUT, "snapshot deadline exceeded");
    if (guestcut_make(&g, err) < 0) {
        *ret_is_freeze_failure = g.is_freeze_failure;
        return -1;
    }
    if (guestcut_seal(&g, err) == 0 && create_content(&g, job, err) == 0)
        return 0;
    if (guestcut_undo(ctl, vm_uuid, uid, &undo) < 0)
        recover_again(ctl, vm_uuid);
    return -1;
}
