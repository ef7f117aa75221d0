/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-disk.c
 *
 * What is read ("want", whole chunks):
 *
 *   FULL, RESCAN   the whole disk; holes are not read but said to be zero
 *   DIRTY          what the bitmaps mark, or what is not shared with the copy
 *                  of the backup before, and what the disk has grown by; the
 *                  repository keeps the parent's bytes for the rest
 *
 * A bitmap that lies would give a backup that looks fine and is not. So before
 * a DIRTY read some clean chunks, chosen by chance, are compared with the
 * parent; one difference and the disk is scanned instead. That finds a bitmap
 * that lost much; what it lost little of is what the rules of trust.c are for.
 */
#include "controller/backup-disk.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "controller/lostarea.h"
#include "controller/pull.h"
#include "controller/tracking.h"
#include "disk/clonediff.h"
#include "disk/dirty.h"
#include "disk/source.h"

#define AUDIT_MIN   64
#define AUDIT_RATIO 2000 /* one chunk in so many: 0.05 % */

struct copy {
    const struct backup_disk_job *job;
    struct backup_disk_result *r;
    struct tracking_verdict verdict;
    struct disk_source *source;
    struct ranges want;
    unsigned disk; /* in the repository's backup */
    uint64_t chunk, want_bytes;
};

static void
copy_fini_p(struct copy *c)
{
    disk_source_close(c->source);
    tracking_verdict_fini(&c->verdict);
    ranges_fini(&c->want);
}

/* ---- what to read ---- */

static int
judge(struct copy *c, struct err *err)
{
    const struct backup_disk_job *j = c->job;
    struct tracking_parent parent = { .repo = j->repo_uuid,
                                      .entry = j->parent_id };
    struct err none;
    unsigned n;

    if (j->parent != NULL &&
        repo_view_find_disk(j->parent, j->target, &n, &none) == 0) {
        parent.has_disk = true;
        parent.size = repo_view_disk(j->parent, n).size;
    }
    if (tracking_judge(j->ctl, j->vm_uuid, j->uid, j->target, &parent,
                       &c->verdict, err) < 0)
        return -1;
    if (c->verdict.n_files == 0)
        return err_set(err, ERR_NOT_FOUND, "its layer is gone");
    (void)strncpy(c->r->format, c->verdict.files[0].format,
                  sizeof c->r->format - 1);
    return 0;
}

static void
want_all(struct copy *c)
{
    ranges_fini(&c->want);
    c->want = RANGES_INIT;
    ranges_add(&c->want, 0, c->r->size);
}

/* The same where the copies of the backup before are compared. */
static int
want_cloned(struct copy *c, const char **ret_why, struct err *err)
{
    const struct tracking_verdict *v = &c->verdict;

    for (size_t i = 0; i < v->n_files; i++) {
        struct disk_layer old = { v->before[i].path, v->before[i].format };
        struct disk_layer new = { v->files[i].path, v->files[i].format };

        if (disk_clonediff(&old, &new, &c->want, err) == 0)
            continue;
        if (err->code != ERR_NOT_FOUND && err->code != ERR_CORRUPT &&
            err->code != ERR_UNSUPPORTED)
            return -1;
        log_info("disk %s: %s", c->job->target, err->msg);
        *ret_why = "the disk and its copy of the last backup are of a kind "
                   "that is compared by reading";
        return 1;
    }
    return 0;
}

static int
want_marked(struct copy *c, const char **ret_why, struct err *err)
{
    const struct trust_verdict *t = &c->verdict.trust;

    for (size_t i = 0; i < t->n_layers; i++) {
        struct disk_layer layer = { c->verdict.files[i].path,
                                    c->verdict.files[i].format };

        if (disk_dirty_read(c->job->dir, &layer, c->verdict.bitmap, &c->want,
                            err) == 0)
            continue;
        if (err->code != ERR_NOT_FOUND && err->code != ERR_CORRUPT)
            return -1;
        *ret_why = err->code == ERR_NOT_FOUND
                       ? "a layer has lost its bitmap"
                       : "a bitmap was not closed: QEMU was killed";
        return 1;
    }
    return 0;
}

/* 0: what was written is in c->want; 1: nobody can say (`why`). */
static int
want_dirty(struct copy *c, const char **ret_why, struct err *err)
{
    const struct trust_verdict *t = &c->verdict.trust;
    int rc = t->by_clone ? want_cloned(c, ret_why, err)
                         : want_marked(c, ret_why, err);

    if (rc != 0)
        return rc;
    if (t->dirty_from < c->r->size)
        ranges_add(&c->want, t->dirty_from, c->r->size - t->dirty_from);
    ranges_clip(&c->want, c->r->size);
    c->r->dirty_bytes = ranges_bytes(&c->want);
    return 0;
}

