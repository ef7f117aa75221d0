/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-apply.c: the order of a restore.
 *
 *   restore_define_preflight   everything that could refuse it; no change
 *   status: step "creating"    from here on there may be something to undo
 *   source->make_disks         new files, fsynced; image locks on all disks
 *   restore_define_xml
 *   status: target, disks      what a crash needs to tell "applied" from not
 *   the domain is as preflight saw it?
 *   NVRAM, TPM                 kept aside before they are replaced
 *   volume_restore_unlock, virt_define      the one step that counts
 *   volume_restore_finish      old disks: trash or retained
 *
 * Until virt_define the VM is as it was. After it the restore can only be
 * completed, and restore_apply_is_done() tells so from the domain itself.
 */
#include "controller/restore-apply.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "codec/jsonpatch.h"
#include "controller/firmware.h"
#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/recover.h"
#include "controller/restore-define.h"
#include "controller/tidy.h"

struct attempt {
    struct ctl *ctl;
    const struct restore_job *job;
    struct object **restore;
    const char *restore_uid;
    struct restore_target target;
    struct volume_restore *volume; /* NULL: no disk is restored */
    char *xml;
};

static void
attempt_fini_p(struct attempt *a)
{
    restore_define_fini(&a->target);
    volume_restore_free(a->volume);
    secrets_free_text(a->xml);
}

/* ---- status ---- */

static json_t *
target_of(const struct attempt *a)
{
    return json_pack("{s:s, s:b}", "uid", a->target.uuid, "isNew",
                     !a->target.is_in_place);
}

/* Merge `state` (taken) and `more` (taken; NULL: nothing) into the status. */
static int
write_state(struct attempt *a, json_t *state, json_t *more, struct err *err)
{
    CLEANUP(json_decref) json_t *rest = more == NULL ? json_object() : more;
    CLEANUP(json_decref) json_t *patch = json_object();
    CLEANUP(json_decref) json_t *both = NULL;

    jsonx_set(patch, a->job->words->state, state);
    both = jsonpatch_merge(rest, patch);
    return objutil_merge_status(a->ctl, a->restore, both, err);
}

/* From here on there may be something to undo, of this VM. */
static int
write_begin(struct attempt *a, struct err *err)
{
    return write_state(
        a, json_pack("{s:s, s:o}", "step", "creating", "target", target_of(a)),
        NULL, err);
}

/* What is about to be defined, for whoever comes after a crash. */
static int
write_plan(struct attempt *a, const struct volume_new_disk *disks, size_t n,
           struct err *err)
{
    json_t *list = json_array(), *restores = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct restore_words *w = a->job->words;
        CLEANUP(mem_free) char *claim = w->claim(a->job, disks[i].target);

        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:s}", "volume", disks[i].target,
                            "path", disks[i].path, "claim", claim));
        (void)json_array_append_new(restores, w->row(a->job, &disks[i], claim));
    }
    return write_state(a,
                       json_pack("{s:s, s:o, s:o}", "step", "defining",
                                 "target", target_of(a), "disks", list),
                       json_pack("{s:o, s:{s:O}}", "restores", restores,
                                 "vmkeep", "dropped", a->target.notes),
                       err);
}

/* ---- steps ---- */

static int
prepare_disks(struct attempt *a, struct err *err)
{
    struct restore_source *source = a->job->source;
    const struct restore_request rq = { .restore_uid = a->restore_uid,
                                        .owner_uuid = a->target.uuid,
                                        .old = a->target.old };

    if (source->n_targets == 0)
        return 0;
    return source->make_disks(a->ctl, source, &rq, &a->volume, err);
}

/* The claims of the new disks must not be those of another VM's disks. */
static int
check_claims(const struct attempt *a, struct err *err)
{
    const struct restore_job *job = a->job;
    const json_t *r = job->restore_json;
    const char *vm = jsonx_str_or(r, "spec.target.name", "");

    for (size_t i = 0; i < job->source->n_targets; i++) {
        CLEANUP(mem_free)
        char *name = job->words->claim(job, job->source->targets[i]);
        struct obj_ref ref = objutil_ref(
            &kind_pvc, jsonx_str_or(r, "metadata.namespace", ""), name);
        CLEANUP(object_unref)
        struct object *o = cache_get(a->ctl->cache, &ref);
        const char *owner =
            o == NULL ? NULL : object_label(o, PROJECT_LABEL_VM);

        if (owner != NULL && strcmp(owner, vm) != 0)
            return err_set(err, ERR_INVALID,
                           "the disk %s cannot be the claim %s: that is a "
                           "disk of the virtual machine %s",
                           job->source->targets[i], name, owner);
    }
    return 0;
}

