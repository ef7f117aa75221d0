/* SPDX-License-Identifier: Apache-2.0 */
/* A real qemu-nbd on real images; what qemu-img reads is the reference. */
#include <sys/wait.h>

#include <dirent.h>
#include <signal.h>

#include "base/clock.h"
#include "disk/bitmap.h"
#include "disk/chain.h"
#include "disk/source-priv.h"
#include "disk/source.h"
#include "disk/sweep.h"
#include "disk/test-images.h"

static struct disk_source *
open_source(const char *path, const char *format, unsigned connections)
{
    const struct disk_source_options o = { .dir = images_dir,
                                           .top = { path, format },
                                           .connections = connections };
    struct err err = { .code = ERR_NONE };
    struct disk_source *s = NULL;

    CHECK_OK(disk_source_open(&o, &s, &err), &err);
    return s;
}

static int
try_open(const char *path, const char *format, struct err *err)
{
    const struct disk_source_options o = { .dir = images_dir,
                                           .top = { path, format } };
    struct disk_source *s = NULL;
    int rc = disk_source_open(&o, &s, err);

    disk_source_close(s);
    return rc;
}

static void
all_of(const struct disk_source *s, struct ranges *ret)
{
    ranges_add(ret, 0, disk_source_size(s));
}

/* No qemu-nbd's socket is left in the directory. */
static void
check_no_socket(void)
{
    DIR *d = opendir(images_dir);
    struct dirent *e;

    CHECK(d != NULL);
    while ((e = readdir(d)) != NULL)
        CHECK(strstr(e->d_name, ".sock") == NULL);
    closedir(d);
}

/* The whole disk is what qemu-img says, in chunks of several sizes. */
static void
check_copy(const char *path, const char *format, size_t chunk,
           unsigned connections, struct probe *ret)
{
    CLEANUP(disk_source_close)
    struct disk_source *s = open_source(path, format, connections);
    CLEANUP(ranges_fini) struct ranges want = RANGES_INIT;
    CLEANUP(mem_free) uint8_t *expect = NULL;
    struct err err = { .code = ERR_NONE };
    struct probe p = { .data = NULL };
    size_t len;

    expect = content(path, format, &len);
    CHECK_INT(disk_source_size(s), ==, len);
    const struct disk_sink sink = probe_sink(&p, len, chunk);

    all_of(s, &want);
    CHECK_OK(disk_source_copy(s, &want, chunk, &sink, &err), &err);
    CHECK(memcmp(p.data, expect, len) == 0);
    CHECK_INT(p.n_read + p.n_zero, ==, len);
    CHECK_INT(p.done, ==, len);
    CHECK(p.n_out_max <= 2 || p.n_out_max * chunk <= DISK_SINK_HELD_MAX);
    probe_fini(&p);
    if (ret != NULL)
        *ret = p;
}

static void
a_qcow2_image_is_read_as_it_is(void)
{
    CLEANUP(mem_free) char *path = image("a b,c'd.qcow2");
    static const size_t chunks[] = { 4096, 65536, 262144, 4 << 20, 16 << 20 };
    struct probe p;

    run("qemu-img", "create", "-q", "-f", "qcow2", path, "40M", NULL);
    qemu_io(path, "qcow2", "write -P 0x11 0 1M");
    qemu_io(path, "qcow2", "write -P 0x22 4097k 5k");
    qemu_io(path, "qcow2", "write -z 9M 1M");
    qemu_io(path, "qcow2", "write -P 0x33 20M 9M");
    qemu_io(path, "qcow2", "discard 22M 1M");
    qemu_io(path, "qcow2", "write -P 0x44 41942528 512");
    for (size_t i = 0; i < ARRAY_SIZE(chunks); i++)
        check_copy(path, "qcow2", chunks[i], (unsigned)i % 4, &p);
    check_copy(path, "qcow2", 262144, 1, &p);
    CHECK_INT(p.n_read, ==, MIB + 256 * KIB + 8 * MIB + 256 * KIB);
    check_no_socket();
    (void)unlink(path);
}

