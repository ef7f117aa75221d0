/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/plan.h"

#include <string.h>

#include "base/mem.h"

/* The tree, and why touching it is safe
 * -------------------------------------
 * A cut seals the active file and puts a new one on it. A restore in place
 * puts a new one on an older sealed file. So a disk is a tree:
 *
 *        disk.qcow2   <- s1            a sealed file is never written again;
 *          +-- o1     <- s2            s1, s2, s3: the snapshots that refer
 *          |    +-- o2  (trash)        to the content of that file
 *          +-- o3     <- s3
 *               +-- o4  (active: the guest writes here)
 *
 * A file without a reference (its snapshot was deleted) has no reader but its
 * children. With no child it can go. With ONE child it is merged: the child's
 * data is committed down into it, because that way the file with the original
 * name is the one that stays, and because what is copied is what changed since
 * the cut, not the whole disk. With TWO children, committing one down would
 * change what the other reads, and neither QEMU nor libvirt refuses that: this
 * file is the refusal. Such a file stays, hidden, until one child is gone.
 *
 * Committing C into its parent L, when C is L's only reader:
 *   before     C's content = C's clusters over L's over the rest.
 *   meanwhile  L gets clusters of C. What is read through C does not change,
 *              because C covers each of them. Nobody else reads L. So a crash,
 *              at any point and however often, leaves C right, and repeating
 *              the commit is right AS LONG AS ONLY C IS WRITTEN TO.
 *   after      L reads like C. Now C's readers (its children's headers, the
 *              domain) are told to use L, then C is unlinked. While some are
 *              told and some not, both answers are right for sealed files. For
 *              an active file there is one reader, the domain, and the switch
 *              is one redefinition, or QEMU's pivot: from then on L is the
 *              truth and a repeated commit would destroy it. volume-merge.c
 *              decides by what the domain names.
 *
 * "C is L's only reader" is established from four sources, and every one can
 * veto: the table's rows (also those in the trash: until it is emptied they
 * can be brought back), the chains of all domains, running and defined, the
 * qcow2 headers of all files in the directories, the tables of other VMs. A
 * file is named by dev:inode; a row whose path leads to another file than the
 * recorded one is never touched.
 *
 * What vmkeep did not create is never unlinked, neither as a leaf nor as the
 * child of a merge; and no file is written that was not seen as this VM's own
 * active one (foreign).
 *
 * Left out: merging over several layers at once (saves a copy of data that is
 * in both; the journal would need a list), and pulling a root's data up into
 * two children (costs the space twice).
 */

static const char *const why_texts[PLAN_WHY_COUNT] = {
    [PLAN_WHY_NONE] = "",
    [PLAN_WHY_JOB] = "another job on this VM has not ended",
    [PLAN_WHY_NO_DOMAIN] = "the domain is not there",
    [PLAN_WHY_CHILDREN] = "layers build on it that need it as it is",
    [PLAN_WHY_TRASH] = "it is in the trash, or the disk that builds on it is",
    [PLAN_WHY_DETACHED] = "a detached disk builds on it",
    [PLAN_WHY_FOREIGN_CHILD] =
        "a file that vmkeep did not make builds on it (a linked clone?)",
    [PLAN_WHY_OTHER_DOMAIN] = "another domain uses it",
    [PLAN_WHY_OTHER_TABLE] = "the snapshots of another VM use it",
    [PLAN_WHY_NAMED] = "the domain names it as its disk",
    [PLAN_WHY_HELD] = "a restore or a backup reads it",
    [PLAN_WHY_NOT_OURS] = "the file that builds on it was not made by vmkeep",
    [PLAN_WHY_MISSING] = "its file is missing",
    [PLAN_WHY_CHANGED] = "its path leads to another file than the recorded one",
    [PLAN_WHY_HEADER] = "its header or that of its child is not as recorded",
    [PLAN_WHY_SHRUNK] =
        "the disk was made smaller since: it is merged when the VM is off",
    [PLAN_WHY_UNSTEADY] = "the VM is about to start, stop or move",
    [PLAN_WHY_SAVED] =
        "the VM has a managed save: start it, or discard it with `virsh managedsave-remove`",
};

