/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-fill.c: one disk after the other, each by all workers of
 * the repository. */
#include "controller/hrestore-fill.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutex.h"
#include "controller/job.h"
#include "controller/recover.h"
#include "disk/sweep.h"
#include "disk/target.h"

#define FIRMWARE_FILE_MAX (64u << 20) /* as controller/firmware.c */
#define READ_PIECE        ((size_t)1 << 20)
#define TELL_MS           200

extern struct role hrestore_fill_lock;

struct fill {
    struct ctl *ctl;                  /* [C] */
    struct hrestore_source *s;        /* [C] */
    const struct restore_request *rq; /* [C] */
    char *dir;                        /* [C] of the job */
    char **beside;                    /* [C] one per disk */
    pthread_mutex_t mutex;            /* hrestore_fill_lock: workers report */
    struct job_progress progress GUARDED_BY(hrestore_fill_lock);
    uint64_t before GUARDED_BY(hrestore_fill_lock);  /* of the disks done */
    json_t *volumes GUARDED_BY(hrestore_fill_lock);  /* {"vda": bytes done} */
    uint64_t told_ms GUARDED_BY(hrestore_fill_lock); /* when, last */
};

static void lock(struct fill *f) ACQUIRE(hrestore_fill_lock);
static void unlock(struct fill *f) RELEASE(hrestore_fill_lock);

static void NO_TSA
lock(struct fill *f)
{
    pthread_mutex_lock(&f->mutex);
}

static void NO_TSA
unlock(struct fill *f)
{
    pthread_mutex_unlock(&f->mutex);
}

static char *
job_dir(struct ctl *ctl, const char *restore_uid)
{
    return xasprintf("%s/jobs/restore-%s", ctl->config.run_dir, restore_uid);
}

int
hrestore_fill_sweep(struct ctl *ctl, const char *restore_uid, struct err *err)
{
    CLEANUP(mem_free) char *dir = job_dir(ctl, restore_uid);

    return disk_sweep(dir, err);
}

/* ---- room ---- */

static const char *
path_before(const struct domxml *dom, const char *target)
{
    const struct domxml_disk *d = domxml_disk(dom, target);

    return d == NULL || d->chain_len == 0 ? NULL : d->chain[0].path;
}

/* For each disk of the backup. The caller's: each, and the array. */
static char **
choose_places(const struct hrestore_source *s, const struct domxml *old,
              struct err *err)
{
    CLEANUP(domxml_free) struct domxml *dom = domxml_parse(s->base.xml, err);
    size_t n = s->meta->n_disks;
    char **beside;

    if (dom == NULL)
        return NULL;
    beside = xcalloc(n + 1, sizeof *beside);
    for (size_t i = 0; i < n; i++) {
        const char *target = s->meta->disks[i].target;

        beside[i] = hrestore_place_of(s->places, target,
                                      path_before(dom, target), old, err);
        if (beside[i] != NULL)
            continue;
        while (i > 0)
            free(beside[--i]);
        free(beside);
        return NULL;
    }
    return beside;
}

static void
free_places(char **beside, size_t n)
{
    for (size_t i = 0; beside != NULL && i < n; i++)
        free(beside[i]);
    free(beside);
}

/* Bytes that are not zeros. */
static int
count_data(struct repo_view *v, unsigned disk, uint64_t size, uint64_t *ret,
           struct err *err)
{
    uint64_t sum = 0, len = 0;

    for (uint64_t off = 0; off < size; off += len) {
        enum repo_extent_kind kind;

        if (repo_view_extent(v, disk, off, size - off, &kind, &len, err) < 0)
            return -1;
        sum += kind == REPO_EXTENT_DATA ? len : 0;
    }
    *ret = sum;
    return 0;
}

static int
check_room(struct hrestore_source *s, char *const *beside, json_t *lines,
           struct err *err)
{
    size_t n = s->meta->n_disks;
    CLEANUP(mem_free) uint64_t *need = xcalloc(n + 1, sizeof *need);
    CLEANUP(mem_free) uint64_t *device = xcalloc(n + 1, sizeof *device);

