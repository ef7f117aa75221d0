/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/statvfs.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "volume/splitbrain.h"
#include "volume/volume-priv.h"

/* A cut: prepare writes what will be done into the journal, commit does it in
 * one step (a libvirt call, or one redefinition of a stopped domain), finish
 * turns the journal into references. A crash in between is undone: nobody was
 * told that the snapshot exists.
 *
 * The guest is frozen between prepare and commit, so prepare does all that can
 * be done before: it makes the new layers of a running VM, empty, and the text
 * of the call that puts them above its disks.
 *
 * How a cut is undone: volume-cut-undo.c. */

enum {
    FILE_SYSTEMS_MAX = 64
};
#define SPACE_LEAST ((uint64_t)4 << 30)

struct volume_cut {
    struct volume *v;
    struct layer_table *t;
    char id[UUID_STR_SIZE];
    char **targets;
    size_t n;
    bool is_live;
    bool is_copy;     /* by volume-copy.c */
    bool is_finished; /* by an earlier process: nothing to do */
    bool is_done;     /* finished or aborted by this one */
    char *xml;        /* inactive, as the caller saw it */
    char *request;    /* live layers: virt_overlay_request() */
};

void
volume_cut_free(struct volume_cut *cut)
{
    if (cut == NULL)
        return;
    for (size_t i = 0; i < cut->n; i++)
        free(cut->targets[i]);
    free(cut->targets);
    free(cut->xml);
    free(cut->request);
    layer_table_free(cut->t);
    free(cut);
}

/* ---- prepare ---- */

struct need {
    struct {
        struct file_id fs; /* dev only */
        uint64_t bytes;
        char *path;
    } v[FILE_SYSTEMS_MAX];
    size_t n;
};

static void
need_add(struct need *need, const struct layer *l, uint64_t min_free)
{
    uint64_t bytes = l->size / 10;
    size_t i = 0;

    if (bytes < SPACE_LEAST)
        bytes = SPACE_LEAST;
    while (i < need->n && need->v[i].fs.dev != l->file.dev)
        i++;
    if (i == FILE_SYSTEMS_MAX)
        return;
    if (i == need->n) {
        need->v[need->n].fs = l->file;
        need->v[need->n].bytes = 0;
        need->v[need->n++].path = xstrdup(l->path);
    }
    /* A rule of the admin's is for the file system, ours is per disk. */
    need->v[i].bytes = min_free != 0 ? min_free : need->v[i].bytes + bytes;
}

static int
need_check(struct need *need, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < need->n; i++) {
        struct statvfs s = { 0 };
        uint64_t is;

        if (rc == 0 && statvfs(need->v[i].path, &s) < 0)
            rc = err_sys(err, errno, "%s: free space", need->v[i].path);
        is = (uint64_t)s.f_bavail * s.f_frsize;
        if (rc == 0 && is < need->v[i].bytes)
            rc = err_set(err, ERR_NO_SPACE,
                         "%s: %llu MiB free, a snapshot wants %llu MiB for "
                         "what the guest will write; free some, or set "
                         "min_free",
                         need->v[i].path, (unsigned long long)is >> 20,
                         (unsigned long long)need->v[i].bytes >> 20);
        free(need->v[i].path);
    }
    return rc;
}

static int
check_block_job(struct volume *v, const char *uuid, const char *target,
                struct err *err)
{
    bool is_active = false, is_ready;

    if (virt_block_job(v->virt, uuid, target, &is_active, &is_ready, err) < 0)
        return -1;
    return is_active ? err_set(err, ERR_BUSY, "a block job is running on it")
                     : 0;
}

