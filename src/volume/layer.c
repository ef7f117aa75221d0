/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/layer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* Tables are small (a VM has tens of layers, rarely hundreds): arrays and
 * linear searches, nothing to keep in step. */

enum {
    DONE_KEPT = 64 /* finished restores that a repeated request may find */
};

static void
copy_id(char dst[UUID_STR_SIZE], const char *src)
{
    (void)snprintf(dst, UUID_STR_SIZE, "%s", src == NULL ? "" : src);
}

static void
copy_target(char dst[LAYER_TARGET_SIZE], const char *src)
{
    (void)snprintf(dst, LAYER_TARGET_SIZE, "%s", src);
}

struct layer_table *
layer_table_new(const char *vm_uuid)
{
    struct layer_table *t = xcalloc(1, sizeof *t);

    copy_id(t->vm, vm_uuid);
    return t;
}

static void
layer_fini(struct layer *l)
{
    free(l->format);
    free(l->path);
    free(l->was);
}

static void
done_fini(struct layer_done *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->disks[i].format);
        free(d->disks[i].path);
    }
    free(d->disks);
}

void
layer_table_free(struct layer_table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n_layers; i++)
        layer_fini(&t->layers[i]);
    for (size_t i = 0; i < t->n_done; i++)
        done_fini(&t->done[i]);
    free(t->layers);
    free(t->refs);
    free(t->job.disks);
    free(t->done);
    free(t);
}

struct layer *
layer_find(const struct layer_table *t, const char *id)
{
    for (size_t i = 0; i < t->n_layers; i++)
        if (strcmp(t->layers[i].id, id) == 0)
            return &t->layers[i];
    return NULL;
}

struct layer *
layer_find_path(const struct layer_table *t, const char *path)
{
    for (size_t i = 0; i < t->n_layers; i++)
        if (strcmp(t->layers[i].path, path) == 0)
            return &t->layers[i];
    return NULL;
}

struct layer *
layer_find_active(const struct layer_table *t, const char *target)
{
    for (size_t i = 0; i < t->n_layers; i++)
        if (t->layers[i].state == LAYER_ACTIVE &&
            strcmp(t->layers[i].target, target) == 0)
            return &t->layers[i];
    return NULL;
}

struct layer *
layer_parent(const struct layer_table *t, const struct layer *l)
{
    return l->parent[0] == 0 ? NULL : layer_find(t, l->parent);
}

size_t
layer_children(const struct layer_table *t, const struct layer *l)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n_layers; i++)
        n += strcmp(t->layers[i].parent, l->id) == 0;
    return n;
}

size_t
layer_depth(const struct layer_table *t, const struct layer *l)
{
    size_t n = 0;

    for (; l != NULL; l = layer_parent(t, l))
        n++;
    return n;
}

bool
layer_has_ref(const struct layer_table *t, enum layer_ref_kind kind,
              const struct layer *l)
{
    for (size_t i = 0; i < t->n_refs; i++)
        if (t->refs[i].kind == kind && strcmp(t->refs[i].layer, l->id) == 0)
            return true;
    return false;
}

bool
layer_is_referenced(const struct layer_table *t, const struct layer *l)
{
    return layer_has_ref(t, LAYER_REF_CUT, l) ||
           layer_has_ref(t, LAYER_REF_RESTORE, l);
}

const struct layer_ref *
layer_ref_find(const struct layer_table *t, enum layer_ref_kind kind,
               const char *owner, const char *target)
{
    for (size_t i = 0; i < t->n_refs; i++)
        if (t->refs[i].kind == kind && strcmp(t->refs[i].owner, owner) == 0 &&
            (target == NULL || strcmp(t->refs[i].target, target) == 0))
            return &t->refs[i];
    return NULL;
}

const struct layer_done *
layer_done_find(const struct layer_table *t, const char *id)
{
    for (size_t i = 0; i < t->n_done; i++)
        if (strcmp(t->done[i].id, id) == 0)
            return &t->done[i];
    return NULL;
}

struct layer *
layer_add(struct layer_table *t, const char *id, const char *parent,
          const char *target, enum layer_state state, const char *format,
          const char *path, uint64_t size)
{
    struct layer *l;

    t->layers = xrealloc(t->layers, t->n_layers + 1, sizeof *t->layers);
    l = &t->layers[t->n_layers++];
    *l = (struct layer){
        .state = state,
        .format = xstrdup(format),
        .path = xstrdup(path),
        .size = size,
    };
    if (id == NULL)
        uuid_random(l->id);
    else
        copy_id(l->id, id);
    copy_id(l->parent, parent);
    copy_target(l->target, target);
    return l;
}

