/* SPDX-License-Identifier: Apache-2.0 */
/* The process that runs a domain, in /proc.
 *
 * It is found by its command line (`-uuid UUID` of a program named qemu*),
 * because libvirt's idea of its pid may be that of another pid namespace.
 * Anybody can start a program of that name with such arguments; then there are
 * two, and the answer is an error, not a guess.
 *
 * The directory that libvirt made for it alone is that of its master key,
 * which stands on the command line too, as a word of JSON or of -object.
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
#include "virt/virt-priv.h"

#define CMDLINE_MAX (1u << 20)
#define KEY_FILE    "/master-key.aes"

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

int
virt_process_open(const char *uuid, int *ret_pid_fd, struct err *err)
{
    CLEANUP(fd_close) int proc_fd = -1;
    char pid[16];

    if (file_open_dir("/proc", &proc_fd, err) < 0 ||
        find_process(proc_fd, uuid, pid, err) < 0)
        return -1;
    *ret_pid_fd = openat(proc_fd, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_pid_fd < 0)
        return err_set(err, ERR_NOT_FOUND, "domain %s: its QEMU has just ended",
                       uuid);
    return 0;
}

int
virt_qemu_owner(const char *uuid, uid_t *ret_uid, gid_t *ret_gid,
                struct err *err)
{
    CLEANUP(fd_close) int pid_fd = -1;
    struct stat st;

    if (virt_process_open(uuid, &pid_fd, err) < 0)
        return -1;
    if (fstat(pid_fd, &st) < 0)
        return err_sys(err, errno, "domain %s: its QEMU", uuid);
    *ret_uid = st.st_uid;
    *ret_gid = st.st_gid;
    return 0;
}

/* "...file=/DIR/master-key.aes" or "...\"file\":\"/DIR/master-key.aes\"...". A
 * name that would have to be unquoted is not taken. */
static char *
dir_of_key(const char *arg)
{
    const char *end = strstr(arg, KEY_FILE), *begin = end;

    if (end == NULL || strstr(arg, "masterKey0") == NULL)
        return NULL;
    while (begin > arg && begin[-1] != '=' && begin[-1] != '"')
        begin--;
    if (*begin != '/' || memchr(begin, '\\', end - begin) != NULL ||
        memchr(begin, ',', end - begin) != NULL)
        return NULL;
    return xstrndup(begin, (size_t)(end - begin));
}

char *
virt_qemu_dir(const char *uuid)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(fd_close) int pid_fd = -1;
    CLEANUP(fd_close) int fd = -1;
    struct err unused;
    char *dir = NULL;

    if (virt_process_open(uuid, &pid_fd, &unused) < 0)
        return NULL;
    fd = openat(pid_fd, "cmdline", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || file_read_fd(fd, CMDLINE_MAX, "cmdline", &b, &unused) < 0)
        return NULL;
    for (size_t i = 0; dir == NULL && i < b.len; i += strlen(b.data + i) + 1)
        dir = dir_of_key(b.data + i);
    return dir;
}

int
virt_qemu_open_dir(const char *uuid, const char *dir, int *ret_fd,
                   struct err *err)
{
    CLEANUP(mem_free) char *path = xasprintf("root%s", dir);
    CLEANUP(fd_close) int pid_fd = -1;

    if (virt_process_open(uuid, &pid_fd, err) < 0)
        return -1;
    *ret_fd =
        openat(pid_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *ret_fd < 0 ? err_sys(err, errno, "%s", dir) : 0;
}
