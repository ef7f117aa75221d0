/* SPDX-License-Identifier: Apache-2.0 */
/* controller/snapshot-cut.c: the critical section.
 *
 *   read the VM and its secure XML        (may be slow)
 *   volume_cut_prepare                    (checks, journal)
 *   freeze_begin                          journal, guard, FSFreeze
 *     freeze_pause                        only where disks are copied
 *     volume_cut_commit                   one libvirt call: the instant
 *     firmware_copy                       a few small files
 *     freeze_unpause
 *   freeze_end                            FSThaw
 *   volume_cut_finish                     the references now hold
 *   secrets_put, firmware_seal            durable
 *   content created                       the snapshot exists
 *
 * Nothing that can wait stands between freeze and thaw. Whatever fails before
 * the content is there is undone at once; a crash before it is undone by
 * volume_recover() or, if the cut was finished already, by the next try
 * (a cut without content is nobody's). What was reported as kept is therefore
 * always described by a content.
 *
 * The frozen time in the status is from the return of FSFreeze to the call of
 * FSThaw, by CLOCK_MONOTONIC: the time that the guest's writers stood still
 * because of us, without the agent's own work.
 */
#include "controller/snapshot-cut.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/capture.h"
#include "controller/firmware.h"
#include "controller/objutil.h"
#include "controller/recover.h"
#include "controller/tidy.h"

struct
try {
    struct ctl *ctl;
    const struct snapshot_cut_job *job;
    const char *uid; /* the snapshot's: names the cut */
    struct virt_vm *vm;
    char *xml_secure, *xml_redacted;
    struct capture_disks disks;
    struct volume_cut_disk *cut_disks;
    struct volume_cut *cut; /* NULL: no disk to cut */
    struct freeze_hold hold;
    struct capture_cut record;
    bool is_freeze_failure;
};

static void
try_fini_p(struct try *t)
{
    virt_vm_free(t->vm);
    secrets_free_text(t->xml_secure);
    free(t->xml_redacted);
    capture_disks_fini(&t->disks);
    free(t->cut_disks);
    volume_cut_free(t->cut);
}

/* ---- before ---- */

static char *
exclusions(const struct snapshot_cut_job *job)
{
    const char *of_vm = json_string_value(
        json_object_get(jsonx_get(job->vm_json, "metadata.annotations"),
                        CAPTURE_EXCLUDE_ANNOTATION));
    const char *of_snapshot = json_string_value(
        json_object_get(jsonx_get(job->snapshot_json, "metadata.annotations"),
                        CAPTURE_EXCLUDE_ANNOTATION));

    return xasprintf("%s,%s", of_vm == NULL ? "" : of_vm,
                     of_snapshot == NULL ? "" : of_snapshot);
}

/* Only a running guest with its agent connected is frozen. */
static void
note_state(struct try *t)
{
    struct snapshot_moment *m = &t->record.moment;

    m->is_online = t->vm->live != NULL;
    m->is_paused = m->is_online && t->vm->state != VIRT_RUNNING;
    m->has_agent = m->is_online && t->vm->live->is_agent_connected;
    m->is_partial = t->disks.is_partial;
    m->is_quiesced = t->disks.n_targets == 0;
}

static int
look(struct try *t, struct err *err)
{
    const char *vm_uuid = jsonx_str_or(t->job->vm_json, "metadata.uid", "");
    CLEANUP(json_decref) json_t *secrets = NULL;

    t->vm = virt_vm_get(t->ctl->virt, vm_uuid, err);
    if (t->vm == NULL)
        return -1;
    if (t->vm->state == VIRT_STOPPING || t->vm->state == VIRT_OTHER)
        return err_set(err, ERR_BUSY,
                       "the virtual machine is between two states");
    if (virt_xml_secure(t->ctl->virt, vm_uuid, &t->xml_secure, err) < 0 ||
        domxml_redact(t->xml_secure, &t->xml_redacted, &secrets, err) < 0)
        return -1;

    CLEANUP(mem_free) char *exclude = exclusions(t->job);

    capture_choose(t->vm, exclude, &t->disks);
    t->cut_disks = xcalloc(t->disks.n_targets + 1, sizeof *t->cut_disks);
    note_state(t);
    return 0;
}

