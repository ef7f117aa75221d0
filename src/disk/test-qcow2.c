/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/spawn.h"
#include "disk/qcow2.h"
#include "test.h"

static char dir[] = "/tmp/vk-qcow2-XXXXXX";

static void
put_be(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

/* A header as QEMU writes it, with a backing file "/b" of format "raw". */
static size_t
sample(uint8_t d[4096])
{
    memset(d, 0, 4096);
    memcpy(d, "QFI\xfb", 4);
    put_be(d + 4, 3, 4);
    put_be(d + 8, 136, 8); /* name at */
    put_be(d + 16, 2, 4);  /* its length */
    put_be(d + 20, 16, 4);
    put_be(d + 24, 1 << 30, 8);
    put_be(d + 36, 2, 4);
    put_be(d + 40, 0x30000, 8);
    put_be(d + 100, 112, 4);
    put_be(d + 112, 0xe2792aca, 4);
    put_be(d + 116, 3, 4);
    memcpy(d + 120, "raw", 3);
    memcpy(d + 136, "/b", 2);
    return 138;
}

static int
decode(const uint8_t *d, size_t len, struct qcow2_info *i, struct err *err)
{
    size_t need = 0;
    int rc = qcow2_decode(d, len, i, &need, err);

    return rc < 0 ? (int)err->code : need != 0 ? 1000 : 0;
}

static void
a_good_header_is_read(void)
{
    struct err err = { 0 };
    CLEANUP(qcow2_info_fini) struct qcow2_info i = { 0 };
    uint8_t d[4096];
    size_t len = sample(d);

    CHECK_INT(decode(d, len, &i, &err), ==, 0);
    CHECK(strcmp(i.backing, "/b") == 0);
    CHECK(strcmp(i.backing_format, "raw") == 0);
    CHECK_INT(i.size, ==, 1 << 30);
    CHECK(!i.is_dirty && !i.has_data_file);
}

static void
hostile_headers_are_refused(void)
{
    static const struct {
        size_t at;
        int bytes;
        uint64_t value;
    } bad[] = {
        { 0, 4, 0 },           { 4, 4, 1 },           { 4, 4, 4 },
        { 8, 8, UINT64_MAX },  { 8, 8, 1 },           { 8, 8, 1 << 20 },
        { 16, 4, 0 },          { 16, 4, 1024 },       { 16, 4, UINT32_MAX },
        { 20, 4, 8 },          { 20, 4, 22 },         { 20, 4, UINT32_MAX },
        { 24, 8, 1ull << 63 }, { 36, 4, UINT32_MAX }, { 40, 8, 1ull << 63 },
        { 100, 4, 0 },         { 100, 4, 103 },       { 100, 4, UINT32_MAX },
        { 116, 4, 16 },        { 116, 4, 17 },        { 116, 4, UINT32_MAX },
        { 120, 1, 0 },         { 136, 1, 0 },
    };

    for (size_t n = 0; n < ARRAY_SIZE(bad); n++) {
        struct err err = { 0 };
        struct qcow2_info i = { 0 };
        uint8_t d[4096];
        size_t len = sample(d);
        int rc;

        put_be(d + bad[n].at, bad[n].value, bad[n].bytes);
        rc = decode(d, len, &i, &err);
        printf("# case %zu: %d\n", n, rc);
        CHECK(rc == ERR_CORRUPT || rc == ERR_INVALID);
    }
    for (size_t len = 0; len < 138; len++) {
        struct err err = { 0 };
        struct qcow2_info i = { 0 };
        uint8_t d[4096];

        (void)sample(d);
        CHECK(decode(d, len, &i, &err) != 0);
    }
}

/* The first read is of 4 KiB: what stands behind that is found, too. */
static void
a_header_of_more_than_4_KiB_is_read(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *path = xasprintf("%s/long.qcow2", dir);
    CLEANUP(mem_free) uint8_t *d = xcalloc(1, 65536);
    CLEANUP(qcow2_info_fini) struct qcow2_info i = { 0 };

    (void)mkdir(dir, 0700);

    CLEANUP(fd_close)
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    (void)sample(d);
    memset(d + 8, 0, 12); /* no backing file */
    memset(d + 112, 0, 64);
    put_be(d + 112, 0x6803f857, 4); /* the names of features */
    put_be(d + 116, 8192, 4);
    put_be(d + 120 + 8192, 0xe2792aca, 4);
    put_be(d + 124 + 8192, 3, 4);
    memcpy(d + 128 + 8192, "raw", 3);
    CHECK_INT(write(fd, d, 65536), ==, 65536);
    CHECK_OK(qcow2_read(fd, path, &i, &err), &err);
    CHECK(i.backing_format != NULL && strcmp(i.backing_format, "raw") == 0);
    (void)unlink(path);
}

static int
open_image(const char *const argv[], const char *path)
{
    struct err err = { 0 };
    int fd;

    CHECK_OK(spawn_run(argv, 20000, NULL, &err), &err);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK_INT(fd, >=, 0);
    return fd;
}

static void
what_qemu_img_writes_is_read(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *path = xasprintf("%s/a b,c.qcow2", dir);
    CLEANUP(mem_free) char *back = xasprintf("%s/%0900d", dir, 7);
    const char *const create[] = { "qemu-img", "create", "-q",  "-u", "-f",
                                   "qcow2",    "-F",     "raw", "-b", back,
                                   path,       "64M",    NULL };
    const char *const write[] = { "qemu-io",        "-f", "qcow2", "-c",
                                  "write -z 0 64k", path, NULL };
    CLEANUP(fd_close) int fd = open_image(create, path);
    CLEANUP(fd_close) int backing_fd = -1;
    CLEANUP(fd_close) int again = -1;
    CLEANUP(qcow2_info_fini) struct qcow2_info i = { 0 };
    bool has_data = true;

    CHECK_OK(qcow2_read(fd, path, &i, &err), &err);
    CHECK(strcmp(i.backing, back) == 0);
    CHECK(strcmp(i.backing_format, "raw") == 0);
    CHECK_INT(i.size, ==, 64 << 20);
    CHECK_OK(qcow2_has_data(fd, path, &i, &has_data, &err), &err);
    CHECK(!has_data);
    (void)mkdir(dir, 0700);
    backing_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    /* Its backing file does not exist: written without one, as a file. */
    CLEANUP(mem_free) char *alone = xasprintf("%s/alone.qcow2", dir);
    const char *const create2[] = { "qemu-img", "create", "-q", "-f",
                                    "qcow2",    alone,    "1M", NULL };
    const char *const write2[] = { write[0], write[1], write[2], write[3],
                                   write[4], alone,    NULL };

    close(open_image(create2, alone));
    again = open_image(write2, alone);
    CLEANUP(qcow2_info_fini) struct qcow2_info j = { 0 };

    CHECK_OK(qcow2_read(again, alone, &j, &err), &err);
    CHECK(j.backing == NULL);
    CHECK_OK(qcow2_has_data(again, alone, &j, &has_data, &err), &err);
    CHECK(has_data);
    CHECK_ERR(qcow2_read(backing_fd, "/dev/null", &i, &err), &err, ERR_INVALID);
    (void)unlink(path);
    (void)unlink(alone);
}

static void
run(const char *const argv[])
{
    struct err err = { 0 };

    CHECK_OK(spawn_run(argv, 20000, NULL, &err), &err);
}

static void
bitmaps_are_listed(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *path = xasprintf("%s/bitmaps.qcow2", dir);
    CLEANUP(qcow2_info_fini) struct qcow2_info i = { 0 };
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps b = { 0 };
    const char *const create[] = { "qemu-img", "create", "-q", "-f",
                                   "qcow2",    path,     "1G", NULL };
    const char *const first[] = { "qemu-img", "bitmap", "--add",
                                  path,       "a b",    NULL };
    const char *const second[] = { "qemu-img", "bitmap",   "--add",
                                   "-g",       "4k",       "--disable",
                                   path,       "vmkeep-é", NULL };
    CLEANUP(fd_close) int fd = -1;
    uint8_t zeros[8] = { 0 };

    run(create);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK_OK(qcow2_read(fd, path, &i, &err), &err);
    CHECK_OK(qcow2_bitmaps_read(fd, path, &i, &b, &err), &err);
    CHECK_INT(b.n, ==, 0);
    run(first);
    run(second);
    qcow2_info_fini(&i);
    CHECK_OK(qcow2_read(fd, path, &i, &err), &err);
    CHECK_OK(qcow2_bitmaps_read(fd, path, &i, &b, &err), &err);
    CHECK_INT(b.n, ==, 2);
    CHECK(qcow2_bitmaps_find(&b, "a b")->is_auto);
    CHECK_INT(qcow2_bitmaps_find(&b, "a b")->granularity, ==, 65536);
    CHECK(!qcow2_bitmaps_find(&b, "vmkeep-é")->is_auto);
    CHECK_INT(qcow2_bitmaps_find(&b, "vmkeep-é")->granularity, ==, 4096);
    CHECK(!qcow2_bitmaps_find(&b, "vmkeep-é")->in_use);
    CHECK(qcow2_bitmaps_find(&b, "a") == NULL);
    /* A program that knows no bitmaps wrote to it: the bit is gone. */
    CHECK_INT(pwrite(fd, zeros, 8, 88), ==, 8);
    qcow2_info_fini(&i);
    qcow2_bitmaps_fini(&b);
    CHECK_OK(qcow2_read(fd, path, &i, &err), &err);
    CHECK_OK(qcow2_bitmaps_read(fd, path, &i, &b, &err), &err);
    CHECK_INT(b.n, ==, 0);
    (void)unlink(path);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a good header is read", a_good_header_is_read },
        { "hostile headers are refused", hostile_headers_are_refused },
        { "a header of more than 4 KiB is read",
          a_header_of_more_than_4_KiB_is_read },
        { "what qemu-img writes is read", what_qemu_img_writes_is_read },
        { "bitmaps are listed", bitmaps_are_listed },
    };
    int rc;

    if (mkdtemp(dir) == NULL)
        return 1;
    rc = test_main(cases, ARRAY_SIZE(cases));
    (void)rmdir(dir);
    return rc;
}
