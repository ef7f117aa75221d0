/* SPDX-License-Identifier: Apache-2.0 */
/* controller/pull.c
 *
 *   <scratch_dir>/<uid of the backup>/   QEMU's own: 0700, of its user
 *       vdb                              a scratch file
 *   <libvirt's directory of that QEMU>/
 *       vmkeep-<uid of the backup>       the socket
 *
 * AppArmor's profile of a domain lets its QEMU make a socket in that directory
 * of libvirt's and nowhere else; a scratch file is added to the profile by
 * libvirt. Where the directory is not known, the socket (nbd) lies beside the
 * scratch files. Both directories are hostile: QEMU can write there, so no link
 * in them is followed.
 */
#include "controller/pull.h"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "virt/backup.h"

/* sun_path, less its end. */
#define SOCKET_MAX 107

struct part {
    char *target, *path;
    uint64_t size;
    uint64_t written; /* stopped: sectors, at the cut */
};

struct pull {
    struct ctl *ctl;
    char *uid, *vm_uuid, *dir, *socket;
    bool is_running;
    struct part *parts;
    size_t n;
};

void
pull_free(struct pull *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n; i++) {
        free(p->parts[i].target);
        free(p->parts[i].path);
    }
    free(p->parts);
    free(p->uid);
    free(p->vm_uuid);
    free(p->dir);
    free(p->socket);
    free(p);
}

static char *
dir_of(const struct ctl *ctl, const char *uid)
{
    return xasprintf("%s/%s", ctl->config.scratch_dir, uid);
}

/* ---- a device ---- */

static int
open_device(const char *path, int *ret_fd, struct stat *ret_st, struct err *err)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, ret_st) < 0)
        return err_sys(err, errno, "%s", path);
    if (!S_ISBLK(ret_st->st_mode))
        return err_set(err, ERR_CONFLICT, "%s is not a block device", path);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* How much was ever written to the device, pages that wait included: they are
 * written first. source  Documentation/block/stat.rst */
static int
read_written(const char *path, uint64_t *ret_sectors, struct err *err)
{
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    char name[64];
    struct stat st;

    if (open_device(path, &fd, &st, err) < 0)
        return -1;
    if (fsync(fd) < 0)
        return err_sys(err, errno, "%s: sync", path);
    (void)snprintf(name, sizeof name, "/sys/dev/block/%u:%u/stat",
                   major(st.st_rdev), minor(st.st_rdev));
    if (file_read_all(name, 4096, &text, err) < 0)
        return -1;
    if (sscanf(buf_str(&text), "%*u %*u %*u %*u %*u %*u %" SCNu64,
               ret_sectors) != 1)
        return err_set(err, ERR_UNSUPPORTED, "%s: not as expected", name);
    return 0;
}

static int
read_boot(char ret[64], struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    if (file_read_all("/proc/sys/kernel/random/boot_id", 63, &text, err) < 0)
        return -1;
    (void)snprintf(ret, 64, "%.*s", (int)strcspn(buf_str(&text), "\n"),
                   buf_str(&text));
    return 0;
}

/* ---- before the instant ---- */

static int
look_at_disk(struct pull *p, const struct virt_vm *vm, const char *target,
             struct err *err)
{
    const struct domxml_disk *d =
        domxml_disk(vm->live != NULL ? vm->live : vm->inactive, target);
    struct part *part = &p->parts[p->n];
    CLEANUP(fd_close) int fd = -1;
    struct stat st;

    if (d == NULL || d->chain_len == 0)
        return err_set(err, ERR_NOT_FOUND, "disk %s: it is gone", target);
    if (open_device(d->chain[0].path, &fd, &st, err) < 0)
        return err_wrap(err, "disk %s", target);
    if (ioctl(fd, BLKGETSIZE64, &part->size) < 0)
        return err_sys(err, errno, "disk %s: %s: size", target,
                       d->chain[0].path);
    part->target = xstrdup(target);
    part->path = xstrdup(d->chain[0].path);
    p->n++;
    return 0;
}

static int
check_room(const struct pull *p, struct err *err)
{
    const char *dir = p->ctl->config.scratch_dir;
    uint64_t need = 0, has;
    struct statvfs s;

    for (size_t i = 0; i < p->n; i++)
        need += virt_backup_need(p->parts[i].size);
    if (statvfs(dir, &s) < 0)
        return err_sys(err, errno, "scratch_dir %s", dir);
    has = (uint64_t)s.f_bavail * s.f_frsize;
    if (has >= need)
        return 0;
    return err_set(
        err, ERR_NO_SPACE,
        "scratch_dir %s: %" PRIu64
        " MiB are free, the backup of the running machine's block devices may need %" PRIu64
        " MiB: make room, stop the machine, or exclude these disks",
        dir, has >> 20, need >> 20);
}

