/* SPDX-License-Identifier: Apache-2.0 */
/* On a file system that can share blocks: whatever is done to an image, what
 * two copies of it differ in is found. The directory: VMKEEP_TEST_REFLINK_DIR,
 * else /tmp, where only what needs no sharing is tried. */
#include <stdlib.h>

#include "base/file.h"
#include "disk/clonediff.h"
#include "disk/test-images.h"

#define SIZE  (24 * MIB)
#define BLOCK 4096

static bool can_share;
static uint64_t seed = 4711;

static uint64_t
below(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

static char *
copy_of(const char *path, const char *name)
{
    char *to = image(name);
    CLEANUP(mem_free)
    char *how = xasprintf("--reflink=%s", can_share ? "always" : "never");

    run("rm", "-f", to, NULL);
    run("cp", how, path, to, NULL);
    return to;
}

/* Something that a guest does. */
static void
change(const char *path, const char *format)
{
    static const char *const what[] = { "write -P 7", "write -P 8",
                                        "write -z -u", "write -z", "discard" };
    uint64_t k = below(ARRAY_SIZE(what));
    uint64_t at = below(SIZE / BLOCK) * BLOCK;
    uint64_t len = (1 + below(60)) * (below(2) ? BLOCK : 512);
    CLEANUP(mem_free) char *command = NULL;

    if (k == 4)
        len = (1 + below(8)) * 64 * KIB;
    len = at + len > SIZE ? SIZE - at : len;
    command = xasprintf("%s %llu %llu", what[k], (unsigned long long)at,
                        (unsigned long long)len);
    qemu_io(path, format, command);
}

static void
read_guest(const char *path, const char *format, const char *name,
           struct buf *ret)
{
    CLEANUP(mem_free) char *raw = image(name);
    struct err err = { 0 };

    run("qemu-img", "convert", "-f", format, "-O", "raw", path, raw, NULL);
    CHECK_OK(file_read_all(raw, 4 * SIZE, ret, &err), &err);
}

/* All that differs is in `found`; prints how much more is. */
static void
check_found(const char *a, const char *b, const char *format,
            const struct ranges *found)
{
    CLEANUP(buf_fini) struct buf x = BUF_INIT;
    CLEANUP(buf_fini) struct buf y = BUF_INIT;
    uint64_t differ = 0, missed = 0;

    read_guest(a, format, "x", &x);
    read_guest(b, format, "y", &y);
    CHECK(x.len <= y.len);
    for (size_t at = 0; at + BLOCK <= x.len; at += BLOCK) {
        if (memcmp(x.data + at, y.data + at, BLOCK) == 0)
            continue;
        differ += BLOCK;
        if (!ranges_overlaps(found, at, BLOCK))
            missed++;
    }
    CHECK_INT(missed, ==, 0);
    if (can_share)
        CHECK_INT(ranges_bytes(found), <=, differ * 64 + 4 * MIB);
}

static void
try_format(const char *format, const char *path)
{
    CLEANUP(mem_free) char *old = copy_of(path, "old");

    for (int round = can_share ? 6 : 1; round > 0; round--) {
        struct disk_layer a = { old, format };
        CLEANUP(ranges_fini) struct ranges found = RANGES_INIT;
        CLEANUP(mem_free) char *new = NULL;
        struct err err = { 0 };

        for (uint64_t n = 1 + below(6); n > 0; n--)
            change(path, format);
        new = copy_of(path, "new");

        struct disk_layer b = { new, format };

        CHECK_OK(disk_clonediff(&a, &b, &found, &err), &err);
        check_found(old, new, format, &found);
        run("mv", new, old, NULL);
    }
}

static void
what_is_written_to_a_raw_disk_is_found(void)
{
    CLEANUP(mem_free) char *path = image("d.raw");

    run("qemu-img", "create", "-q", "-f", "raw", path, "24M", NULL);
    qemu_io(path, "raw", "write -P 1 0 10M");
    try_format("raw", path);
}

static void
what_is_written_to_a_qcow2_disk_is_found(void)
{
    CLEANUP(mem_free) char *path = image("d.qcow2");

    run("qemu-img", "create", "-q", "-f", "qcow2", path, "24M", NULL);
    qemu_io(path, "qcow2", "write -P 1 0 10M");
    try_format("qcow2", path);
}

static void
a_compressed_image_is_no_obstacle(void)
{
    CLEANUP(mem_free) char *from = image("d.qcow2");
    CLEANUP(mem_free) char *path = image("c.qcow2");

    run("qemu-img", "convert", "-c", "-O", "qcow2", from, path, NULL);
    try_format("qcow2", path);
}

static void
nothing_was_written_nothing_is_found(void)
{
    static const char *const names[] = { "d.raw", "d.qcow2", "c.qcow2" };

    for (size_t i = 0; i < ARRAY_SIZE(names) && can_share; i++) {
        CLEANUP(mem_free) char *path = image(names[i]);
        CLEANUP(mem_free) char *to = copy_of(path, "new");
        const char *format = i == 0 ? "raw" : "qcow2";
        struct disk_layer a = { path, format }, b = { to, format };
        CLEANUP(ranges_fini) struct ranges found = RANGES_INIT;
        struct err err = { 0 };

        CHECK_OK(disk_clonediff(&a, &b, &found, &err), &err);
        CHECK_INT(ranges_bytes(&found), ==, 0);
    }
}

static void
a_disk_that_has_grown_differs_where_it_has_data(void)
{
    CLEANUP(mem_free) char *path = image("g.qcow2");
    CLEANUP(mem_free) char *old = NULL;
    CLEANUP(mem_free) char *new = NULL;
    CLEANUP(ranges_fini) struct ranges found = RANGES_INIT;
    struct err err = { 0 };

    run("qemu-img", "create", "-q", "-f", "qcow2", path, "8M", NULL);
    old = copy_of(path, "old");
    /* more than one table of L2 */
    run("qemu-img", "resize", "-q", path, "2G", NULL);
    qemu_io(path, "qcow2", "write -P 3 1G 64k");
    new = copy_of(path, "new");

    struct disk_layer a = { old, "qcow2" }, b = { new, "qcow2" };

    CHECK_OK(disk_clonediff(&a, &b, &found, &err), &err);
    CHECK_INT(found.n, ==, 1);
    CHECK_INT(found.v[0].off, ==, 1024 * MIB);
    CHECK_INT(found.v[0].len, ==, 64 * KIB);
}

static void
what_cannot_be_compared_is_refused(void)
{
    CLEANUP(mem_free) char *path = image("s.qcow2");
    CLEANUP(mem_free) char *raw = image("d.raw");
    CLEANUP(mem_free) char *small = image("k.qcow2");
    struct disk_layer s = { path, "qcow2" }, k = { small, "qcow2" };
    struct disk_layer r = { raw, "raw" }, wrong = { raw, "qcow2" };
    struct disk_layer gone = { "/no/such/file", "raw" };
    CLEANUP(ranges_fini) struct ranges found = RANGES_INIT;
    struct err err = { 0 };

    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", path,
        "24M", NULL);
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k",
        small, "24M", NULL);
    CHECK_ERR(disk_clonediff(&s, &s, &found, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(disk_clonediff(&r, &k, &found, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(disk_clonediff(&wrong, &wrong, &found, &err), &err, ERR_INVALID);
    CHECK_ERR(disk_clonediff(&gone, &r, &found, &err), &err, ERR_NOT_FOUND);
    CHECK_INT(found.n, ==, 0);
}

/* A header that names one table a million times. */
static void
tables_without_end_are_refused(void)
{
    CLEANUP(mem_free) char *path = image("k.qcow2");
    struct disk_layer k = { path, "qcow2" };
    CLEANUP(ranges_fini) struct ranges found = RANGES_INIT;
    struct err err = { 0 };
    uint8_t entry[8] = { 0x80, 0, 0, 0, 0, 0, 0x30, 0 };
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t at[8];
    uint64_t l1 = 0;

    CHECK(fd >= 0);
    CHECK_INT(pread(fd, at, 8, 40), ==, 8);
    for (int i = 0; i < 8; i++)
        l1 = l1 << 8 | at[i];
    /* 12 tables of 2 MiB each: the file has room for fewer clusters */
    CHECK_INT(ftruncate(fd, (off_t)l1 + 4096), ==, 0);
    for (int i = 0; i < 12; i++)
        CHECK_INT(pwrite(fd, entry, 8, (off_t)l1 + i * 8), ==, 8);
    (void)close(fd);
    CHECK_ERR(disk_clonediff(&k, &k, &found, &err), &err, ERR_CORRUPT);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what is written to a raw disk is found",
          what_is_written_to_a_raw_disk_is_found },
        { "what is written to a qcow2 disk is found",
          what_is_written_to_a_qcow2_disk_is_found },
        { "a compressed image is no obstacle",
          a_compressed_image_is_no_obstacle },
        { "nothing was written nothing is found",
          nothing_was_written_nothing_is_found },
        { "a disk that has grown differs where it has data",
          a_disk_that_has_grown_differs_where_it_has_data },
        { "what cannot be compared is refused",
          what_cannot_be_compared_is_refused },
        { "tables without end are refused", tables_without_end_are_refused },
    };
    const char *dir = getenv("VMKEEP_TEST_REFLINK_DIR");
    CLEANUP(mem_free) char *path = NULL;
    int rc;

    if (dir != NULL)
        (void)snprintf(images_dir, sizeof images_dir, "%s/XXXXXX", dir);
    if (mkdtemp(images_dir) == NULL)
        return 1;
    path = image("probe");
    run("truncate", "-s", "1M", path, NULL);
    can_share = dir != NULL;
    if (can_share)
        free(copy_of(path, "probe2"));
    rc = test_main(cases, ARRAY_SIZE(cases));
    run("rm", "-rf", images_dir, NULL);
    return rc;
}
