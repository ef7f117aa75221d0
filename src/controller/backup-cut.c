/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-cut.c: the cut of a backup.
 *
 *   backup_cut_undo   what an earlier try left goes
 *   guestcut_look     the VM, and which of its disks
 *   tracking_begin    the file says "pending"
 *   guestcut_make     checkpoint (where the disks are copied there is none:
 *                     tracking_begin_clone), freeze, cut, firmware, thaw
 *   tracking_cut      the generation record; libvirt forgets the checkpoint
 *   guestcut_seal     definition and firmware are durable
 *   the caller        the record in the object's status
 *
 * A crash before the last line leaves a cut that no object describes: the next
 * try, or the deletion of the object, begins with backup_cut_undo(). "A try may
 * have left something" is status.vmkeep.cut, written before the first.
 */
#include "controller/backup-cut.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/backup-meta.h"
#include "controller/guestcut.h"
#include "controller/objutil.h"
#include "controller/projection.h"
#include "controller/recover.h"
#include "controller/tracking.h"
#include "virt/checkpoint.h"

#define HOLD_MIN_MS 1000
/* Left beside what the merge needs: a guest writes for some seconds more until
 * the read has ended and its layers are merged. */
#define ROOM_BYTES ((uint64_t)1 << 30)

/* One try. */
struct try_backup {
    struct ctl *ctl;
    const struct backup_cut_job *job;
    const char *uid, *vm_uuid;
    const struct guestcut *cut;
    struct tracking_choice tracked; /* a bitmap, or a copy that is kept */
};

/* The copies that are made now are what the next backup is compared with. */
static int
record_by_copies(struct try_backup *t, struct err *err)
{
    const struct capture_disks *d = &t->cut->disks;

    for (size_t i = 0; i < d->n_targets; i++)
        t->tracked.targets[i] = d->targets[i];
    t->tracked.n = d->n_targets;
    t->tracked.why = NULL;
    return tracking_begin_clone(t->ctl, t->vm_uuid, t->uid, t->job->repo_uuid,
                                err);
}

/* From here on the guest's writes are recorded. Before the freeze, because it
 * takes its time: what is written until the cut is in this backup, and is read
 * once more by the next one. */
static int
record_writes(void *arg, struct err *err)
{
    struct try_backup *t = arg;
    char name[TRACKING_NAME_SIZE];

    if (t->cut->record.driver != NULL &&
        strcmp(t->cut->record.driver, "reflink") == 0)
        return record_by_copies(t, err);
    if (t->tracked.n == 0)
        return 0;
    tracking_name(t->uid, name);
    return virt_checkpoint_create(t->ctl->virt, t->vm_uuid, name,
                                  t->tracked.targets, t->tracked.n, err);
}

static uint64_t
hold_ms(const json_t *backup)
{
    const char *text = jsonx_str(backup, "spec.fsFreezeDeadline");
    struct err err;
    int64_t ms;

    if (text == NULL || clock_parse_duration(text, &ms, &err) < 0 || ms <= 0)
        return 0;
    return ms < HOLD_MIN_MS ? HOLD_MIN_MS : (uint64_t)ms;
}

/* ---- what is written down ---- */

static const struct domxml_disk *
disk_of(const struct guestcut *g, const char *target)
{
    return domxml_disk(g->vm->live != NULL ? g->vm->live : g->vm->inactive,
                       target);
}