static int
parent_extent(void *arg, uint64_t off, uint64_t max, bool *ret_is_data,
              uint64_t *ret_len, struct err *err)
{
    struct copy *c = arg;
    enum repo_extent_kind kind;
    unsigned disk;

    if (repo_view_find_disk(c->job->parent, c->job->target, &disk, err) < 0 ||
        repo_view_extent(c->job->parent, disk, off, max, &kind, ret_len, err) <
            0)
        return -1;
    *ret_is_data = kind == REPO_EXTENT_DATA;
    return 0;
}

/* What a disk that was made smaller and larger again has lost is marked
 * nowhere. */
static int
want_lost(struct copy *c, struct err *err)
{
    CLEANUP(ranges_fini) struct ranges data = RANGES_INIT;
    const struct lostarea_parent parent = { c, parent_extent };
    unsigned disk;
    uint64_t size;

    if (repo_view_find_disk(c->job->parent, c->job->target, &disk, err) < 0 ||
        disk_source_allocated(c->source, &data, err) < 0)
        return -1;
    size = repo_view_disk(c->job->parent, disk).size;
    return lostarea_add(&c->want, &data, size < c->r->size ? size : c->r->size,
                        c->chunk, &parent, err);
}

static int
want_chunk(void *arg, uint64_t off, uint64_t len)
{
    struct copy *c = arg;

    if (off < c->r->size)
        ranges_add(&c->want, off, len);
    return 0;
}

/* What lies in damaged parts of the repository is stored again. */
static int
want_damaged(struct copy *c, struct err *err)
{
    unsigned disk;

    if (repo_view_find_disk(c->job->parent, c->job->target, &disk, err) < 0 ||
        repo_view_bad(c->job->parent, disk, want_chunk, c, err) < 0)
        return -1;
    ranges_clip(&c->want, c->r->size);
    return 0;
}

/* ---- the audit ---- */

static uint64_t
random_below(uint64_t n)
{
    uint64_t r;

    uuid_random_bytes(&r, sizeof r);
    return r % n;
}

/* Compare one chunk of the disk with the parent's. */
static int
compare(struct copy *c, unsigned parent_disk, uint64_t off, uint8_t *data,
        bool *ret_is_same, struct err *err)
{
    if (disk_source_read(c->source, off, data, c->chunk, err) < 0)
        return -1;
    return repo_view_is_chunk(c->job->parent, parent_disk, off, data,
                              ret_is_same, err);
}

static int
audit(struct copy *c, struct err *err)
{
    CLEANUP(mem_free) uint8_t *data = NULL;
    unsigned disk;
    uint64_t size, chunks, wanted;

    if (repo_view_find_disk(c->job->parent, c->job->target, &disk, err) < 0)
        return -1;
    size = repo_view_disk(c->job->parent, disk).size;
    chunks = (size < c->r->size ? size : c->r->size) / c->chunk;
    if (chunks == 0)
        return 0;
    wanted =
        chunks / AUDIT_RATIO > AUDIT_MIN ? chunks / AUDIT_RATIO : AUDIT_MIN;
    data = xcalloc(1, c->chunk);
    for (uint64_t i = 0; i < wanted; i++) {
        uint64_t off = random_below(chunks) * c->chunk;
        bool is_same = true;

        if (ranges_overlaps(&c->want, off, c->chunk))
            continue;
        if (job_check(c->job->job, err) < 0 ||
            compare(c, disk, off, data, &is_same, err) < 0)
            return -1;
        c->r->audited++;
        c->r->mismatches += !is_same;
    }
    return 0;
}

/* ---- reading ---- */

static int
buffer_get(void *arg, uint8_t **ret_buffer, struct err *err)
{
    struct copy *c = arg;

    return repo_backup_buffer_get(c->job->backup, c->disk, ret_buffer, err);
}

static void
buffer_put(void *arg, uint8_t *buffer)
{
    struct copy *c = arg;

    repo_backup_buffer_put(c->job->backup, c->disk, buffer);
}

static int
sink_write(void *arg, uint64_t off, uint8_t *buffer, size_t len,
           struct err *err)
{
    struct copy *c = arg;

    c->r->read_bytes += len;
    return repo_backup_write_buffer(c->job->backup, c->disk, off, buffer, len,
                                    err);
}

static int
sink_zero(void *arg, uint64_t off, uint64_t len, struct err *err)
{
    struct copy *c = arg;

    return repo_backup_zero(c->job->backup, c->disk, off, len, err);
}

