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
 * Old disks go last, by a rename beside their place: nothing is copied, and
 * until the trash is emptied a rename brings them back. One that is not the
 * recorded file, was not made by vmkeep, or is named by anybody stays where it
 * is, listed as detached. */

#define TRASH_MARK ".trash"

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

/* ---- old disks ---- */

static char *
trash_path(const struct layer *l)
{
    size_t len = strlen(l->path);
    size_t suffix = strlen(".qcow2");

    if (len > suffix && strcmp(l->path + len - suffix, ".qcow2") == 0)
        return xasprintf("%.*s" TRASH_MARK ".qcow2", (int)(len - suffix),
                         l->path);
    return xasprintf("%s" TRASH_MARK, l->path);
}

static bool
is_at(const char *path, const struct file_id *id)
{
    struct file_id is;
    struct err unused;

    return file_id_of_path(path, &is, &unused) == 0 && file_id_equal(&is, id);
}

/* Why this disk may not be put into the trash; NULL: it may. */
static int
trash_refusal(struct volume *v, const struct layer_table *t,
              const struct layer *l, const char **ret_why, struct err *err)
{
    CLEANUP(plan_facts_fini) struct plan_facts f = { .files = NULL };
    enum plan_why why;

    if (volume_facts_read(v, t, &f, err) < 0)
        return -1;
    why = plan_unlink_why(t, &f, (size_t)(l - t->layers));
    *ret_why = why != PLAN_WHY_NONE ? plan_why_text(why)
               : !l->is_made        ? "it was not made by vmkeep"
                                    : NULL;
    return 0;
}

/* May be repeated after a crash at any point. */
static int
trash_old(struct volume *v, struct layer_table *t, struct layer *l,
          int64_t until_s, struct buf *kept, struct err *err)
{
    CLEANUP(mem_free) char *to = trash_path(l);
    const char *why = NULL;

    if (!is_at(to, &l->file)) {
        if (trash_refusal(v, t, l, &why, err) < 0)
            return -1;
        if (why == NULL && strlen(to) > LAYER_PATH_MAX)
            why = "its path is too long for the trash";
        if (why != NULL) {
            l->state = LAYER_DETACHED;
            buf_printf(kept, "%s%s: %s", kept->len > 0 ? "; " : "", l->path,
                       why);
            return 0;
        }
        if (driver_rename(v->driver, l->path, to, err) < 0)
            return -1;
    }
    l->state = LAYER_TRASH;
    l->until_s = until_s;
    l->was = TAKE(l->path);
    l->path = TAKE(to);
    return 0;
}

/* Back from the trash to where it was. */
static int
untrash(struct volume *v, struct layer *l, struct err *err)
{
    struct file_id there;
    struct err unused;

    if (is_at(l->path, &l->file)) {
        if (file_id_of_path(l->was, &there, &unused) == 0)
            return err_set(err, ERR_EXISTS, "%s: is there already", l->was);
        if (driver_rename(v->driver, l->path, l->was, err) < 0)
            return -1;
    }
    layer_set_path(l, l->was);
    free(TAKE(l->was));
    l->until_s = 0;
    l->state = LAYER_DETACHED;
    return 0;
}

/* A disk that was replaced by a fill goes because the user said "delete", also
 * if another program made it: it is ours from then on, until it is unlinked. */
static int
trash_replaced(struct volume *v, struct layer_table *t, struct layer *l,
               int64_t until_s, struct buf *kept, struct err *err)
{
    bool was_made = l->is_made;

    l->is_made = was_made || layer_job_is_fill(t->job.kind);
    if (trash_old(v, t, l, until_s, kept, err) < 0)
        return -1;
    if (l->state != LAYER_TRASH)
        l->is_made = was_made;
    return 0;
}

/* ---- completing and undoing what the journal says ---- */