static json_t *
disks_json(const struct guestcut *g, const json_t *vm)
{
    json_t *list = json_array();

    for (size_t i = 0; i < g->disks.n_targets; i++) {
        const char *target = g->disks.targets[i];
        const struct domxml_disk *d = disk_of(g, target);
        json_t *o = json_pack("{s:s, s:I}", "target", target, "size",
                              (json_int_t)g->cut_disks[i].virtual_size);

        jsonx_set_str(o, "claim", projection_claim_of(vm, target));
        jsonx_set_str(o, "bus", d == NULL ? NULL : d->bus);
        (void)json_array_append_new(list, o);
    }
    for (size_t i = 0; i < g->disks.n_pulled; i++) {
        const char *target = g->disks.pulled[i];
        const struct domxml_disk *d = disk_of(g, target);
        json_t *o = json_pack("{s:s, s:I, s:o}", "target", target, "size",
                              (json_int_t)pull_size(g->pull, i), "pull",
                              pull_record(g->pull, i));

        jsonx_set_str(o, "claim", projection_claim_of(vm, target));
        jsonx_set_str(o, "bus", d == NULL ? NULL : d->bus);
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *
excluded_json(const struct guestcut *g)
{
    json_t *list = json_array();

    for (size_t i = 0; i < g->disks.n; i++)
        if (g->disks.v[i].reason != NULL)
            (void)json_array_append_new(
                list, json_pack("{s:s, s:s}", "volume", g->disks.v[i].target,
                                "reason", g->disks.v[i].reason));
    return list;
}

/* status.source: the definition as it was, the metadata that is its own. */
static json_t *
source_json(const json_t *vm)
{
    static const char *const kept[] = { "name", "namespace", "labels",
                                        "annotations" };
    json_t *meta = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        json_t *v = json_object_get(json_object_get(vm, "metadata"), kept[i]);

        if (v != NULL)
            (void)json_object_set_new(meta, kept[i], json_deep_copy(v));
    }
    return json_pack("{s:o, s:o}", "metadata", meta, "spec",
                     json_deep_copy(json_object_get(vm, "spec")));
}

static json_t *
claim_json(const json_t *claim, const char *name)
{
    static const char *const kept[] = { "namespace", "labels", "annotations" };
    const json_t *spec = json_object_get(claim, "spec");
    json_t *meta = json_object();

    jsonx_set_str(meta, "name", name);
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        json_t *v =
            json_object_get(json_object_get(claim, "metadata"), kept[i]);

        if (v != NULL)
            (void)json_object_set_new(meta, kept[i], json_deep_copy(v));
    }
    return json_pack("{s:o, s:o}", "metadata", meta, "spec",
                     spec == NULL ? json_object() : json_deep_copy(spec));
}

/* "<backup>-volume-<claim>", as Harvester names them. */
static json_t *
volumes_json(const struct guestcut *g, const json_t *vm, const char *backup)
{
    CLEANUP(json_decref) json_t *claims = guestcut_claims(g, vm);
    json_t *list = json_array();
    size_t n_cut = g->disks.n_targets;

    for (size_t i = 0; i < n_cut + g->disks.n_pulled; i++) {
        const char *target =
            i < n_cut ? g->disks.targets[i] : g->disks.pulled[i - n_cut];
        uint64_t size = i < n_cut ? g->cut_disks[i].virtual_size
                                  : pull_size(g->pull, i - n_cut);
        const char *claim = projection_claim_of(vm, target);
        CLEANUP(mem_free)
        char *name =
            xasprintf("%s-volume-%s", backup, claim == NULL ? target : claim);

        (void)json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:o, s:I, s:i, s:b}", "name", name,
                      "volumeName", target, "csiDriverName",
                      "repository.vmkeep.io", "persistentVolumeClaim",
                      claim_json(claim == NULL ? NULL
                                               : json_object_get(claims, claim),
                                 claim),
                      "volumeSize", (json_int_t)size, "progress", 0,
                      "readyToUse", 0));
    }
    return list;
}