/* Done of the disk, not of what is read: a disk of which little is read is
 * done quickly. */
static int
sink_progress(void *arg, uint64_t done_bytes)
{
    struct copy *c = arg;
    double part =
        c->want_bytes == 0 ? 1 : (double)done_bytes / (double)c->want_bytes;

    c->job->progress(c->job->arg, (uint64_t)((double)c->r->size * part),
                     c->r->size);
    return job_is_cancelled(c->job->job);
}

static int
copy(struct copy *c, struct err *err)
{
    struct disk_sink sink = { .arg = c,
                              .buffer_get = buffer_get,
                              .buffer_put = buffer_put,
                              .write = sink_write,
                              .zero = sink_zero,
                              .progress = sink_progress };

    ranges_align_out(&c->want, c->chunk);
    c->want_bytes = ranges_bytes(&c->want);
    return disk_source_copy(c->source, &c->want, c->chunk, &sink, err);
}

/* FULL, DIRTY or RESCAN; the latter two may turn into RESCAN. */
static int
choose(struct copy *c, struct err *err)
{
    const struct trust_verdict *t = &c->verdict.trust;
    struct backup_disk_result *r = c->r;
    int rc;

    r->reason = t->level == TRUST_DIRTY ? NULL : t->reason;
    r->tracking =
        t->level == TRUST_FULL ? BACKUP_META_FULL : BACKUP_META_RESCAN;
    if (t->level == TRUST_DIRTY) {
        rc = want_dirty(c, &r->reason, err);
        if (rc < 0)
            return -1;
        if (rc == 0) {
            ranges_align_out(&c->want, c->chunk);
            if (want_lost(c, err) < 0 || want_damaged(c, err) < 0)
                return err_wrap(err, "change tracking");
            if (audit(c, err) < 0)
                return err_wrap(err, "audit of the change tracking");
            if (r->mismatches == 0) {
                r->tracking = BACKUP_META_INCREMENTAL;
                return 0;
            }
            r->reason =
                "the change tracking missed changes: the audit found some";
        }
    }
    want_all(c);
    return 0;
}

static int
open_cut(struct copy *c, struct err *err)
{
    struct disk_source_options options = { .dir = c->job->dir };

    if (judge(c, err) < 0)
        return -1;
    options.top = (struct disk_layer){ c->verdict.files[0].path,
                                       c->verdict.files[0].format };
    return disk_source_open(&options, &c->source, err);
}

/* ---- a disk that is pulled ---- */

static struct pull_disk
pulled(const struct copy *c)
{
    const struct backup_disk_job *j = c->job;

    return (struct pull_disk){ .ctl = j->ctl,
                               .vm_uuid = j->vm_uuid,
                               .uid = j->uid,
                               .target = j->target,
                               .record = j->pull,
                               .dir = j->dir };
}

/* Nobody records what is written to a raw device: all of it is read. */
static int
open_pulled(struct copy *c, struct err *err)
{
    const struct pull_disk d = pulled(c);
    struct trust_verdict *t = &c->verdict.trust;
    struct err none;
    unsigned n;

    (void)strncpy(c->r->format, "raw", sizeof c->r->format - 1);
    t->level = c->job->parent != NULL &&
                       repo_view_find_disk(c->job->parent, c->job->target, &n,
                                           &none) == 0
                   ? TRUST_RESCAN
                   : TRUST_FULL;
    t->reason = "changes of a block device are not recorded";
    return pull_open(&d, &c->source, err);
}

int
backup_disk_store(const struct backup_disk_job *job,
                  struct backup_disk_result *ret, struct err *err)
{
    CLEANUP(copy_fini) struct copy c = { .job = job, .r = ret };
    const struct pull_disk d = pulled(&c);
    int rc;

    memset(ret, 0, sizeof *ret);
    rc = job->pull != NULL ? open_pulled(&c, err) : open_cut(&c, err);
    if (rc < 0)
        return err_wrap(err, "disk %s", job->target);
    ret->size = disk_source_size(c.source);
    if (repo_backup_add_disk(job->backup, job->target, ret->size, 0, &c.disk,
                             err) < 0)
        return err_wrap(err, "disk %s", job->target);
    c.chunk = repo_backup_chunk_size(job->backup, c.disk);
    if (choose(&c, err) < 0 || copy(&c, err) < 0)
        return err_wrap(err, "disk %s", job->target);
    if (job->pull != NULL && pull_check(&d, err) < 0)
        return -1;
    job->progress(job->arg, ret->size, ret->size);
    return 0;
}