static void
only_what_is_wanted_is_read(void)
{
    CLEANUP(mem_free) char *path = image("want.qcow2");
    CLEANUP(ranges_fini) struct ranges want = RANGES_INIT;
    CLEANUP(ranges_fini) struct ranges data = RANGES_INIT;
    CLEANUP(mem_free) uint8_t *expect = NULL;
    struct err err = { .code = ERR_NONE };
    struct probe p = { .data = NULL };
    uint8_t block[1000];
    size_t len;

    run("qemu-img", "create", "-q", "-f", "qcow2", path, "64M", NULL);
    for (unsigned i = 0; i < 64; i += 2) {
        CLEANUP(mem_free) char *io = xasprintf("write -P %u %uM 1M", i + 1, i);

        qemu_io(path, "qcow2", io);
    }
    expect = content(path, "qcow2", &len);
    CLEANUP(disk_source_close)
    struct disk_source *s = open_source(path, "qcow2", 0);

    CHECK_OK(disk_source_allocated(s, &data, &err), &err);
    CHECK_INT(data.n, ==, 32);
    CHECK_INT(ranges_bytes(&data), ==, 32 * MIB);
    CHECK_OK(disk_source_read(s, 2 * MIB - 100, block, sizeof block, &err),
             &err);
    CHECK(memcmp(block, expect + 2 * MIB - 100, sizeof block) == 0);
    /* Of each MiB the third quarter, but the first four. */
    for (uint64_t i = 4; i < 64; i++)
        ranges_add(&want, i * MIB + 512 * KIB, 256 * KIB);
    const struct disk_sink sink = probe_sink(&p, len, 256 * KIB);

    CHECK_OK(disk_source_copy(s, &want, 256 * KIB, &sink, &err), &err);
    for (size_t at = 0; at < len; at += 256 * KIB) {
        if (ranges_overlaps(&want, at, 1))
            CHECK(memcmp(p.data + at, expect + at, 256 * KIB) == 0);
        else
            CHECK(p.data[at] == 0xee && p.data[at + 256 * KIB - 1] == 0xee);
    }
    CHECK_INT(p.n_read, ==, 30 * 256 * KIB);
    CHECK_INT(p.n_zero, ==, 30 * 256 * KIB);
    CHECK_INT(p.done, ==, 60 * 256 * KIB);
    probe_fini(&p);
    CHECK_ERR(disk_source_read(s, 64 * MIB - 10, block, 11, &err), &err,
              ERR_INVALID);
    /* A copy of nothing, and one after another, work. */
    struct probe q = { .data = NULL };
    const struct disk_sink again = probe_sink(&q, len, MIB);
    CLEANUP(ranges_fini) struct ranges all = RANGES_INIT;

    CHECK_OK(disk_source_copy(s, &all, MIB, &again, &err), &err);
    all_of(s, &all);
    CHECK_OK(disk_source_copy(s, &all, MIB, &again, &err), &err);
    CHECK(memcmp(q.data, expect, len) == 0);
    probe_fini(&q);
    (void)unlink(path);
}

static void
a_raw_file_of_an_odd_size_is_read_to_its_last_byte(void)
{
    CLEANUP(mem_free) char *path = image("odd.raw");
    CLEANUP(mem_free) char *over = image("over-odd.qcow2");
    static const off_t sizes[] = { 1,    511,    513,
                                   1000, 262145, 5 * 1024 * 1024 + 77 };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        CLEANUP(fd_close)
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        CHECK(fd >= 0 && ftruncate(fd, sizes[i]) == 0);
        CHECK_INT(pwrite(fd, "\x55", 1, sizes[i] - 1), ==, 1);
        CHECK_INT(pwrite(fd, "\x44", 1, sizes[i] / 2), ==, 1);
        printf("# %lld bytes\n", (long long)sizes[i]);
        check_copy(path, "raw", 65536, 1, NULL);
        check_copy(path, "raw", 4096, 1, NULL);
    }
    overlay(over, path, "raw", NULL);
    check_copy(over, "qcow2", 65536, 1, NULL);
    (void)unlink(over);
    (void)unlink(path);
}

