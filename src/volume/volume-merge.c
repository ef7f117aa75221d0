/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <errno.h>
#include <fcntl.h>
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
 *   pivoting  pivot            the guest writes to C, or already to L: see
 * below committed children, XML    readers of C and of L, both right: go on
 *   (pivoted  XML              the guest writes to L: never commit again)
 *             unlink C         nobody names C: unlink again
 *   (none)    table without L
 *
 * An ACTIVE C is written by the guest whenever the VM runs, also between our
 * crash and our next start. So for it the journal's step does not say who is
 * right; the domain does: it writes to the file that it names. If it names C,
 * the commit is done again, from the start; if it names L, never.
 *
 * Except in a pivot. A libvirtd that dies in it may leave a QEMU that writes to
 * L and a libvirt that names C, and after its restart even believes the domain
 * to be off (libvirt 9.0 cannot read the state that it wrote in that moment).
 * A commit from C to L would then destroy what the guest wrote since, and so
 * would a start on C. So "pivoting" is written down before, and from then on
 * libvirt is not believed until QEMU's open files and the files' times
 * (volume-writer.c) say who is right. If it is L, the definition is set to L at
 * once: that is the repair, and it waits for nobody. If nobody can say, the
 * merge stops, and both files stay.
 *
 * While no QEMU may use the files (the VM is off, or runs on another branch of
 * the tree) the image locks of L, C and C's children are held from before the
 * commit until C is gone: `virsh start` in the middle fails instead of writing
 * to a file that is about to be dropped. */

enum {
    LEFT_OVER_MS = 60 * 1000, /* without progress */
    ROOM_LEAST = 8 << 20      /* bytes: metadata, and the guest's own writes */
};

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

/* L can grow by what C has, but not over its own size; what both have needs no
 * room, and is not known here. Without the room the commit would fail in the
 * middle, and a running guest be paused by its own next write. */
static int
check_room(const struct merge *m, const struct volume_image *base,
           const struct volume_image *top, struct err *err)
{
    uint64_t size = base->size > top->size ? base->size : top->size;
    uint64_t most = size > base->blocks ? size - base->blocks : 0;
    uint64_t wanted = (top->blocks < most ? top->blocks : most) + ROOM_LEAST;
    struct statvfs s;
    uint64_t is;

    if (statvfs(m->l->path, &s) < 0)
        return err_sys(err, errno, "%s: free space", m->l->path);
    is = (uint64_t)s.f_bavail * s.f_frsize;
    if (is >= wanted)
        return 0;
    return err_set(err, ERR_NO_SPACE,
                   "%s can grow by %llu MiB, and %llu MiB are free; free "
                   "some: until then the space of the deleted snapshot does "
                   "not come back",
                   m->l->path, (unsigned long long)wanted >> 20,
                   (unsigned long long)is >> 20);
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
    return check_room(m, &base, &top, err);
}

static int
record_step(struct merge *m, enum layer_step step, struct err *err)
{
    m->t->job.step = step;
    return volume_save(m->v, m->t, err);
}

static int
before_pivot(void *arg, struct err *err)
{
    struct merge *m = arg;

    return m->c->state == LAYER_ACTIVE
               ? record_step(m, LAYER_STEP_PIVOTING, err)
               : 0;
}

/* A job that our last process began goes on in QEMU without us: complete it. */
static int
end_left_over_job(struct merge *m, struct err *err)
{
    const struct virt_commit c = { .uuid = m->t->vm,
                                   .target = m->c->target,
                                   .base = m->l->path,
                                   .top = m->c->path,
                                   .timeout_ms = LEFT_OVER_MS,
                                   .before_pivot = before_pivot,
                                   .arg = m };
    bool is_found = false;

    if (m->is_fresh || m->vm->live == NULL)
        return 0;
    if (virt_block_commit_resume(m->v->virt, &c, &is_found, err) < 0)
        return -1;
    return is_found ? read_domain(m, err) : 0;
}

static int
commit(struct merge *m, struct err *err)
{
    struct driver_merge d = {
        .uuid = m->t->vm,
        .target = m->c->target,
        .base = { m->l->path, m->l->format },
        .top = { m->c->path, m->c->format },
        .before_pivot = before_pivot,
        .arg = m,
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
    if (volume_bitmap_before_merge(&d.base, &d.top, m->locks, err) < 0)
        return -1;
    return driver_merge(m->v->driver, &d, err);
}

/* The merge does not take place; C goes on as it is. */
static int
give_up(struct merge *m, struct err *err)
{
    layer_job_end(m->t);
    return volume_save(m->v, m->t, err);
}

/* One child's header; QEMU has rewritten that of a running chain itself. */
static int
retarget_child(struct merge *m, const struct layer *k, struct err *err)
{
    const struct qimg_file parent = { m->l->path, m->l->format };
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };

    if (volume_image_read(k->path, k->format, &i, err) < 0)
        return -1;
    if (i.backing != NULL && file_is_at(i.backing, &m->l->file))
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

/* ---- a pivot whose end nobody saw ---- */

/* QEMU writes to L: the definition must not name C any more. */
static int
repair(struct merge *m, struct err *err)
{
    if (read_domain(m, err) < 0)
        return -1;
    if (m->vm == NULL)
        return err_set(err, ERR_NOT_FOUND, "the domain is gone");
    if (retarget_definition(m, err) < 0)
        return -1;
    if (!is_in_live_chain(m, m->c))
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "disk %s: the guest writes to %s, but libvirt believes in "
                   "%s (libvirtd was killed during a merge). The definition "
                   "names the first file again, nothing is lost: shut the "
                   "guest down and start it; until then no snapshot can be "
                   "made or deleted",
                   m->c->target, m->l->path, m->c->path);
}

