/* SPDX-License-Identifier: Apache-2.0 */
/* On a file system that can share blocks everything is tried; on one that
 * cannot, that it is said. The directory: VMKEEP_TEST_REFLINK_DIR, else /tmp.
 */
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "test.h"
#include "volume/reflink.h"

#define SIZE (1 << 20)

static char *dir;

static char *
make(const char *name, int byte)
{
    char *path = xasprintf("%s/%s", dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    CLEANUP(mem_free) char *data = xcalloc(1, SIZE);

    memset(data, byte, SIZE);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, data, SIZE), ==, SIZE);
    CHECK_INT(fsync(fd), ==, 0);
    (void)close(fd);
    return path;
}

static bool
can_share(const char *path)
{
    uint64_t us = 0;
    struct err err;

    if (reflink_probe(path, &us, &err) == 0)
        return true;
    CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
    return false;
}

/* Who is killed while it tries leaves nothing behind. */
static void
trying_makes_no_name(void)
{
    CLEANUP(mem_free) char *from = make("tried.raw", 7);
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    char event[sizeof(struct inotify_event) + NAME_MAX + 1];

    CHECK_INT(inotify_add_watch(watch, dir, IN_CREATE), >=, 0);
    (void)can_share(from);
    CHECK_INT(read(watch, event, sizeof event), ==, -1);
    (void)close(watch);
}

static int
byte_at(const char *path, off_t off)
{
    uint8_t b = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    CHECK_INT(pread(fd, &b, 1, off), ==, 1);
    (void)close(fd);
    return b;
}

static void
a_copy_is_independent_and_shares_its_blocks(void)
{
    CLEANUP(mem_free) char *from = make("a.raw", 7);
    CLEANUP(mem_free) char *to = xasprintf("%s/b.raw", dir);
    const char *const both[] = { from, to };
    uint64_t own = 1, all = 0, alone = 0;
    struct stat st;
    struct err err = { 0 };
    int fd;

    if (!can_share(from))
        return;
    CHECK_OK(reflink_create(from, to, &err), &err);
    CHECK_INT(stat(to, &st), ==, 0);
    CHECK_INT(st.st_mode & 07777, ==, 0600);
    CHECK_OK(reflink_copy(from, to, &err), &err);
    CHECK_INT(byte_at(to, SIZE - 1), ==, 7);
    CHECK_OK(reflink_own_bytes(to, &own, &err), &err);
    CHECK_INT(own, ==, 0);
    CHECK_OK(reflink_all_bytes(both, 2, &all, &err), &err);
    CHECK_OK(reflink_all_bytes(both, 1, &alone, &err), &err);
    CHECK_INT(all, ==, alone);
    fd = open(from, O_WRONLY | O_CLOEXEC);
    CHECK_INT(pwrite(fd, "x", 1, 65536), ==, 1);
    CHECK_INT(fsync(fd), ==, 0);
    (void)close(fd);
    CHECK_INT(byte_at(from, 65536), ==, 'x');
    CHECK_INT(byte_at(to, 65536), ==, 7);
    CHECK_OK(reflink_own_bytes(to, &own, &err), &err);
    CHECK_INT(own, <=, 65536); /* btrfs: the old extent is kept whole */
}

