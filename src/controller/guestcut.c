/* SPDX-License-Identifier: Apache-2.0 */
/* controller/guestcut.c: the critical section.
 *
 *   guestcut_look: the VM, its secure XML     (may be slow)
 *   guestcut_make:
 *     volume_cut_prepare                      (checks, journal, new files)
 *     job.before                              the caller's call
 *     freeze_begin                            journal, guard, FSFreeze
 *       freeze_pause                          only where disks are copied
 *       volume_cut_commit                     one libvirt call: the instant
 *       pull_commit                           for what cannot be cut: another
 *       firmware_copy                         a few small files
 *       freeze_unpause
 *     freeze_end                              FSThaw
 *     volume_cut_finish                       the references now hold
 *   guestcut_seal: secrets_put, firmware_seal durable
 *
 * Nothing that can wait stands between freeze and thaw. Whatever fails is
 * undone at once; a crash before the end is undone by volume_recover() or, if
 * the cut was finished already, by guestcut_undo() in the next try (a cut that
 * no object describes is nobody's).
 *
 * The frozen time is from the return of FSFreeze to the call of FSThaw, by
 * CLOCK_MONOTONIC: the time that the guest's writers stood still because of
 * us, without the agent's own work.
 */
#include "controller/guestcut.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/firmware.h"
#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/projection.h"
#include "controller/recover.h"
#include "controller/tidy.h"

void
guestcut_fini(struct guestcut *g)
{
    virt_vm_free(g->vm);
    secrets_free_text(g->xml_secure);
    free(g->xml_redacted);
    capture_disks_fini(&g->disks);
    free(g->cut_disks);
    volume_cut_free(g->cut);
    pull_free(g->pull);
    memset(g, 0, sizeof *g);
}

/* ---- before ---- */

char *
guestcut_exclusions(const json_t *vm, const json_t *object)
{
    const char *of_vm = json_string_value(json_object_get(
        jsonx_get(vm, "metadata.annotations"), CAPTURE_EXCLUDE_ANNOTATION));
    const char *of_object = json_string_value(json_object_get(
        jsonx_get(object, "metadata.annotations"), CAPTURE_EXCLUDE_ANNOTATION));

    return xasprintf("%s,%s", of_vm == NULL ? "" : of_vm,
                     of_object == NULL ? "" : of_object);
}

/* Only a running guest with its agent connected is frozen. */
static void
note_state(struct guestcut *g)
{
    struct snapshot_moment *m = &g->record.moment;

    m->is_online = g->vm->live != NULL;
    m->is_paused = m->is_online && g->vm->state != VIRT_RUNNING;
    m->has_agent = m->is_online && g->vm->live->is_agent_connected;
    m->is_partial = g->disks.is_partial;
    m->is_quiesced = g->disks.n_targets + g->disks.n_pulled == 0;
}

int
guestcut_look(struct ctl *ctl, const struct guestcut_job *job,
              struct guestcut *g, struct err *err)
{
    memset(g, 0, sizeof *g);
    g->ctl = ctl;
    g->job = *job;
    g->vm = virt_vm_get(ctl->virt, job->vm_uuid, err);
    if (g->vm == NULL)
        return -1;
    if (g->vm->state == VIRT_STOPPING || g->vm->state == VIRT_OTHER)
        return err_set(err, ERR_BUSY,
                       "the virtual machine is between two states");
    if (virt_xml_secure(ctl->virt, job->vm_uuid, &g->xml_secure, err) < 0 ||
        domxml_redact(g->xml_secure, &g->xml_redacted, err) < 0)
        return -1;
    capture_choose(g->vm, job->exclude, job->may_pull, &g->disks);
    g->cut_disks = xcalloc(g->disks.n_targets + 1, sizeof *g->cut_disks);
    note_state(g);
    return 0;
}

/* ---- the instant ---- */

