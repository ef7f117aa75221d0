/* SPDX-License-Identifier: Apache-2.0 */
/* controller/firmware.c: small trees of small files, copied whole.
 *
 * QEMU's user can write the sources, so nothing in them is believed: links
 * are not followed, only regular files and directories are taken, sizes and
 * depth are bounded.
 */
#include "controller/firmware.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/uuid.h"

#define SWTPM_DIR "/var/lib/libvirt/swtpm"
#define FILE_MAX  (64u << 20)
#define DEPTH_MAX 4

bool
firmware_is_wanted(const struct virt_vm *vm)
{
    return vm->inactive->nvram != NULL || vm->inactive->has_tpm_emulator;
}

static char *
kept_dir(const char *state_dir, const char *uid)
{
    return xasprintf("%s/nvram/%s", state_dir, uid);
}

static char *
tpm_dir(const char *vm_uuid)
{
    return xasprintf(SWTPM_DIR "/%s", vm_uuid);
}

/* ---- copying ---- */

static int
copy_bytes(int from, int to_dir, const char *name, bool sync, struct err *err)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(fd_close) int to = -1;
    struct effect e = effect_begin("create", name);

    to = openat(to_dir, name,
                O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    effect_end(&e);
    if (to < 0)
        return err_sys(err, errno, "%s: create", name);
    if (file_read_fd(from, FILE_MAX, name, &b, err) < 0 ||
        file_write_fd(to, b.data, b.len, name, err) < 0)
        return -1;
    return sync ? file_sync(to, name, err) : 0;
}

static int copy_tree(int from, int to, bool sync, int depth, struct err *err)
    NODISCARD;

static int
copy_entry(int from, int to, const char *name, bool sync, int depth,
           struct err *err)
{
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(fd_close) int sub = -1;
    struct stat st;

    fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && (errno == ELOOP || errno == ENOENT || errno == ENXIO))
        return 0; /* a link, a socket, or gone: not state */
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s", name);
    if (S_ISREG(st.st_mode))
        return copy_bytes(fd, to, name, sync, err);
    if (!S_ISDIR(st.st_mode))
        return 0;
    if (mkdirat(to, name, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "%s: mkdir", name);
    sub = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0)
        return err_sys(err, errno, "%s", name);
    return copy_tree(fd, sub, sync, depth + 1, err);
}

static int
copy_tree(int from, int to, bool sync, int depth, struct err *err)
{
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int rc = 0;

    if (d == NULL)
        return err_sys(err, errno, "directory");
    if (depth > DEPTH_MAX)
        rc = err_set(err, ERR_INVALID, "directories nest too deep");
    for (const struct dirent *e = readdir(d); rc == 0 && e != NULL;
         e = readdir(d)) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = copy_entry(from, to, e->d_name, sync, depth, err);
    }
    (void)closedir(d);
    if (rc == 0 && sync)
        rc = file_sync_dir(to, "directory", err);
    return rc;
}

/* 0: copied, 1: there is none. */
static int
copy_nvram(const char *path, const char *dir, struct err *err)
{
    CLEANUP(fd_close) int from = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(fd_close) int to = -1;

    if (from < 0 && errno == ENOENT)
        return 1;
    if (from < 0)
        return err_sys(err, errno, "NVRAM %s", path);
    if (file_open_dir(dir, &to, err) < 0)
        return -1;
    return copy_bytes(from, to, "nvram", false, err);
}

