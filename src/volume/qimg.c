/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/qimg.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/spawn.h"

/* Copying takes as long as it takes; a hung file system hangs us anyway. */
#define COPY_MS  ((uint64_t)7 * 24 * 3600 * 1000)
#define SHORT_MS ((uint64_t)60 * 1000)

/* A value in an option string: a comma is written twice. */
static void
add_value(struct buf *b, const char *s)
{
    for (; *s != 0; s++) {
        if (*s == ',')
            buf_add_char(b, ',');
        buf_add_char(b, *s);
    }
}

/* "driver=qcow2,file.driver=file,file.locking=off,file.filename=..." with
 * `prefix` before each key: the locks are ours already. */
static void
add_image(struct buf *b, const char *prefix, const struct qimg_file *f)
{
    buf_printf(b,
               "%sdriver=%s,%sfile.driver=file,%sfile.locking=off,"
               "%sfile.filename=",
               prefix, f->format, prefix, prefix, prefix);
    add_value(b, f->path);
}

int
qimg_create(const char *path, const struct qimg_file *backing, uint64_t size,
            const struct qimg_keep *keep, struct err *err)
{
    char size_text[32];
    const char *const on_backing[] = {
        "qemu-img",      "create", "-q",          "-u", "-f", "qcow2",   "-F",
        backing->format, "-b",     backing->path, "--", path, size_text, NULL
    };
    const char *const on_nothing[] = { "qemu-img", "create",  "-q",
                                       "-f",       "qcow2",   "--",
                                       path,       size_text, NULL };
    const char *const *argv = backing->path != NULL ? on_backing : on_nothing;

    (void)snprintf(size_text, sizeof size_text, "%llu",
                   (unsigned long long)size);
    if (spawn_run_keeping(argv, keep->fds, keep->n, SHORT_MS, err) < 0)
        return err_wrap(err, "create %s", path);
    return 0;
}

static int
shrink(const struct qimg_file *f, uint64_t size, const struct qimg_keep *keep,
       struct err *err)
{
    CLEANUP(buf_fini) struct buf image = BUF_INIT;
    char size_text[32];

    add_image(&image, "", f);
    (void)snprintf(size_text, sizeof size_text, "%llu",
                   (unsigned long long)size);
    const char *const argv[] = { "qemu-img",      "resize",       "-q",
                                 "--shrink",      "--image-opts", "--",
                                 buf_str(&image), size_text,      NULL };

    return spawn_run_keeping(argv, keep->fds, keep->n, COPY_MS, err);
}

int
qimg_commit(const char *top, uint64_t top_size, const struct qimg_file *base,
            uint64_t base_size, const struct qimg_keep *keep, struct err *err)
{
    CLEANUP(buf_fini) struct buf image = BUF_INIT;

    add_image(&image, "", &(struct qimg_file){ top, "qcow2" });
    buf_add_char(&image, ',');
    add_image(&image, "backing.", base);
    const char *const argv[] = {
        "qemu-img", "commit",        "-q", "-d", "--image-opts",
        "--",       buf_str(&image), NULL
    };

    if (spawn_run_keeping(argv, keep->fds, keep->n, COPY_MS, err) < 0 ||
        (top_size < base_size && shrink(base, top_size, keep, err) < 0) ||
        file_sync_path(base->path, err) < 0)
        return err_wrap(err, "merge %s into %s", top, base->path);
    return 0;
}

int
qimg_compare(const char *top, const struct qimg_file *base,
             const struct qimg_keep *keep, bool *ret_same, struct err *err)
{
    CLEANUP(buf_fini) struct buf first = BUF_INIT;
    CLEANUP(buf_fini) struct buf second = BUF_INIT;
    int code;

    add_image(&first, "", &(struct qimg_file){ top, "qcow2" });
    buf_add_char(&first, ',');
    add_image(&first, "backing.", base);
    add_image(&second, "", base);
    const char *const argv[] = { "qemu-img",       "compare", "-q",
                                 "--image-opts",   "--",      buf_str(&first),
                                 buf_str(&second), NULL };

    if (spawn_run_keeping_code(argv, keep->fds, keep->n, COPY_MS, &code, err) <
        0)
        return err_wrap(err, "compare %s with %s", top, base->path);
    if (code > 1)
        return err_set(err, ERR_INTERNAL,
                       "compare %s with %s: qemu-img ends with %d", top,
                       base->path, code);
    *ret_same = code == 0;
    return 0;
}

int
qimg_rebase(const char *path, const struct qimg_file *backing,
            const struct qimg_keep *keep, struct err *err)
{
    CLEANUP(buf_fini) struct buf image = BUF_INIT;

    add_image(&image, "", &(struct qimg_file){ path, "qcow2" });
    const char *const argv[] = {
        "qemu-img",      "rebase", "-q",          "-u",           "-F",
        backing->format, "-b",     backing->path, "--image-opts", "--",
        buf_str(&image), NULL
    };

    if (spawn_run_keeping(argv, keep->fds, keep->n, SHORT_MS, err) < 0 ||
        file_sync_path(path, err) < 0)
        return err_wrap(err, "rebase %s on %s", path, backing->path);
    return 0;
}

int
qimg_convert(const struct qimg_file *from, const char *to,
             const struct qimg_keep *keep, struct err *err)
{
    const char *const argv[] = { "qemu-img",   "convert", "-q",    "-f",
                                 from->format, "-O",      "qcow2", "--",
                                 from->path,   to,        NULL };

    if (spawn_run_keeping(argv, keep->fds, keep->n, COPY_MS, err) < 0)
        return err_wrap(err, "copy %s", from->path);
    return file_sync_path(to, err);
}

int
qimg_measure(const struct qimg_file *from, uint64_t *ret_bytes, struct err *err)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    const char *const argv[] = { "qemu-img",   "measure",  "-f",
                                 from->format, "-O",       "qcow2",
                                 "--",         from->path, NULL };
    unsigned long long bytes;

    if (spawn_run(argv, COPY_MS, &out, err) < 0)
        return err_wrap(err, "measure %s", from->path);
    // NOLINTNEXTLINE(cert-err34-c): what qemu-img counts fits
    if (sscanf(buf_str(&out), "required size: %20llu", &bytes) != 1)
        return err_set(err, ERR_INTERNAL, "qemu-img measure said: %.80s",
                       buf_str(&out));
    *ret_bytes = bytes;
    return 0;
}
