/* SPDX-License-Identifier: Apache-2.0 */
/* controller/firmware.c: small trees of small files, copied whole.
 *
 * QEMU's user can write the sources, so nothing in them is believed: links
 * are not followed, only regular files and directories are taken, sizes and
 * depth are bounded. swtpm replaces its file by rename, so a copy of it is
 * always one of its states; its lock and its unfinished files are no state.
 *
 * swtpm runs as a user of its own and finds its state in
 *
 *   /var/lib/libvirt/swtpm/           root  0711, by libvirt
 *   .../<vm-uuid>/                    root  0711
 *   .../<vm-uuid>/tpm2/               swtpm 0700
 *   .../<vm-uuid>/tpm2/tpm2-00.permall  swtpm 0600
 *
 * libvirt makes what is missing, and at each start gives tpm2 and the files in
 * it to swtpm's user; but it leaves the way there as it finds it: a directory
 * of the VM that is root's alone is a VM that does not start (seen with 9.0:
 * "TPM result for CMD_INIT: 0x9").
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
#define ASIDE     "aside" /* in a kept directory: it is whole */

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

/* swtpm's lock, and what it has not finished writing. */
static bool
is_state(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strcmp(name, ".lock") != 0 && strncmp(name, "TMP", 3) != 0;
}

/* How files get from one tree to another. */
struct way {
    bool sync;       /* each directory, and each file written in place */
    bool is_replace; /* files are replaced, and their directory's owner's */
};

static int copy_tree(int from, int to, const struct way *way, int depth,
                     struct err *err) NODISCARD;

static int
replace_file(int from, int to_dir, const char *name, struct err *err)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct file_owner owner;
    struct stat st;

    if (fstat(to_dir, &st) < 0)
        return err_sys(err, errno, "%s: its directory", name);
    owner = (struct file_owner){ st.st_uid, st.st_gid };
    if (file_read_fd(from, FILE_MAX, name, &b, err) < 0)
        return -1;
    return file_replace_as(to_dir, name, b.data, b.len, 0600, &owner, err);
}

static int
copy_dir_entry(int from, int to, const char *name, const struct way *way,
               int depth, struct err *err)
{
    CLEANUP(fd_close) int sub = -1;

    if (mkdirat(to, name, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "%s: mkdir", name);
    sub = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0)
        return err_sys(err, errno, "%s", name);
    return copy_tree(from, sub, way, depth + 1, err);
}

static int
copy_entry(int from, int to, const char *name, const struct way *way, int depth,
           struct err *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct stat st;

    fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && (errno == ELOOP || errno == ENOENT || errno == ENXIO))
        return 0; /* a link, a socket, or gone: not state */
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s", name);
    if (S_ISREG(st.st_mode))
        return way->is_replace ? replace_file(fd, to, name, err)
                               : copy_bytes(fd, to, name, way->sync, err);
    if (!S_ISDIR(st.st_mode))
        return 0;
    return copy_dir_entry(fd, to, name, way, depth, err);
}

