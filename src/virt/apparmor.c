/* SPDX-License-Identifier: Apache-2.0 */
/* Lines are compared whole, with the name that virt-aa-helper writes: without
 * links. The comment above a rule goes with it. */
#include "virt/apparmor.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define FILES_MAX (1u << 20)
#define REMARK    "  # don't audit writes to readonly files\n"

/* true: there was such a rule. */
static bool
without(const char *text, const char *rule, struct buf *out)
{
    size_t remark_len = strlen(REMARK), len = strlen(rule);
    bool found = false;

    for (const char *line = text; *line != 0;) {
        const char *next = strchr(line, '\n');
        size_t n = next == NULL ? strlen(line) : (size_t)(next + 1 - line);
        bool is_remark =
            n == remark_len && strncmp(line, REMARK, remark_len) == 0;

        if (is_remark && strncmp(line + n, rule, len) == 0)
            n += len;
        else if (strncmp(line, rule, len) != 0) {
            buf_add(out, line, n);
            line += n;
            continue;
        }
        found = true;
        line += n;
    }
    return found;
}

int
apparmor_undeny(const char *dir, const char *uuid, const char *path,
                struct err *err)
{
    CLEANUP(mem_free) char *real = realpath(path, NULL);
    CLEANUP(mem_free) char *name = xasprintf("libvirt-%s.files", uuid);
    CLEANUP(mem_free)
    char *rule = xasprintf("  deny \"%s\" w,\n", real == NULL ? path : real);
    CLEANUP(buf_fini) struct buf old = BUF_INIT;
    CLEANUP(buf_fini) struct buf new = BUF_INIT;
    CLEANUP(fd_close) int dir_fd = -1;
    CLEANUP(fd_close) int fd = -1;
    struct stat st;

    if (file_open_dir(dir, &dir_fd, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "%s/%s", dir, name);
    if (file_read_fd(fd, FILES_MAX, name, &old, err) < 0)
        return -1;
    if (!without(buf_str(&old), rule, &new))
        return 0;
    if (file_replace(dir_fd, name, buf_str(&new), new.len, st.st_mode & 0777,
                     err) < 0)
        return err_wrap(err, "%s", dir);
    return 0;
}