static char *
choose_socket(const struct pull *p)
{
    CLEANUP(mem_free) char *dir = virt_qemu_dir(p->vm_uuid);
    CLEANUP(mem_free)
    char *socket = dir == NULL ? NULL : xasprintf("%s/vmkeep-%s", dir, p->uid);

    if (socket != NULL && strlen(socket) <= SOCKET_MAX)
        return TAKE(socket);
    return xasprintf("%s/nbd", p->dir);
}

/* libvirt makes the scratch files as QEMU's user, so the directory is its
 * own. */
static int
make_dir(struct pull *p, struct err *err)
{
    uid_t uid;
    gid_t gid;

    p->socket = choose_socket(p);
    if (strlen(p->socket) > SOCKET_MAX)
        return err_set(err, ERR_UNSUPPORTED,
                       "scratch_dir %s: its path is too long for a socket",
                       p->ctl->config.scratch_dir);
    if (virt_qemu_owner(p->vm_uuid, &uid, &gid, err) < 0 ||
        file_make_dirs(p->dir, 0700, err) < 0)
        return -1;
    if (lchown(p->dir, uid, gid) < 0)
        return err_sys(err, errno, "%s: give it to QEMU", p->dir);
    return 0;
}

int
pull_prepare(struct ctl *ctl, const struct virt_vm *vm, const char *uid,
             const char *const *targets, size_t n, struct pull **ret_pull,
             struct err *err)
{
    CLEANUP(pull_free) struct pull *p = xcalloc(1, sizeof *p);

    p->ctl = ctl;
    p->uid = xstrdup(uid);
    p->vm_uuid = xstrdup(vm->uuid);
    p->dir = dir_of(ctl, uid);
    p->is_running = vm->live != NULL;
    p->parts = xcalloc(n + 1, sizeof *p->parts);
    for (size_t i = 0; i < n; i++)
        if (look_at_disk(p, vm, targets[i], err) < 0)
            return -1;
    if (p->is_running && (check_room(p, err) < 0 || make_dir(p, err) < 0))
        return -1;
    *ret_pull = TAKE(p);
    return 0;
}

/* ---- the instant ---- */

static char *
scratch_of(const struct pull *p, const struct part *part)
{
    return xasprintf("%s/%s", p->dir, part->target);
}

static int
begin_job(struct pull *p, struct err *err)
{
    struct virt_backup_disk *disks = xcalloc(p->n, sizeof *disks);
    struct virt_backup b = { .socket = p->socket, .disks = disks, .n = p->n };
    char **scratch = xcalloc(p->n, sizeof *scratch);
    int rc;

    for (size_t i = 0; i < p->n; i++) {
        scratch[i] = scratch_of(p, &p->parts[i]);
        disks[i] = (struct virt_backup_disk){ p->parts[i].target, scratch[i] };
    }
    rc = virt_backup_begin(p->ctl->virt, p->vm_uuid, &b, err);
    if (rc < 0 && strstr(err->msg, "Permission denied") != NULL)
        (void)err_wrap(
            err,
            "scratch_dir %s: can QEMU's user pass through each directory of its path (chmod o+x)?",
            p->ctl->config.scratch_dir);
    for (size_t i = 0; i < p->n; i++)
        free(scratch[i]);
    free(scratch);
    free(disks);
    return rc;
}

int
pull_commit(struct pull *p, struct err *err)
{
    if (p->is_running)
        return begin_job(p, err);
    for (size_t i = 0; i < p->n; i++)
        if (read_written(p->parts[i].path, &p->parts[i].written, err) < 0)
            return err_wrap(err, "disk %s", p->parts[i].target);
    return 0;
}

int
pull_finish(struct pull *p, struct err *err)
{
    for (size_t i = 0; i < p->n && p->is_running; i++) {
        CLEANUP(mem_free) char *scratch = scratch_of(p, &p->parts[i]);

        if (virt_backup_reserve(scratch, p->parts[i].size, err) < 0)
            return err_wrap(err, "disk %s", p->parts[i].target);
    }
    return 0;
}

uint64_t
pull_size(const struct pull *p, size_t i)
{
    return p->parts[i].size;
}