static void
thirty_two_layers_are_one_disk(void)
{
    char *paths[33];
    struct probe p;

    paths[0] = image("base.raw");
    run("qemu-img", "create", "-q", "-f", "raw", paths[0], "8M", NULL);
    qemu_io(paths[0], "raw", "write -P 0xf0 0 3M");
    for (unsigned i = 1; i <= 32; i++) {
        CLEANUP(mem_free)
        char *io = xasprintf("write -P %u %uk 100k", i, i * 200);
        CLEANUP(mem_free) char *name = xasprintf("layer-%u.qcow2", i);

        paths[i] = image(name);
        /* Relative names too. */
        overlay(paths[i], i % 2 ? paths[i - 1] : strrchr(paths[i - 1], '/') + 1,
                i == 1 ? "raw" : "qcow2", NULL);
        qemu_io(paths[i], "qcow2", io);
    }
    qemu_io(paths[32], "qcow2", "write -z 1M 64k");
    check_copy(paths[32], "qcow2", 262144, 1, &p);
    check_copy(paths[17], "qcow2", 262144, 1, &p);
    for (unsigned i = 0; i <= 32; i++) {
        (void)unlink(paths[i]);
        free(paths[i]);
    }
}

static void
internal_snapshots_do_not_matter(void)
{
    CLEANUP(mem_free) char *path = image("snaps.qcow2");

    run("qemu-img", "create", "-q", "-f", "qcow2", path, "4M", NULL);
    qemu_io(path, "qcow2", "write -P 1 0 2M");
    run("qemu-img", "snapshot", "-c", "s1", path, NULL);
    qemu_io(path, "qcow2", "write -P 2 1M 2M");
    run("qemu-img", "snapshot", "-c", "s2", path, NULL);
    qemu_io(path, "qcow2", "write -P 3 100k 10k");
    check_copy(path, "qcow2", 65536, 1, NULL);
    (void)unlink(path);
}

/* ---- what is refused ---- */

static void
images_that_qemu_would_guess_at_are_refused(void)
{
    CLEANUP(mem_free) char *base = image("guess.raw");
    CLEANUP(mem_free) char *path = image("bad.qcow2");
    CLEANUP(mem_free) char *data = image("bad.data");
    CLEANUP(mem_free)
    char *option = xasprintf("data_file=%s,data_file_raw=on", data);
    struct err err = { .code = ERR_NONE };

    run("qemu-img", "create", "-q", "-f", "raw", base, "1M", NULL);
    overlay(path, base, "raw", NULL);
    /* Version 2 headers can be written without a format. */
    run("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", base, "-F",
        "raw", path, NULL);
    {
        CLEANUP(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);
        uint8_t head[512];

        CHECK_INT(pread(fd, head, sizeof head, 0), ==, sizeof head);
        for (size_t i = 104; i + 4 < sizeof head; i++)
            if (memcmp(head + i, "\xe2\x79\x2a\xca", 4) == 0)
                memcpy(head + i, "\x12\x34\x56\x78",
                       4); /* not known: skipped */
        CHECK_INT(pwrite(fd, head, sizeof head, 0), ==, sizeof head);
    }
    CHECK_ERR(try_open(path, "qcow2", &err), &err, ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "format") != NULL);
    run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b",
        "nbd://127.0.0.1:1/x", path, "1M", NULL);
    CHECK_ERR(try_open(path, "qcow2", &err), &err, ERR_UNSUPPORTED);
    run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b",
        "json:{\"driver\":\"null-co\"}", path, "1M", NULL);
    CHECK_ERR(try_open(path, "qcow2", &err), &err, ERR_UNSUPPORTED);
    run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "vmdk", "-b",
        base, path, "1M", NULL);
    CHECK_ERR(try_open(path, "qcow2", &err), &err, ERR_UNSUPPORTED);
    (void)unlink(path);
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", option, path, "1M",
        NULL);
    CHECK_ERR(try_open(path, "qcow2", &err), &err, ERR_UNSUPPORTED);
    (void)unlink(path);
    /* qemu-img measures the CPU to make one, which a busy machine refuses. */
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "1M", NULL);
    {
        CLEANUP(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);

        CHECK_INT(pwrite(fd, "\0\0\0\2", 4, 32), ==, 4); /* LUKS */
    }
    CHECK_ERR(try_open(path, "qcow2", &err), &err, ERR_UNSUPPORTED);
    (void)unlink(path);
    (void)unlink(data);
    CHECK_ERR(try_open(base, "vdi", &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(try_open(base, "qcow2", &err), &err, ERR_INVALID);
    CHECK_ERR(try_open("/dev/null", "raw", &err), &err, ERR_INVALID);
    CHECK_ERR(try_open(images_dir, "raw", &err), &err, ERR_INVALID);
    CHECK_ERR(try_open("guess.raw", "raw", &err), &err, ERR_INVALID);
    (void)unlink(base);
    CHECK_ERR(try_open(base, "raw", &err), &err, ERR_NOT_FOUND);
    CHECK_ERR(try_open(path, "qcow2", &err), &err, ERR_NOT_FOUND);
    check_no_socket();
}

static void
a_chain_that_bites_its_tail_is_refused(void)
{
    CLEANUP(mem_free) char *a = image("loop-a.qcow2");
    CLEANUP(mem_free) char *b = image("loop-b.qcow2");
    struct err err = { .code = ERR_NONE };

    run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "qcow2", "-b", b,
        a, "1M", NULL);
    run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "qcow2", "-b", a,
        b, "1M", NULL);
    CHECK_ERR(try_open(a, "qcow2", &err), &err, ERR_UNSUPPORTED);
    (void)unlink(b);
    CHECK_ERR(try_open(a, "qcow2", &err), &err, ERR_NOT_FOUND);
    (void)unlink(a);
}