    for (size_t i = 0; i < n; i++) {
        const struct backup_meta_disk *d = &s->meta->disks[i];
        uint64_t all = 0, room = 0;
        unsigned disk;

        if (repo_view_find_disk(s->view, d->target, &disk, err) < 0 ||
            count_data(s->view, disk, d->size, &need[i], err) < 0 ||
            hrestore_place_room(beside[i], &room, &device[i], err) < 0)
            return err_wrap(err, "disk %s", d->target);
        for (size_t k = 0; k <= i; k++)
            all += device[k] == device[i] ? need[k] : 0;
        all += all / 100; /* qcow2's own tables */
        if (lines != NULL) {
            CLEANUP(mem_free)
            char *line = xasprintf(
                "space: disk %s: %llu MiB of data to %s, %llu MiB are free",
                d->target, (unsigned long long)need[i] >> 20, beside[i],
                (unsigned long long)room >> 20);

            (void)json_array_append_new(lines, json_string(line));
        }
        if (all > room)
            return err_set(
                err, ERR_NO_SPACE,
                "disk %s: %llu MiB free at %s, the restore needs %llu MiB",
                d->target, (unsigned long long)room >> 20, beside[i],
                (unsigned long long)all >> 20);
    }
    return 0;
}

int
hrestore_fill_check_room(struct hrestore_source *s, const struct domxml *old,
                         json_t *lines, struct err *err)
{
    char **beside = choose_places(s, old, err);
    int rc = beside == NULL ? -1 : check_room(s, beside, lines, err);

    free_places(beside, s->meta->n_disks);
    return rc;
}

/* ---- progress ---- */

/* Note it; what is to be told now is copied out. */
static bool
note_locked(struct fill *f, const char *target, uint64_t done, bool is_last,
            struct job_progress *ret, json_t **ret_volumes)
    REQUIRES(hrestore_fill_lock)
{
    uint64_t now = clock_mono_ms();

    f->progress.done_bytes = f->before + done;
    f->progress.moved_bytes = f->progress.done_bytes;
    if (is_last)
        f->before += done;
    else if (now < f->told_ms + TELL_MS)
        return false;
    f->told_ms = now;
    (void)json_object_set_new(f->volumes, target,
                              json_integer((json_int_t)done));
    *ret = f->progress;
    *ret_volumes = json_deep_copy(f->volumes);
    return true;
}

static void
tell(struct fill *f, const char *target, uint64_t done, bool is_last)
{
    struct job_progress progress;
    json_t *volumes = NULL;
    bool is_due;

    lock(f);
    is_due = note_locked(f, target, done, is_last, &progress, &volumes);
    unlock(f);
    if (!is_due)
        return;
    job_note_set(f->s->job, volumes);
    job_progress_set(f->s->job, &progress);
}

/* ---- one disk ---- */

struct disk_fill {
    struct fill *f;
    struct disk_target *to;
    const char *target;
};

static int
put(void *arg, uint64_t off, const void *data, size_t len, struct err *err)
{
    struct disk_fill *d = arg;

    return disk_target_write(d->to, off, data, len, err);
}

static int
put_zero(void *arg, uint64_t off, uint64_t len, struct err *err)
{
    struct disk_fill *d = arg;

    return disk_target_zero(d->to, off, len, err);
}

static int
on_progress(void *arg, uint64_t done)
{
    struct disk_fill *d = arg;
    struct fill *f = d->f;

    tell(f, d->target, done, false);
    return job_is_cancelled(f->s->job);
}

static int
fill_disk(struct fill *f, const struct volume_new_disk *disk, struct err *err)
{
    CLEANUP(disk_target_close) struct disk_target *to = NULL;
    struct disk_fill d = { .f = f, .target = disk->target };
    struct repo_sink sink = {
        .write = put, .zero = put_zero, .progress = on_progress, .arg = &d
    };
    struct repo_view *v = f->s->view;
    unsigned from;

    if (repo_view_find_disk(v, disk->target, &from, err) < 0 ||
        disk_target_open(f->dir, disk->path, disk->format, disk->virtual_size,
                         &to, err) < 0)
        return -1;
    if (disk_target_is_fresh(to))
        sink.zero = NULL;
    d.to = to;
    if (repo_view_restore(v, from, 0, repo_view_disk(v, from).size, 0, &sink,
                          err) < 0 ||
        disk_target_finish(to, err) < 0)
        return -1;
    tell(f, disk->target, disk->virtual_size, true);
    if (repo_view_mended(v) > 0)
        log_warn(
            "restore of disk %s: %u damaged packs of the backup's target were read from their parity; its next scrub repairs them",
            disk->target, repo_view_mended(v));
    return 0;
}

/* ---- firmware ---- */

static int
read_file(struct fill *f, const struct backup_meta_file *file, struct buf *out,
          struct err *err)
{
    CLEANUP(mem_free) uint8_t *piece = xcalloc(1, READ_PIECE);
    uint64_t size = file->size;
    unsigned disk;

    if (size > FIRMWARE_FILE_MAX)
        return err_set(err, ERR_INVALID, "%s: too large", file->path);
    if (repo_view_find_disk(f->s->view, file->repo_disk, &disk, err) < 0)
        return -1;
    for (uint64_t off = 0; off < size;) {
        size_t len =
            size - off < READ_PIECE ? (size_t)(size - off) : READ_PIECE;

        if (repo_view_read(f->s->view, disk, off, piece, len, err) < 0)
            return -1;
        buf_add(out, piece, len);
        off += len;
    }
    return 0;
}

