/* SPDX-License-Identifier: Apache-2.0 */
/* Which files a domain's QEMU has open, by /proc: QMP would taint the domain. A
 * descriptor is followed through /proc/PID/fd/N, which reaches the file itself
 * whatever mount namespace QEMU lives in. Whether it is open for writing stands
 * in its fdinfo.
 */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "virt/block.h"
#include "virt/virt-priv.h"

static inline void
closedir_p(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static bool
is_number(const char *s)
{
    return s[0] != 0 && s[strspn(s, "0123456789")] == 0;
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
    for (const char *p = strchr(path, '/'); p != NULL; p = strchr(p + 1, '/'))
        if (file_is_at(p, id))
            return p;
    return path;
}

static void
add_file(struct virt_open_files *files, const struct file_id *id,
         const char *path, bool is_writable)
{
    struct virt_open_file *f;

    files->v = xrealloc(files->v, files->n + 1, sizeof *files->v);
    f = &files->v[files->n++];
    f->id = *id;
    f->path = xstrdup(name_here(path, id));
    f->is_writable = is_writable;
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
        struct file_id id;
        struct err unused;
        char path[4096];
        ssize_t n;

        /* A descriptor may be closed while we look: then it is not open. */
        if (!is_number(d->d_name) || fstatat(fd, d->d_name, &st, 0) < 0 ||
            !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) ||
            file_id_at(fd, d->d_name, 0, &id, &unused) < 0)
            continue;
        n = readlinkat(fd, d->d_name, path, sizeof path - 1);
        path[n < 0 ? 0 : n] = 0;
        add_file(files, &id, path, is_open_for_writing(pid_fd, d->d_name));
    }
    return 0;
}

int
virt_open_files(struct virt *v, const char *uuid,
                struct virt_open_files *ret_files, struct err *err)
{
    CLEANUP(virt_open_files_fini) struct virt_open_files files = { 0 };
    CLEANUP(fd_close) int pid_fd = -1;

    if (virt_process_open(uuid, &pid_fd, err) < 0)
        return -1;
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
