/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tracking-judge.c: the facts for controller/trust.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "controller/tracking.h"
#include "disk/qcow2.h"

void
tracking_verdict_fini(struct tracking_verdict *v)
{
    volume_files_free(v->files, v->n_files);
    volume_files_free(v->before, v->n_before);
    v->files = v->before = NULL;
    v->n_files = v->n_before = 0;
}

char *
tracking_parent_entry(struct ctl *ctl, const char *vm_uuid,
                      const char *repo_uuid)
{
    struct err unused;
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, &unused);

    if (t == NULL || t->committed == NULL ||
        strcmp(t->committed->repo, repo_uuid) != 0)
        return NULL;
    return xstrdup(t->committed->entry);
}

/* A bitmap that does not record by itself may have missed something. */
static int
read_layer(const struct volume_file *f, const char *bitmap,
           struct trust_layer *ret, struct err *err)
{
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(qcow2_info_fini) struct qcow2_info info = { .version = 0 };
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps all = { .n = 0 };
    const struct qcow2_bitmap *b;

    *ret = (struct trust_layer){
        .file = f->file, .path = f->path, .format = f->format, .size = f->size
    };
    memcpy(ret->id, f->id, sizeof ret->id);
    if (strcmp(f->format, "qcow2") != 0)
        return 0;
    fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_sys(err, errno, "%s: open", f->path);
    if (qcow2_read(fd, f->path, &info, err) < 0 ||
        qcow2_bitmaps_read(fd, f->path, &info, &all, err) < 0)
        return -1;
    ret->n_snapshots = info.n_snapshots;
    b = qcow2_bitmaps_find(&all, bitmap);
    if (b != NULL)
        ret->bitmap =
            b->in_use || !b->is_auto ? TRUST_BITMAP_BROKEN : TRUST_BITMAP_GOOD;
    return 0;
}

static const char *
record_refusal(const struct tracking_point *p,
               const struct tracking_parent *parent)
{
    if (p == NULL || parent->entry == NULL)
        return NULL;
    if (strcmp(p->repo, parent->repo) != 0)
        return "changes were recorded since a backup in another repository; "
               "the disk was compared";
    return strcmp(p->entry, parent->entry) == 0
               ? NULL
               : "changes were recorded since another backup than the one "
                 "before; the disk was compared";
}

static bool
find_record(const struct tracking_point *p, const char *target,
            struct trust_record *ret)
{
    for (size_t i = 0; p != NULL && i < p->n; i++) {
        const struct tracking_disk *d = &p->disks[i];

        if (strcmp(d->target, target) != 0)
            continue;
        *ret = (struct trust_record){ .file = d->file,
                                      .path = d->path,
                                      .format = d->format,
                                      .size = d->size };
        memcpy(ret->layer, d->layer, sizeof ret->layer);
        return true;
    }
    return false;
}

static int
judge(const struct tracking *t, const char *target,
      const struct tracking_parent *parent, struct tracking_verdict *v,
      struct err *err)
{
    CLEANUP(mem_free)
    struct trust_layer *layers = xcalloc(v->n_files + 1, sizeof *layers);
    CLEANUP(mem_free)
    struct trust_layer *clone = xcalloc(v->n_before + 1, sizeof *clone);
    struct trust_record record;
    struct trust_facts f = {
        .has_parent = parent->entry != NULL && parent->has_disk,
        .parent_size = parent->size,
        .record_refusal = record_refusal(t->committed, parent),
        .layers = layers,
        .n_layers = v->n_files,
        .is_clone = t->committed != NULL && t->committed->is_clone,
        .clone = clone,
        .n_clone = v->n_before,
    };

    if (t->committed != NULL)
        tracking_name(t->committed->backup, v->bitmap);
    if (find_record(t->committed, target, &record))
        f.record = &record;
    for (size_t i = 0; i < v->n_files; i++)
        if (read_layer(&v->files[i], v->bitmap, &layers[i], err) < 0)
            return -1;
    for (size_t i = 0; i < v->n_before; i++)
        clone[i] = (struct trust_layer){ .file = v->before[i].file,
                                         .format = v->before[i].format };
    v->trust = trust_decide(&f);
    return 0;
}

int
tracking_judge(struct ctl *ctl, const char *vm_uuid, const char *cut_id,
               const char *target, const struct tracking_parent *parent,
               struct tracking_verdict *ret, struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);
    CLEANUP(tracking_verdict_fini)
    struct tracking_verdict v = { .n_files = 0 };

    if (t == NULL || volume_cut_files(ctl->volume, vm_uuid, cut_id, target,
                                      &v.files, &v.n_files, err) < 0)
        return -1;
    if (t->committed != NULL && t->committed->is_clone &&
        volume_cut_files(ctl->volume, vm_uuid, t->committed->backup, target,
                         &v.before, &v.n_before, err) < 0) {
        log_info("VM %s: disk %s: %s", vm_uuid, target, err->msg);
        v.before = NULL;
        v.n_before = 0;
    }
    if (judge(t, target, parent, &v, err) < 0)
        return err_wrap(err, "disk %s", target);
    *ret = v;
    v = (struct tracking_verdict){ .n_files = 0 };
    return 0;
}
