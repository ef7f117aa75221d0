/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/statvfs.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "volume/volume-priv.h"

/* A restore: prepare makes the new files (an empty overlay on the sealed
 * layer, or a full copy), the caller redefines or defines the domain, finish
 * puts the old disks away. Between prepare and finish the domain decides what
 * a crash means: if it names the new files the restore is completed, if not it
 * is undone. A restore that was completed by recovery is found again by its
 * id, and its caller's last word on the old disks is then applied to them.
 *
 * How it ends: volume-restore-end.c. */

void
volume_restore_free(struct volume_restore *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++) {
        free(r->disks[i].path);
        free(r->disks[i].format);
    }
    free(r->disks);
    imglock_free(r->locks);
    layer_table_free(r->t);
    free(r);
}

const struct volume_new_disk *
volume_restore_disks(struct volume_restore *r, size_t *ret_n)
{
    *ret_n = r->n;
    return r->disks;
}

void
volume_restore_unlock(struct volume_restore *r)
{
    imglock_free(TAKE(r->locks));
}

void
volume_restore_add(struct volume_restore *r, const char *target,
                   const char *path, const char *format, uint64_t size)
{
    struct volume_new_disk *d;

    r->disks = xrealloc(r->disks, r->n + 1, sizeof *r->disks);
    d = &r->disks[r->n++];
    *d = (struct volume_new_disk){ .path = xstrdup(path),
                                   .format = xstrdup(format),
                                   .virtual_size = size };
    (void)snprintf(d->target, sizeof d->target, "%s", target);
}

/* ---- prepare ---- */

struct prepare {
    struct volume_restore *r;
    const char *cut_id;
    enum volume_restore_mode mode;
    struct virt_vm *vm; /* in place: the domain */
};

static int
check_layer(const struct layer *l, struct volume_image *i, struct err *err)
{
    if (volume_image_read(l->path, l->format, i, err) < 0)
        return -1;
    if (!file_id_equal(&i->file, &l->file))
        return err_set(err, ERR_CORRUPT,
                       "%s: another file than the recorded one", l->path);
    return i->refusal == NULL
               ? 0
               : err_set(err, ERR_CORRUPT, "%s: %s", l->path, i->refusal);
}

/* The layer and all below it are there and build on each other. */
static int
check_chain(const struct layer_table *t, const struct layer *l, struct err *err)
{
    for (; l != NULL; l = layer_parent(t, l)) {
        CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
        const struct layer *parent = layer_parent(t, l);

        if (check_layer(l, &i, err) < 0)
            return -1;
        if (parent != NULL &&
            (i.backing == NULL || !file_is_at(i.backing, &parent->file)))
            return err_set(err, ERR_CORRUPT,
                           "%s: does not build on %s as recorded", l->path,
                           parent->path);
    }
    return 0;
}

int
volume_cut_check(struct volume *v, const char *vm_uuid, const char *cut_id,
                 struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);
    bool found = false;

    if (t == NULL)
        return -1;
    for (size_t i = 0; i < t->n_refs; i++) {
        const struct layer_ref *r = &t->refs[i];

        if (r->kind != LAYER_REF_CUT || strcmp(r->owner, cut_id) != 0)
            continue;
        found = true;
        if (check_chain(t, layer_find(t, r->layer), err) < 0)
            return err_wrap(err, "disk %s", r->target);
    }
    return found ? 0 : err_set(err, ERR_NOT_FOUND, "cut %s: not known", cut_id);
}

/* Where a new file of this target goes, and the row of the disk that it
 * replaces ("" if that is none of ours). */
static int
plan_in_place(struct prepare *p, const struct layer *sealed,
              char old_id[UUID_STR_SIZE], struct err *err)
{
    struct layer_table *t = p->r->t;
    const struct domxml_disk *disk =
        domxml_disk(p->vm->inactive, sealed->target);
    struct layer *active = layer_find_active(t, sealed->target);

    old_id[0] = 0;
    /* The admin gave the domain another disk: what was ours stays as it is. */
    if (active != NULL && volume_names(p->vm->inactive, sealed->target, active,
                                       active) != VOLUME_NAMES_A) {
        active->state = LAYER_DETACHED;
        active = NULL;
    }
    if (layer_depth(t, sealed) >= LAYER_DEPTH_MAX)
        return err_set(err, ERR_UNSUPPORTED,
                       "its chain has %zu files, and %d are the most",
                       layer_depth(t, sealed), LAYER_DEPTH_MAX);
    if (active != NULL && file_is_at(active->path, &active->file) &&
        imglock_add(p->r->locks, active->path, &active->file, err) < 0)
        return -1;
    if (active != NULL)
        memcpy(old_id, active->id, UUID_STR_SIZE);
    /* A file that is not ours is held as well, if it is there. */
    if (disk != NULL && disk->chain_len > 0 && disk->chain[0].path != NULL &&
        imglock_add(p->r->locks, disk->chain[0].path, NULL, err) < 0 &&
        err->code != ERR_NOT_FOUND)
        return -1;
    return 0;
}