static void
a_file_without_copy_on_write_is_copied_too(void)
{
    CLEANUP(mem_free) char *from = xasprintf("%s/nocow.raw", dir);
    CLEANUP(mem_free) char *to = xasprintf("%s/nocow2.raw", dir);
    const char *const chattr[] = { "chattr", "+C", from, NULL };
    CLEANUP(mem_free) char *probe = make("probe.raw", 1);
    struct err err = { 0 };
    CLEANUP(mem_free) char *again = NULL;

    if (!can_share(probe))
        return;
    (void)close(open(from, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (spawn_run(chattr, 10000, NULL, &err) < 0)
        return; /* not btrfs */
    again = make("nocow.raw", 9);
    CHECK_OK(reflink_create(from, to, &err), &err);
    CHECK_OK(reflink_copy(from, to, &err), &err);
    CHECK_INT(byte_at(to, 0), ==, 9);
}

/* ---- what is said of the space, against what the file system says ---- */

#define METADATA (256 << 10) /* bytes that may come and go beside the data */

static uint64_t
bytes_free(void)
{
    CLEANUP(fd_close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statvfs s;

    CHECK_INT(syncfs(fd), ==, 0);
    CHECK_INT(fstatvfs(fd, &s), ==, 0);
    return (uint64_t)s.f_bfree * s.f_frsize;
}

/* Is it `own` that comes back with the file? Blocks are given back later. */
static void
goes_and_gives(const char *path, uint64_t own)
{
    uint64_t before = bytes_free(), now = before;

    CHECK_INT(unlink(path), ==, 0);
    for (int i = 0; i < 200 && now + METADATA < before + own; i++) {
        (void)usleep(50000);
        now = bytes_free();
    }
    printf("# %llu KiB said, %lld KiB came back\n",
           (unsigned long long)own >> 10,
           ((long long)now - (long long)before) >> 10);
    CHECK_INT(now + METADATA, >=, before + own);
    CHECK_INT(now, <=, before + own + METADATA);
}

static uint64_t
own_bytes_of(const char *path)
{
    struct err err = { 0 };
    uint64_t own = 0;

    CHECK_OK(reflink_own_bytes(path, &own, &err), &err);
    return own;
}

/* The same, as soon as it is `a` or `b`: XFS gives up the blocks of a file that
 * was unlinked (the probe's) some time later. */
static uint64_t
own_bytes_settled(const char *path, uint64_t a, uint64_t b)
{
    uint64_t own = own_bytes_of(path);

    for (int i = 0; i < 200 && own != a && own != b; i++) {
        (void)usleep(50000);
        own = own_bytes_of(path);
    }
    printf("# %llu bytes of its own\n", (unsigned long long)own);
    CHECK(own == a || own == b);
    return own;
}

static void
overwrite(const char *path, off_t from, size_t len)
{
    CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    CLEANUP(mem_free) char *data = xcalloc(1, len);

    memset(data, 'o', len);
    CHECK_INT(pwrite(fd, data, len, from), ==, len);
    CHECK_INT(fsync(fd), ==, 0);
}

/* btrfs keeps the old extent for the one block that is left of it. */
static void
what_a_copy_keeps_of_an_overwritten_extent_is_counted(void)
{
    CLEANUP(mem_free) char *from = make("space.raw", 5);
    CLEANUP(mem_free) char *to = xasprintf("%s/space2.raw", dir);
    struct err err = { 0 };
    const char *const both[] = { from, to };
    uint64_t all = 0, own;

    if (!can_share(from) || geteuid() != 0)
        return;
    CHECK_OK(reflink_create(from, to, &err), &err);
    CHECK_OK(reflink_copy(from, to, &err), &err);
    overwrite(from, 0, SIZE - 4096);
    CHECK_INT(own_bytes_of(from), ==, SIZE - 4096);
    CHECK_OK(reflink_all_bytes(both, 2, &all, &err), &err);
    CHECK_INT(all, ==, 2 * SIZE - 4096);
    /* The last block is the other file's, too; btrfs shares the extent. */
    own = own_bytes_settled(to, 0, SIZE - 4096);
    goes_and_gives(to, own);
    own = own_bytes_settled(from, SIZE, 2 * SIZE - 4096);
    goes_and_gives(from, own);
}

static void
a_compressed_file_is_counted_as_it_is_on_the_device(void)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/small.raw", dir);
    CLEANUP(mem_free) char *probe = make("small-probe.raw", 1);
    CLEANUP(fd_close)
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CLEANUP(mem_free) char *data = xcalloc(1, SIZE);
    int flags = FS_COMPR_FL;
    uint64_t own;

    if (!can_share(probe) || geteuid() != 0 ||
        ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
        return; /* not btrfs */
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i / 4096);
    CHECK_INT(write(fd, data, SIZE), ==, SIZE);
    CHECK_INT(fsync(fd), ==, 0);
    own = own_bytes_of(path);
    CHECK_INT(own, >, 0);
    CHECK_INT(own, <, SIZE / 4);
    goes_and_gives(path, own);
}

static void
a_failed_probe_leaves_nothing(void)
{
    CLEANUP(mem_free) char *from = make("left.raw", 3);
    DIR *d = opendir(dir);

    (void)can_share(from);
    CHECK(d != NULL);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        CHECK(strstr(e->d_name, "probe-") == NULL);
    (void)closedir(d);
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "trying makes no name", trying_makes_no_name },
        { "a copy is independent, and shares its blocks",
          a_copy_is_independent_and_shares_its_blocks },
        { "a file without copy-on-write is copied too",
          a_file_without_copy_on_write_is_copied_too },
        { "what a copy keeps of an overwritten extent is counted",
          what_a_copy_keeps_of_an_overwritten_extent_is_counted },
        { "a compressed file is counted as it is on the device",
          a_compressed_file_is_counted_as_it_is_on_the_device },
        { "a probe leaves nothing behind", a_failed_probe_leaves_nothing },
    };
    struct err err = { 0 };
    int rc;
    const char *base = getenv("VMKEEP_TEST_REFLINK_DIR");

    dir = xasprintf("%s/vk-reflink-XXXXXX", base == NULL ? "/tmp" : base);
    CHECK(mkdtemp(dir) != NULL);
    rc = test_main(tests, ARRAY_SIZE(tests));

    const char *const rm[] = { "rm", "-rf", "--", dir, NULL };
    int gone = spawn_run(rm, 10000, NULL, &err);

    free(dir);
    return gone < 0 ? 1 : rc;
}
