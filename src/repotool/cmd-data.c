/* SPDX-License-Identifier: Apache-2.0 */
/* import and export. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "blob/blob.h"
#include "repo/root.h"
#include "repotool/image.h"
#include "repotool/interrupt.h"
#include "repotool/progress.h"
#include "repotool/repotool.h"

/* ---- import ---- */

struct import {
    struct repo_backup *backup;
    struct progress progress;
    uint64_t done;
};

/* Data from..to, chunk by chunk, straight into the writer's buffers. */
static int
import_data(struct import *m, unsigned disk, struct image *image, uint64_t from,
            uint64_t to, struct err *err)
{
    uint64_t chunk = repo_backup_chunk_size(m->backup, disk);

    for (uint64_t off = from; off < to; off += chunk) {
        size_t len = (size_t)(to - off < chunk ? to - off : chunk);
        uint8_t *buffer = NULL;

        if (interrupt_is_set())
            return err_set(err, ERR_CANCELLED, "interrupted");
        if (repo_backup_buffer_get(m->backup, disk, &buffer, err) < 0)
            return -1;
        if (image_read(image, off, buffer, len, err) < 0) {
            repo_backup_buffer_put(m->backup, disk, buffer);
            return -1;
        }
        if (repo_backup_write_buffer(m->backup, disk, off, buffer, len, err) <
            0)
            return -1;
        progress_show(&m->progress, m->done + off + len);
    }
    return 0;
}

static int
import_disk(struct import *m, unsigned disk, struct image *image,
            struct err *err)
{
    uint64_t chunk = repo_backup_chunk_size(m->backup, disk), at = 0;

    while (at < image->size) {
        uint64_t from = at, len = 0, to;

        if (interrupt_is_set())
            return err_set(err, ERR_CANCELLED, "interrupted");
        if (image_next_data(image, at, &from, &len, err) < 0)
            return -1;
        from = len == 0 ? image->size : from;
        to = from + len;
        if (from < image->size)
            from -= from % chunk;
        from = from < at ? at : from;
        to = (to + chunk - 1) / chunk * chunk;
        to = to < image->size ? to : image->size;
        if (repo_backup_zero(m->backup, disk, at, from - at, err) < 0 ||
            import_data(m, disk, image, from, to, err) < 0)
            return -1;
        at = to;
    }
    m->done += image->size;
    if (image_has_changed(image))
        (void)fprintf(
            stderr,
            "warning: %s changed while it was read: the backup may hold a state that it never had\n",
            image->path);
    return 0;
}

static const char *
disk_name(const struct repotool *t, const struct image *image)
{
    return t->disk != NULL ? t->disk : file_basename(image->path);
}

/* What the commit would refuse when everything is read. */
static int
check_names(const struct repotool *t, const struct image *images, int count,
            const char *uid, struct err *err)
{
    for (int i = 0; i < count; i++) {
        const char *name = disk_name(t, &images[i]);

        if (!root_name_is_valid(name))
            return err_set(
                err, ERR_INVALID,
                "\"%.80s\" cannot be a disk's name (1 to 64 printable characters); give it one with --disk",
                name);
        for (int k = 0; k < i; k++)
            if (strcmp(disk_name(t, &images[k]), name) == 0)
                return err_set(
                    err, ERR_INVALID,
                    "two files are called %s, and the files' names are those of the disks",
                    name);
    }
    if (!root_uid_is_valid(uid))
        return err_set(err, ERR_INVALID,
                       "--uid: more than %d characters, or not printable ones",
                       REPO_UID_MAX);
    return 0;
}

/* Whose backup it is, unless the user says: the first file's path. */
static char *
default_uid(const struct repotool *t)
{
    CLEANUP(mem_free) char *real = realpath(t->args[1], NULL);
    const char *path = real != NULL ? real : t->args[1];

    if (t->uid != NULL)
        return xstrdup(t->uid);
    if (!root_uid_is_valid(path))
        path = file_basename(path);
    return xstrdup(root_uid_is_valid(path) ? path : "");
}

static int
begin(const struct repotool *t, struct repo *repo, const char *uid,
      struct repo_backup **ret, struct err *err)
{
    struct repo_backup_options o = { .threads = t->threads,
                                     .level = t->zstd_level,
                                     .checks_all = t->verifies_writes,
                                     .resume = t->resume };
    struct repo_entry entry;
    bool found = false;