/* In place: is the domain still the one that preflight saw? */
static int
check_unchanged(struct attempt *a, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *now = NULL;
    const struct virt_vm *old = a->target.old;

    if (!a->target.is_in_place)
        return 0;
    now = virt_vm_get(a->ctl->virt, a->target.uuid, err);
    if (now == NULL)
        return -1;
    if (now->live != NULL || now->has_managed_save ||
        strcmp(now->xml_inactive, old->xml_inactive) != 0)
        return err_set(
            err, ERR_BUSY,
            "%s was started or changed while its restore was prepared; nothing was replaced",
            a->target.name);
    return 0;
}

/* UEFI variables and TPM state. In place the present ones are put aside under
 * the restore's UID first. */
static int
put_firmware(struct attempt *a, struct err *err)
{
    const char *dir = a->ctl->config.state_dir;
    const struct restore_target *t = &a->target;
    const struct restore_source *source = a->job->source;

    if (t->is_in_place &&
        firmware_set_aside(dir, t->old, a->restore_uid, err) < 0)
        return -1;
    if (t->nvram != NULL &&
        firmware_has_nvram(source->firmware_dir, source->id) &&
        firmware_put_nvram(source->firmware_dir, source->id, t->nvram, err) < 0)
        return -1;
    if (t->has_tpm)
        return firmware_put_tpm(source->firmware_dir, source->id, t->uuid, err);
    return 0;
}

/* The kept-aside firmware of a try that did not get through. */
static void
restore_firmware(struct attempt *a)
{
    const char *dir = a->ctl->config.state_dir;
    const struct restore_target *t = &a->target;
    struct err ignored;

    if (t->is_in_place &&
        firmware_bring_back(dir, t->old, a->restore_uid, &ignored) < 0)
        eventrec_warn(a->ctl->events, *a->restore, "VirtualMachineRestoreError",
                      "%s", ignored.msg);
}

static int
define(struct attempt *a, struct err *err)
{
    const struct volume_new_disk *disks = NULL;
    size_t n = 0;

    if (a->volume != NULL)
        disks = volume_restore_disks(a->volume, &n);
    if (restore_define_xml(&a->target, disks, n, &a->xml, err) < 0 ||
        write_plan(a, disks, n, err) < 0 || check_unchanged(a, err) < 0 ||
        put_firmware(a, err) < 0 ||
        (a->volume != NULL &&
         volume_restore_policy(a->volume, a->job->old, a->ctl->config.trash_s,
                               err) < 0))
        return -1;
    /* Defined by an earlier process already: not again. */
    if (a->volume != NULL && volume_restore_is_finished(a->volume))
        return 0;
    if (a->volume != NULL)
        volume_restore_unlock(a->volume);
    if (virt_define(a->ctl->virt, a->xml, err) < 0) {
        restore_firmware(a);
        return err_wrap(err, "the definition was refused by libvirt");
    }
    return 0;
}

static void
tell_notes(struct attempt *a)
{
    const json_t *notes = a->target.notes;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    for (size_t i = 0; i < json_array_size(notes) && text.len < 800; i++)
        buf_printf(&text, "%s%s", i > 0 ? "; " : "",
                   json_string_value(json_array_get(notes, i)));
    if (text.len > 0)
        eventrec_normal(a->ctl->events, *a->restore, "RestoreMapping", "%s",
                        buf_str(&text));
}

/* The old disks go as the policy says. What fails here no longer matters to
 * the VM: it is told, and the volume journal keeps it for the next start. */