static int
complete(struct volume *v, struct layer_table *t, enum volume_old_disk old,
         int64_t until_s, struct buf *kept, struct err *err)
{
    bool in_place = layer_job_is_in_place(t->job.kind);
    struct layer_done *done;
    size_t n = t->job.n;

    for (size_t i = 0; i < n && in_place; i++) {
        struct layer *was =
            t->job.disks[i].c[0] == 0 ? NULL : layer_find(t, t->job.disks[i].c);

        /* First the old one: a target has one active layer. */
        if (was != NULL)
            was->state = LAYER_DETACHED;
        layer_find(t, t->job.disks[i].b)->state = LAYER_ACTIVE;
        if (was != NULL && old == VOLUME_OLD_TRASH &&
            trash_replaced(v, t, was, until_s, kept, err) < 0)
            return -1;
    }
    done = layer_done_begin(t, t->job.id);
    for (size_t i = 0; i < n; i++) {
        const struct layer_job_disk *d = &t->job.disks[i];
        const struct layer *new = layer_find(t, d->b);

        layer_done_add(done, d->target, d->c, new->format, new->size,
                       new->path);
    }
    for (size_t i = 0; i < n && !in_place; i++)
        layer_remove(t, t->job.disks[i].b); /* the new VM's own now */
    layer_ref_drop(t, LAYER_REF_RESTORE, t->job.id);
    layer_job_end(t);
    return volume_save(v, t, err);
}

/* A new file that the domain does not name: it goes, unless somebody wrote
 * to it after all, which can be told only of one that we left empty. */