const char *
plan_why_text(enum plan_why why)
{
    return why_texts[why];
}

void
plan_facts_fini(struct plan_facts *f)
{
    for (size_t i = 0; i < f->n_users; i++)
        free(f->users[i].who);
    free(f->users);
    free(f->files);
    *f = (struct plan_facts){ .files = NULL };
}

static bool
is_child(const struct layer *c, const struct layer *l)
{
    return strcmp(c->parent, l->id) == 0;
}

/* The file is the recorded one, and its header says what the table says. */
static enum plan_why
file_why(const struct layer_table *t, const struct plan_facts *f, size_t row)
{
    const struct layer *l = &t->layers[row];
    const struct layer *parent = layer_parent(t, l);
    const struct plan_file *file = &f->files[row];

    if (!file->is_there)
        return PLAN_WHY_MISSING;
    if (!file->is_same)
        return PLAN_WHY_CHANGED;
    if (!file->is_sane)
        return PLAN_WHY_HEADER;
    if (parent != NULL &&
        (!file->has_backing || !file_id_equal(&file->backing, &parent->file)))
        return PLAN_WHY_HEADER;
    return PLAN_WHY_NONE;
}

/* Somebody outside the table who reads this file, whoever it is. */
static enum plan_why
outsider_why(const struct plan_facts *f, const struct layer *l)
{
    for (size_t i = 0; i < f->n_users; i++) {
        const struct plan_user *u = &f->users[i];

        if (!file_id_equal(&u->file, &l->file) || u->is_own)
            continue;
        switch (u->kind) {
        case PLAN_USER_HEADER:
            return PLAN_WHY_FOREIGN_CHILD;
        case PLAN_USER_TABLE:
            return PLAN_WHY_OTHER_TABLE;
        case PLAN_USER_LIVE:
        case PLAN_USER_INACTIVE:
            return PLAN_WHY_OTHER_DOMAIN;
        }
    }
    return PLAN_WHY_NONE;
}

/* Does the own domain name it: so, as its disk (top) or below it? */
static bool
is_named(const struct plan_facts *f, const struct layer *l,
         enum plan_user_kind kind, bool as_top)
{
    for (size_t i = 0; i < f->n_users; i++)
        if (f->users[i].is_own && f->users[i].kind == kind &&
            f->users[i].is_top == as_top &&
            file_id_equal(&f->users[i].file, &l->file))
            return true;
    return false;
}

static bool
is_named_at_all(const struct plan_facts *f, const struct layer *l)
{
    return is_named(f, l, PLAN_USER_LIVE, true) ||
           is_named(f, l, PLAN_USER_LIVE, false) ||
           is_named(f, l, PLAN_USER_INACTIVE, true) ||
           is_named(f, l, PLAN_USER_INACTIVE, false);
}

/* Under another target than its own: two disks share a file. */
static bool
is_named_elsewhere(const struct plan_facts *f, const struct layer *l)
{
    for (size_t i = 0; i < f->n_users; i++)
        if (f->users[i].is_own && file_id_equal(&f->users[i].file, &l->file) &&
            strcmp(f->users[i].target, l->target) != 0)
            return true;
    return false;
}

/* Another row's header that builds on this file although the row says
 * otherwise: the table is wrong about somebody. */
static bool
is_misread(const struct layer_table *t, const struct plan_facts *f,
           const struct layer *l)
{
    for (size_t i = 0; i < t->n_layers; i++)
        if (f->files[i].is_there && f->files[i].has_backing &&
            file_id_equal(&f->files[i].backing, &l->file) &&
            !is_child(&t->layers[i], l))
            return true;
    return false;
}

