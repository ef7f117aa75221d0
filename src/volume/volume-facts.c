/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "disk/qcow2.h"
#include "volume/volume-priv.h"

/* What the plan must know, from the places that can know it: the files of the
 * table, all domains (live and defined, and what the headers of their disks
 * lead to), every qcow2 header in the directories of our files, the tables of
 * the other VMs. What cannot be read is an error here, not a "no": a merge
 * waits rather than trusts half a picture. The one exception is a file that
 * has vanished or is not ours to open: nobody reads through it.
 *
 * A header that names its backing file in a way that is no path (json:...) is
 * taken to mean one of our files when it contains that file's name. */

enum {
    CHAIN_MAX = 256, /* headers followed from one disk; loops end here */
    DIRS_MAX = 64,
};

struct gather {
    struct volume *v;
    const struct layer_table *t;
    struct plan_facts *f;
};

void
volume_image_fini(struct volume_image *i)
{
    free(i->backing);
    free(i->backing_format);
    *i = (struct volume_image){ .size = 0 };
}

/* The path that QEMU would open; NULL: it is not a plain file's name. */
static char *
resolve(const char *header_path, const char *backing)
{
    CLEANUP(mem_free) char *dir = NULL;
    size_t word = strcspn(backing, ":/");

    if (strncmp(backing, "file:", 5) == 0)
        return backing[5] == '/' ? xstrdup(backing + 5) : NULL;
    if (backing[word] == ':')
        return NULL;
    if (backing[0] == '/')
        return xstrdup(backing);
    dir = file_dirname(header_path);
    return xasprintf("%s/%s", dir, backing);
}

static const char *
refusal_of(const struct qcow2_info *q)
{
    if (q->is_encrypted)
        return "it is encrypted";
    if (q->has_data_file)
        return "its data is in an external data file";
    if (q->has_unknown_feature)
        return "it uses a qcow2 feature that is not known";
    if (q->is_corrupt)
        return "it is marked as corrupt; run qemu-img check";
    return NULL;
}

static int
read_qcow2(int fd, const char *path, bool with_data, struct volume_image *i,
           struct err *err)
{
    CLEANUP(qcow2_info_fini) struct qcow2_info q = { .version = 0 };

    if (qcow2_read(fd, path, &q, err) < 0 ||
        (with_data && qcow2_has_data(fd, path, &q, &i->has_data, err) < 0))
        return -1;
    i->size = q.size;
    i->version = q.version;
    i->n_snapshots = q.n_snapshots;
    i->refusal = refusal_of(&q);
    i->has_backing = q.backing != NULL;
    if (q.backing != NULL)
        i->backing = resolve(path, q.backing);
    i->backing_format = TAKE(q.backing_format);
    return 0;
}

static int
image_read(const char *path, const char *format, bool with_data,
           struct volume_image *ret, struct err *err)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    struct stat st;

    if (fd < 0)
        return err_sys(err, errno, "%s: open", path);
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s: stat", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_UNSUPPORTED, "%s: not a regular file", path);
    if (file_id_of_fd(fd, path, &i.file, err) < 0)
        return -1;
    i.blocks = (uint64_t)st.st_blocks * 512;
    i.size = (uint64_t)st.st_size;
    if (strcmp(format, "qcow2") == 0 &&
        read_qcow2(fd, path, with_data, &i, err) < 0)
        return -1;
    *ret = i;
    i = (struct volume_image){ .size = 0 };
    return 0;
}

int
volume_image_read(const char *path, const char *format,
                  struct volume_image *ret, struct err *err)
{
    return image_read(path, format, true, ret, err);
}

/* ---- users ---- */

static void
add_user(struct gather *g, enum plan_user_kind kind, const struct file_id *file,
         bool is_own, bool is_top, const char *target, const char *who)
{
    struct plan_facts *f = g->f;
    struct plan_user *u;

    f->users = xrealloc(f->users, f->n_users + 1, sizeof *f->users);
    u = &f->users[f->n_users++];
    *u = (struct plan_user){ .kind = kind,
                             .file = *file,
                             .is_own = is_own,
                             .is_top = is_top,
                             .who = xstrdup(who) };
    if (target != NULL)
        (void)snprintf(u->target, sizeof u->target, "%s", target);
}