/* Secrets that the definition names; only their names are kept. */
static json_t *
secrets_json(const json_t *vm)
{
    static const char *const paths[] = {
        "cloudInitNoCloud.secretRef.name",
        "cloudInitNoCloud.networkDataSecretRef.name",
        "cloudInitConfigDrive.secretRef.name",
    };
    const json_t *volumes = jsonx_get(vm, "spec.template.spec.volumes");
    json_t *list = json_array();

    for (size_t i = 0; i < json_array_size(volumes); i++)
        for (size_t k = 0; k < ARRAY_SIZE(paths); k++) {
            const char *name = jsonx_str(json_array_get(volumes, i), paths[k]);

            if (name != NULL)
                (void)json_array_append_new(list,
                                            json_pack("{s:s}", "name", name));
        }
    return list;
}

static const char *
consistency_of(const struct guestcut *g)
{
    const struct snapshot_moment *m = &g->record.moment;

    if (!m->is_online)
        return backup_meta_consistency_name(BACKUP_META_OFFLINE);
    return backup_meta_consistency_name(m->is_quiesced ? BACKUP_META_QUIESCED
                                                       : BACKUP_META_CRASH);
}

static void
record(const struct try_backup *t, const struct guestcut *g, json_t *status)
{
    const json_t *vm = t->job->vm_json;
    char time[CLOCK_RFC3339_SIZE];
    json_t *cut;

    clock_format_rfc3339(g->record.time_s, time);
    cut = json_pack("{s:s, s:s, s:I, s:o, s:s}", "time", time, "consistency",
                    consistency_of(g), "frozenMilliseconds",
                    (json_int_t)g->record.frozen_ms, "disks", disks_json(g, vm),
                    "host", t->ctl->config.node);
    jsonx_set_str(cut, "untracked", t->tracked.why);
    jsonx_set_str(status, "sourceUID", t->vm_uuid);
    (void)json_object_set_new(status, "source", source_json(vm));
    (void)json_object_set_new(status, "volumeBackups",
                              volumes_json(g, vm, object_name(t->job->backup)));
    (void)json_object_set_new(status, "secretBackups", secrets_json(vm));
    jsonx_set(status, "vmkeep.cut", cut);
    jsonx_set(status, "vmkeep.excluded", excluded_json(g));
    jsonx_set_str(status, "vmkeep.cutTime", time);
    jsonx_set(status, "vmkeep.quiesced",
              json_boolean(g->record.moment.is_quiesced));
    jsonx_set(status, "vmkeep.frozenMilliseconds",
              json_integer((json_int_t)g->record.frozen_ms));
    jsonx_set(status, "vmkeep.pausedMilliseconds",
              json_integer((json_int_t)g->record.paused_ms));
    jsonx_set_str(status, "vmkeep.driver", g->record.driver);
    jsonx_set_str(status, "vmkeep.host", t->ctl->config.node);
}

/* ---- the try ---- */

static int
make(struct try_backup *t, struct guestcut *g, struct err *err)
{
    t->cut = g;
    t->tracked.targets =
        xcalloc(g->disks.n_targets + 1, sizeof *t->tracked.targets);
    if (tracking_begin(t->ctl, g->vm, t->uid, t->job->repo_uuid,
                       g->disks.targets, g->disks.n_targets, &t->tracked,
                       err) < 0)
        return err_wrap(err, "change tracking");
    if (guestcut_make(g, err) < 0)
        return -1;
    if (tracking_cut(t->ctl, t->vm_uuid, t->uid, t->tracked.targets,
                     t->tracked.n, err) < 0)
        return err_wrap(err, "change tracking");
    return guestcut_seal(g, err);
}