/* ---- the instant ---- */

static bool
wants_freeze(const struct try *t)
{
    const struct snapshot_moment *m = &t->record.moment;

    return t->disks.n_targets > 0 && m->is_online && !m->is_paused &&
           m->has_agent;
}

static int
commit(struct try *t, struct err *err)
{
    struct firmware_kept kept = { .has_nvram = false };

    if (t->cut != NULL && volume_cut_commit(t->cut, err) < 0)
        return -1;
    t->record.time_s = clock_wall_s();
    if (firmware_is_wanted(t->vm) &&
        firmware_copy(t->ctl->config.state_dir, t->vm, t->uid, &kept, err) < 0)
        return -1;
    t->record.has_nvram = kept.has_nvram;
    t->record.has_tpm = kept.has_tpm;
    return 0;
}

/* Copies of several disks are of one instant only if the VM stands still. A
 * VM that was paused before does already, and is not ours to resume. */
static int
pause_and_commit(struct try *t, struct err *err)
{
    struct freeze *f = recover_freeze(t->ctl);
    int rc;

    if (t->cut == NULL || !volume_cut_needs_pause(t->cut) ||
        t->record.moment.is_paused)
        return commit(t, err);
    if (freeze_pause(f, t->vm->uuid, &t->hold, err) < 0)
        return -1;
    rc = commit(t, err);
    freeze_unpause(f, &t->hold);
    t->record.paused_ms =
        (t->hold.pause_end_ns - t->hold.pause_begin_ns + 500000) / 1000000;
    return rc;
}

static int
freeze_and_commit(struct try *t, struct err *err)
{
    struct freeze *f = recover_freeze(t->ctl);
    struct snapshot_moment *m = &t->record.moment;

    if (wants_freeze(t) && freeze_begin(f, t->vm->uuid, &t->hold, err) < 0) {
        t->is_freeze_failure = true;
        return -1;
    }

    int rc = pause_and_commit(t, err);

    freeze_end(f, &t->hold);
    if (wants_freeze(t)) {
        m->is_quiesced = freeze_was_complete(&t->hold);
        m->is_foreign = t->hold.is_foreign;
        m->frozen = t->hold.frozen;
        m->thawed = t->hold.thawed;
        t->record.frozen_ms =
            (t->hold.end_ns - t->hold.begin_ns + 500000) / 1000000;
    }
    return rc;
}

static int
cut_disks(struct try *t, struct err *err)
{
    struct ctl *ctl = t->ctl;

    if (t->disks.n_targets > 0 &&
        volume_cut_prepare_as(ctl->volume, VOLUME_CUT_ANY, t->vm, t->uid,
                              t->disks.targets, t->disks.n_targets,
                              ctl->config.min_free, &t->cut, err) < 0)
        return -1;
    if (t->cut != NULL)
        t->record.driver = volume_cut_driver(t->cut);
    if (freeze_and_commit(t, err) == 0 &&
        (t->cut == NULL || volume_cut_finish(t->cut, t->cut_disks, err) == 0))
        return 0;
    if (t->cut != NULL) {
        struct err undo;

        /* What cannot be undone now is undone before the VM is next touched. */
        if (volume_cut_abort(t->cut, &undo) < 0)
            recover_again(ctl, t->vm->uuid);
    }
    return -1;
}

/* ---- after ---- */

/* {name: PersistentVolumeClaim} of the disks that are in. */
static json_t *
claims_of(const struct try *t)
{
    const char *ns = object_ns(t->job->snapshot);
    json_t *claims = json_object();

    for (size_t i = 0; i < t->disks.n_targets; i++) {
        const char *name =
            capture_claim_of(t->job->vm_json, t->disks.targets[i]);
        struct obj_ref ref = objutil_ref(&kind_pvc, ns, name);
        CLEANUP(object_unref)
        struct object *o = name == NULL ? NULL : cache_get(t->ctl->cache, &ref);

        if (o != NULL)
            (void)json_object_set_new(claims, name, object_json(o));
    }
    return claims;
}