/* ---- what goes wrong ---- */

static struct disk_source *victim;
static char *victim_path;

static void
kill_server(void)
{
    CHECK(kill(nbdserver_pid(victim->server), SIGKILL) == 0);
}

static void
stop_server(void)
{
    CHECK(kill(nbdserver_pid(victim->server), SIGSTOP) == 0);
}

static void
shrink_image(void)
{
    CHECK(truncate(victim_path, 5 * 1024 * 1024) == 0);
}

static void
unlink_image(void)
{
    CHECK(unlink(victim_path) == 0);
}

#define VICTIM_SIZE (24 * MIB)

/* A copy of 24 MiB of data with something happening after 4 of them. */
static void
copy_with(void (*disturb)(void), struct probe *p, struct err *err)
{
    CLEANUP(ranges_fini) struct ranges want = RANGES_INIT;
    const struct disk_sink sink = probe_sink(p, VICTIM_SIZE, 64 * KIB);
    const struct disk_source_options o = { .dir = images_dir,
                                           .top = { victim_path, "raw" },

                                           .stall_ms = disturb == stop_server
                                                           ? 700
                                                           : 0 };

    run("qemu-img", "create", "-q", "-f", "raw", victim_path, "24M", NULL);
    qemu_io(victim_path, "raw", "write -q -P 0x77 0 24M");
    p->disturb = disturb;
    p->disturb_at = 4 * MIB;
    CHECK_OK(disk_source_open(&o, &victim, err), err);
    all_of(victim, &want);
    CHECK_INT(disk_source_copy(victim, &want, 64 * KIB, &sink, err), <, 0);
    printf("# %s\n", err->msg);
    /* Nothing that was handed on is wrong. */
    for (size_t at = 0; at < p->size; at += 4096)
        CHECK(p->data[at] == 0x77 || p->data[at] == 0xee ||
              disturb == shrink_image);
    struct err again = { .code = ERR_NONE };
    uint8_t byte;

    CHECK_ERR(disk_source_read(victim, 0, &byte, 1, &again), &again,
              ERR_UNAVAILABLE);
    probe_fini(p);
}