static const struct layer *
row_of_file(const struct layer_table *t, const struct file_id *file)
{
    for (size_t i = 0; i < t->n_layers; i++)
        if (file_id_equal(&t->layers[i].file, file))
            return &t->layers[i];
    return NULL;
}

/* By identity; a file that is gone is still named by its path. */
static bool
id_of_name(const struct layer_table *t, const char *path, struct file_id *ret)
{
    const struct layer *row;
    struct err unused;

    if (file_id_of_path(path, ret, &unused) == 0)
        return true;
    row = layer_find_path(t, path);
    if (row != NULL)
        *ret = row->file;
    return row != NULL;
}

struct domain_disk {
    enum plan_user_kind kind;
    bool is_own;
    const char *target, *who;
};

/* Everything below `path` that headers lead to. */
static int
follow_headers(struct gather *g, const struct domain_disk *d, const char *path,
               const char *format, struct err *err)
{
    CLEANUP(mem_free) char *at = xstrdup(path);
    CLEANUP(mem_free) char *at_format = xstrdup(format);

    for (int n = 0; n < CHAIN_MAX && strcmp(at_format, "qcow2") == 0; n++) {
        CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
        struct file_id file;

        if (image_read(at, "qcow2", false, &i, err) < 0) {
            /* Gone, a device, or not what the XML says: no way further. */
            if (err->code == ERR_NOT_FOUND || err->code == ERR_UNSUPPORTED ||
                err->code == ERR_INVALID || err->code == ERR_CORRUPT)
                return 0;
            return -1;
        }
        if (i.backing == NULL)
            return 0;
        if (id_of_name(g->t, i.backing, &file))
            add_user(g, d->kind, &file, d->is_own, false, d->target, d->who);
        free(at);
        free(at_format);
        at = TAKE(i.backing);
        at_format =
            xstrdup(i.backing_format != NULL ? i.backing_format : "qcow2");
    }
    return 0;
}

static int
add_domain_xml(struct gather *g, const struct domxml *x,
               enum plan_user_kind kind, bool is_own, struct err *err)
{
    for (size_t i = 0; i < x->n_disks; i++) {
        const struct domxml_disk *disk = &x->disks[i];
        struct domain_disk d = { kind, is_own, disk->target, x->name };

        for (size_t k = 0; k < disk->chain_len; k++) {
            struct file_id file;

            if (disk->chain[k].path != NULL &&
                id_of_name(g->t, disk->chain[k].path, &file))
                add_user(g, kind, &file, is_own, k == 0, d.target, d.who);
        }
        if (disk->chain_len > 0 && disk->chain[0].path != NULL &&
            disk->chain[0].format != NULL &&
            follow_headers(g, &d, disk->chain[0].path, disk->chain[0].format,
                           err) < 0)
            return err_wrap(err, "domain %s", x->name);
    }
    return 0;
}

static int
add_domain(struct gather *g, const struct virt_use *u, struct err *err)
{
    bool is_own = strcmp(u->uuid, g->t->vm) == 0;

    if (is_own) {
        g->f->has_domain = true;
        g->f->is_persistent = u->is_persistent;
        g->f->is_live = u->live != NULL;
        g->f->is_steady = u->state == VIRT_RUNNING || u->state == VIRT_PAUSED ||
                          u->state == VIRT_IO_ERROR;
        g->f->is_saved = u->has_managed_save;
    }
    if (u->live != NULL &&
        add_domain_xml(g, u->live, PLAN_USER_LIVE, is_own, err) < 0)
        return -1;
    return add_domain_xml(g, u->inactive, PLAN_USER_INACTIVE, is_own, err);
}