    if (t->parent == NULL) {
        if (repo_find_uid(repo, uid, &found, &entry, err) < 0)
            return -1;
        if (found) {
            int rc;

            o.parent = entry.id;
            rc = repo_backup_begin(repo, &o, ret, err);
            if (rc == 0 || !blob_is_lost(err))
                return rc;
            o.parent = NULL;
            (void)fprintf(
                stderr,
                "warning: not compared with the backup before, which cannot be read: %s\n",
                err->msg);
        }
    } else if (strcmp(t->parent, "none") != 0) {
        o.parent = t->parent;
    }
    return repo_backup_begin(repo, &o, ret, err);
}

static void
report(struct import *m)
{
    struct repo_progress g;
    char seen[PROGRESS_SIZE], same[PROGRESS_SIZE], stored[PROGRESS_SIZE],
        rate[PROGRESS_SIZE];
    double s = progress_seconds(&m->progress);

    repo_backup_progress(m->backup, &g);
    progress_format(g.seen_bytes, seen);
    progress_format(g.same_bytes + g.dup_bytes + g.resumed_bytes, same);
    progress_format(g.stored_bytes, stored);
    progress_format((uint64_t)((double)g.seen_bytes / s), rate);
    printf("%s\n", repo_backup_id(m->backup));
    (void)fprintf(stderr, "%s in %.1f s (%s/s): %s known already, %s stored\n",
                  seen, s, rate, same, stored);
}

static int
import_all(struct import *m, const struct repotool *t, struct image *images,
           int count, const char *uid, const struct buf *metadata,
           struct err *err)
{
    for (int i = 0; i < count; i++) {
        unsigned disk;

        if (repo_backup_add_disk(m->backup, disk_name(t, &images[i]),
                                 images[i].size, t->chunk_log2, &disk,
                                 err) < 0 ||
            import_disk(m, disk, &images[i], err) < 0)
            return -1;
    }
    return repo_backup_commit(m->backup, metadata->data, metadata->len, uid,
                              err);
}

/* Of an import that failed. */
static void
hint(struct repo_backup *backup, const struct err *err)
{
    struct repo_progress g;

    repo_backup_progress(backup, &g);
    if (err->code == ERR_NO_SPACE) { /* leave room for the log at least */
        repo_backup_discard(backup);
        return;
    }
    if (blob_is_lost(err))
        (void)fprintf(
            stderr,
            "if it is the backup before that cannot be read: --parent none does without it\n");
    if (g.stored_bytes + g.resumed_bytes > 0)
        (void)fprintf(
            stderr,
            "what was stored is kept; the same command with --resume %s uses it\n",
            repo_backup_id(backup));
}

static void
close_images(struct image *images, int count)
{
    for (int i = 0; i < count; i++)
        image_close(&images[i]);
    free(images);
}

static int
open_images(const struct repotool *t, struct image *images, int count,
            const char *uid, uint64_t *ret_bytes, struct err *err)
{
    if (t->disk != NULL && count > 1)
        return err_set(err, ERR_INVALID,
                       "--disk names one disk; give one file");
    for (int i = 0; i < count; i++) {
        if (image_open(t->args[1 + i], &images[i], err) < 0)
            return -1;
        *ret_bytes += images[i].size;
        if (image_is_overlay(&images[i]))
            (void)fprintf(
                stderr,
                "warning: %s is a qcow2 image that is based on another one, which is not stored with it\n",
                images[i].path);
    }
    return check_names(t, images, count, uid, err);
}

static int
import_images(const struct repotool *t, struct image *images, int count,
              struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *backup = NULL;
    CLEANUP(buf_fini) struct buf metadata = BUF_INIT;
    CLEANUP(mem_free) char *uid = default_uid(t);
    struct import m = { 0 };
    uint64_t all = 0;
    int rc;

    if (open_images(t, images, count, uid, &all, err) < 0)
        return -1;
    if (t->metadata != NULL &&
        file_read_all(t->metadata, REPO_METADATA_MAX, &metadata, err) < 0)
        return -1;
    if (repotool_open(t, false, &repo, err) < 0 ||
        begin(t, repo, uid, &backup, err) < 0)
        return -1;
    m.backup = backup;
    interrupt_catch();
    if (!t->is_quiet)
        (void)fprintf(stderr, "backup %s\n", repo_backup_id(backup));
    progress_init(&m.progress, "import", all, t->is_quiet);
    rc = import_all(&m, t, images, count, uid, &metadata, err);
    progress_end(&m.progress);
    if (rc == 0)
        report(&m);
    else
        hint(backup, err);
    return rc;
}

int
cmd_import(const struct repotool *t, struct err *err)
{
    int count = t->arg_count - 1;
    struct image *images = xcalloc((size_t)count, sizeof *images);
    int rc;

    for (int i = 0; i < count; i++)
        images[i].fd = -1;
    rc = import_images(t, images, count, err);
    close_images(images, count);
    return rc;
}

