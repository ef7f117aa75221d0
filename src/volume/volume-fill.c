/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "volume/volume-priv.h"

/* A restore whose content comes from elsewhere. The new files are made empty,
 * beside the disks that they stand in for, and written by the caller; from
 * then on it is a restore like the others (volume-restore.c), with one rule
 * more: it cannot be finished before the journal says "filled".
 *
 * The image locks of a new file are taken only then: before, its writer needs
 * them. Nobody else knows the file until the domain names it. */

struct fill {
    struct volume_restore *r;
    const struct volume_fill_disk *disks;
    struct virt_vm *vm; /* in place: the domain */
};

/* The disk that the domain has now: locked, and its row's id ("" if its file
 * is none that the table can hold: broken, gone, or no file at all; it then
 * stays where it is). */
static int
take_old(struct fill *f, const char *target, char old_id[UUID_STR_SIZE],
         struct err *err)
{
    struct layer_table *t = f->r->t;
    const struct domxml_disk *disk = domxml_disk(f->vm->inactive, target);
    struct layer *old = NULL;
    struct err why;

    old_id[0] = 0;
    if (disk == NULL || disk->chain_len == 0 || disk->chain[0].path == NULL)
        return 0;
    if (imglock_add(f->r->locks, disk->chain[0].path, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    if (disk->chain[0].format != NULL &&
        volume_cut_register(t, target, f->vm->inactive, &old, &why) == 0)
        memcpy(old_id, old->id, UUID_STR_SIZE);
    return 0;
}

/* Whatever the table believes to be this target's disk is not it. */
static void
retire_others(struct layer_table *t, const char *target, const char *old_id)
{
    struct layer *active = layer_find_active(t, target);

    if (active != NULL && strcmp(active->id, old_id) != 0)
        active->state = LAYER_DETACHED;
}

static char *
new_path(const struct volume_fill_disk *d, const char *id, struct err *err)
{
    CLEANUP(mem_free) char *dir = file_dirname(d->beside);
    struct stat st;

    if (stat(d->beside, &st) == 0 && S_ISDIR(st.st_mode)) {
        CLEANUP(mem_free)
        char *path = xasprintf("%s/vmkeep-%s.%s",
                               strcmp(d->beside, "/") == 0 ? "" : d->beside, id,
                               d->format);

        return strlen(path) <= LAYER_PATH_MAX
                   ? TAKE(path)
                   : err_set_null(err, ERR_UNSUPPORTED,
                                  "%.200s: the path is too long", d->beside);
    }
    if (stat(dir, &st) < 0)
        return err_sys_null(err, errno, "%s: no place for the new disk", dir);
    return volume_path_like(d->beside, id, d->format, err);
}

static int
plan_disk(struct fill *f, const struct volume_fill_disk *d, struct err *err)
{
    struct layer_table *t = f->r->t;
    CLEANUP(mem_free) char *path = NULL;
    char id[UUID_STR_SIZE], old_id[UUID_STR_SIZE];

    if ((strcmp(d->format, "qcow2") != 0 && strcmp(d->format, "raw") != 0) ||
        d->beside[0] != '/' || d->size > INT64_MAX ||
        strlen(d->target) >= LAYER_TARGET_SIZE)
        return err_set(err, ERR_INVALID, "%s of %llu bytes beside %.200s",
                       d->format, (unsigned long long)d->size, d->beside);
    old_id[0] = 0;
    if (f->vm != NULL) {
        if (take_old(f, d->target, old_id, err) < 0)
            return -1;
        retire_others(t, d->target, old_id);
    }
    uuid_random(id);
    path = new_path(d, id, err);
    if (path == NULL)
        return -1;
    layer_add(t, id, NULL, d->target, LAYER_PLANNED, d->format, path, d->size)
        ->is_made = true;
    layer_job_add(t, d->target, NULL, id, old_id);
    return 0;
}

static int
make_disk(struct fill *f, size_t i, struct err *err)
{
    const struct layer_job_disk *d = &f->r->t->job.disks[i];
    struct layer *new = layer_find(f->r->t, d->b);
    struct stat st;
    const char *beside = f->disks[i].beside;
    const struct driver_create c = {
        .path = new->path,
        .parent = { NULL, new->format },
        .size = new->size,
        .like = stat(beside, &st) == 0 && S_ISREG(st.st_mode) ? beside : NULL,
    };

    if (driver_create(f->r->v->driver, &c, err) < 0 ||
        file_id_of_path(new->path, &new->file, err) < 0)
        return err_wrap(err, "disk %s", d->target);
    volume_restore_add(f->r, new->target, new->path, new->format, new->size);
    return 0;
}

static int
make_disks(struct fill *f, size_t n, struct err *err)
{
    struct volume_restore *r = f->r;
    struct err unused;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = make_disk(f, i, err);
    if (rc == 0) {
        r->t->job.step = LAYER_STEP_CREATED;
        rc = volume_save(r->v, r->t, err);
    }
    if (rc < 0) {
        imglock_free(TAKE(r->locks));
        (void)!volume_restore_undo(r->v, r->t, &unused);
    }
    return rc;
}

static int
prepare(struct fill *f, const char *owner_uuid, bool in_place, size_t n,
        struct err *err)
{
    struct volume_restore *r = f->r;

    if (in_place) {
        f->vm = virt_vm_get(r->v->virt, r->t->vm, err);
        if (f->vm == NULL || volume_restore_check_off(f->vm, err) < 0)
            return -1;
        r->locks = imglock_new();
    }
    layer_job_begin(r->t, in_place ? LAYER_JOB_FILLINPLACE : LAYER_JOB_FILLNEW,
                    r->id, owner_uuid);
    for (size_t i = 0; i < n; i++)
        if (plan_disk(f, &f->disks[i], err) < 0)
            return err_wrap(err, "disk %s", f->disks[i].target);
    if (volume_save(r->v, r->t, err) < 0)
        return -1;
    return make_disks(f, n, err);
}

int
volume_fill_prepare(struct volume *v, const char *vm_uuid,
                    const char *restore_id, const char *owner_uuid,
                    bool in_place, const struct volume_fill_disk *disks,
                    size_t n, struct volume_restore **ret_r, struct err *err)
{
    CLEANUP(volume_restore_free)
    struct volume_restore *r = xcalloc(1, sizeof *r);
    struct fill f = { .r = r, .disks = disks };
    int rc;

    if (volume_restore_open(v, vm_uuid, restore_id, owner_uuid, n, r, err) < 0)
        return -1;
    if (r->is_done) {
        *ret_r = TAKE(r);
        return 0;
    }
    rc = prepare(&f, owner_uuid, in_place, n, err);
    virt_vm_free(f.vm);
    if (rc < 0)
        return err_wrap(err, "VM %s", vm_uuid);
    *ret_r = TAKE(r);
    return 0;
}