static int
add_domains(struct gather *g, struct err *err)
{
    struct virt_use *uses;
    size_t n;
    int rc = 0;

    if (virt_use_list(g->v->virt, &uses, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_domain(g, &uses[i], err);
    virt_use_free(uses, n);
    return rc;
}

/* ---- headers of files that are no rows ---- */

/* A name that is no path: which of our files might it mean? */
static void
add_odd_user(struct gather *g, const char *text, const char *who)
{
    for (size_t i = 0; i < g->t->n_layers; i++)
        if (strstr(text, file_basename(g->t->layers[i].path)) != NULL)
            add_user(g, PLAN_USER_HEADER, &g->t->layers[i].file, false, false,
                     NULL, who);
}

static int
add_header(struct gather *g, int dirfd, const char *dir, const char *name,
           struct err *err)
{
    CLEANUP(fd_close)
    int fd = openat(dirfd, name,
                    O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
    CLEANUP(mem_free) char *path = xasprintf("%s/%s", dir, name);
    CLEANUP(qcow2_info_fini) struct qcow2_info q = { .version = 0 };
    CLEANUP(mem_free) char *backing = NULL;
    struct file_id file;
    struct stat st;

    if (fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == ENXIO
                   ? 0
                   : err_sys(err, errno, "%s: open", path);
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s: stat", path);
    if (file_id_of_fd(fd, path, &file, err) < 0)
        return -1;
    if (!S_ISREG(st.st_mode) || row_of_file(g->t, &file) != NULL)
        return 0;
    if (qcow2_read(fd, path, &q, err) < 0)
        /* Not qcow2, or no header that QEMU would open. */
        return err->code == ERR_INVALID || err->code == ERR_CORRUPT ? 0 : -1;
    if (q.backing == NULL)
        return 0;
    backing = resolve(path, q.backing);
    if (backing == NULL)
        add_odd_user(g, q.backing, path);
    else if (id_of_name(g->t, backing, &file) &&
             row_of_file(g->t, &file) != NULL)
        add_user(g, PLAN_USER_HEADER, &file, false, false, NULL, path);
    return 0;
}

/* Is it a row's file? By its number first, without looking at each. */
static bool
is_row(const struct gather *g, int dirfd, uint64_t dev, const struct dirent *e)
{
    struct file_id file = { .dev = dev, .ino = e->d_ino };
    struct err unused;

    return row_of_file(g->t, &file) != NULL &&
           file_id_at(dirfd, e->d_name, AT_SYMLINK_NOFOLLOW, &file, &unused) ==
               0 &&
           row_of_file(g->t, &file) != NULL;
}

static int
add_directory(struct gather *g, const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    struct stat st;
    int rc = 0;

    if (d == NULL)
        return errno == ENOENT ? 0 : err_sys(err, errno, "%s: list", dir);
    if (fstat(dirfd(d), &st) < 0)
        rc = err_sys(err, errno, "%s: stat", dir);
    for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;)
        if ((e->d_type == DT_REG && !is_row(g, dirfd(d), st.st_dev, e)) ||
            e->d_type == DT_UNKNOWN)
            rc = add_header(g, dirfd(d), dir, e->d_name, err);
    closedir(d);
    return rc;
}

static int
add_directories(struct gather *g, struct err *err)
{
    char *dirs[DIRS_MAX];
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < g->t->n_layers && rc == 0; i++) {
        CLEANUP(mem_free) char *dir = file_dirname(g->t->layers[i].path);
        size_t k = 0;

        while (k < n && strcmp(dirs[k], dir) != 0)
            k++;
        if (k < n)
            continue;
        if (n == DIRS_MAX) {
            rc = err_set(err, ERR_UNSUPPORTED,
                         "the VM's layers lie in more than %d directories",
                         DIRS_MAX);
            break;
        }
        rc = add_directory(g, dir, err);
        dirs[n++] = TAKE(dir);
    }
    while (n > 0)
        free(dirs[--n]);
    return rc;
}

/* ---- other tables ---- */

static int
add_tables(struct gather *g, struct err *err)
{
    char **uuids;
    size_t n;
    int rc = 0;

    if (volume_list_vms(g->v, &uuids, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        CLEANUP(layer_table_free) struct layer_table *other = NULL;

        if (rc == 0 && strcmp(uuids[i], g->t->vm) != 0) {
            other = volume_load(g->v, uuids[i], err);
            rc = other == NULL ? -1 : 0;
        }
        for (size_t k = 0; other != NULL && k < other->n_layers; k++)
            if (other->layers[k].file.ino != 0)
                add_user(g, PLAN_USER_TABLE, &other->layers[k].file, false,
                         false, NULL, other->layers[k].path);
        free(uuids[i]);
    }
    free(uuids);
    return rc;
}

/* ---- the rows' own files ---- */

/* A file with no header, or with none that can be read. */
static int
look_at_name(const struct layer *l, struct plan_file *f, struct err *err)
{
    struct stat st;

    if (stat(l->path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : err_sys(err, errno, "%s: stat", l->path);
    f->is_there = S_ISREG(st.st_mode);
    f->is_same = file_is_at(l->path, &l->file);
    f->size = (uint64_t)st.st_size;
    f->is_sane = f->is_there && strcmp(l->format, "raw") == 0;
    return 0;
}

static int
look_at(const struct gather *g, size_t row, struct err *err)
{
    const struct layer *l = &g->t->layers[row];
    struct plan_file *f = &g->f->files[row];
    CLEANUP(volume_image_fini) struct volume_image i = { .size = 0 };
    struct err unused;

    if (strcmp(l->format, "raw") == 0 ||
        image_read(l->path, l->format, false, &i, &unused) < 0)
        return look_at_name(l, f, err);
    f->is_there = true;
    f->is_same = file_id_equal(&i.file, &l->file);
    f->is_sane = i.refusal == NULL;
    f->size = i.size;
    f->has_backing = i.has_backing;
    if (i.backing != NULL)
        (void)id_of_name(g->t, i.backing, &f->backing);
    return 0;
}

int
volume_facts_read(struct volume *v, const struct layer_table *t,
                  struct plan_facts *ret, struct err *err)
{
    struct plan_facts f = { .files =
                                xcalloc(t->n_layers + 1, sizeof *f.files) };
    struct gather g = { v, t, &f };
    int rc = 0;

    for (size_t i = 0; i < t->n_layers && rc == 0; i++)
        rc = look_at(&g, i, err);
    if (rc < 0 || add_domains(&g, err) < 0 || add_directories(&g, err) < 0 ||
        add_tables(&g, err) < 0) {
        plan_facts_fini(&f);
        return err_wrap(err, "VM %s: who uses its disks", t->vm);
    }
    *ret = f;
    return 0;
}

/* ---- who the domain names ---- */

/* The path is the row's, or leads to its file. */
static bool
is_named_so(const char *path, const struct layer *l)
{
    return strcmp(path, l->path) == 0 ||
           (l->file.ino != 0 && file_is_at(path, &l->file));
}

enum volume_names
volume_names(const struct domxml *d, const char *target, const struct layer *a,
             const struct layer *b)
{
    const struct domxml_disk *disk = domxml_disk(d, target);

    if (disk == NULL || disk->chain_len == 0 || disk->chain[0].path == NULL)
        return VOLUME_NAMES_NEITHER;
    if (is_named_so(disk->chain[0].path, a))
        return VOLUME_NAMES_A;
    return is_named_so(disk->chain[0].path, b) ? VOLUME_NAMES_B
                                               : VOLUME_NAMES_NEITHER;
}

bool
volume_chain_has(const struct domxml *d, const char *target,
                 const struct layer *l)
{
    const struct domxml_disk *disk = domxml_disk(d, target);

    for (size_t i = 0; disk != NULL && i < disk->chain_len; i++)
        if (disk->chain[i].path != NULL && is_named_so(disk->chain[i].path, l))
            return true;
    return false;
}