int
backup_cut(struct ctl *ctl, const struct backup_cut_job *job, json_t *status,
           bool *ret_is_freeze_failure, struct err *err)
{
    CLEANUP(mem_free)
    char *exclude = guestcut_exclusions(job->vm_json, job->backup_json);
    struct try_backup t = { .ctl = ctl,
                            .job = job,
                            .uid = object_uid(job->backup),
                            .vm_uuid = jsonx_str_or(job->vm_json,
                                                    "metadata.uid", "") };
    struct guestcut_job what = { .kind = VOLUME_CUT_ANY,
                                 .uid = t.uid,
                                 .vm_uuid = t.vm_uuid,
                                 .exclude = exclude,
                                 .may_pull = ctl->config.scratch_dir != NULL,
                                 .never_freezes = job->never_freezes,
                                 .hold_ms = hold_ms(job->backup_json),
                                 .before = record_writes,
                                 .arg = &t };
    CLEANUP(guestcut_fini) struct guestcut g = { 0 };
    struct err undo;
    int rc;

    *ret_is_freeze_failure = false;
    if (backup_cut_undo(ctl, t.vm_uuid, t.uid, NULL, err) < 0 ||
        guestcut_look(ctl, &what, &g, err) < 0)
        return -1;
    if (g.disks.n_targets + g.disks.n_pulled == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "the virtual machine has no disk that can be backed up");
    rc = make(&t, &g, err);
    free(t.tracked.targets);
    if (rc == 0) {
        record(&t, &g, status);
        return 0;
    }
    *ret_is_freeze_failure = g.is_freeze_failure;
    if (backup_cut_undo(ctl, t.vm_uuid, t.uid, NULL, &undo) < 0) {
        log_info("backup %s: undo: %s", t.uid, undo.msg);
        recover_again(ctl, t.vm_uuid);
    }
    return -1;
}

int
backup_cut_undo(struct ctl *ctl, const char *vm_uuid, const char *uid,
                const char *entry, struct err *err)
{
    int rc;

    if (vm_uuid == NULL)
        return guestcut_undo(ctl, NULL, uid, err);
    if (recover_vm(ctl, vm_uuid, err) < 0)
        return -1;
    rc = entry != NULL ? tracking_commit(ctl, vm_uuid, uid, entry, err)
                       : tracking_abort(ctl, vm_uuid, uid, err);
    if (rc < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "change tracking");
    if (entry != NULL && tracking_keeps(ctl, vm_uuid, uid))
        vm_uuid = NULL; /* the cut stays, until the next backup or its end */
    return guestcut_undo(ctl, vm_uuid, uid, err);
}

/* ---- rules ---- */

enum backup_cut_quiesce
backup_cut_quiesce(const char *annotation)
{
    if (annotation != NULL && strcmp(annotation, "required") == 0)
        return BACKUP_CUT_QUIESCE_REQUIRED;
    return annotation != NULL && strcmp(annotation, "none") == 0
               ? BACKUP_CUT_QUIESCE_NONE
               : BACKUP_CUT_QUIESCE_PREFERRED;
}

int
backup_cut_room(struct ctl *ctl, const json_t *backup, struct err *err)
{
    uint64_t reserve =
        ctl->config.min_free != 0 ? ctl->config.min_free / 2 : ROOM_BYTES;

    if (volume_cut_room(
            ctl->volume, jsonx_str_or(backup, "status.sourceUID", ""),
            jsonx_str_or(backup, "metadata.uid", ""), reserve, err) == 0)
        return 0;
    return err_wrap(err, "given up, so that the guest is not stopped");
}

/* ---- disks that are pulled ---- */

bool
backup_cut_is_pulled(const json_t *backup)
{
    const json_t *disks = jsonx_get(backup, "status.vmkeep.cut.disks");

    for (size_t i = 0; i < json_array_size(disks); i++)
        if (json_object_get(json_array_get(disks, i), "pull") != NULL)
            return true;
    return false;
}

/* The next try undoes what is left, but a job that nobody reads slows the
 * guest down until then. */
void
backup_cut_drop(struct ctl *ctl, json_t *backup)
{
    const char *vm_uuid = jsonx_str_or(backup, "status.sourceUID", "");
    struct err why;

    if (pull_end(ctl, vm_uuid, jsonx_str_or(backup, "metadata.uid", ""), &why) <
        0)
        log_info("VM %s: %s", vm_uuid, why.msg);
    jsonx_set(backup, "status.vmkeep.cut", json_object());
}