/* Is the new file a copy that shares blocks? A clone must need nothing else:
 * one that stands on other copies is converted. */
static bool
is_copied(const struct prepare *p, const struct layer *sealed)
{
    return sealed->state == LAYER_KEPT &&
           (p->mode == VOLUME_IN_PLACE || sealed->parent[0] == 0);
}

static const char *
new_format(const struct prepare *p, const struct layer *sealed)
{
    return is_copied(p, sealed) ? sealed->format : "qcow2";
}

static char *
new_path(const struct prepare *p, const struct layer *sealed, const char *id,
         struct err *err)
{
    CLEANUP(mem_free) char *dir = NULL;

    if (p->mode == VOLUME_IN_PLACE)
        return volume_path_like(sealed->path, id, new_format(p, sealed), err);
    dir = file_dirname(sealed->path);
    return xasprintf("%s/vmkeep-%s.%s", strcmp(dir, "/") == 0 ? "" : dir, id,
                     new_format(p, sealed));
}

static int
plan_disk(struct prepare *p, const char *target, struct err *err)
{
    struct layer_table *t = p->r->t;
    const struct layer_ref *ref =
        layer_ref_find(t, LAYER_REF_CUT, p->cut_id, target);
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    CLEANUP(mem_free) char *path = NULL;
    CLEANUP(mem_free) char *format = NULL;
    char id[UUID_STR_SIZE], sealed_id[UUID_STR_SIZE], old_id[UUID_STR_SIZE];
    char parent[UUID_STR_SIZE] = "";
    const struct layer *sealed;
    bool in_place = p->mode == VOLUME_IN_PLACE;

    if (ref == NULL)
        return err_set(err, ERR_NOT_FOUND, "it is not in the snapshot");
    sealed = layer_find(t, ref->layer);
    old_id[0] = 0;
    if (check_chain(t, sealed, err) < 0 || check_layer(sealed, &i, err) < 0 ||
        (in_place && plan_in_place(p, sealed, old_id, err) < 0))
        return -1;
    uuid_random(id);
    path = new_path(p, sealed, id, err);
    if (path == NULL)
        return -1;
    memcpy(sealed_id, sealed->id, sizeof sealed_id);
    if (in_place)
        memcpy(parent, is_copied(p, sealed) ? sealed->parent : sealed_id,
               sizeof parent);
    format = xstrdup(new_format(p, sealed));
    layer_add(t, id, parent, target, LAYER_PLANNED, format, path, i.size)
        ->is_made = true;
    layer_ref_add(t, LAYER_REF_RESTORE, p->r->id, target, sealed_id);
    layer_job_add(t, target, sealed_id, id, old_id);
    return 0;
}

static int
check_room(const struct qimg_file *from, struct err *err)
{
    struct statvfs s;
    uint64_t need, is;

    if (qimg_measure(from, &need, err) < 0)
        return -1;
    if (statvfs(from->path, &s) < 0)
        return err_sys(err, errno, "%s: free space", from->path);
    is = (uint64_t)s.f_bavail * s.f_frsize;
    if (is < need)
        return err_set(err, ERR_NO_SPACE,
                       "%s: %llu MiB free, a full copy may need %llu MiB",
                       from->path, (unsigned long long)is >> 20,
                       (unsigned long long)need >> 20);
    return 0;
}

static int
make_disk(struct prepare *p, const struct layer_job_disk *d, struct err *err)
{
    struct layer_table *t = p->r->t;
    struct driver *driver = p->r->v->driver;
    const struct layer *sealed = layer_find(t, d->a);
    const struct layer *old = d->c[0] == 0 ? NULL : layer_find(t, d->c);
    const struct qimg_file from = { sealed->path, sealed->format };
    struct layer *new = layer_find(t, d->b);
    const char *like = old != NULL && file_is_at(old->path, &old->file)
                           ? old->path
                           : sealed->path;
    const struct driver_create c = {
        .path = new->path, .parent = from, .size = new->size, .like = like
    };

    if (is_copied(p, sealed)) {
        if (driver_copy_create(driver, like, new->path, err) < 0 ||
            driver_copy(driver, sealed->path, new->path, err) < 0 ||
            file_sync_path(new->path, err) < 0 ||
            (p->r->locks != NULL &&
             imglock_add(p->r->locks, new->path, NULL, err) < 0))
            return -1;
    } else if (p->mode == VOLUME_CLONE) {
        if (check_room(&from, err) < 0 ||
            driver_clone(driver, &from, new->path, like, err) < 0)
            return -1;
    } else if (driver_create(driver, &c, err) < 0 ||
               volume_bitmap_carry(&from, new->path, NULL, err) < 0 ||
               imglock_add(p->r->locks, new->path, NULL, err) < 0) {
        return -1;
    }
    if (file_id_of_path(new->path, &new->file, err) < 0)
        return -1;
    volume_restore_add(p->r, new->target, new->path, new->format, new->size);
    return 0;
}