static bool
wants_freeze(const struct guestcut *g)
{
    const struct snapshot_moment *m = &g->record.moment;

    return !g->job.never_freezes &&
           g->disks.n_targets + g->disks.n_pulled > 0 && m->is_online &&
           !m->is_paused && m->has_agent;
}

static int
commit(struct guestcut *g, struct err *err)
{
    struct firmware_kept kept = { .has_nvram = false };

    if ((g->cut != NULL && volume_cut_commit(g->cut, err) < 0) ||
        (g->pull != NULL && pull_commit(g->pull, err) < 0))
        return -1;
    g->record.time_s = clock_wall_s();
    if (firmware_is_wanted(g->vm) &&
        firmware_copy(g->ctl->config.state_dir, g->vm, g->job.uid, &kept, err) <
            0)
        return -1;
    g->record.has_nvram = kept.has_nvram;
    g->record.has_tpm = kept.has_tpm;
    return 0;
}

/* Copies of several disks are of one instant only if the VM stands still, and
 * so are disks that are cut with others that are pulled. A VM that was paused
 * before does already, and is not ours to resume. */
static int
pause_and_commit(struct guestcut *g, struct err *err)
{
    struct freeze *f = recover_freeze(g->ctl);
    int rc;

    if (g->cut == NULL || g->record.moment.is_paused ||
        (!volume_cut_needs_pause(g->cut) &&
         (g->pull == NULL || !g->record.moment.is_online)))
        return commit(g, err);
    if (freeze_pause(f, g->vm->uuid, &g->hold, err) < 0)
        return -1;
    rc = commit(g, err);
    freeze_unpause(f, &g->hold);
    g->record.paused_ms =
        (g->hold.pause_end_ns - g->hold.pause_begin_ns + 500000) / 1000000;
    return rc;
}

static int
freeze_and_commit(struct guestcut *g, struct err *err)
{
    struct freeze *f = recover_freeze(g->ctl);
    struct snapshot_moment *m = &g->record.moment;

    if (wants_freeze(g) &&
        freeze_begin(f, g->vm->uuid, g->job.hold_ms, &g->hold, err) < 0) {
        g->is_freeze_failure = true;
        return -1;
    }

    int rc = pause_and_commit(g, err);

    freeze_end(f, &g->hold);
    if (wants_freeze(g)) {
        m->is_quiesced = freeze_was_complete(&g->hold);
        m->is_foreign = g->hold.is_foreign;
        m->frozen = g->hold.frozen;
        m->thawed = g->hold.thawed;
        g->record.frozen_ms =
            (g->hold.end_ns - g->hold.begin_ns + 500000) / 1000000;
    }
    return rc;
}

static int
prepare_pull(struct guestcut *g, struct err *err)
{
    if (g->disks.n_pulled == 0)
        return 0;
    return pull_prepare(g->ctl, g->vm, g->job.uid, g->disks.pulled,
                        g->disks.n_pulled, &g->pull, err);
}

/* Before the cut is undone, which a backup job would be in the way of. */
static void
end_pull(struct guestcut *g)
{
    struct err undo;

    if (g->pull != NULL && pull_end(g->ctl, g->vm->uuid, g->job.uid, &undo) < 0)
        log_info("VM %s: %s", g->vm->uuid, undo.msg);
}

int
guestcut_make(struct guestcut *g, struct err *err)
{
    struct ctl *ctl = g->ctl;

    if (g->disks.n_targets > 0 &&
        volume_cut_prepare_as(ctl->volume, g->job.kind, g->vm, g->job.uid,
                              g->disks.targets, g->disks.n_targets,
                              ctl->config.min_free, &g->cut, err) < 0)
        return -1;
    if (g->cut != NULL)
        g->record.driver = volume_cut_driver(g->cut);
    if (prepare_pull(g, err) == 0 &&
        (g->job.before == NULL || g->job.before(g->job.arg, err) == 0) &&
        freeze_and_commit(g, err) == 0 &&
        (g->pull == NULL || pull_finish(g->pull, err) == 0) &&
        (g->cut == NULL || volume_cut_finish(g->cut, g->cut_disks, err) == 0))
        return 0;
    end_pull(g);
    if (g->cut != NULL) {
        struct err undo;

        /* What cannot be undone now is undone before the VM is next touched. */
        if (volume_cut_abort(g->cut, &undo) < 0)
            recover_again(ctl, g->vm->uuid);
    }
    return -1;
}

