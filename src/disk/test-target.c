/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that are filled by several threads at once; what qemu-img reads in
 * the end is compared with what was given.
 */
#include <sys/mount.h>

#include <pthread.h>
#include <sched.h>

#include "disk/target.h"
#include "disk/test-images.h"

enum {
    SIZE = (24 << 20) + 512 * 5,
    PIECE = 256 << 10,
    THREADS = 6
};

/* The disk as it shall be: a third data, a third data with zeros within, a
 * third zero. */
static uint8_t *
make_disk(void)
{
    uint8_t *d = xcalloc(1, SIZE);

    for (size_t at = 0; at < SIZE; at += 512) {
        size_t piece = at / PIECE;

        if (piece % 3 == 0 || (piece % 3 == 1 && at / 65536 % 2 == 1))
            memset(d + at, (int)(1 + at / 512 % 251), 512);
    }
    memset(d + SIZE - 1, 0x99, 1);
    return d;
}

struct filler {
    struct disk_target *t;
    const uint8_t *disk;
    size_t first; /* piece; every THREADS-th follows */
    bool gives_zeros;
};

static void *
fill(void *arg)
{
    const struct filler *f = arg;
    struct err err = { .code = ERR_NONE };

    for (size_t at = f->first * PIECE; at < SIZE;
         at += (size_t)PIECE * THREADS) {
        size_t len = SIZE - at < PIECE ? SIZE - at : PIECE;

        if (at / PIECE % 3 != 2 || at + len == SIZE)
            CHECK_OK(disk_target_write(f->t, at, f->disk + at, len, &err),
                     &err);
        else if (f->gives_zeros)
            CHECK_OK(disk_target_zero(f->t, at, len, &err), &err);
    }
    return NULL;
}