/* Nobody uses the files, and nobody shall while we look. */
static int
find_last_writer(struct merge *m, enum volume_writer *ret, struct err *err)
{
    if (m->vm->live != NULL)
        return err_set(err, ERR_BUSY, "the VM is just ending");
    if (imglock_add(m->locks, m->l->path, &m->l->file, err) < 0 ||
        imglock_add(m->locks, m->c->path, &m->c->file, err) < 0 ||
        volume_writer_last(m->c, m->l, m->locks, ret, err) < 0)
        return -1;
    if (*ret == VOLUME_WRITER_UNKNOWN)
        return err_set(err, ERR_CONFLICT,
                       "disk %s: libvirtd was killed during a merge, and the "
                       "guest ended before it was seen whether it wrote to %s "
                       "or to %s last; they differ. Delete neither. Start the "
                       "guest to keep the first, which the definition names; "
                       "set the disk's source to the second (virsh edit) to "
                       "keep that",
                       m->c->target, m->c->path, m->l->path);
    return 0;
}

static int
find_writer(struct merge *m, enum volume_writer *ret, struct err *err)
{
    if (volume_writer(m->v, m->t->vm, m->c, m->l, ret, err) < 0)
        return -1;
    if (*ret == VOLUME_WRITER_NONE)
        return find_last_writer(m, ret, err);
    if (*ret == VOLUME_WRITER_UNKNOWN &&
        volume_writer_watch(m->c, m->l, ret, err) < 0)
        return -1;
    if (*ret == VOLUME_WRITER_UNKNOWN)
        return err_set(err, ERR_BUSY,
                       "disk %s: libvirtd was killed during a merge, and the "
                       "guest writes nothing: whether it writes to %s or to "
                       "%s cannot be seen yet; delete neither",
                       m->c->target, m->c->path, m->l->path);
    return 0;
}

/* After it the journal's step can be believed again. */
static int
settle_pivot(struct merge *m, struct err *err)
{
    enum volume_writer writer;

    if (m->c->state != LAYER_ACTIVE ||
        volume_names(truth_of(m->vm), m->c->target, m->l, m->c) !=
            VOLUME_NAMES_B)
        return 0;
    if (m->t->job.step == LAYER_STEP_PIVOTED)
        return repair(m, err);
    if (m->t->job.step != LAYER_STEP_PIVOTING)
        return 0;
    if (find_writer(m, &writer, err) < 0)
        return -1;
    if (writer != VOLUME_WRITER_BASE)
        return record_step(m, LAYER_STEP_BEGIN, err);
    if (record_step(m, LAYER_STEP_PIVOTED, err) < 0)
        return -1;
    return repair(m, err);
}

/* A commit failed. Unless the domain was switched all the same the merge is
 * forgotten, and can be planned again. */
static void
after_failure(struct merge *m)
{
    enum volume_writer writer;
    struct err ignored;

    if (m->t->job.step == LAYER_STEP_PIVOTING) {
        /* What is certain at once is written down at once: this QEMU may end
         * before libvirtd is back. */
        if (volume_writer(m->v, m->t->vm, m->c, m->l, &writer, &ignored) == 0 &&
            writer == VOLUME_WRITER_BASE)
            (void)!record_step(m, LAYER_STEP_PIVOTED, &ignored);
        return;
    }
    if (read_domain(m, &ignored) == 0 && m->vm != NULL && !is_committed(m))
        (void)!give_up(m, &ignored);
}

static int
commit_if_needed(struct merge *m, struct err *err)
{
    bool was_live = is_in_live_chain(m, m->c);
    bool is_active = m->c->state == LAYER_ACTIVE;

    if (is_committed(m))
        return is_active && m->vm->live != NULL
                   ? record_step(m, LAYER_STEP_PIVOTED, err)
                   : 0;
    if (commit(m, err) < 0) {
        after_failure(m);
        return -1;
    }
    return record_step(
        m, was_live && is_active ? LAYER_STEP_PIVOTED : LAYER_STEP_COMMITTED,
        err);
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
    struct file_id is;
    struct err unused;

    if (check_unnamed(m, err) < 0)
        return -1;
    if (volume_image_read(m->l->path, m->l->format, &i, err) < 0)
        return -1;
    if (file_id_at(AT_FDCWD, m->c->path, AT_SYMLINK_NOFOLLOW, &is, &unused) ==
        0) {
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
    if (end_left_over_job(m, err) < 0)
        return -1;
    if (m->vm == NULL)
        return err_set(err, ERR_NOT_FOUND, "the domain is gone");
    if (settle_pivot(m, err) < 0)
        return -1;
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