static void
a_copy_ends_cleanly_whatever_happens(void)
{
    struct err err = { .code = ERR_NONE };
    struct probe p = { .data = NULL };

    victim_path = image("victim.raw");
    copy_with(kill_server, &p, &err);
    CHECK_INT(err.code, ==, ERR_UNAVAILABLE);
    CHECK(strstr(err.msg, "signal 9") != NULL);
    disk_source_close(victim);
    p = (struct probe){ .data = NULL };
    copy_with(stop_server, &p, &err);
    CHECK_INT(err.code, ==, ERR_TIMEOUT);
    kill(nbdserver_pid(victim->server), SIGCONT);
    disk_source_close(victim);
    p = (struct probe){ .data = NULL };
    copy_with(shrink_image, &p, &err);
    CHECK_INT(err.code, ==, ERR_CONFLICT);
    disk_source_close(victim);
    p = (struct probe){ .data = NULL };
    copy_with(unlink_image, &p, &err);
    CHECK_INT(err.code, ==, ERR_CONFLICT);
    disk_source_close(victim);
    p = (struct probe){ .cancel_at = 16 * MIB };
    copy_with(NULL, &p, &err);
    CHECK_INT(err.code, ==, ERR_CANCELLED);
    CHECK_INT(p.done, ==, 16 * MIB);
    disk_source_close(victim);
    p = (struct probe){ .fail_at = 16 * MIB };
    copy_with(NULL, &p, &err);
    CHECK_INT(err.code, ==, ERR_NO_SPACE);
    CHECK(strstr(err.msg, "the sink is full") != NULL);
    disk_source_close(victim);
    check_no_socket();
    (void)unlink(victim_path);
    free(victim_path);
}

static void
a_directory_with_a_long_name_will_do(void)
{
    CLEANUP(mem_free)
    char *deep = xasprintf("%s/%0100d/%0100d", images_dir, 1, 2);
    CLEANUP(mem_free) char *upper = xasprintf("%s/%0100d", images_dir, 1);
    CLEANUP(mem_free) char *path = image("small.raw");
    const struct disk_source_options o = { .dir = deep,
                                           .top = { path, "raw" } };
    struct err err = { .code = ERR_NONE };
    CLEANUP(disk_source_close) struct disk_source *s = NULL;

    CHECK(mkdir(upper, 0700) == 0 && mkdir(deep, 0700) == 0);
    run("qemu-img", "create", "-q", "-f", "raw", path, "1M", NULL);
    CHECK_OK(disk_source_open(&o, &s, &err), &err);
    CHECK_INT(disk_source_size(s), ==, MIB);
    disk_source_close(TAKE(s));
    CHECK(rmdir(deep) == 0 && rmdir(upper) == 0);
    CHECK_ERR(disk_source_open(&o, &s, &err), &err, ERR_NOT_FOUND);
    (void)unlink(path);
}

/* ---- bitmaps ---- */

static void
a_bitmap_says_what_was_written(void)
{
    CLEANUP(mem_free) char *base = image("tracked.qcow2");
    CLEANUP(mem_free) char *top = image("tracked-top.qcow2");
    CLEANUP(ranges_fini) struct ranges dirty = RANGES_INIT;
    struct disk_bitmap_file f = { .path = base };
    struct disk_layer layer = { base, "qcow2" };
    struct err err = { .code = ERR_NONE };

    run("qemu-img", "create", "-q", "-f", "qcow2", base, "16M", NULL);
    qemu_io(base, "qcow2", "write -P 1 0 16M");
    CHECK_ERR(disk_dirty_read(images_dir, &layer, "b-1", &dirty, &err), &err,
              ERR_NOT_FOUND);
    CHECK_OK(disk_bitmap_add(&f, "b-1", &err), &err);
    CHECK_OK(disk_bitmap_add(&f, "b-1", &err), &err); /* again is fine */
    CHECK_OK(disk_dirty_read(images_dir, &layer, "b-1", &dirty, &err), &err);
    CHECK_INT(dirty.n, ==, 0);
    qemu_io(base, "qcow2", "write -P 2 1M 4k");
    qemu_io(base, "qcow2", "write -z 4M 1M");
    qemu_io(base, "qcow2", "discard 8M 128k");
    CHECK_OK(disk_dirty_read(images_dir, &layer, "b-1", &dirty, &err), &err);
    CHECK_INT(dirty.n, ==, 3);
    CHECK_INT(ranges_bytes(&dirty), ==, 64 * KIB + MIB + 128 * KIB);
    CHECK(ranges_overlaps(&dirty, 8 * MIB, 1));
    /* A layer above has its own; both together are what changed. */
    overlay(top, base, "qcow2", NULL);
    f.path = top;
    CHECK_OK(disk_bitmap_add(&f, "b-1", &err), &err);
    qemu_io(top, "qcow2", "write -P 3 12M 1k");
    layer.path = top;
    CHECK_OK(disk_dirty_read(images_dir, &layer, "b-1", &dirty, &err), &err);
    CHECK_INT(dirty.n, ==, 4);
    CHECK_OK(disk_bitmap_remove(&f, "b-1", &err), &err);
    CHECK_OK(disk_bitmap_remove(&f, "b-1", &err), &err);
    CHECK_ERR(disk_dirty_read(images_dir, &layer, "b-1", &dirty, &err), &err,
              ERR_NOT_FOUND);
    layer.format = "raw";
    CHECK_ERR(disk_dirty_read(images_dir, &layer, "b-1", &dirty, &err), &err,
              ERR_NOT_FOUND);
    (void)unlink(base);
    (void)unlink(top);
    check_no_socket();
}