/* To where controller/firmware.c looks for a kept file. */
static int
put_firmware_file(struct fill *f, const struct backup_meta_file *file,
                  struct err *err)
{
    const struct restore_source *base = &f->s->base;
    CLEANUP(mem_free)
    char *path =
        xasprintf("%s/nvram/%s/%s", base->firmware_dir, base->id, file->path);
    CLEANUP(mem_free) char *dir = file_dirname(path);
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(fd_close) int fd = -1;

    if (read_file(f, file, &b, err) < 0 || file_make_dirs(dir, 0700, err) < 0 ||
        file_open_dir(dir, &fd, err) < 0 ||
        file_replace(fd, file_basename(path), b.data, b.len, 0600, err) < 0)
        return err_wrap(err, "firmware file %s", file->path);
    return 0;
}

/* ---- all ---- */

static int
fill_all(struct fill *f, struct volume_restore *volume, struct err *err)
{
    const struct backup_meta *m = f->s->meta;
    size_t n = 0;
    const struct volume_new_disk *disks = volume_restore_disks(volume, &n);

    lock(f);
    for (size_t i = 0; i < n; i++)
        f->progress.all_bytes += disks[i].virtual_size;
    unlock(f);
    for (size_t i = 0; i < m->n_files; i++)
        if (put_firmware_file(f, &m->files[i], err) < 0)
            return -1;
    if (file_make_dirs(f->dir, 0710, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (job_check(f->s->job, err) < 0)
            return -1;
        if (fill_disk(f, &disks[i], err) < 0)
            return err_wrap(err, "disk %s", disks[i].target);
    }
    /* Nothing after this reads the target: who was cancelled while it hung
     * defines nothing. */
    if (disk_sweep(f->dir, err) < 0 || job_check(f->s->job, err) < 0)
        return -1;
    return volume_restore_filled(volume, err);
}

static int
prepare(struct fill *f, struct volume_restore **ret_volume, struct err *err)
{
    const struct backup_meta *m = f->s->meta;
    const struct virt_vm *old = f->rq->old;
    bool in_place = old != NULL;
    CLEANUP(mem_free)
    struct volume_fill_disk *disks = xcalloc(m->n_disks + 1, sizeof *disks);

    f->beside = choose_places(f->s, in_place ? old->inactive : NULL, err);
    if (f->beside == NULL || check_room(f->s, f->beside, NULL, err) < 0)
        return -1;
    for (size_t i = 0; i < m->n_disks; i++)
        disks[i] = (struct volume_fill_disk){ .target = m->disks[i].target,
                                              .format = m->disks[i].format,
                                              .size = m->disks[i].size,
                                              .beside = f->beside[i] };
    return volume_fill_prepare(f->ctl->volume, f->rq->owner_uuid,
                               f->rq->restore_uid, f->rq->owner_uuid, in_place,
                               disks, m->n_disks, ret_volume, err);
}

static void
undo(struct fill *f, struct volume_restore *volume)
{
    struct err unused;

    (void)!disk_sweep(f->dir, &unused);
    if (volume_restore_abort(volume, &unused) < 0)
        recover_again(f->ctl, f->rq->owner_uuid);
}

static void NO_TSA
fill_fini(struct fill *f)
{
    pthread_mutex_destroy(&f->mutex);
    json_decref(f->volumes);
    free_places(f->beside, f->s->meta->n_disks);
    free(f->dir);
}

static void NO_TSA
fill_init(struct fill *f)
{
    pthread_mutex_init(&f->mutex, NULL);
    f->volumes = json_object();
    f->dir = job_dir(f->ctl, f->rq->restore_uid);
}

int
hrestore_fill_make_disks(struct ctl *ctl, struct restore_source *source,
                         const struct restore_request *rq,
                         struct volume_restore **ret_volume, struct err *err)
{
    struct hrestore_source *s = source->arg;
    struct fill f = { .ctl = ctl, .s = s, .rq = rq };
    CLEANUP(volume_restore_free) struct volume_restore *volume = NULL;
    int rc;

    fill_init(&f);
    rc = prepare(&f, &volume, err);
    if (rc == 0 && !volume_restore_is_finished(volume)) {
        rc = repo_view_pin(s->view, err);
        if (rc == 0)
            rc = fill_all(&f, volume, err);
        if (rc < 0)
            undo(&f, volume);
    }
    fill_fini(&f);
    if (rc < 0)
        return -1;
    *ret_volume = TAKE(volume);
    return 0;
}