static void
finish(struct attempt *a)
{
    CLEANUP(mem_free) char *kept = NULL;
    struct err err;

    if (a->volume != NULL &&
        volume_restore_finish(a->volume, a->job->old, a->ctl->config.trash_s,
                              &kept, &err) < 0) {
        recover_again(a->ctl, a->job->table_uuid);
        eventrec_warn(a->ctl->events, *a->restore, "VirtualMachineRestoreError",
                      "old disks: %s", err.msg);
    }
    if (write_state(a, json_pack("{s:s}", "step", "defined"),
                    kept == NULL
                        ? NULL
                        : json_pack("{s:{s:[s]}}", "vmkeep", "kept", kept),
                    &err) < 0)
        eventrec_warn(a->ctl->events, *a->restore, "VirtualMachineRestoreError",
                      "%s", err.msg);
    project_poke(a->ctl, a->job->table_uuid);
    tidy_poke(a->ctl, a->job->table_uuid);
    if (strcmp(a->job->table_uuid, a->target.uuid) != 0)
        project_poke(a->ctl, a->target.uuid);
}

/* A try that failed leaves the VM as it was. */
static void
abort_try(struct attempt *a, const struct err *why)
{
    struct err err;

    if (a->volume == NULL)
        return;
    /* Perhaps libvirt did define it and could not say so: look again before
     * any file goes. volume_recover() asks the domain. */
    if (why->code == ERR_TIMEOUT || why->code == ERR_UNAVAILABLE ||
        volume_restore_abort(a->volume, &err) < 0)
        recover_again(a->ctl, a->job->table_uuid);
}

int
restore_apply(struct ctl *ctl, const struct restore_job *job,
              struct object **restore, struct err *err)
{
    CLEANUP(attempt_fini)
    struct attempt a = {
        .ctl = ctl,
        .job = job,
        .restore = restore,
        .restore_uid = jsonx_str_or(job->restore_json, "metadata.uid", ""),
    };
    const char *chosen =
        jsonx_str(jsonx_get(json_object_get(job->restore_json, "status"),
                            job->words->state),
                  "target.uid");

    if (recover_vm(ctl, job->table_uuid, err) < 0 ||
        restore_define_preflight(ctl, job, chosen, &a.target, err) < 0 ||
        check_claims(&a, err) < 0 || write_begin(&a, err) < 0)
        return -1;
    if (prepare_disks(&a, err) < 0)
        return -1;
    if (define(&a, err) < 0) {
        abort_try(&a, err);
        return -1;
    }
    tell_notes(&a);
    finish(&a);
    return 0;
}

int
restore_apply_is_done(struct ctl *ctl, const json_t *state, bool *ret_is,
                      struct err *err)
{
    const char *uid = jsonx_str(state, "target.uid");
    const json_t *disks = jsonx_get(state, "disks");
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;
    bool is = true;

    *ret_is = false;
    if (uid == NULL ||
        strcmp(jsonx_str_or(state, "step", "creating"), "creating") == 0)
        return 0; /* before the plan was written nothing was defined */
    vm = virt_vm_get(ctl->virt, uid, err);
    if (vm == NULL)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    if (json_array_size(disks) == 0)
        is = jsonx_bool(state, "target.isNew") ||
             strcmp(jsonx_str_or(state, "step", ""), "defined") == 0;
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *want = json_array_get(disks, i);
        const struct domxml_disk *d =
            domxml_disk(vm->inactive, jsonx_str_or(want, "volume", ""));

        is = is && d != NULL && d->chain_len > 0 &&
             strcmp(d->chain[0].path, jsonx_str_or(want, "path", "-")) == 0;
    }
    *ret_is = is;
    return 0;
}

int
restore_apply_undo(struct ctl *ctl, const char *table_uuid,
                   const char *restore_uid, struct err *err)
{
    const char *dir = ctl->config.state_dir;
    struct err gone;
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;

    recover_again(ctl, table_uuid);
    if (recover_vm(ctl, table_uuid, err) < 0)
        return -1;
    vm = virt_vm_get(ctl->virt, table_uuid, &gone);
    if (vm != NULL && vm->live == NULL &&
        firmware_bring_back(dir, vm, restore_uid, err) < 0)
        return -1;
    return firmware_delete(dir, restore_uid, err);
}

bool
restore_apply_is_final(enum err_code code)
{
    return code == ERR_INVALID || code == ERR_UNSUPPORTED ||
           code == ERR_CORRUPT || code == ERR_DENIED;
}