static json_t *
instance_of(const struct try *t)
{
    struct obj_ref ref =
        objutil_ref(&kind_vmi, object_ns(t->job->snapshot),
                    jsonx_str_or(t->job->vm_json, "metadata.name", ""));
    CLEANUP(object_unref) struct object *o = NULL;

    if (t->record.moment.is_online)
        o = cache_get(t->ctl->cache, &ref);
    return o == NULL ? NULL : object_json(o);
}

static int
create_content(struct try *t, struct err *err)
{
    CLEANUP(json_decref) json_t *claims = claims_of(t);
    CLEANUP(json_decref) json_t *vmi = instance_of(t);
    struct capture_input in = {
        .snapshot = t->job->snapshot_json,
        .vm = t->job->vm_json,
        .vmi = vmi,
        .claims = claims,
        .domain_xml = t->xml_redacted,
        .disks = &t->disks,
        .cut_disks = t->cut_disks,
        .cut = &t->record,
    };
    CLEANUP(json_decref) json_t *content = capture_content(&in);
    CLEANUP(object_unref) struct object *made = NULL;
    struct obj_write how = { .part = OBJ_MAIN };

    if (content == NULL)
        return err_set(err, ERR_INTERNAL, "the content cannot be written down");
    if (obj_create(t->ctl->store, &kind_vmsnapshotcontent.gvr,
                   object_ns(t->job->snapshot), content, &how, &made, err) < 0)
        return err_wrap(err, "VirtualMachineSnapshotContent");
    eventrec_normal(t->ctl->events, t->job->snapshot,
                    "SuccessfulVirtualMachineSnapshotContentCreate",
                    "Successfully created VirtualMachineSnapshotContent %s",
                    object_name(made));
    return 0;
}

static int
record(struct try *t, struct err *err)
{
    if (secrets_put(recover_secrets(t->ctl), t->uid, t->xml_secure, err) < 0 ||
        firmware_seal(t->ctl->config.state_dir, t->uid, err) < 0)
        return -1;
    return create_content(t, err);
}

int
snapshot_cut_undo(struct ctl *ctl, const char *vm_uuid,
                  const char *snapshot_uid, struct err *err)
{
    if (vm_uuid != NULL) {
        if (volume_cut_delete(ctl->volume, vm_uuid, snapshot_uid, err) < 0 &&
            err->code != ERR_NOT_FOUND)
            return -1;
        tidy_poke(ctl, vm_uuid);
    }
    if (secrets_delete(recover_secrets(ctl), snapshot_uid, err) < 0)
        return -1;
    return firmware_delete(ctl->config.state_dir, snapshot_uid, err);
}

int
snapshot_cut(struct ctl *ctl, const struct snapshot_cut_job *job,
             bool *ret_is_freeze_failure, struct err *err)
{
    CLEANUP(try_fini)
    struct try t = { .ctl = ctl,
                     .job = job,
                     .uid = object_uid(job->snapshot),
                     .record = { .attempts = job->attempts } };
    const char *vm_uuid = jsonx_str_or(job->vm_json, "metadata.uid", "");
    struct err undo;

    *ret_is_freeze_failure = false;
    if (recover_vm(ctl, vm_uuid, err) < 0 ||
        snapshot_cut_undo(ctl, vm_uuid, t.uid, err) < 0 || look(&t, err) < 0)
        return -1;
    if (job->expires_ms != 0 && clock_wall_s() * 1000 >= job->expires_ms)
        return err_set(err, ERR_TIMEOUT, "snapshot deadline exceeded");
    if (cut_disks(&t, err) < 0) {
        *ret_is_freeze_failure = t.is_freeze_failure;
        return -1;
    }
    if (record(&t, err) == 0)
        return 0;
    if (snapshot_cut_undo(ctl, vm_uuid, t.uid, &undo) < 0)
        recover_again(ctl, vm_uuid);
    return -1;
}