static void
fill_all(struct disk_target *t, const uint8_t *disk, bool gives_zeros)
{
    pthread_t threads[THREADS];
    struct filler f[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        f[i] = (struct filler){ t, disk, i, gives_zeros };
        CHECK_INT(pthread_create(&threads[i], NULL, fill, &f[i]), ==, 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
}

static void
fill_file(const char *path, const char *format, bool is_fresh)
{
    CLEANUP(disk_target_close) struct disk_target *t = NULL;
    CLEANUP(mem_free) uint8_t *disk = make_disk();
    CLEANUP(mem_free) uint8_t *got = NULL;
    struct err err = { .code = ERR_NONE };
    size_t len;

    CHECK_OK(disk_target_open(images_dir, path, format, SIZE, &t, &err), &err);
    CHECK_INT(disk_target_is_fresh(t), ==, is_fresh);
    fill_all(t, disk, !is_fresh);
    CHECK_ERR(disk_target_write(t, SIZE - 10, disk, 11, &err), &err,
              ERR_INVALID);
    CHECK_ERR(disk_target_zero(t, UINT64_MAX, 2, &err), &err, ERR_INVALID);
    CHECK_OK(disk_target_finish(t, &err), &err);
    disk_target_close(TAKE(t));
    got = content(path, format, &len);
    CHECK_INT(len, ==, SIZE);
    CHECK(memcmp(got, disk, len) == 0);
    if (strcmp(format, "qcow2") == 0)
        run("qemu-img", "check", "-q", "-f", "qcow2", path, NULL);
}

static uint64_t
allocated(const char *path)
{
    struct stat st;

    CHECK_INT(stat(path, &st), ==, 0);
    return (uint64_t)st.st_blocks * 512;
}

static void
a_new_disk_is_filled_and_stays_sparse(void)
{
    CLEANUP(mem_free) char *raw = image("new.raw");
    CLEANUP(mem_free) char *qcow2 = image("new, one.qcow2");
    CLEANUP(mem_free) char *size = xasprintf("%d", SIZE);

    close(open(raw, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    fill_file(raw, "raw", true);
    /* Half of the disk is zeros. */
    CHECK_INT(allocated(raw), <, SIZE * 6 / 10);
    fill_file(raw, "raw", false); /* once more, over itself */
    CHECK_INT(allocated(raw), <, SIZE * 8 / 10);
    run("qemu-img", "create", "-q", "-f", "qcow2", qcow2, size, NULL);
    fill_file(qcow2, "qcow2", true);
    CHECK_INT(allocated(qcow2), <, SIZE * 6 / 10);
    fill_file(qcow2, "qcow2", false);
    (void)unlink(raw);
    (void)unlink(qcow2);
}

static void
what_was_there_before_is_gone(void)
{
    CLEANUP(mem_free) char *raw = image("old.raw");
    CLEANUP(mem_free) char *qcow2 = image("old.qcow2");
    CLEANUP(mem_free) char *base = image("base.raw");
    CLEANUP(mem_free) char *size = xasprintf("%d", SIZE);

    run("qemu-img", "create", "-q", "-f", "raw", raw, "40M", NULL);
    qemu_io(raw, "raw", "write -q -P 0xaa 0 40M"); /* longer, too */
    fill_file(raw, "raw", false);
    run("qemu-img", "create", "-q", "-f", "qcow2", qcow2, size, NULL);
    qemu_io(qcow2, "qcow2", "write -q -P 0xaa 0 24M");
    fill_file(qcow2, "qcow2", false);
    run("qemu-img", "create", "-q", "-f", "raw", base, size, NULL);
    qemu_io(base, "raw", "write -q -P 0xaa 0 24M");
    overlay(qcow2, base, "raw", NULL);
    fill_file(qcow2, "qcow2", false);
    (void)unlink(raw);
    (void)unlink(qcow2);
    (void)unlink(base);
}

static void
what_cannot_be_filled_is_refused(void)
{
    CLEANUP(mem_free) char *qcow2 = image("x.qcow2");
    CLEANUP(mem_free) char *link = image("link");
    struct disk_target *t = NULL;
    struct err err = { .code = ERR_NONE };

    run("qemu-img", "create", "-q", "-f", "qcow2", qcow2, "1M", NULL);
    CHECK_INT(symlink(qcow2, link), ==, 0);
    CHECK_ERR(disk_target_open(images_dir, qcow2, "qcow2", 2 * MIB, &t, &err),
              &err, ERR_INVALID);
    CHECK_INT(disk_target_open(images_dir, link, "raw", MIB, &t, &err), <, 0);
    CHECK_ERR(disk_target_open(images_dir, qcow2, "vmdk", MIB, &t, &err), &err,
              ERR_UNSUPPORTED);
    CHECK_ERR(disk_target_open(images_dir, "/dev/null", "raw", 1, &t, &err),
              &err, ERR_INVALID);
    (void)unlink(qcow2);
    CHECK_ERR(disk_target_open(images_dir, qcow2, "raw", MIB, &t, &err), &err,
              ERR_NOT_FOUND);
    (void)unlink(link);
}

static void
an_image_in_use_is_left_alone(void)
{
    CLEANUP(mem_free) char *path = image("busy.qcow2");
    struct disk_target *t = NULL, *u = NULL;
    struct err err = { .code = ERR_NONE };

    run("qemu-img", "create", "-q", "-f", "qcow2", path, "1M", NULL);
    CHECK_OK(disk_target_open(images_dir, path, "qcow2", MIB, &t, &err), &err);
    CHECK_ERR(disk_target_open(images_dir, path, "qcow2", MIB, &u, &err), &err,
              ERR_BUSY);
    disk_target_close(t);
    CHECK_OK(disk_target_open(images_dir, path, "qcow2", MIB, &u, &err), &err);
    CHECK_OK(disk_target_finish(u, &err), &err);
    disk_target_close(u);
    (void)unlink(path);
}

/* A full disk, where we may mount one. */
static void
a_full_disk_is_said_to_be_full(void)
{
    static const char *const formats[] = { "raw", "qcow2" };
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, MIB);

    if (unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0) {
        printf("# skipped: may not mount\n");
        return;
    }
    memset(data, 0x77, MIB);
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        CLEANUP(mem_free) char *mnt = image("mnt");
        CLEANUP(mem_free) char *path = image("mnt/full");
        CLEANUP(disk_target_close) struct disk_target *t = NULL;
        struct err err = { .code = ERR_NONE };
        int rc = 0;

        CHECK_INT(mkdir(mnt, 0700), ==, 0);
        CHECK_INT(mount("tmpfs", mnt, "tmpfs", 0, "size=6m"), ==, 0);
        run("qemu-img", "create", "-q", "-f", formats[i], path, "16M", NULL);
        CHECK_OK(
            disk_target_open(images_dir, path, formats[i], 16 * MIB, &t, &err),
            &err);
        for (uint64_t at = 0; at < 16 * MIB && rc == 0; at += MIB)
            rc = disk_target_write(t, at, data, MIB, &err);
        if (rc == 0)
            rc = disk_target_finish(t, &err);
        printf("# %s: %s\n", formats[i], err.msg);
        CHECK_ERR(rc, &err, ERR_NO_SPACE);
        disk_target_close(TAKE(t));
        CHECK_INT(umount2(mnt, MNT_DETACH), ==, 0);
        CHECK_INT(rmdir(mnt), ==, 0);
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a new disk is filled and stays sparse",
          a_new_disk_is_filled_and_stays_sparse },
        { "what was there before is gone", what_was_there_before_is_gone },
        { "what cannot be filled is refused",
          what_cannot_be_filled_is_refused },
        { "an image in use is left alone", an_image_in_use_is_left_alone },
        { "a full disk is said to be full", a_full_disk_is_said_to_be_full },
    };
    int rc;

    if (mkdtemp(images_dir) == NULL)
        return 1;
    rc = test_main(cases, ARRAY_SIZE(cases));
    (void)rmdir(images_dir);
    return rc;
}
