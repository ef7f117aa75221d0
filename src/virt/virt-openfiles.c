/* SPDX-License-Identifier: Apache-2.0 */
/* Which files a domain's QEMU has open, by /proc.
 *
 * The process is found by its command line (`-uuid UUID` of a program named
 * qemu*), because libvirt's idea of its pid may be that of another pid
 * namespace, and QMP would taint the domain. A descriptor is followed through
 * /proc/PID/fd/N, which reaches the file itself whatever mount namespace QEMU
 * lives in. Whether it is open for writing stands in its fdinfo.
 *
 * Anybody can start a program of that name with such arguments; then there are
 * two, and the answer is an error, not a guess.
 */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "virt/backup.h"
#include "virt/block.h"

#define CMDLINE_MAX (1u << 20)

static inline void
closedir_p(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static bool
is_qemu(int proc_fd, const char *pid)
{
    char path[64], exe[512];
    const char *name;
    ssize_t n;

    (void)snprintf(path, sizeof path, "%s/exe", pid);
    n = readlinkat(proc_fd, path, exe, sizeof exe - 1);
    if (n < 0)
        return false;
    exe[n] = 0;
    name = file_basename(exe);
    return strncmp(name, "qemu", 4) == 0;
}

/* Is `-uuid UUID` a pair of arguments of this process? */
static bool
has_uuid(int proc_fd, const char *pid, const char *uuid)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    char path[64];
    struct err err;
    bool is_next = false;

    (void)snprintf(path, sizeof path, "%s/cmdline", pid);

    CLEANUP(fd_close) int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || file_read_fd(fd, CMDLINE_MAX, path, &b, &err) < 0)
        return false;
    for (size_t i = 0; i < b.len; i += strlen(b.data + i) + 1) {
        if (is_next)
            return strcasecmp(b.data + i, uuid) == 0;
        is_next = strcmp(b.data + i, "-uuid") == 0;
    }
    return false;
}

static bool
is_number(const char *s)
{
    return s[0] != 0 && s[strspn(s, "0123456789")] == 0;
}

static int
find_process(int proc_fd, const char *uuid, char ret_pid[16], struct err *err)
{
    int fd = dup(proc_fd);
    __attribute__((cleanup(closedir_p))) DIR *dir =
        fd < 0 ? NULL : fdopendir(fd);
    unsigned found = 0;

    if (dir == NULL)
        return err_sys(err, errno, "/proc");
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (!is_number(d->d_name) || strlen(d->d_name) > 15 ||
            !is_qemu(proc_fd, d->d_name) || !has_uuid(proc_fd, d->d_name, uuid))
            continue;
        memcpy(ret_pid, d->d_name, strlen(d->d_name) + 1);
        found++;
    }
    if (found == 0)
        return err_set(err, ERR_NOT_FOUND, "domain %s: no QEMU process runs it",
                       uuid);
    if (found > 1)
        return err_set(err, ERR_CONFLICT,
                       "domain %s: %u processes say that they are its QEMU; "
                       "end those that are not",
                       uuid, found);
    return 0;
}

/* The flags line of fdinfo is octal. source  proc(5) */
static bool
is_open_for_writing(int pid_fd, const char *fd_name)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    char path[64];
    struct err err;
    const char *line;

    (void)snprintf(path, sizeof path, "fdinfo/%.15s", fd_name);

    CLEANUP(fd_close) int fd = openat(pid_fd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || file_read_fd(fd, 65536, path, &b, &err) < 0)
        return false;
    line = strstr(buf_str(&b), "flags:");
    return line != NULL && (strtoul(line + 6, NULL, 8) & O_ACCMODE) != O_RDONLY;
}

/* The kernel names a file from the outermost root. In a chroot or a container
 * the name here is the tail of that which leads to the very same file. */
static const char *
name_here(const char *path, const struct file_id *id)
{
    struct stat st;

    for (const char *p = strchr(path, '/'); p != NULL; p = strchr(p + 1, '/')) {
        struct file_id found;

        if (stat(p, &st) < 0)
            continue;
        found = virt_file_id_of_stat(&st);
        if (file_id_equal(&found, id))
            return p;
    }
    return path;
}

static void
add_file(struct virt_open_files *files, const struct stat *st, const char *path,
         bool is_writable)
{
    struct virt_open_file *f;

    files->v = xrealloc(files->v, files->n + 1, sizeof *files->v);
    f = &files->v[files->n++];
    f->id = virt_file_id_of_stat(st);
    f->path = xstrdup(name_here(path, &f->id));
    f->is_writable = is_writable;
}

struct file_id
virt_file_id_of_stat(const struct stat *st)
{
    if (S_ISBLK(st->st_mode))
        return (struct file_id){ .dev = st->st_rdev, .ino = 0 };
    return (struct file_id){ .dev = st->st_dev, .ino = st->st_ino };
}

static int
read_files(int pid_fd, struct virt_open_files *files, struct err *err)
{
    int fd = openat(pid_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    __attribute__((cleanup(closedir_p))) DIR *dir =
        fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL)
        return err_sys(err, errno, "descriptors of QEMU");
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat st;
        char path[4096];
        ssize_t n;

        /* A descriptor may be closed while we look: then it is not open. */
        if (!is_number(d->d_name) || fstatat(fd, d->d_name, &st, 0) < 0 ||
            !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
            continue;
        n = readlinkat(fd, d->d_name, path, sizeof path - 1);
        path[n < 0 ? 0 : n] = 0;
        add_file(files, &st, path, is_open_for_writing(pid_fd, d->d_name));
    }
    return 0;
}

int
virt_open_files(struct virt *v, const char *uuid,
                struct virt_open_files *ret_files, struct err *err)
{
    CLEANUP(virt_open_files_fini) struct virt_open_files files = { 0 };
    CLEANUP(fd_close) int proc_fd = -1;
    CLEANUP(fd_close) int pid_fd = -1;
    char pid[16];

    if (file_open_dir("/proc", &proc_fd, err) < 0 ||
        find_process(proc_fd, uuid, pid, err) < 0)
        return -1;
    pid_fd = openat(proc_fd, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (pid_fd < 0)
        return err_set(err, ERR_NOT_FOUND, "domain %s: its QEMU has just ended",
                       uuid);
    if (read_files(pid_fd, &files, err) < 0)
        return err_wrap(err, "domain %s", uuid);
    *ret_files = files;
    files = (struct virt_open_files){ 0 };
    return 0;
}

void
virt_open_files_fini(struct virt_open_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->v[i].path);
    free(f->v);
    *f = (struct virt_open_files){ 0 };
}

int
virt_qemu_owner(const char *uuid, uid_t *ret_uid, gid_t *ret_gid,
                struct err *err)
{
    CLEANUP(fd_close)
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    char pid[16];

    if (proc_fd < 0)
        return err_sys(err, errno, "/proc");
    if (find_process(proc_fd, uuid, pid, err) < 0)
        return -1;
    if (fstatat(proc_fd, pid, &st, 0) < 0)
        return err_sys(err, errno, "domain %s: its QEMU", uuid);
    *ret_uid = st.st_uid;
    *ret_gid = st.st_gid;
    return 0;
}
