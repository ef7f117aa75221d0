/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/chain.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "disk/qcow2.h"

void
chain_free(struct chain *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n; i++)
        free(c->files[i].path);
    free(c);
}

/* Links are followed: a volume of LVM is one. */
static int
open_file(const char *path, struct chain_file *f, int *ret_fd, struct err *err)
{
    /* Not to hang on a FIFO. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    off_t end;

    if (fd < 0)
        return err_sys(err, errno, "%s: open", path);
    if (fstat(fd, &st) < 0 || (end = lseek(fd, 0, SEEK_END)) < 0) {
        int saved = errno;

        close(fd);
        return err_sys(err, saved, "%s", path);
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        close(fd);
        return err_set(err, ERR_INVALID,
                       "%s: neither a regular file nor a block device", path);
    }
    if (file_id_of_fd(fd, path, &f->id, err) < 0) {
        close(fd);
        return -1;
    }
    f->bytes = (uint64_t)end;
    *ret_fd = fd;
    return 0;
}

/* May QEMU open what this header says, without harm and without guessing? */
static int
check_header(const struct qcow2_info *i, const char *path, struct err *err)
{
    const char *colon, *slash;

    if (i->is_encrypted)
        return err_set(err, ERR_UNSUPPORTED, "%s: an encrypted image", path);
    if (i->has_data_file)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: an image with an external data file", path);
    if (i->has_unknown_feature)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: an image with a feature that is not known", path);
    if (i->is_corrupt)
        return err_set(err, ERR_CORRUPT,
                       "%s: marked as corrupt; see qemu-img check", path);
    if (i->backing == NULL)
        return 0;
    colon = strchr(i->backing, ':');
    slash = strchr(i->backing, '/');
    if (colon != NULL && (slash == NULL || colon < slash))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: its backing file is not a local file: %.200s", path,
                       i->backing);
    if (i->backing_format == NULL)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s does not say of which format its backing file is (set it by qemu-img rebase -u -F)",
            path);
    return 0;
}

/* A relative name is relative to the directory of the file that says it. */
static char *
backing_path(const char *path, const char *backing)
{
    const char *base = file_basename(path);

    if (backing[0] == '/')
        return xstrdup(backing);
    return xasprintf("%.*s%s", (int)(base - path), path, backing);
}

/* Append one file; ret_backing: what it stands on, NULL at the end. */
static int
add_file(struct chain *c, const char *path, const char *format,
         char **ret_backing, char ret_format[8], struct err *err)
{
    CLEANUP(qcow2_info_fini) struct qcow2_info info = { .version = 0 };
    CLEANUP(fd_close) int fd = -1;
    struct chain_file f = { .path = NULL };
    uint64_t size;

    if (path[0] != '/')
        return err_set(err, ERR_INVALID, "%s: not an absolute path", path);
    if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: neither raw nor qcow2, but %.16s", path, format);
    if (c->n == CHAIN_FILES_MAX)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: a chain of more than %d files", c->files[0].path,
                       CHAIN_FILES_MAX);
    if (open_file(path, &f, &fd, err) < 0)
        return -1;
    size = f.bytes;
    if (strcmp(format, "qcow2") == 0) {
        if (qcow2_read(fd, path, &info, err) < 0 ||
            check_header(&info, path, err) < 0)
            return -1;
        size = info.size;
    }
    if (c->n == 0)
        c->size = size;
    f.path = xstrdup(path);
    memcpy(f.format, format, strlen(format) + 1);
    c->files[c->n++] = f;
    *ret_backing = NULL;
    if (info.backing == NULL)
        return 0;
    *ret_backing = backing_path(path, info.backing);
    if (strlen(info.backing_format) < 8)
        memcpy(ret_format, info.backing_format,
               strlen(info.backing_format) + 1);
    else
        memcpy(ret_format, "other", 6);
    return 0;
}

int
chain_open(const struct disk_layer *top, struct chain **ret_chain,
           struct err *err)
{
    CLEANUP(chain_free) struct chain *c = xcalloc(1, sizeof *c);
    CLEANUP(mem_free) char *path = xstrdup(top->path);
    char format[8] = "";

    if (strlen(top->format) < sizeof format)
        memcpy(format, top->format, strlen(top->format) + 1);
    while (path != NULL) {
        char *backing = NULL;
        char next[8] = "";

        if (add_file(c, path, format, &backing, next, err) < 0)
            return c->n == 0 ? -1 : err_wrap(err, "%s stands on", top->path);
        free(path);
        path = backing;
        memcpy(format, next, sizeof format);
    }
    *ret_chain = TAKE(c);
    return 0;
}

int
chain_check(const struct chain *c, struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct chain_file *f = &c->files[i];
        struct chain_file now = { .path = NULL };
        int fd;

        if (open_file(f->path, &now, &fd, err) < 0)
            return err_set(err, ERR_CONFLICT, "%s vanished while it was used",
                           f->path);
        close(fd);
        if (!file_id_equal(&f->id, &now.id))
            return err_set(err, ERR_CONFLICT,
                           "%s was replaced while it was used", f->path);
        if (now.bytes < f->bytes)
            return err_set(err, ERR_CONFLICT,
                           "%s got smaller while it was used", f->path);
    }
    return 0;
}
