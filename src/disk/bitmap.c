/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/bitmap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "disk/qcow2.h"

#define QEMU_IMG_MS ((uint64_t)120 * 1000) /* writes one small bitmap */

enum found {
    FOUND_NONE,
    FOUND_GOOD,
    FOUND_IN_USE,
};

static int
look(const struct disk_bitmap_file *f, const char *name, enum found *ret,
     unsigned *ret_version, struct err *err)
{
    CLEANUP(qcow2_info_fini) struct qcow2_info info = { .version = 0 };
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps all = { .n = 0 };
    CLEANUP(fd_close)
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const struct qcow2_bitmap *b;

    if (fd < 0)
        return err_sys(err, errno, "%s: open", f->path);
    if (qcow2_read(fd, f->path, &info, err) < 0 ||
        qcow2_bitmaps_read(fd, f->path, &info, &all, err) < 0)
        return -1;
    b = qcow2_bitmaps_find(&all, name);
    *ret = b == NULL ? FOUND_NONE : b->in_use ? FOUND_IN_USE : FOUND_GOOD;
    *ret_version = info.version;
    return 0;
}

static void
add_string(struct buf *b, const char *s)
{
    buf_add_char(b, '"');
    for (; *s != 0; s++) {
        if (*s == '"' || *s == '\\')
            buf_add_char(b, '\\');
        if ((unsigned char)*s < ' ')
            buf_printf(b, "\\u%04x", (unsigned)(unsigned char)*s);
        else
            buf_add_char(b, *s);
    }
    buf_add_char(b, '"');
}

/* qemu-img on this one file: what it stands on is not opened, so it needs no
 * locks there, and may even be away. */
static int
run(const struct disk_bitmap_file *f, const char *what, const char *name,
    struct err *err)
{
    CLEANUP(buf_fini) struct buf image = BUF_INIT;

    buf_printf(
        &image,
        "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"file\",\"locking\":\"%s\",\"filename\":",
        f->n_keep_fds > 0 ? "off" : "auto");
    add_string(&image, f->path);
    buf_printf(&image, "}}");
    const char *const argv[] = { "qemu-img",      "bitmap", what, "--",
                                 buf_str(&image), name,     NULL };

    if (spawn_run_keeping(argv, f->keep_fds, f->n_keep_fds, QEMU_IMG_MS, err) <
        0) {
        /* Failed to get "write" lock, and a hint below it. */
        if (strstr(err->msg, "lock") != NULL ||
            strstr(err->msg, "Is another process using") != NULL)
            err->code = ERR_BUSY;
        return -1;
    }
    return file_sync_path(f->path, err);
}

int
disk_bitmap_add(const struct disk_bitmap_file *f, const char *name,
                struct err *err)
{
    enum found found = FOUND_NONE;
    unsigned version = 0;

    if (name[0] == 0 || strlen(name) > DISK_BITMAP_NAME_MAX)
        return err_set(err, ERR_INVALID, "bitmap: a name of %zu bytes",
                       strlen(name));
    if (look(f, name, &found, &version, err) < 0)
        return err_wrap(err, "add bitmap %.64s", name);
    if (version < 3)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: qcow2 version 2 has no bitmaps (qemu-img amend -o compat=1.1)",
            f->path);
    if (found == FOUND_IN_USE)
        return err_set(err, ERR_CORRUPT, "%s: bitmap %.64s is there and in use",
                       f->path, name);
    if (found == FOUND_NONE && run(f, "--add", name, err) < 0)
        return err_wrap(err, "%s: add bitmap %.64s", f->path, name);
    return 0;
}

int
disk_bitmap_remove(const struct disk_bitmap_file *f, const char *name,
                   struct err *err)
{
    enum found found = FOUND_NONE;
    unsigned version;

    if (look(f, name, &found, &version, err) < 0)
        return err_wrap(err, "remove bitmap %.64s", name);
    if (found != FOUND_NONE && run(f, "--remove", name, err) < 0)
        return err_wrap(err, "%s: remove bitmap %.64s", f->path, name);
    return 0;
}
