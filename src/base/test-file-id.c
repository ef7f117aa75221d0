/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/file-id.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "test.h"

static char top[] = "/tmp/vk-file-id-XXXXXX";

static char *
below(const char *name)
{
    return xasprintf("%s/%s", top, name);
}

static struct file_id
made(const char *path)
{
    struct err err = { 0 };
    struct file_id id = { 0 };
    CLEANUP(fd_close)
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    CHECK(fd >= 0);
    CHECK_OK(file_id_of_fd(fd, path, &id, &err), &err);
    return id;
}

static void
a_file_is_the_same_by_path_and_descriptor_and_name(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *path = below("a");
    CLEANUP(mem_free) char *moved = below("b");
    const struct file_id id = made(path);
    struct file_id is;

    CHECK_OK(file_id_of_path(path, &is, &err), &err);
    CHECK(file_id_equal(&is, &id) && is.born == id.born);
    CHECK_OK(file_id_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &is, &err), &err);
    CHECK(file_id_equal(&is, &id) && file_is_at(path, &id));
    CHECK(rename(path, moved) == 0);
    CHECK(file_is_at(moved, &id) && !file_is_at(path, &id));
    CHECK_ERR(file_id_of_path(path, &is, &err), &err, ERR_NOT_FOUND);
}

/* Births are counted in the kernel's ticks of some milliseconds. */
static void
wait_for_the_next_tick(void)
{
    struct timespec start, now;

    CHECK(clock_gettime(CLOCK_REALTIME_COARSE, &start) == 0);
    do
        CHECK(clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0);
    while (now.tv_sec == start.tv_sec && now.tv_nsec == start.tv_nsec);
}

/* ext4 and XFS give the number to the next one. */
static void
a_file_made_anew_is_another_one(void)
{
    CLEANUP(mem_free) char *path = below("c");
    const struct file_id first = made(path);

    CHECK(first.born != 0); /* else this machine cannot show it */
    for (int i = 0; i < 20; i++) {
        struct file_id next;

        CHECK(unlink(path) == 0);
        wait_for_the_next_tick();
        next = made(path);
        CHECK(!file_id_equal(&next, &first));
        CHECK(!file_id_equal_there(&next, &first));
    }
}

static void
a_birth_that_nobody_knows_may_be_any(void)
{
    const struct file_id a = { 1, 2, 3 }, b = { 1, 2, 0 }, c = { 1, 2, 4 };
    const struct file_id d = { 9, 2, 3 }, e = { 1, 5, 3 };

    CHECK(file_id_equal(&a, &b) && file_id_equal(&b, &c));
    CHECK(!file_id_equal(&a, &c) && !file_id_equal(&a, &e));
    /* On a device that has another number since. */
    CHECK(!file_id_equal(&a, &d) && file_id_equal_there(&a, &d));
    CHECK(file_id_equal_there(&d, &b) && !file_id_equal_there(&d, &c));
    CHECK(!file_id_equal_there(&a, &e));
}

static void
two_block_devices_are_two(void)
{
    const struct file_id sda = { .dev = 2048 }, sdb = { .dev = 2064 };

    CHECK(!file_id_equal_there(&sda, &sdb));
    CHECK(file_id_equal_there(&sda, &sda));
}

static void
only_what_is_printed_is_read(void)
{
    static const char *const good[] = {
        "0:0", "66:12345", "66:12345:1790000000123456789",
        "18446744073709551615:18446744073709551615:18446744073709551615"
    };
    static const char *const bad[] = { "",
                                       "1",
                                       "1:",
                                       ":1",
                                       "1:2:",
                                       "1:2:0",
                                       "1:2:3:4",
                                       "01:2",
                                       "+1:2",
                                       "1:-2",
                                       " 1:2",
                                       "1:2 ",
                                       "0x1:2",
                                       "1:2:3x",
                                       "1:2:3:",
                                       "1::3",
                                       "a:b",
                                       "1:2:03",
                                       "18446744073709551616:1" };
    struct file_id id;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        char out[FILE_ID_TEXT_SIZE];

        CHECK(file_id_parse(good[i], &id));
        file_id_print(&id, out);
        CHECK(strcmp(out, good[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK(!file_id_parse(bad[i], &id));
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a file is the same by path, descriptor and name",
          a_file_is_the_same_by_path_and_descriptor_and_name },
        { "a file made anew is another one", a_file_made_anew_is_another_one },
        { "a birth that nobody knows may be any",
          a_birth_that_nobody_knows_may_be_any },
        { "two block devices are two", two_block_devices_are_two },
        { "only what is printed is read", only_what_is_printed_is_read },
    };
    const char *const rm[] = { "rm", "-rf", top, NULL };
    struct err err = { 0 };

    CHECK(mkdtemp(top) != NULL);
    int rc = test_main(cases, ARRAY_SIZE(cases));
    return spawn_run(rm, 10000, NULL, &err) < 0 ? 1 : rc;
}
