/* SPDX-License-Identifier: Apache-2.0 */
/* disk/test-images.h: for the tests: images made by qemu-img and qemu-io, and
 * a sink that checks how it is called.
 */
#pragma once
#include <sys/stat.h>

#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "disk/source.h"
#include "test.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

static char images_dir[256] = "/tmp/vk-disk-XXXXXX";

/* A path below the directory of the test; the caller's to free. */
static inline char *
image(const char *name)
{
    return xasprintf("%s/%s", images_dir, name);
}

/* Run a program; the arguments end with NULL. */
static inline void
run(const char *program, ...)
{
    const char *argv[40] = { program };
    struct err err = { .code = ERR_NONE };
    size_t n = 1;
    va_list ap;

    va_start(ap, program);
    do {
        argv[n] = va_arg(ap, const char *);
    } while (argv[n++] != NULL && n < ARRAY_SIZE(argv));
    va_end(ap);
    CHECK_OK(spawn_run(argv, 60000, NULL, &err), &err);
}

static inline void
qemu_io(const char *path, const char *format, const char *command)
{
    run("qemu-io", "-f", format, "-c", command, path, NULL);
}

static inline void
overlay(const char *path, const char *on, const char *format, const char *size)
{
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", on, path,
        size, NULL);
}

/* What the guest sees, by qemu-img: the reference. */
static inline uint8_t *
content(const char *path, const char *format, size_t *ret_len)
{
    CLEANUP(mem_free) char *flat = image("flat.raw");
    CLEANUP(fd_close) int fd = -1;
    struct stat st;
    uint8_t *data;

    run("qemu-img", "convert", "-f", format, "-O", "raw", path, flat, NULL);
    fd = open(flat, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    data = xcalloc(1, (size_t)st.st_size + 1);
    CHECK_INT(read(fd, data, (size_t)st.st_size), ==, st.st_size);
    *ret_len = (size_t)st.st_size;
    (void)unlink(flat);
    return data;
}

/* ---- a sink -------------------------------------------------------------- */

struct probe {
    uint8_t *data; /* what came; where nothing came it is 0xee */
    size_t size, chunk;
    uint64_t next; /* no call may be before it */
    uint64_t n_read, n_zero, done;
    size_t n_out, n_out_max; /* buffers */
    uint64_t cancel_at;      /* bytes; 0: never */
    uint64_t fail_at;        /* the sink's own failure; 0: never */
    void (*disturb)(void);   /* called once, after disturb_at bytes */
    uint64_t disturb_at;
};

static inline int
probe_get(void *arg, uint8_t **ret, struct err *err)
{
    struct probe *p = arg;

    *ret = xcalloc(1, p->chunk);
    memset(*ret, 0xdd, p->chunk);
    if (++p->n_out > p->n_out_max)
        p->n_out_max = p->n_out;
    return 0;
}

static inline void
probe_put(void *arg, uint8_t *buffer)
{
    struct probe *p = arg;

    p->n_out--;
    free(buffer);
}

static inline int
probe_place(struct probe *p, uint64_t off, uint64_t len, struct err *err)
{
    CHECK(off >= p->next);
    CHECK(len > 0 && off + len <= p->size);
    CHECK(off % p->chunk == 0);
    CHECK((off + len) % p->chunk == 0 || off + len == p->size);
    p->next = off + len;
    if (p->disturb != NULL && off + len > p->disturb_at) {
        void (*disturb)(void) = p->disturb;

        p->disturb = NULL;
        disturb();
    }
    if (p->fail_at > 0 && off + len > p->fail_at)
        return err_set(err, ERR_NO_SPACE, "the sink is full");
    return 0;
}

static inline int
probe_write(void *arg, uint64_t off, uint8_t *buffer, size_t len,
            struct err *err)
{
    struct probe *p = arg;
    int rc = probe_place(p, off, len, err);

    if (rc == 0)
        memcpy(p->data + off, buffer, len);
    p->n_read += len;
    probe_put(p, buffer);
    return rc;
}

static inline int
probe_zero(void *arg, uint64_t off, uint64_t len, struct err *err)
{
    struct probe *p = arg;
    int rc = probe_place(p, off, len, err);

    if (rc == 0)
        memset(p->data + off, 0, len);
    p->n_zero += len;
    return rc;
}

static inline int
probe_progress(void *arg, uint64_t done)
{
    struct probe *p = arg;

    CHECK(done >= p->done);
    p->done = done;
    return p->cancel_at > 0 && done >= p->cancel_at;
}

static inline struct disk_sink
probe_sink(struct probe *p, size_t size, size_t chunk)
{
    p->size = size;
    p->chunk = chunk;
    p->data = xcalloc(1, size + 1);
    memset(p->data, 0xee, size);
    return (struct disk_sink){ p,           probe_get,  probe_put,
                               probe_write, probe_zero, probe_progress };
}

static inline void
probe_fini(struct probe *p)
{
    CHECK_INT(p->n_out, ==, 0); /* each buffer came back */
    free(p->data);
}
