/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "volume/volume-priv.h"

/* The end of a restore: completed or undone, by its caller or by recovery.
 *
 * Old disks go last, by a rename beside their place: nothing is copied, and
 * until the trash is emptied a rename brings them back. One that is not the
 * recorded file, was not made by vmkeep, or is named by anybody stays where it
 * is, listed as detached. */

#define TRASH_MARK ".trash"

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

    if (!file_is_at(to, &l->file)) {
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

    if (file_is_at(l->path, &l->file)) {
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
    if (l->file.ino != 0 && file_is_at(l->path, &l->file) &&
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

        if (!file_is_at(l->path, &l->file))
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