void
layer_remove(struct layer_table *t, const char *id)
{
    struct layer *l = layer_find(t, id);
    size_t i;

    if (l == NULL)
        return;
    i = (size_t)(l - t->layers);
    layer_fini(l);
    memmove(l, l + 1, (t->n_layers - i - 1) * sizeof *l);
    t->n_layers--;
}

void
layer_set_path(struct layer *l, const char *path)
{
    char *copy = xstrdup(path); /* `path` may be l->was */

    free(l->path);
    l->path = copy;
}

void
layer_ref_add(struct layer_table *t, enum layer_ref_kind kind,
              const char *owner, const char *target, const char *layer)
{
    struct layer_ref *r;

    t->refs = xrealloc(t->refs, t->n_refs + 1, sizeof *t->refs);
    r = &t->refs[t->n_refs++];
    *r = (struct layer_ref){ .kind = kind };
    copy_id(r->owner, owner);
    copy_target(r->target, target);
    copy_id(r->layer, layer);
}

void
layer_ref_drop(struct layer_table *t, enum layer_ref_kind kind,
               const char *owner)
{
    size_t kept = 0;

    for (size_t i = 0; i < t->n_refs; i++)
        if (t->refs[i].kind != kind || strcmp(t->refs[i].owner, owner) != 0)
            t->refs[kept++] = t->refs[i];
    t->n_refs = kept;
}

void
layer_seal(struct layer_table *t, const char *a, const char *b)
{
    struct layer *old = layer_find(t, a);
    struct layer *new = layer_find(t, b);

    assert(old != NULL && new != NULL);
    old->state = LAYER_SEALED;
    new->state = LAYER_ACTIVE;
}

void
layer_merged(struct layer_table *t, const char *l_id, const char *c_id)
{
    struct layer *l = layer_find(t, l_id);
    struct layer *c = layer_find(t, c_id);

    assert(l != NULL && c != NULL && l != c);
    free(c->path);
    free(c->format);
    c->path = TAKE(l->path);
    c->format = TAKE(l->format);
    c->file = l->file;
    c->is_made = l->is_made;
    memcpy(c->parent, l->parent, sizeof c->parent);
    layer_remove(t, l_id);
}

void
layer_job_begin(struct layer_table *t, enum layer_job_kind kind, const char *id,
                const char *owner)
{
    layer_job_end(t);
    t->job.kind = kind;
    t->job.step =
        kind == LAYER_JOB_MERGE ? LAYER_STEP_BEGIN : LAYER_STEP_PLANNED;
    if (id == NULL)
        uuid_random(t->job.id);
    else
        copy_id(t->job.id, id);
    copy_id(t->job.owner, owner);
}

void
layer_job_add(struct layer_table *t, const char *target, const char *a,
              const char *b, const char *c)
{
    struct layer_job_disk *d;

    t->job.disks = xrealloc(t->job.disks, t->job.n + 1, sizeof *t->job.disks);
    d = &t->job.disks[t->job.n++];
    copy_target(d->target, target);
    copy_id(d->a, a);
    copy_id(d->b, b);
    copy_id(d->c, c);
}

void
layer_job_end(struct layer_table *t)
{
    free(t->job.disks);
    t->job = (struct layer_job){ .kind = LAYER_JOB_NONE };
}

bool
layer_job_is_in_place(enum layer_job_kind kind)
{
    return kind == LAYER_JOB_INPLACE || kind == LAYER_JOB_FILLINPLACE;
}

bool
layer_job_is_fill(enum layer_job_kind kind)
{
    return kind == LAYER_JOB_FILLINPLACE || kind == LAYER_JOB_FILLNEW;
}

struct layer_done *
layer_done_begin(struct layer_table *t, const char *id)
{
    struct layer_done *d;

    if (t->n_done == DONE_KEPT) {
        done_fini(&t->done[0]);
        memmove(&t->done[0], &t->done[1], --t->n_done * sizeof *t->done);
    }
    t->done = xrealloc(t->done, t->n_done + 1, sizeof *t->done);
    d = &t->done[t->n_done++];
    *d = (struct layer_done){ .n = 0 };
    copy_id(d->id, id);
    return d;
}

void
layer_done_add(struct layer_done *d, const char *target, const char *old,
               const char *format, uint64_t size, const char *path)
{
    struct layer_done_disk *k;

    d->disks = xrealloc(d->disks, d->n + 1, sizeof *d->disks);
    k = &d->disks[d->n++];
    *k = (struct layer_done_disk){ .format = xstrdup(format),
                                   .size = size,
                                   .path = xstrdup(path) };
    copy_target(k->target, target);
    copy_id(k->old, old);
}