static int
copy_dir(const char *from_path, const char *to_path, bool sync, struct err *err)
{
    CLEANUP(fd_close)
    int from = open(from_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(fd_close) int to = -1;

    if (from < 0 && errno == ENOENT)
        return 1;
    if (from < 0)
        return err_sys(err, errno, "%s", from_path);
    if (file_make_dirs(to_path, 0700, err) < 0 ||
        file_open_dir(to_path, &to, err) < 0)
        return -1;
    return copy_tree(from, to, sync, 0, err);
}

int
firmware_copy(const char *state_dir, const struct virt_vm *vm,
              const char *snapshot_uid, struct firmware_kept *ret_kept,
              struct err *err)
{
    CLEANUP(mem_free) char *dir = kept_dir(state_dir, snapshot_uid);
    struct firmware_kept kept = { .has_nvram = false };
    int rc;

    if (file_make_dirs(dir, 0700, err) < 0)
        return -1;
    if (vm->inactive->nvram != NULL) {
        rc = copy_nvram(vm->inactive->nvram, dir, err);
        if (rc < 0)
            return err_wrap(err, "UEFI variables");
        kept.has_nvram = rc == 0;
    }
    if (vm->inactive->has_tpm_emulator) {
        CLEANUP(mem_free) char *from = tpm_dir(vm->uuid);
        CLEANUP(mem_free) char *to = xasprintf("%s/tpm", dir);

        rc = copy_dir(from, to, false, err);
        if (rc < 0)
            return err_wrap(err, "TPM state");
        kept.has_tpm = rc == 0;
    }
    *ret_kept = kept;
    return 0;
}

/* ---- making durable, removing ---- */

typedef int (*tree_fn)(int dir_fd, const char *name, bool is_dir,
                       struct err *err);

static int
walk(int dir_fd, int depth, tree_fn fn, struct err *err)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int rc = 0;

    if (d == NULL)
        return err_sys(err, errno, "directory");
    for (const struct dirent *e = readdir(d); rc == 0 && e != NULL;
         e = readdir(d)) {
        CLEANUP(fd_close) int sub = -1;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        sub = openat(dir_fd, e->d_name,
                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0 && depth <= DEPTH_MAX)
            rc = walk(sub, depth + 1, fn, err);
        if (rc == 0)
            rc = fn(dir_fd, e->d_name, sub >= 0, err);
    }
    (void)closedir(d);
    return rc;
}

static int
sync_entry(int dir_fd, const char *name, bool is_dir, struct err *err)
{
    CLEANUP(fd_close)
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return err_sys(err, errno, "%s", name);
    return is_dir ? file_sync_dir(fd, name, err) : file_sync(fd, name, err);
}

static int
remove_entry(int dir_fd, const char *name, bool is_dir, struct err *err)
{
    if (!is_dir)
        return file_unlink(dir_fd, name, err);
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return err_sys(err, errno, "%s: rmdir", name);
    return 0;
}

int
firmware_seal(const char *state_dir, const char *snapshot_uid, struct err *err)
{
    CLEANUP(mem_free) char *dir = kept_dir(state_dir, snapshot_uid);
    CLEANUP(fd_close) int fd = -1;

    if (file_open_dir(dir, &fd, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    if (walk(fd, 0, sync_entry, err) < 0 || file_sync_dir(fd, dir, err) < 0)
        return -1;
    return 0;
}

int
firmware_delete(const char *state_dir, const char *snapshot_uid,
                struct err *err)
{
    CLEANUP(mem_free) char *parent = xasprintf("%s/nvram", state_dir);
    CLEANUP(mem_free) char *dir = kept_dir(state_dir, snapshot_uid);
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(fd_close) int up = -1;

    if (!uuid_is_valid(snapshot_uid))
        return err_set(err, ERR_INVALID, "firmware: bad name");
    if (file_open_dir(parent, &up, err) < 0 || file_open_dir(dir, &fd, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    if (walk(fd, 0, remove_entry, err) < 0)
        return -1;
    return remove_entry(up, snapshot_uid, true, err);
}

/* ---- putting back ---- */

bool
firmware_has_nvram(const char *state_dir, const char *snapshot_uid)
{
    CLEANUP(mem_free)
    char *path = xasprintf("%s/nvram/%s/nvram", state_dir, snapshot_uid);

    return access(path, R_OK) == 0;
}

int
firmware_put_nvram(const char *state_dir, const char *snapshot_uid,
                   const char *path, struct err *err)
{
    CLEANUP(mem_free)
    char *from = xasprintf("%s/nvram/%s/nvram", state_dir, snapshot_uid);
    CLEANUP(mem_free) char *dir = file_dirname(path);
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(fd_close) int fd = -1;

    if (file_read_all(from, FILE_MAX, &b, err) < 0 ||
        file_open_dir(dir, &fd, err) < 0 ||
        file_replace(fd, file_basename(path), b.data, b.len, 0600, err) < 0)
        return err_wrap(err, "UEFI variables");
    return 0;
}

int
firmware_put_tpm(const char *state_dir, const char *snapshot_uid,
                 const char *vm_uuid, struct err *err)
{
    CLEANUP(mem_free)
    char *from = xasprintf("%s/nvram/%s/tpm", state_dir, snapshot_uid);
    CLEANUP(mem_free) char *to = tpm_dir(vm_uuid);

    if (copy_dir(from, to, true, err) < 0)
        return err_wrap(err, "TPM state");
    return 0;
}