static int
copy_tree(int from, int to, const struct way *way, int depth, struct err *err)
{
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int rc = 0;

    if (d == NULL)
        return err_sys(err, errno, "directory");
    if (depth > DEPTH_MAX)
        rc = err_set(err, ERR_INVALID, "directories nest too deep");
    for (const struct dirent *e = readdir(d); rc == 0 && e != NULL;
         e = readdir(d))
        if (is_state(e->d_name))
            rc = copy_entry(from, to, e->d_name, way, depth, err);
    (void)closedir(d);
    if (rc == 0 && way->sync)
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

/* 0: copied, 1: there is none. */
static int
copy_dir(const char *from_path, const char *to_path, struct err *err)
{
    static const struct way way = { .sync = false };
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
    return copy_tree(from, to, &way, 0, err);
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

        rc = copy_dir(from, to, err);
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

/* The VM's directory, as libvirt makes it. */
static int
open_tpm(const char *vm_uuid, int *ret_fd, struct err *err)
{
    CLEANUP(mem_free) char *path = tpm_dir(vm_uuid);
    const char *const dirs[] = { SWTPM_DIR, path };

    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        if (mkdir(dirs[i], 0711) < 0) {
            if (errno == EEXIST)
                continue;
            return err_sys(err, errno, "%s: mkdir", dirs[i]);
        }
        if (chmod(dirs[i], 0711) < 0) /* whatever our umask */
            return err_sys(err, errno, "%s: chmod", dirs[i]);
    }
    return file_open_dir(path, ret_fd, err);
}

/* Remove from `to` the files that `from` lacks. */
static int
remove_others(int from, int to, int depth, struct err *err)
{
    int fd = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int rc = 0;

    if (d == NULL)
        return err_sys(err, errno, "directory");
    for (const struct dirent *e = readdir(d);
         rc == 0 && e != NULL && depth <= DEPTH_MAX; e = readdir(d)) {
        const int how = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        CLEANUP(fd_close) int sub = -1;
        CLEANUP(fd_close) int kept = -1;
        struct stat st;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(to, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            sub = openat(to, e->d_name, how);
            kept = openat(from, e->d_name, how);
            if (sub >= 0 && kept >= 0)
                rc = remove_others(kept, sub, depth + 1, err);
        } else if (strcmp(e->d_name, ".lock") != 0 &&
                   faccessat(from, e->d_name, F_OK, 0) < 0) {
            rc = file_unlink(to, e->d_name, err);
        }
    }
    (void)closedir(d);
    return rc;
}

int
firmware_put_tpm(const char *state_dir, const char *snapshot_uid,
                 const char *vm_uuid, struct err *err)
{
    CLEANUP(mem_free)
    char *path = xasprintf("%s/nvram/%s/tpm", state_dir, snapshot_uid);
    CLEANUP(fd_close)
    int from = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(fd_close) int to = -1;
    static const struct way way = { .sync = true, .is_replace = true };

    if (from < 0 && errno == ENOENT)
        return 0;
    if (from < 0)
        return err_sys(err, errno, "TPM state: %s", path);
    if (open_tpm(vm_uuid, &to, err) < 0 ||
        copy_tree(from, to, &way, 0, err) < 0 ||
        remove_others(from, to, 0, err) < 0)
        return err_wrap(err, "TPM state");
    return 0;
}

/* ---- setting aside ---- */

/* Is a whole set kept there? */
static bool
is_aside(const char *state_dir, const char *uid)
{
    CLEANUP(mem_free)
    char *mark = xasprintf("%s/nvram/%s/" ASIDE, state_dir, uid);

    return access(mark, F_OK) == 0;
}

int
firmware_set_aside(const char *state_dir, const struct virt_vm *vm,
                   const char *uid, struct err *err)
{
    CLEANUP(mem_free) char *dir = kept_dir(state_dir, uid);
    CLEANUP(fd_close) int fd = -1;
    struct firmware_kept kept;

    if (!firmware_is_wanted(vm) || is_aside(state_dir, uid))
        return 0;
    if (firmware_delete(state_dir, uid, err) < 0 ||
        firmware_copy(state_dir, vm, uid, &kept, err) < 0 ||
        firmware_seal(state_dir, uid, err) < 0 ||
        file_open_dir(dir, &fd, err) < 0 ||
        file_replace(fd, ASIDE, "", 0, 0600, err) < 0)
        return err_wrap(err, "set aside");
    return 0;
}

int
firmware_bring_back(const char *state_dir, const struct virt_vm *vm,
                    const char *uid, struct err *err)
{
    if (!is_aside(state_dir, uid))
        return 0;
    if (vm->inactive->nvram != NULL && firmware_has_nvram(state_dir, uid) &&
        firmware_put_nvram(state_dir, uid, vm->inactive->nvram, err) < 0)
        return -1;
    if (vm->inactive->has_tpm_emulator &&
        firmware_put_tpm(state_dir, uid, vm->uuid, err) < 0)
        return -1;
    return firmware_delete(state_dir, uid, err);
}
