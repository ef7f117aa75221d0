/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include <string.h>

#include "base/mem.h"
#include "volume/volume-priv.h"

/* One merge: C's data goes down into its parent L, C's readers are told to use
 * L, C goes. See plan.c for why this is right; here is what a crash leaves.
 *
 *   journal   then             a crash here leaves, and the next one does
 *   --------  ---------------  ------------------------------------------------
 *   begin     commit C to L    C right, L in between: commit again, or forget
 *                              the merge (always right, L has no other reader)
 *   committed children, XML    readers of C and of L, both right: go on
 *   (pivoted  XML              the guest writes to L: never commit again)
 *             unlink C         nobody names C: unlink again
 *   (none)    table without L
 *
 * An ACTIVE C is written by the guest whenever the VM runs, also between our
 * crash and our next start. So for it the journal's step does not say who is
 * right; the domain does: it writes to the file that it names. If it names C,
 * the commit is done again, from the start; if it names L, never.
 *
 * While no QEMU may use the files (the VM is off, or runs on another branch of
 * the tree) the image locks of L, C and C's children are held from before the
 * commit until C is gone: `virsh start` in the middle fails instead of writing
 * to a file that is about to be dropped. */

struct merge {
    struct volume *v;
    struct layer_table *t;
    struct layer *l, *c;
    struct virt_vm *vm;
    struct imglock *locks;
    bool is_fresh; /* begun by this call: no job of ours can be left over */
};

static const struct domxml *
truth_of(const struct virt_vm *vm)
{
    return vm->live != NULL ? vm->live : vm->inactive;
}

static int
read_domain(struct merge *m, struct err *err)
{
    virt_vm_free(TAKE(m->vm));
    return volume_domain(m->v, m->t->vm, &m->vm, err);
}

static bool
is_in_live_chain(const struct merge *m, const struct layer *l)
{
    return m->vm->live != NULL &&
           volume_chain_has(m->vm->live, m->c->target, l);
}

/* Has L taken C's place already, or must (again) be committed? */
static bool
is_committed(const struct merge *m)
{
    if (m->t->job.step == LAYER_STEP_PIVOTED)
        return m->vm->live == NULL || !is_in_live_chain(m, m->c);
    if (m->c->state == LAYER_ACTIVE)
        return volume_names(truth_of(m->vm), m->c->target, m->l, m->c) ==
               VOLUME_NAMES_A;
    /* Sealed: QEMU may have ended the commit while we were away. */
    return m->t->job.step == LAYER_STEP_COMMITTED ||
           (is_in_live_chain(m, m->l) && !is_in_live_chain(m, m->c));
}

static int
fill_sizes(const struct merge *m, struct driver_merge *d, struct err *err)
{
    CLEANUP(volume_image_fini) struct volume_image base = { .size = 0 };
    CLEANUP(volume_image_fini) struct volume_image top = { .size = 0 };

    if (volume_image_read(m->l->path, m->l->format, &base, err) < 0 ||
        volume_image_read(m->c->path, m->c->format, &top, err) < 0)
        return -1;
    if (!file_id_equal(&base.file, &m->l->file) ||
        !file_id_equal(&top.file, &m->c->file))
        return err_set(err, ERR_CONFLICT,
                       "%s or %s: not the file that was recorded", m->l->path,
                       m->c->path);
    d->base_size = base.size;
    d->top_size = top.size;
    return 0;
}

/* A job that our last process began goes on in QEMU without us. */
static int
end_left_over_job(struct merge *m, struct err *err)
{
    bool is_active = false, is_ready = false;

    if (m->is_fresh)
        return 0;
    if (virt_block_job(m->v->virt, m->t->vm, m->c->target, &is_active,
                       &is_ready, err) < 0)
        return -1;
    if (!is_active)
        return 0;
    if (virt_block_job_end(m->v->virt, m->t->vm, m->c->target, false, err) < 0)
        return -1;
    return read_domain(m, err);
}