enum plan_why
plan_unlink_why(const struct layer_table *t, const struct plan_facts *f,
                size_t row)
{
    const struct layer *l = &t->layers[row];
    enum plan_why why;

    if (!f->files[row].is_there)
        return PLAN_WHY_MISSING;
    if (!f->files[row].is_same)
        return PLAN_WHY_CHANGED;
    if (layer_children(t, l) > 0)
        return PLAN_WHY_CHILDREN;
    why = outsider_why(f, l);
    if (why != PLAN_WHY_NONE)
        return why;
    if (is_named_at_all(f, l))
        return PLAN_WHY_NAMED;
    return is_misread(t, f, l) ? PLAN_WHY_HEADER : PLAN_WHY_NONE;
}

static enum plan_why
child_state_why(const struct layer_table *t, const struct layer *c)
{
    if (c->state == LAYER_TRASH)
        return PLAN_WHY_TRASH;
    if (c->state == LAYER_DETACHED)
        return PLAN_WHY_DETACHED;
    if (c->state == LAYER_PLANNED)
        return PLAN_WHY_JOB;
    if (layer_has_ref(t, LAYER_REF_RESTORE, c))
        return PLAN_WHY_HELD;
    if (!c->is_made || c->state == LAYER_FOREIGN)
        return PLAN_WHY_NOT_OURS;
    return PLAN_WHY_NONE;
}

/* Who names L and C in the own domain must be exactly who we can retarget. */
static enum plan_why
domain_why(const struct plan_facts *f, const struct layer *l,
           const struct layer *c)
{
    bool live_top = is_named(f, c, PLAN_USER_LIVE, true);
    bool inactive_top = is_named(f, c, PLAN_USER_INACTIVE, true);

    if (is_named(f, l, PLAN_USER_LIVE, true) ||
        is_named(f, l, PLAN_USER_INACTIVE, true) || is_named_elsewhere(f, l) ||
        is_named_elsewhere(f, c))
        return PLAN_WHY_NAMED;
    if (c->state == LAYER_SEALED && (live_top || inactive_top))
        return PLAN_WHY_NAMED;
    if (c->state == LAYER_ACTIVE &&
        ((f->is_live && !live_top) || (f->is_persistent && !inactive_top)))
        return PLAN_WHY_NAMED;
    return PLAN_WHY_NONE;
}

/* Every reader of C is told to use L, so every one must be as recorded. */
static enum plan_why
grandchildren_why(const struct layer_table *t, const struct plan_facts *f,
                  const struct layer *c)
{
    for (size_t i = 0; i < t->n_layers; i++) {
        enum plan_why why;

        if (!is_child(&t->layers[i], c))
            continue;
        if (t->layers[i].state == LAYER_PLANNED)
            return PLAN_WHY_JOB;
        why = file_why(t, f, i);
        if (why != PLAN_WHY_NONE)
            return why;
    }
    return PLAN_WHY_NONE;
}

static enum plan_why
merge_why(const struct layer_table *t, const struct plan_facts *f, size_t l_row,
          size_t c_row, bool *ret_is_live)
{
    const struct layer *l = &t->layers[l_row];
    const struct layer *c = &t->layers[c_row];
    bool is_live = is_named(f, c, PLAN_USER_LIVE, true) ||
                   is_named(f, c, PLAN_USER_LIVE, false);
    const enum plan_why in_order[] = {
        child_state_why(t, c),
        file_why(t, f, l_row),
        file_why(t, f, c_row),
        outsider_why(f, l),
        outsider_why(f, c),
        is_misread(t, f, l) || is_misread(t, f, c) ? PLAN_WHY_HEADER
                                                   : PLAN_WHY_NONE,
        domain_why(f, l, c),
        grandchildren_why(t, f, c),
    };

    for (size_t i = 0; i < ARRAY_SIZE(in_order); i++)
        if (in_order[i] != PLAN_WHY_NONE)
            return in_order[i];
    /* The running domain reads L but not C: not the tree that we know. */
    if (!is_live && is_named(f, l, PLAN_USER_LIVE, false))
        return PLAN_WHY_NAMED;
    if (is_live && !f->is_steady)
        return PLAN_WHY_UNSTEADY;
    /* libvirt cannot shrink the base of a live commit: the guest would see
     * its disk grow by what was cut off, with old data in it. */
    if (is_live && f->files[c_row].size < f->files[l_row].size)
        return PLAN_WHY_SHRUNK;
    *ret_is_live = is_live;
    return PLAN_WHY_NONE;
}

