/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tracking-collect.c: records follow merges.
 *
 * A merge keeps the id of the upper layer and the file of the lower one. After
 * two of them nothing may be left of a recorded layer but its content and its
 * bitmap. Before layers are merged we note which of them, from the active one
 * down to the recorded one, have changes since the backup; afterwards the
 * lowest layer that has one of those ids is where the changes begin.
 *
 * A crash in between loses nothing but this: the next backup does not find the
 * recorded layer and compares the disk.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "controller/tracking-priv.h"

struct above {
    char (*ids)[UUID_STR_SIZE]; /* the active layer to the recorded one */
    size_t n;                   /* 0: it is not in the chain */
};

static bool
is_recorded(const struct volume_file *f, const struct tracking_disk *d)
{
    return strcmp(f->id, d->layer) == 0 ||
           (file_id_equal_there(&f->file, &d->file) &&
            strcmp(f->path, d->path) == 0);
}

static void
look_before(struct ctl *ctl, const char *vm_uuid, const struct tracking_disk *d,
            struct above *a)
{
    struct volume_file *files;
    struct err unused;
    size_t n, end;

    if (volume_active_files(ctl->volume, vm_uuid, d->target, &files, &n,
                            &unused) < 0)
        return;
    for (end = 0; end < n && !is_recorded(&files[end], d);)
        end++;
    if (end < n) {
        a->n = end + 1;
        a->ids = xcalloc(a->n, sizeof *a->ids);
        for (size_t i = 0; i < a->n; i++)
            memcpy(a->ids[i], files[i].id, UUID_STR_SIZE);
    }
    volume_files_free(files, n);
}

static bool
has_id(const struct above *a, const char *id)
{
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->ids[i], id) == 0)
            return true;
    return false;
}

/* True if the record was changed. */
static bool
follow(struct ctl *ctl, const char *vm_uuid, struct tracking_disk *d,
       const struct above *a)
{
    struct volume_file *files;
    struct err unused;
    size_t n, i;

    if (a->n == 0 || volume_active_files(ctl->volume, vm_uuid, d->target,
                                         &files, &n, &unused) < 0)
        return false;
    for (i = n; i > 0 && !has_id(a, files[i - 1].id);)
        i--;

    bool is_moved = i > 0 && (strcmp(files[i - 1].id, d->layer) != 0 ||
                              strcmp(files[i - 1].path, d->path) != 0);

    if (is_moved) {
        memcpy(d->layer, files[i - 1].id, sizeof d->layer);
        free(d->path);
        d->path = xstrdup(files[i - 1].path);
        free(d->format);
        d->format = xstrdup(files[i - 1].format);
        d->file = files[i - 1].file;
    }
    volume_files_free(files, n);
    return is_moved;
}

static int
collect(struct ctl *ctl, struct tracking *t, size_t *ret_left, struct err *err)
{
    struct tracking_point *p = t->committed;
    CLEANUP(mem_free) struct above *above = xcalloc(p->n + 1, sizeof *above);
    bool is_changed = false;
    struct err why;
    int rc;

    for (size_t i = 0; i < p->n; i++)
        look_before(ctl, t->vm, &p->disks[i], &above[i]);
    rc = volume_collect(ctl->volume, t->vm, ret_left, err);
    for (size_t i = 0; i < p->n; i++) {
        if (follow(ctl, t->vm, &p->disks[i], &above[i]))
            is_changed = true;
        free(above[i].ids);
    }
    if (is_changed && tracking_save(ctl, t, &why) < 0)
        log_warn("VM %s: the record of changes could not be kept: %s", t->vm,
                 why.msg);
    return rc;
}

int
tracking_collect(struct ctl *ctl, const char *vm_uuid, size_t *ret_left,
                 struct err *err)
{
    struct err unused;
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, &unused);

    return t != NULL && t->committed != NULL
               ? collect(ctl, t, ret_left, err)
               : volume_collect(ctl->volume, vm_uuid, ret_left, err);
}