static int
undo_disk(struct volume *v, struct layer_table *t, const char *id,
          bool is_filled, struct err *err)
{
    CLEANUP(imglock_free) struct imglock *lock = imglock_new();
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    struct layer *l = layer_find(t, id);
    const char *why = NULL;
    struct err unused;

    if (l->file.ino != 0 && trash_refusal(v, t, l, &why, err) < 0)
        return -1;
    if (l->file.ino != 0 && is_at(l->path, &l->file) &&
        (why != NULL ||
         (!is_filled && volume_image_read(l->path, "qcow2", &i, &unused) == 0 &&
          i.has_data))) {
        l->state = LAYER_DETACHED;
        return 0;
    }
    if (imglock_add(lock, l->path, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
        return -1;
    if (driver_remove(v->driver, l->path, err) < 0)
        return -1;
    layer_remove(t, id);
    return 0;
}

int
volume_restore_undo(struct volume *v, struct layer_table *t, struct err *err)
{
    for (size_t i = 0; i < t->job.n; i++) {
        const struct layer_job_disk *d = &t->job.disks[i];
        bool is_filled = t->job.kind != LAYER_JOB_INPLACE ||
                         layer_find(t, d->a)->state == LAYER_KEPT;

        if (undo_disk(v, t, d->b, is_filled, err) < 0)
            return -1;
    }
    layer_ref_drop(t, LAYER_REF_RESTORE, t->job.id);
    layer_job_end(t);
    return volume_save(v, t, err);
}

/* How many of the job's new files the owner's domain names; -1 with an error
 * when libvirt cannot be asked; *ret_is_known false when there is no domain. */
static int
count_named(struct volume *v, const struct layer_table *t, bool *ret_is_known,
            struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;
    const struct domxml *now;
    int n = 0;

    if (volume_domain(v, t->job.owner, &vm, err) < 0)
        return -1;
    *ret_is_known = vm != NULL;
    if (vm == NULL)
        return 0;
    now = vm->inactive != NULL ? vm->inactive : vm->live;
    for (size_t i = 0; i < t->job.n; i++) {
        const struct layer *new = layer_find(t, t->job.disks[i].b);

        n += volume_names(now, new->target, new, new) == VOLUME_NAMES_A;
    }
    return n;
}

int
volume_restore_settle(struct volume *v, struct layer_table *t,
                      bool *ret_is_open, struct err *err)
{
    CLEANUP(buf_fini) struct buf kept = BUF_INIT;
    bool is_known;
    int named = count_named(v, t, &is_known, err);

    *ret_is_open = true;
    if (named < 0)
        return -1;
    /* The VM itself is away: which files will it name when it comes back? A
     * new VM that is not there was never defined. */
    if (!is_known && layer_job_is_in_place(t->job.kind))
        return 0;
    if (named != 0 && (size_t)named != t->job.n)
        return err_set(err, ERR_CONFLICT,
                       "restore %s: the domain names some of the new disks "
                       "and not others; correct it with virsh edit",
                       t->job.id);
    *ret_is_open = false;
    return named == 0
               ? volume_restore_undo(v, t, err)
               : complete(v, t,
                          t->job.trash_s > 0 ? VOLUME_OLD_TRASH
                                             : VOLUME_OLD_RETAIN,
                          clock_wall_s() + (int64_t)t->job.trash_s, &kept, err);
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
            (i.backing == NULL || !is_at(i.backing, &parent->file)))
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
    if (active != NULL && is_at(active->path, &active->file) &&
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
    const char *like =
        old != NULL && is_at(old->path, &old->file) ? old->path : sealed->path;
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

/* ---- finish and abort ---- */

int
volume_restore_policy(struct volume_restore *r, enum volume_old_disk old,
                      uint64_t trash_s, struct err *err)
{
    if (r->is_done || !layer_job_is_in_place(r->t->job.kind))
        return 0;
    r->t->job.trash_s = old != VOLUME_OLD_TRASH ? 0
                        : trash_s < UINT32_MAX  ? trash_s
                                                : UINT32_MAX;
    return volume_save(r->v, r->t, err);
}

int
volume_restore_filled(struct volume_restore *r, struct err *err)
{
    struct layer_table *t = r->t;

    if (r->is_done || t->job.step == LAYER_STEP_FILLED)
        return 0;
    if (!layer_job_is_fill(t->job.kind))
        return err_set(err, ERR_INVALID, "restore %s: it is not filled by you",
                       r->id);
    for (size_t i = 0; i < t->job.n; i++) {
        const struct layer *l = layer_find(t, t->job.disks[i].b);

        if (!is_at(l->path, &l->file))
            return err_set(err, ERR_CORRUPT,
                           "%s: another file than the one that was made",
                           l->path);
        /* The writer's locks are gone; ours keep `virsh start` away. */
        if ((r->locks != NULL &&
             imglock_add(r->locks, l->path, &l->file, err) < 0) ||
            file_sync_path(l->path, err) < 0)
            return err_wrap(err, "disk %s", l->target);
    }
    t->job.step = LAYER_STEP_FILLED;
    return volume_save(r->v, t, err);
}

/* Completed already, perhaps by recovery: what is asked now counts. */
static int
apply_policy(struct volume_restore *r, enum volume_old_disk old,
             int64_t until_s, struct buf *kept, struct err *err)
{
    const struct layer_done *d = layer_done_find(r->t, r->id);

    for (size_t i = 0; i < d->n; i++) {
        struct layer *l =
            d->disks[i].old[0] == 0 ? NULL : layer_find(r->t, d->disks[i].old);

        if (l == NULL)
            continue;
        if (l->state == LAYER_TRASH && old == VOLUME_OLD_TRASH)
            l->until_s = until_s;
        else if (l->state == LAYER_TRASH && untrash(r->v, l, err) < 0)
            return -1;
        else if (l->state == LAYER_DETACHED && old == VOLUME_OLD_TRASH &&
                 trash_old(r->v, r->t, l, until_s, kept, err) < 0)
            return -1;
    }
    return volume_save(r->v, r->t, err);
}

int
volume_restore_finish(struct volume_restore *r, enum volume_old_disk old,
                      uint64_t trash_s, char **ret_kept, struct err *err)
{
    CLEANUP(buf_fini) struct buf kept = BUF_INIT;
    int64_t until_s = clock_wall_s() + (int64_t)trash_s;
    bool is_known;
    int named;

    imglock_free(TAKE(r->locks));
    *ret_kept = NULL;
    if (r->is_done) {
        if (apply_policy(r, old, until_s, &kept, err) < 0)
            return -1;
        if (kept.len > 0)
            *ret_kept = buf_take_str(&kept);
        return 0;
    }
    if (layer_job_is_fill(r->t->job.kind) &&
        r->t->job.step != LAYER_STEP_FILLED)
        return err_set(err, ERR_CONFLICT,
                       "restore %s: its disks are not filled yet", r->id);
    named = count_named(r->v, r->t, &is_known, err);
    if (named < 0)
        return -1;
    if ((size_t)named != r->t->job.n)
        return err_set(err, ERR_CONFLICT,
                       "restore %s: the domain does not name the new disks",
                       r->id);
    if (complete(r->v, r->t, old, until_s, &kept, err) < 0)
        return err_wrap(err, "restore %s", r->id);
    r->is_done = true;
    if (kept.len > 0)
        *ret_kept = buf_take_str(&kept);
    return 0;
}

int
volume_restore_abort(struct volume_restore *r, struct err *err)
{
    bool is_known;
    int named;

    imglock_free(TAKE(r->locks));
    if (r->is_done)
        return err_set(err, ERR_CONFLICT, "restore %s: it is completed", r->id);
    named = count_named(r->v, r->t, &is_known, err);
    if (named < 0)
        return -1;
    if (named > 0)
        return err_set(err, ERR_CONFLICT,
                       "restore %s: the domain names the new disks already",
                       r->id);
    return volume_restore_undo(r->v, r->t, err);
}