/* ---- after ---- */

int
guestcut_seal(struct guestcut *g, struct err *err)
{
    if (secrets_put(recover_secrets(g->ctl), g->job.uid, g->xml_secure, err) <
        0)
        return -1;
    return firmware_seal(g->ctl->config.state_dir, g->job.uid, err);
}

/* What is kept beside the disks. */
static int
remove_kept(struct ctl *ctl, const char *uid, struct err *err)
{
    if (secrets_delete(recover_secrets(ctl), uid, err) < 0)
        return -1;
    return firmware_delete(ctl->config.state_dir, uid, err);
}

int
guestcut_undo(struct ctl *ctl, const char *vm_uuid, const char *uid,
              struct err *err)
{
    if (vm_uuid != NULL) {
        if (pull_end(ctl, vm_uuid, uid, err) < 0)
            return -1;
        if (volume_cut_delete(ctl->volume, vm_uuid, uid, err) < 0 &&
            err->code != ERR_NOT_FOUND)
            return -1;
        tidy_poke(ctl, vm_uuid);
    }
    return remove_kept(ctl, uid, err);
}

int
guestcut_drop(struct ctl *ctl, const char *vm_uuid, const char *uid,
              bool *ret_is_gone, struct err *err)
{
    if (volume_cut_drop(ctl->volume, vm_uuid, uid, ret_is_gone, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -1;
        *ret_is_gone = true;
    }
    return remove_kept(ctl, uid, err);
}

/* The file whose data the cut keeps. The claim itself may have followed the
 * cut already, to the new file. */
static void
name_sealed_file(json_t *claim, const struct guestcut *g, const char *target)
{
    const struct domxml *now =
        g->vm->live != NULL ? g->vm->live : g->vm->inactive;
    const struct domxml_disk *disk = domxml_disk(now, target);
    json_t *notes = jsonx_get(claim, "metadata.annotations");
    const char *path, *slash;

    if (disk == NULL || disk->chain_len == 0 || notes == NULL ||
        disk->chain[0].path == NULL || disk->chain[0].format == NULL)
        return;
    path = disk->chain[0].path;
    slash = strrchr(path, '/');
    (void)json_object_set_new(notes, PROJECT_NOTE_PATH, json_string(path));
    (void)json_object_set_new(notes, PROJECT_NOTE_FORMAT,
                              json_string(disk->chain[0].format));
    jsonx_set_str(claim, "spec.volumeName", slash == NULL ? path : slash + 1);
}

json_t *
guestcut_claims(const struct guestcut *g, const json_t *vm)
{
    const char *ns = jsonx_str_or(vm, "metadata.namespace", "");
    json_t *claims = json_object();

    size_t n_cut = g->disks.n_targets;

    for (size_t i = 0; i < n_cut + g->disks.n_pulled; i++) {
        const char *target =
            i < n_cut ? g->disks.targets[i] : g->disks.pulled[i - n_cut];
        const char *name = projection_claim_of(vm, target);
        struct obj_ref ref = objutil_ref(&kind_pvc, ns, name);
        CLEANUP(object_unref)
        struct object *o = name == NULL ? NULL : cache_get(g->ctl->cache, &ref);

        if (o != NULL) {
            json_t *claim = object_json(o);

            name_sealed_file(claim, g, target);
            (void)json_object_set_new(claims, name, claim);
        }
    }
    return claims;
}