json_t *
pull_record(const struct pull *p, size_t i)
{
    const struct part *part = &p->parts[i];
    char boot[64] = "";
    struct err err;

    if (p->is_running)
        return json_pack("{s:s, s:b}", "path", part->path, "running", 1);
    if (read_boot(boot, &err) < 0)
        boot[0] = 0; /* then it is not believed */
    return json_pack("{s:s, s:b, s:I, s:s}", "path", part->path, "running", 0,
                     "writtenSectors", (json_int_t)part->written, "bootID",
                     boot);
}

/* ---- reading ---- */

static int
check_running(const struct pull_disk *d, char **ret_socket, struct err *err)
{
    if (virt_backup_socket(d->ctl->virt, d->vm_uuid, d->uid, ret_socket, err) <
        0)
        return -1;
    return *ret_socket != NULL
               ? 0
               : err_set(err, ERR_UNAVAILABLE,
                         "disk %s: the machine was stopped, or somebody ended "
                         "its backup job, while it was read",
                         d->target);
}

static int
check_stopped(const struct pull_disk *d, struct err *err)
{
    int64_t was = jsonx_int(d->record, "writtenSectors", -1);
    uint64_t is;
    char boot[64];

    if (read_boot(boot, err) < 0 ||
        read_written(jsonx_str_or(d->record, "path", ""), &is, err) < 0)
        return err_wrap(err, "disk %s", d->target);
    if ((int64_t)is == was &&
        strcmp(boot, jsonx_str_or(d->record, "bootID", "")) == 0)
        return 0;
    return err_set(err, ERR_UNAVAILABLE,
                   "disk %s: it was written to while it was read: was the "
                   "machine started?",
                   d->target);
}

int
pull_check(const struct pull_disk *d, struct err *err)
{
    CLEANUP(mem_free) char *socket = NULL;

    return jsonx_bool(d->record, "running") ? check_running(d, &socket, err)
                                            : check_stopped(d, err);
}

static int
open_running(const struct pull_disk *d, struct disk_source **ret_source,
             struct err *err)
{
    CLEANUP(mem_free) char *socket = NULL;
    CLEANUP(fd_close) int fd = -1;
    char *name;

    if (check_running(d, &socket, err) < 0)
        return -1;
    name = strrchr(socket, '/');
    if (name == NULL || name == socket)
        return err_set(err, ERR_UNSUPPORTED, "disk %s: socket %s", d->target,
                       socket);
    *name++ = 0;
    if (virt_qemu_open_dir(d->vm_uuid, socket, &fd, err) < 0)
        return err_wrap(err, "disk %s", d->target);
    return disk_source_open_export(fd, name, d->target, ret_source, err);
}

int
pull_open(const struct pull_disk *d, struct disk_source **ret_source,
          struct err *err)
{
    struct disk_source_options o = {
        .dir = d->dir,
        .top = { jsonx_str_or(d->record, "path", ""), "raw" },
    };

    if (jsonx_bool(d->record, "running"))
        return open_running(d, ret_source, err);
    if (check_stopped(d, err) < 0)
        return -1;
    return disk_source_open(&o, ret_source, err);
}

/* ---- the end ---- */

static int
remove_dir(const char *dir, struct err *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct effect e;
    DIR *d;
    int again, rc = 0;

    if (file_open_dir(dir, &fd, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d = again < 0 ? NULL : fdopendir(again);
    if (d == NULL)
        return err_sys(err, errno, "%s", dir);
    for (const struct dirent *i; rc == 0 && (i = readdir(d)) != NULL;)
        if (strcmp(i->d_name, ".") != 0 && strcmp(i->d_name, "..") != 0)
            rc = file_unlink(fd, i->d_name, err);
    (void)closedir(d);
    if (rc < 0)
        return err_wrap(err, "%s", dir);
    e = effect_begin("rmdir", dir);
    rc = rmdir(dir) < 0 && errno != ENOENT ? errno : 0;
    effect_end(&e);
    return rc == 0 ? 0 : err_sys(err, rc, "remove %s", dir);
}

int
pull_end(struct ctl *ctl, const char *vm_uuid, const char *uid, struct err *err)
{
    CLEANUP(mem_free) char *dir = NULL;

    if (ctl->config.scratch_dir == NULL)
        return 0;
    dir = dir_of(ctl, uid);
    if (access(dir, F_OK) < 0 && errno == ENOENT)
        return 0; /* it is made before the job, and removed after it */
    if (virt_backup_end(ctl->virt, vm_uuid, uid, err) < 0)
        return -1;
    return remove_dir(dir, err);
}