static int
commit(struct merge *m, struct err *err)
{
    struct driver_merge d = {
        .uuid = m->t->vm,
        .target = m->c->target,
        .base = { m->l->path, m->l->format },
        .top = { m->c->path, m->c->format },
    };
    bool is_live = is_in_live_chain(m, m->c);

    if (fill_sizes(m, &d, err) < 0)
        return -1;
    if (is_live)
        return driver_merge_live(m->v->driver, &d, err);
    if (imglock_add(m->locks, m->l->path, &m->l->file, err) < 0 ||
        imglock_add(m->locks, m->c->path, &m->c->file, err) < 0)
        return -1;
    /* Only now nobody can come in between: look again. */
    if (read_domain(m, err) < 0)
        return -1;
    if (m->vm == NULL || is_in_live_chain(m, m->c) ||
        is_in_live_chain(m, m->l) || is_committed(m))
        return err_set(err, ERR_BUSY, "the VM was started or changed");
    d.locks = m->locks;
    return driver_merge(m->v->driver, &d, err);
}

static int
record_step(struct merge *m, enum layer_step step, struct err *err)
{
    m->t->job.step = step;
    return volume_save(m->v, m->t, err);
}

/* The merge does not take place; C goes on as it is. */
static int
give_up(struct merge *m, struct err *err)
{
    layer_job_end(m->t);
    return volume_save(m->v, m->t, err);
}

/* Commit unless that is done. On failure the merge is forgotten (and can be
 * planned again), unless the domain was switched all the same. */
static int
commit_if_needed(struct merge *m, struct err *err)
{
    bool was_live;
    struct err ignored;

    if (end_left_over_job(m, err) < 0)
        return -1;
    if (m->vm == NULL)
        return err_set(err, ERR_NOT_FOUND, "the domain is gone");
    if (is_committed(m))
        return 0;
    was_live = is_in_live_chain(m, m->c);
    if (commit(m, err) < 0) {
        struct err failed = *err;

        if (read_domain(m, &ignored) == 0 && m->vm != NULL && !is_committed(m))
            (void)!give_up(m, &ignored);
        *err = failed;
        return -1;
    }
    return record_step(m,
                       was_live && m->c->state == LAYER_ACTIVE
                           ? LAYER_STEP_PIVOTED
                           : LAYER_STEP_COMMITTED,
                       err);
}

/* One child's header; QEMU has rewritten that of a running chain itself. */
static int
retarget_child(struct merge *m, const struct layer *k, struct err *err)
{
    const struct qimg_file parent = { m->l->path, m->l->format };
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    struct file_id on = { 0, 0 };
    struct err unused;

    if (volume_image_read(k->path, k->format, &i, err) < 0)
        return -1;
    if (i.backing != NULL && file_id_of_path(i.backing, &on, &unused) == 0 &&
        file_id_equal(&on, &m->l->file))
        return 0;
    if (is_in_live_chain(m, k))
        return err_set(err, ERR_CONFLICT,
                       "%s: QEMU uses it, but it does not build on %s", k->path,
                       m->l->path);
    if (imglock_add(m->locks, k->path, &k->file, err) < 0)
        return -1;
    return driver_rebase(m->v->driver, k->path, &parent, m->locks, err);
}

/* The definition: its disk, or a backing chain that libvirt wrote down in it
 * (it would start with that chain, whatever the headers say). */
static int
retarget_definition(struct merge *m, struct err *err)
{
    const struct domxml_disk *disk;
    struct domxml_source source = { m->c->target, m->l->path, m->l->format };

    if (!m->vm->is_persistent ||
        !volume_chain_has(m->vm->inactive, m->c->target, m->c))
        return 0;
    disk = domxml_disk(m->vm->inactive, m->c->target);
    if (volume_names(m->vm->inactive, m->c->target, m->l, m->c) !=
        VOLUME_NAMES_B) {
        source.path = disk->chain[0].path;
        source.format = disk->chain[0].format;
    } else if (m->c->state != LAYER_ACTIVE) {
        return err_set(err, ERR_CONFLICT,
                       "the domain names a sealed layer as its disk");
    }
    return volume_retarget(m->v, m->t->vm, &source, 1, err);
}

static int
retarget(struct merge *m, struct err *err)
{
    for (size_t i = 0; i < m->t->n_layers; i++)
        if (strcmp(m->t->layers[i].parent, m->c->id) == 0 &&
            retarget_child(m, &m->t->layers[i], err) < 0)
            return -1;
    if (read_domain(m, err) < 0)
        return -1;
    if (m->vm == NULL)
        return err_set(err, ERR_NOT_FOUND, "the domain is gone");
    return retarget_definition(m, err);
}