static struct plan_item
hidden(enum plan_why why)
{
    return (struct plan_item){ .verb = PLAN_HIDDEN, .why = why };
}

static struct plan_item
plan_leaf(const struct layer_table *t, const struct plan_facts *f, size_t row)
{
    enum plan_why why = plan_unlink_why(t, f, row);

    if (why == PLAN_WHY_MISSING)
        return (struct plan_item){ .verb = PLAN_FORGET };
    if (why != PLAN_WHY_NONE)
        return hidden(why);
    return (struct plan_item){
        .verb = t->layers[row].is_made ? PLAN_UNLINK : PLAN_FORGET,
    };
}

/* What the table alone decides; false: it takes facts. */
static bool
plan_by_table(const struct layer_table *t, const struct layer *l,
              struct plan_item *ret)
{
    if (l->state == LAYER_TRASH)
        *ret = hidden(PLAN_WHY_TRASH);
    else if ((l->state != LAYER_SEALED && l->state != LAYER_KEPT) ||
             layer_has_ref(t, LAYER_REF_CUT, l))
        *ret = (struct plan_item){ .verb = PLAN_KEEP };
    else if (layer_is_referenced(t, l))
        *ret = hidden(PLAN_WHY_HELD);
    else if (t->job.kind != LAYER_JOB_NONE)
        *ret = hidden(PLAN_WHY_JOB);
    else
        return false;
    return true;
}

static struct plan_item
plan_row(const struct layer_table *t, const struct plan_facts *f, size_t row)
{
    const struct layer *l = &t->layers[row];
    struct plan_item item = { .verb = PLAN_MERGE };
    size_t n;

    if (plan_by_table(t, l, &item))
        return item;
    n = layer_children(t, l);
    if (!f->has_domain)
        return hidden(PLAN_WHY_NO_DOMAIN);
    if (f->is_saved)
        return hidden(PLAN_WHY_SAVED);
    if (n == 0)
        return plan_leaf(t, f, row);
    /* A copy has no child but copies of what was on it: each is whole with
     * its own. It waits for them. */
    if (n > 1 || l->state == LAYER_KEPT)
        return hidden(PLAN_WHY_CHILDREN);
    while (!is_child(&t->layers[item.child], l))
        item.child++;
    item.why = merge_why(t, f, row, item.child, &item.is_live);
    if (item.why != PLAN_WHY_NONE)
        item.verb = PLAN_HIDDEN;
    return item;
}

bool
plan_is_idle(const struct layer_table *t, size_t *ret_hidden)
{
    *ret_hidden = 0;
    for (size_t i = 0; i < t->n_layers; i++) {
        struct plan_item item;

        if (!plan_by_table(t, &t->layers[i], &item))
            return false;
        *ret_hidden += item.verb == PLAN_HIDDEN;
    }
    return true;
}

void
plan_collect(const struct layer_table *t, const struct plan_facts *f,
             struct plan_item *items)
{
    for (size_t i = 0; i < t->n_layers; i++)
        items[i] = plan_row(t, f, i);
}

size_t
plan_next(const struct layer_table *t, const struct plan_item *items)
{
    size_t best = t->n_layers, best_depth = SIZE_MAX;

    for (size_t i = 0; i < t->n_layers; i++)
        if (items[i].verb == PLAN_UNLINK || items[i].verb == PLAN_FORGET)
            return i;
    for (size_t i = 0; i < t->n_layers; i++) {
        size_t depth = layer_depth(t, &t->layers[i]);

        if (items[i].verb == PLAN_MERGE && depth < best_depth) {
            best = i;
            best_depth = depth;
        }
    }
    return best;
}