/* ---- export ---- */

struct export
{
    struct image image;
    struct progress progress;
};

static int
sink_write(void *arg, uint64_t off, const void *data, size_t len,
           struct err *err)
{
    struct export *x = arg;

    return image_write(&x->image, off, data, len, err);
}

static int
sink_zero(void *arg, uint64_t off, uint64_t len, struct err *err)
{
    struct export *x = arg;

    return image_zero(&x->image, off, len, err);
}

static int
sink_progress(void *arg, uint64_t done)
{
    struct export *x = arg;

    progress_show(&x->progress, done);
    return interrupt_is_set();
}

static int
export_file(const struct repotool *t, struct repo_view *v, unsigned disk,
            struct err *err)
{
    struct export x = { .image = { .fd = -1 } };
    struct repo_sink sink = { .write = sink_write,
                              .zero = sink_zero,
                              .progress = sink_progress,
                              .arg = &x };
    uint64_t size = repo_view_disk(v, disk).size;
    int rc;

    interrupt_catch();
    if (image_create(t->args[2], size, t->overwrites, &x.image, err) < 0)
        return -1;
    progress_init(&x.progress, "export", size, t->is_quiet);
    rc = repo_view_restore(v, disk, 0, size, t->threads, &sink, err);
    if (rc == 0)
        rc = image_sync(&x.image, err);
    progress_end(&x.progress);
    if (rc < 0)
        image_discard(&x.image);
    image_close(&x.image);
    return rc;
}

static int
export_stdout(struct repo_view *v, unsigned disk, struct err *err)
{
    uint64_t size = repo_view_disk(v, disk).size;
    size_t block = (size_t)repo_view_disk(v, disk).chunk_size;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, block);

    for (uint64_t off = 0; off < size; off += block) {
        size_t n = (size_t)(size - off < block ? size - off : block);

        if (repo_view_read(v, disk, off, data, n, err) < 0 ||
            file_write_fd(STDOUT_FILENO, data, n, "standard output", err) < 0)
            return -1;
    }
    return 0;
}

static int
export_metadata(const struct repotool *t, struct repo_view *v, struct err *err)
{
    CLEANUP(mem_free) void *data = NULL;
    CLEANUP(image_close) struct image i = { .fd = -1 };
    size_t len = 0;

    if (repo_view_metadata(v, &data, &len, err) < 0 ||
        image_create(t->metadata, len, t->overwrites, &i, err) < 0)
        return -1;
    if (image_write(&i, 0, data, len, err) < 0 || image_sync(&i, err) < 0) {
        image_discard(&i);
        return -1;
    }
    return 0;
}

/* "vda, vdb and others" */
static void
list_disks(const struct repo_view *v, struct buf *out)
{
    unsigned n = repo_view_disk_count(v);

    for (unsigned i = 0; i < n && out->len < 120; i++) {
        buf_add_str(out, i > 0 ? ", " : "");
        buf_add_str(out, repo_view_disk(v, i).name);
        if (i + 1 < n && out->len >= 120)
            buf_add_str(out, " and others");
    }
}

/* The one disk of the VM; others, such as "tpm:0", are known by a colon. */
static int
choose_disk(const struct repotool *t, struct repo_view *v, unsigned *ret,
            struct err *err)
{
    unsigned n = repo_view_disk_count(v), count = 0;
    CLEANUP(buf_fini) struct buf names = BUF_INIT;

    if (t->disk != NULL)
        return repo_view_find_disk(v, t->disk, ret, err);
    *ret = 0;
    for (unsigned i = 0; i < n; i++)
        if (strchr(repo_view_disk(v, i).name, ':') == NULL) {
            *ret = i;
            count++;
        }
    if (count == 1 || n == 1)
        return 0;
    list_disks(v, &names);
    return err_set(err, ERR_INVALID,
                   "backup %s has %u disks; choose one with --disk: %s",
                   t->args[1], n, buf_str(&names));
}

int
cmd_export(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    unsigned disk = 0;
    int rc;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_view_open(repo, t->args[1], &v, err) < 0 ||
        repo_view_pin(v, err) < 0 || choose_disk(t, v, &disk, err) < 0)
        return -1;
    if (t->metadata != NULL && export_metadata(t, v, err) < 0)
        return -1;
    rc = strcmp(t->args[2], "-") == 0 ? export_stdout(v, disk, err)
                                      : export_file(t, v, disk, err);
    if (rc == 0 && repo_view_mended(v) > 0)
        (void)fprintf(
            stderr,
            "warning: %u damaged packs were read from their parity; vmkeep repo check repairs them\n",
            repo_view_mended(v));
    return rc;
}