/* What was made so far goes; the caller's error is the one that counts. */
static void
undo_prepare(struct prepare *p)
{
    struct err unused;

    imglock_free(TAKE(p->r->locks));
    (void)!volume_restore_undo(p->r->v, p->r->t, &unused);
}

static int
make_disks(struct prepare *p, struct err *err)
{
    struct layer_table *t = p->r->t;

    for (size_t i = 0; i < t->job.n; i++)
        if (make_disk(p, &t->job.disks[i], err) < 0)
            return err_wrap(err, "disk %s", t->job.disks[i].target);
    t->job.step = LAYER_STEP_CREATED;
    return volume_save(p->r->v, t, err);
}

int
volume_restore_check_off(const struct virt_vm *vm, struct err *err)
{
    if (vm->live != NULL || vm->state == VIRT_STOPPING)
        return err_set(err, ERR_BUSY, "it is running; stop it first");
    if (vm->has_managed_save)
        return err_set(err, ERR_CONFLICT, "%s", plan_why_text(PLAN_WHY_SAVED));
    return vm->inactive != NULL
               ? 0
               : err_set(err, ERR_UNSUPPORTED, "a transient domain");
}

static int
prepare(struct prepare *p, const char *owner_uuid, const char *const *targets,
        size_t n_targets, struct err *err)
{
    struct volume *v = p->r->v;
    struct layer_table *t = p->r->t;
    bool in_place = p->mode == VOLUME_IN_PLACE;

    if (in_place) {
        p->vm = virt_vm_get(v->virt, t->vm, err);
        if (p->vm == NULL || volume_restore_check_off(p->vm, err) < 0)
            return -1;
        p->r->locks = imglock_new();
    }
    layer_job_begin(t, in_place ? LAYER_JOB_INPLACE : LAYER_JOB_CLONE, p->r->id,
                    owner_uuid);
    for (size_t i = 0; i < n_targets; i++)
        if (plan_disk(p, targets[i], err) < 0)
            return err_wrap(err, "disk %s", targets[i]);
    if (volume_save(v, t, err) < 0)
        return -1;
    if (make_disks(p, err) < 0) {
        undo_prepare(p);
        return -1;
    }
    return 0;
}

/* A restore that is over: its result, for who asks again. */
static void
take_done(struct volume_restore *r, const struct layer_done *d)
{
    r->is_done = true;
    for (size_t i = 0; i < d->n; i++)
        volume_restore_add(r, d->disks[i].target, d->disks[i].path,
                           d->disks[i].format, d->disks[i].size);
}

int
volume_restore_open(struct volume *v, const char *vm_uuid,
                    const char *restore_id, const char *owner_uuid,
                    size_t n_disks, struct volume_restore *r, struct err *err)
{
    const struct layer_done *done;

    if (volume_check_id(restore_id, "restore", err) < 0 ||
        volume_check_id(owner_uuid, "VM", err) < 0)
        return -1;
    if (n_disks == 0)
        return err_set(err, ERR_INVALID, "restore %s: no disk", restore_id);
    r->v = v;
    memcpy(r->id, restore_id, sizeof r->id);
    r->t = volume_load(v, vm_uuid, err);
    if (r->t == NULL || volume_settle(v, r->t, err) < 0)
        return -1;
    done = layer_done_find(r->t, restore_id);
    if (done != NULL) {
        take_done(r, done);
        return 0;
    }
    return r->t->job.kind == LAYER_JOB_NONE
               ? 0
               : err_set(err, ERR_BUSY, "VM %s: %s", vm_uuid,
                         plan_why_text(PLAN_WHY_JOB));
}

int // NOLINTNEXTLINE(readability-function-size): ten parameters
volume_restore_prepare(struct volume *v, const char *vm_uuid,
                       const char *cut_id, const char *restore_id,
                       enum volume_restore_mode mode, const char *owner_uuid,
                       const char *const *targets, size_t n_targets,
                       struct volume_restore **ret_r, struct err *err)
{
    CLEANUP(volume_restore_free)
    struct volume_restore *r = xcalloc(1, sizeof *r);
    struct prepare p = { .r = r, .cut_id = cut_id, .mode = mode };
    int rc;

    if (volume_restore_open(v, vm_uuid, restore_id, owner_uuid, n_targets, r,
                            err) < 0)
        return -1;
    if (r->is_done) {
        *ret_r = TAKE(r);
        return 0;
    }
    rc = prepare(&p, owner_uuid, targets, n_targets, err);
    virt_vm_free(p.vm);
    if (rc < 0)
        return err_wrap(err, "VM %s", vm_uuid);
    *ret_r = TAKE(r);
    return 0;
}

bool
volume_restore_is_finished(const struct volume_restore *r)
{
    return r->is_done;
}