/* Let a qemu-nbd write to the image and kill it: its bitmaps stay in use. */
static void
kill_a_writer(const char *path)
{
    const struct disk_layer image = { path, "qcow2" };
    const struct nbdserver_options o = { .dir = images_dir,
                                         .image = &image,
                                         .connections = 1,
                                         .is_writable = true };
    const struct nbdconn_options co = { .what = path, .stall_ms = 5000 };
    const struct disk_bitmap_file f = { .path = path };
    struct err err = { .code = ERR_NONE };
    struct nbdserver *server = NULL;
    struct nbdconn *c = NULL;
    int fd;

    CHECK_OK(nbdserver_start(&o, &server, &err), &err);
    CHECK_OK(nbdserver_connect(server, &fd, &err), &err);
    CHECK_OK(nbdconn_open(fd, &co, &c, &err), &err);
    CHECK_OK(nbdconn_write(c, 65536, "abcdefgh", 8, &err), &err);
    CHECK_OK(nbdconn_flush(c, &err), &err);
    /* Somebody writes to it: neither read nor changed. */
    CHECK_ERR(try_open(path, "qcow2", &err), &err, ERR_BUSY);
    CHECK_ERR(disk_bitmap_add(&f, "other", &err), &err, ERR_BUSY);
    CHECK(kill(nbdserver_pid(server), SIGKILL) == 0);
    nbdconn_close(c);
    nbdserver_free(server);
}

static void
a_bitmap_of_a_killed_qemu_is_not_trusted(void)
{
    CLEANUP(mem_free) char *path = image("in-use.qcow2");
    CLEANUP(ranges_fini) struct ranges dirty = RANGES_INIT;
    const struct disk_bitmap_file f = { .path = path };
    const struct disk_layer layer = { path, "qcow2" };
    struct err err = { .code = ERR_NONE };

    run("qemu-img", "create", "-q", "-f", "qcow2", path, "4M", NULL);
    CHECK_OK(disk_bitmap_add(&f, "b", &err), &err);
    kill_a_writer(path);
    CHECK_ERR(disk_dirty_read(images_dir, &layer, "b", &dirty, &err), &err,
              ERR_CORRUPT);
    CHECK_ERR(disk_bitmap_add(&f, "b", &err), &err, ERR_CORRUPT);
    check_copy(path, "qcow2", 65536, 1, NULL);
    CHECK_OK(disk_bitmap_remove(&f, "b", &err), &err);
    CHECK_OK(disk_bitmap_add(&f, "b", &err), &err);
    CHECK_OK(disk_dirty_read(images_dir, &layer, "b", &dirty, &err), &err);
    CHECK_INT(dirty.n, ==, 0);
    (void)unlink(path);
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", path,
        "4M", NULL);
    CHECK_ERR(disk_bitmap_add(&f, "b", &err), &err, ERR_UNSUPPORTED);
    (void)unlink(path);
}

/* ---- sweep ---- */