/* The row of the disk, by its id: rows move. */
static int
look_disk(struct volume_cut *cut, const struct virt_vm *vm, const char *target,
          char ret_id[UUID_STR_SIZE], struct err *err)
{
    const struct domxml *now = vm->live != NULL ? vm->live : vm->inactive;
    const struct domxml_disk *disk = domxml_disk(now, target);
    const struct domxml_disk *inactive = domxml_disk(vm->inactive, target);
    struct layer *old;
    const char *refusal;

    if (cut->is_live && check_block_job(cut->v, cut->t->vm, target, err) < 0)
        return -1;
    if (disk == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no such disk");
    refusal = volume_disk_refusal(disk, inactive);
    if (refusal != NULL)
        return err_set(err, ERR_UNSUPPORTED, "%s", refusal);
    if (volume_cut_register(cut->t, target, now, &old, err) < 0)
        return -1;
    memcpy(ret_id, old->id, UUID_STR_SIZE);
    return 0;
}

/* One more layer on it. */
static int
plan_layer(struct volume_cut *cut, const char *old_id, struct err *err)
{
    const struct layer *old = layer_find(cut->t, old_id);
    CLEANUP(mem_free) char *path = NULL;
    char new_id[UUID_STR_SIZE], target[LAYER_TARGET_SIZE];

    if (layer_depth(cut->t, old) >= LAYER_DEPTH_MAX)
        return err_set(err, ERR_UNSUPPORTED,
                       "its chain has %zu files, and %d are the most; delete "
                       "a snapshot first",
                       layer_depth(cut->t, old), LAYER_DEPTH_MAX);
    uuid_random(new_id);
    path = volume_overlay_path(old->path, new_id, err);
    if (path == NULL)
        return -1;
    memcpy(target, old->target, sizeof target);
    (void)layer_add(cut->t, new_id, old_id, target, LAYER_PLANNED, "qcow2",
                    path, old->size); /* `old` may have moved */
    layer_find(cut->t, new_id)->is_made = true;
    layer_job_add(cut->t, target, old_id, new_id, NULL);
    return 0;
}

static int
check_domain(struct volume *v, const struct virt_vm *vm, struct err *err)
{
    bool is_active = false;
    char what[64] = "";

    if (vm->inactive == NULL || !vm->is_persistent)
        return err_set(err, ERR_UNSUPPORTED, "a transient domain");
    if (vm->live == NULL) {
        if (vm->has_managed_save)
            return err_set(err, ERR_CONFLICT, "%s",
                           plan_why_text(PLAN_WHY_SAVED));
        return vm->state == VIRT_OFF || vm->state == VIRT_CRASHED
                   ? 0
                   : err_set(err, ERR_BUSY, "%s",
                             plan_why_text(PLAN_WHY_UNSTEADY));
    }
    if (vm->state != VIRT_RUNNING && vm->state != VIRT_PAUSED)
        return err_set(err, ERR_BUSY, "%s", plan_why_text(PLAN_WHY_UNSTEADY));
    if (splitbrain_check(v->virt, vm, err) < 0 ||
        virt_domain_job(v->virt, vm->uuid, &is_active, what, sizeof what, err) <
            0)
        return -1;
    return is_active ? err_set(err, ERR_BUSY, "a job is running: %s", what) : 0;
}

static int
plan_cut(struct volume_cut *cut, enum volume_cut_kind kind,
         const struct virt_vm *vm, uint64_t min_free, struct err *err)
{
    CLEANUP(mem_free)
    char(*ids)[UUID_STR_SIZE] = xcalloc(cut->n, sizeof *ids);
    struct need need = { .n = 0 };

    if (check_domain(cut->v, vm, err) < 0)
        return -1;
    for (size_t i = 0; i < cut->n; i++)
        if (look_disk(cut, vm, cut->targets[i], ids[i], err) < 0)
            return err_wrap(err, "disk %s", cut->targets[i]);
    cut->is_copy =
        kind == VOLUME_CUT_ANY && volume_copy_fits(cut->v, cut->t, ids, cut->n);
    layer_job_begin(cut->t, cut->is_copy ? LAYER_JOB_COPY : LAYER_JOB_CUT,
                    cut->id, NULL);
    for (size_t i = 0; i < cut->n; i++)
        if ((cut->is_copy ? volume_copy_plan(cut->t, ids[i], err)
                          : plan_layer(cut, ids[i], err)) < 0)
            return err_wrap(err, "disk %s", cut->targets[i]);
    for (size_t i = 0; i < cut->n; i++)
        need_add(&need, layer_find(cut->t, ids[i]), min_free);
    return need_check(&need, err);
}

static int
create_layer(struct volume_cut *cut, const struct layer_job_disk *d,
             struct err *err)
{
    const struct layer *old = layer_find(cut->t, d->a);
    const struct driver_create c = { .path = layer_find(cut->t, d->b)->path,
                                     .parent = { old->path, old->format },
                                     .size = old->size,
                                     .like = old->path };

    return driver_create(cut->v->driver, &c, err);
}

/* Bitmaps are left to libvirt, which adds in its call those that QEMU has. */
static int
prepare_layers(struct volume_cut *cut, const struct virt_vm *vm,
               struct err *err)
{
    const struct layer_job *j = &cut->t->job;
    CLEANUP(mem_free)
    struct virt_overlay *overlays = xcalloc(j->n, sizeof *overlays);

    for (size_t i = 0; i < j->n; i++) {
        if (create_layer(cut, &j->disks[i], err) < 0)
            return err_wrap(err, "disk %s", j->disks[i].target);
        overlays[i] = (struct virt_overlay){
            .target = j->disks[i].target,
            .path = layer_find(cut->t, j->disks[i].b)->path,
        };
    }
    return virt_overlay_request(vm->live, overlays, j->n, &cut->request, err);
}

/* The journal is written: from here on there may be something to undo, by
 * recovery if not here. */
static int
prepare_files(struct volume_cut *cut, const struct virt_vm *vm, struct err *err)
{
    struct err undo;
    bool is_open;

    if (cut->is_copy) {
        if (volume_copy_prepare(cut->v, cut->t, err) == 0)
            return 0;
        (void)!volume_copy_undo(cut->v, cut->t, &undo);
        return -1;
    }
    if (!cut->is_live || prepare_layers(cut, vm, err) == 0)
        return 0;
    (void)!volume_cut_undo(cut->v, cut->t, &is_open, &undo);
    return -1;
}

int
volume_cut_prepare(struct volume *v, const struct virt_vm *vm,
                   const char *cut_id, const char *const *targets,
                   size_t n_targets, uint64_t min_free,
                   struct volume_cut **ret_cut, struct err *err)
{
    return volume_cut_prepare_as(v, VOLUME_CUT_LAYERS, vm, cut_id, targets,
                                 n_targets, min_free, ret_cut, err);
}

int
volume_cut_prepare_as(struct volume *v, enum volume_cut_kind kind,
                      const struct virt_vm *vm, const char *cut_id,
                      const char *const *targets, size_t n_targets,
                      uint64_t min_free, struct volume_cut **ret_cut,
                      struct err *err)
{
    CLEANUP(volume_cut_free) struct volume_cut *cut = xcalloc(1, sizeof *cut);

    if (volume_check_id(cut_id, "cut", err) < 0)
        return -1;
    if (n_targets == 0)
        return err_set(err, ERR_INVALID, "VM %s: no disk to cut", vm->uuid);
    cut->v = v;
    cut->t = volume_load(v, vm->uuid, err);
    if (cut->t == NULL || volume_settle(v, cut->t, err) < 0)
        return -1;
    memcpy(cut->id, cut_id, sizeof cut->id);
    cut->is_live = vm->live != NULL;
    cut->xml = xstrdup(vm->xml_inactive);
    cut->targets = xcalloc(n_targets, sizeof *cut->targets);
    for (size_t i = 0; i < n_targets; i++)
        cut->targets[cut->n++] = xstrdup(targets[i]);
    cut->is_finished =
        layer_ref_find(cut->t, LAYER_REF_CUT, cut_id, NULL) != NULL;
    if (!cut->is_finished) {
        if (cut->t->job.kind != LAYER_JOB_NONE)
            return err_set(err, ERR_BUSY, "VM %s: %s", vm->uuid,
                           plan_why_text(PLAN_WHY_JOB));
        if (plan_cut(cut, kind, vm, min_free, err) < 0 ||
            volume_name_files(v, vm, targets, n_targets, err) < 0 ||
            volume_save(v, cut->t, err) < 0 || prepare_files(cut, vm, err) < 0)
            return err_wrap(err, "VM %s", vm->uuid);
    }
    *ret_cut = TAKE(cut);
    return 0;
}

bool
volume_cut_needs_pause(const struct volume_cut *cut)
{
    return cut->is_copy && cut->is_live && !cut->is_finished;
}

const char *
volume_cut_driver(const struct volume_cut *cut)
{
    const struct layer_ref *r =
        layer_ref_find(cut->t, LAYER_REF_CUT, cut->id, NULL);

    if (r == NULL)
        return cut->is_copy ? "reflink" : "overlay";
    return layer_find(cut->t, r->layer)->state == LAYER_KEPT ? "reflink"
                                                             : "overlay";
}

/* ---- commit ---- */

/* The new layers were made for disks of a certain size. Who resizes one in the
 * milliseconds after this look is not seen; who did since prepare is. */
static int
check_sizes(const struct volume_cut *cut, struct err *err)
{
    const struct layer_job *j = &cut->t->job;

    for (size_t i = 0; i < j->n; i++) {
        const struct layer *old = layer_find(cut->t, j->disks[i].a);
        CLEANUP(volume_image_fini) struct volume_image is = { .size = 0 };

        if (volume_image_read(old->path, old->format, &is, err) < 0)
            return -1;
        if (is.size != old->size)
            return err_set(err, ERR_CONFLICT,
                           "disk %s: resized at this very moment", old->target);
    }
    return 0;
}

static int
commit_live(struct volume_cut *cut, struct err *err)
{
    if (check_sizes(cut, err) < 0)
        return -1;
    return driver_cut(cut->v->driver, cut->t->vm, cut->request, err);
}

/* Nobody starts it from here on, and it is as the caller saw it. */
static int
hold_stopped(struct volume_cut *cut, struct imglock *locks, struct err *err)
{
    const struct layer_job *j = &cut->t->job;
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;

    for (size_t i = 0; i < j->n; i++) {
        const struct layer *old = layer_find(cut->t, j->disks[i].a);

        if (old->state == LAYER_ACTIVE &&
            imglock_add(locks, old->path, &old->file, err) < 0)
            return -1;
    }
    vm = virt_vm_get(cut->v->virt, cut->t->vm, err);
    if (vm == NULL)
        return -1;
    if (vm->live != NULL || strcmp(vm->xml_inactive, cut->xml) != 0)
        return err_set(err, ERR_CONFLICT, "it was started or redefined");
    return 0;
}

/* The files first, synced, then one redefinition that names them all. Until
 * it, the new files mean nothing; with it, all disks are switched. */
static int
commit_stopped(struct volume_cut *cut, struct err *err)
{
    CLEANUP(imglock_free) struct imglock *locks = imglock_new();
    const struct layer_job *j = &cut->t->job;
    CLEANUP(mem_free)
    struct domxml_source *sources = xcalloc(j->n, sizeof *sources);

    if (hold_stopped(cut, locks, err) < 0)
        return -1;
    for (size_t i = 0; i < j->n; i++) {
        const struct layer *old = layer_find(cut->t, j->disks[i].a);
        const struct layer *new = layer_find(cut->t, j->disks[i].b);
        const struct qimg_file parent = { old->path, old->format };

        if (create_layer(cut, &j->disks[i], err) < 0 ||
            volume_bitmap_carry(&parent, new->path, NULL, err) < 0)
            return -1;
        sources[i] =
            (struct domxml_source){ new->target, new->path, new->format };
    }
    return volume_retarget(cut->v, cut->t->vm, sources, j->n, err);
}

static int
commit_copy(struct volume_cut *cut, struct err *err)
{
    CLEANUP(imglock_free) struct imglock *locks = imglock_new();

    if (!cut->is_live && hold_stopped(cut, locks, err) < 0)
        return -1;
    return volume_copy_commit(cut->v, cut->t, err);
}

int
volume_cut_commit(struct volume_cut *cut, struct err *err)
{
    int rc;

    if (cut->is_finished)
        return 0;
    rc = cut->is_copy   ? commit_copy(cut, err)
         : cut->is_live ? commit_live(cut, err)
                        : commit_stopped(cut, err);
    return rc < 0 ? err_wrap(err, "VM %s: cut", cut->t->vm) : 0;
}

/* ---- finish ---- */

static void
fill_result(const struct volume_cut *cut, struct volume_cut_disk *ret)
{
    for (size_t i = 0; i < cut->n; i++) {
        const struct layer_ref *r =
            layer_ref_find(cut->t, LAYER_REF_CUT, cut->id, cut->targets[i]);

        ret[i] = (struct volume_cut_disk){ .virtual_size = 0 };
        (void)snprintf(ret[i].target, sizeof ret[i].target, "%s",
                       cut->targets[i]);
        if (r == NULL)
            continue;
        memcpy(ret[i].layer_id, r->layer, sizeof ret[i].layer_id);
        ret[i].virtual_size = layer_find(cut->t, r->layer)->size;
    }
}

int
volume_cut_switch(struct layer_table *t, const struct layer_job_disk *d,
                  struct err *err)
{
    struct layer *new = layer_find(t, d->b);

    if (file_id_of_path(new->path, &new->file, err) < 0)
        return -1;
    layer_seal(t, d->a, d->b);
    return 0;
}

/* The domain writes to the new layers: the old ones are the cut. */
static int
finish_layers(struct volume_cut *cut, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;
    struct layer_table *t = cut->t;
    const struct domxml *now;

    vm = virt_vm_get(cut->v->virt, t->vm, err);
    if (vm == NULL)
        return -1;
    now = vm->live != NULL ? vm->live : vm->inactive;
    for (size_t i = 0; i < t->job.n; i++) {
        const struct layer_job_disk *d = &t->job.disks[i];

        if (volume_names(now, d->target, layer_find(t, d->a),
                         layer_find(t, d->b)) != VOLUME_NAMES_B)
            return err_set(err, ERR_CONFLICT,
                           "VM %s: disk %s: the domain does not name the new "
                           "layer after the cut",
                           t->vm, d->target);
        if (volume_cut_switch(t, d, err) < 0)
            return -1;
        layer_ref_add(t, LAYER_REF_CUT, cut->id, d->target, d->a);
    }
    layer_job_end(t);
    return volume_save(cut->v, t, err);
}

int
volume_cut_finish(struct volume_cut *cut, struct volume_cut_disk *ret_disks,
                  struct err *err)
{
    if (!cut->is_finished &&
        (cut->is_copy ? volume_copy_finish(cut->v, cut->t, err)
                      : finish_layers(cut, err)) < 0)
        return -1;
    cut->is_done = true;
    fill_result(cut, ret_disks);
    return 0;
}

int
volume_cut_abort(struct volume_cut *cut, struct err *err)
{
    CLEANUP(layer_table_free) struct layer_table *t = NULL;
    struct err unused;
    bool is_open;

    if (cut->is_finished || cut->is_done)
        return 0;
    /* From the file: what finish() changed before it failed does not count. */
    t = volume_load(cut->v, cut->t->vm, err);
    if (t == NULL)
        return -1;
    if ((t->job.kind == LAYER_JOB_CUT || t->job.kind == LAYER_JOB_COPY) &&
        strcmp(t->job.id, cut->id) == 0 &&
        (t->job.kind == LAYER_JOB_COPY
             ? volume_copy_undo(cut->v, t, err)
             : volume_cut_undo(cut->v, t, &is_open, err)) < 0)
        return err_wrap(err, "VM %s: undo of the cut", t->vm);
    cut->is_done = true;
    /* Nothing refers to the new layers any more; if they cannot be merged
     * back just now, the next collect does it and says why not. */
    (void)!volume_collect_table(cut->v, t, NULL, &unused);
    return 0;
}