/* Does anybody still lead to C? Invariant 1. */
static int
check_unnamed(struct merge *m, struct err *err)
{
    CLEANUP(plan_facts_fini) struct plan_facts f = { .files = NULL };

    if (volume_facts_read(m->v, m->t, &f, err) < 0)
        return -1;
    for (size_t i = 0; i < f.n_users; i++)
        if (file_id_equal(&f.users[i].file, &m->c->file))
            return err_set(err, ERR_CONFLICT, "%s is still named by %s",
                           m->c->path, f.users[i].who);
    for (size_t i = 0; i < m->t->n_layers; i++)
        if (f.files[i].is_there && f.files[i].has_backing &&
            file_id_equal(&f.files[i].backing, &m->c->file))
            return err_set(err, ERR_CONFLICT, "%s still builds on %s",
                           m->t->layers[i].path, m->c->path);
    return 0;
}

static int
drop_child(struct merge *m, struct err *err)
{
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    struct stat st;

    if (check_unnamed(m, err) < 0)
        return -1;
    if (volume_image_read(m->l->path, m->l->format, &i, err) < 0)
        return -1;
    if (lstat(m->c->path, &st) == 0) {
        struct file_id is = virt_file_id_of_stat(&st);

        if (!file_id_equal(&is, &m->c->file) || !m->c->is_made)
            return err_set(err, ERR_CONFLICT,
                           "%s: not the file that was recorded", m->c->path);
        if (driver_remove(m->v->driver, m->c->path, err) < 0)
            return -1;
    }
    m->c->size = i.size;
    {
        struct layer_job_disk d = m->t->job.disks[0];

        layer_job_end(m->t);
        layer_merged(m->t, d.a, d.b);
    }
    return volume_save(m->v, m->t, err);
}

static int
run(struct merge *m, bool *ret_is_open, struct err *err)
{
    *ret_is_open = true;
    if (read_domain(m, err) < 0)
        return -1;
    if (m->vm == NULL || truth_of(m->vm) == NULL)
        return 0; /* it may come back, naming either file */
    if (m->c->state == LAYER_ACTIVE && m->t->job.step != LAYER_STEP_PIVOTED &&
        volume_names(truth_of(m->vm), m->c->target, m->l, m->c) ==
            VOLUME_NAMES_NEITHER) {
        *ret_is_open = false;
        return give_up(m, err);
    }
    if (m->vm->has_managed_save)
        return 0; /* it names C */
    if (commit_if_needed(m, err) < 0) {
        *ret_is_open = m->t->job.kind != LAYER_JOB_NONE;
        return -1;
    }
    if (retarget(m, err) < 0 || drop_child(m, err) < 0)
        return -1;
    *ret_is_open = false;
    return 0;
}

static int
run_job(struct volume *v, struct layer_table *t, bool is_fresh,
        bool *ret_is_open, struct err *err)
{
    CLEANUP(imglock_free) struct imglock *locks = imglock_new();
    struct merge m = { .v = v,
                       .t = t,
                       .l = layer_find(t, t->job.disks[0].a),
                       .c = layer_find(t, t->job.disks[0].b),
                       .locks = locks,
                       .is_fresh = is_fresh };
    CLEANUP(mem_free)
    char *what = xasprintf("merge %s into %s", m.c->path, m.l->path);
    int rc = run(&m, ret_is_open, err);

    virt_vm_free(m.vm);
    return rc < 0 ? err_wrap(err, "%s", what) : 0;
}

int
volume_merge_resume(struct volume *v, struct layer_table *t, bool *ret_is_open,
                    struct err *err)
{
    return run_job(v, t, false, ret_is_open, err);
}

int
volume_merge(struct volume *v, struct layer_table *t, const char *l_id,
             const char *c_id, struct err *err)
{
    bool is_open;

    layer_job_begin(t, LAYER_JOB_MERGE, NULL, NULL);
    layer_job_add(t, layer_find(t, c_id)->target, l_id, c_id, NULL);
    if (volume_save(v, t, err) < 0) {
        layer_job_end(t);
        return -1;
    }
    if (run_job(v, t, true, &is_open, err) < 0)
        return -1;
    return is_open ? err_set(err, ERR_BUSY, "%s: the merge has to wait",
                             layer_find(t, c_id)->path)
                   : 0;
}