static void
a_server_that_nobody_reached_is_swept_away(void)
{
    CLEANUP(mem_free) char *path = image("swept.qcow2");
    CLEANUP(mem_free) char *dir = image("job");
    const struct disk_layer layer = { path, "qcow2" };
    const struct nbdserver_options o = { .dir = dir,
                                         .image = &layer,
                                         .connections = 1 };
    struct err err = { .code = ERR_NONE };
    struct nbdserver *early = NULL, *late = NULL;
    int fd;

    if (getenv("VMKEEP_VALGRIND") != NULL)
        return; /* it has no pidfd_open() */
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "4M", NULL);
    CHECK_OK(disk_sweep(dir, &err), &err); /* not there */
    CHECK(mkdir(dir, 0700) == 0);
    CHECK_OK(nbdserver_start(&o, &early, &err), &err);
    /* Wait until it listens, as a process that is killed then would. */
    CHECK_OK(nbdserver_connect(early, &fd, &err), &err);
    close(fd);
    CHECK_OK(nbdserver_start(&o, &late, &err), &err); /* not listening yet */
    CHECK_OK(disk_sweep(dir, &err), &err);
    CHECK(access(dir, F_OK) < 0);
    CHECK_ERR(nbdserver_end(early, 50000, &err), &err, ERR_UNAVAILABLE);
    CHECK_INT(nbdserver_end(late, 50000, &err), <, 0);
    printf("# late: %s\n", err.msg);
    CHECK(err.code != ERR_TIMEOUT);
    nbdserver_free(early);
    nbdserver_free(late);
    /* Its lock is gone: it can be written to. */
    qemu_io(path, "qcow2", "write 0 64k");
    (void)unlink(path);
    CHECK(mkdir(dir, 0700) == 0);
    CLEANUP(mem_free) char *stranger = image("job/file");

    close(open(stranger, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK_ERR(disk_sweep(dir, &err), &err, ERR_BUSY);
    (void)unlink(stranger);
    CHECK_OK(disk_sweep(dir, &err), &err);
}

/* A process that reads a disk is killed: its qemu-nbd goes with it, and with
 * that the lock on the image. */
static void
a_server_ends_with_its_client(void)
{
    CLEANUP(mem_free) char *path = image("orphan.qcow2");
    const char *const write[] = { "qemu-io",        "-f", "qcow2", "-c",
                                  "write -q 0 64k", path, NULL };
    uint64_t deadline_ms;
    int ready[2], code = 1;
    pid_t pid;

    run("qemu-img", "create", "-q", "-f", "qcow2", path, "4M", NULL);
    CHECK(pipe2(ready, O_CLOEXEC) == 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(open_source(path, "qcow2", 2) != NULL);
        CHECK_INT(dprintf(ready[1], "."), ==, 1);
        pause();
        _exit(0);
    }
    char byte;

    CHECK_INT(read(ready[0], &byte, 1), ==, 1);
    struct err err = { .code = ERR_NONE };

    CHECK_OK(spawn_run_code(write, 20000, NULL, &code, &err), &err);
    CHECK_INT(code, !=, 0); /* it is being read */
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    deadline_ms = clock_mono_ms() + 10000;
    do {
        CHECK_OK(spawn_run_code(write, 20000, NULL, &code, &err), &err);
    } while (code != 0 && clock_mono_ms() < deadline_ms);
    CHECK_INT(code, ==, 0);
    close(ready[0]);
    close(ready[1]);
    (void)unlink(path);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a qcow2 image is read as it is", a_qcow2_image_is_read_as_it_is },
        { "only what is wanted is read", only_what_is_wanted_is_read },
        { "a raw file of an odd size is read to its last byte",
          a_raw_file_of_an_odd_size_is_read_to_its_last_byte },
        { "thirty-two layers are one disk", thirty_two_layers_are_one_disk },
        { "internal snapshots do not matter",
          internal_snapshots_do_not_matter },
        { "images that QEMU would guess at are refused",
          images_that_qemu_would_guess_at_are_refused },
        { "a chain that bites its tail is refused",
          a_chain_that_bites_its_tail_is_refused },
        { "a copy ends cleanly whatever happens",
          a_copy_ends_cleanly_whatever_happens },
        { "a directory with a long name will do",
          a_directory_with_a_long_name_will_do },
        { "a bitmap says what was written", a_bitmap_says_what_was_written },
        { "a bitmap of a killed QEMU is not trusted",
          a_bitmap_of_a_killed_qemu_is_not_trusted },
        { "a server that nobody reached is swept away",
          a_server_that_nobody_reached_is_swept_away },
        { "a server ends with its client", a_server_ends_with_its_client },
    };
    int rc;

    if (mkdtemp(images_dir) == NULL)
        return 1;
    rc = test_main(cases, ARRAY_SIZE(cases));
    (void)rmdir(images_dir);
    return rc;
}
