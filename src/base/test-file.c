/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>

#include "base/effect.h"
#include "base/file-id.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "test.h"

static char top[] = "/tmp/vk-file-XXXXXX";
static int top_fd = -1;

static char *
below(const char *name)
{
    return xasprintf("%s/%s", top, name);
}

static void
make_file(const char *name, const char *text)
{
    struct err err = { 0 };

    CHECK_OK(file_replace(top_fd, name, text, strlen(text), 0600, &err), &err);
}

static void
opening_stays_beneath_its_directory(void)
{
    static const char *const refused[] = { "../etc/passwd", "/etc/passwd",
                                           "link",          "dir/../../x",
                                           "dirlink/f",     "dir/up/etc" };
    struct err err = { 0 };
    CLEANUP(fd_close) int fd = -1;

    CHECK_INT(mkdirat(top_fd, "dir", 0700), ==, 0);
    CHECK_INT(symlinkat("/etc/passwd", top_fd, "link"), ==, 0);
    CHECK_INT(symlinkat("dir", top_fd, "dirlink"), ==, 0);
    CHECK_INT(symlinkat("../..", top_fd, "dir/up"), ==, 0);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        CHECK_ERR(file_open_beneath(top_fd, refused[i], O_RDONLY, 0, &fd, &err),
                  &err, ERR_INVALID);
    CHECK_ERR(file_open_beneath(top_fd, "dir/none", O_RDONLY, 0, &fd, &err),
              &err, ERR_NOT_FOUND);
    CHECK_OK(file_open_beneath(top_fd, "dir/f", O_RDWR | O_CREAT | O_EXCL, 0600,
                               &fd, &err),
             &err);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_ERR(file_open_beneath(top_fd, "dir/f", O_RDWR | O_CREAT | O_EXCL,
                                0600, &fd, &err),
              &err, ERR_EXISTS);
}

static void
replacing_leaves_the_new_bytes_and_no_other_file(void)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(mem_free) char *path = below("r");
    struct err err = { 0 };
    struct stat st;
    int names = 0;

    make_file("r", "old, and longer");
    make_file("r", "new");
    CHECK_OK(file_read_all(path, 100, &b, &err), &err);
    CHECK(strcmp(buf_str(&b), "new") == 0);
    CHECK_INT(stat(path, &st), ==, 0);
    CHECK_INT(st.st_mode & 07777, ==, 0600);
    DIR *d = opendir(top);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        names += strncmp(e->d_name, ".new", 4) == 0;
    (void)closedir(d);
    CHECK_INT(names, ==, 0);
    CHECK_ERR(file_replace(top_fd, "dir", "x", 1, 0600, &err), &err,
              ERR_INVALID);
    CHECK(strncmp(err.msg, "replace dir: ", 13) == 0);
}

static void
sweeping_removes_what_a_crash_left_and_nothing_else(void)
{
    struct err err = { 0 };

    make_file(".new-bcdfghjk", "half");
    make_file("kept", "whole");
    CHECK_OK(file_sweep(top, &err), &err);
    CHECK_INT(faccessat(top_fd, ".new-bcdfghjk", F_OK, 0), <, 0);
    CHECK_INT(faccessat(top_fd, "kept", F_OK, 0), ==, 0);
    CHECK_ERR(file_sweep("/nonexistent", &err), &err, ERR_NOT_FOUND);
}

static void
reading_is_bounded_and_leaves_nothing_behind(void)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(mem_free) char *path = below("big");
    struct err err = { 0 };

    make_file("big", "0123456789");
    buf_add_str(&b, "before ");
    CHECK_ERR(file_read_all(path, 9, &b, &err), &err, ERR_NO_SPACE);
    CHECK(strcmp(buf_str(&b), "before ") == 0);
    CHECK_OK(file_read_all(path, 10, &b, &err), &err);
    CHECK(strcmp(buf_str(&b), "before 0123456789") == 0);
    CHECK_ERR(file_read_all(top, 10, &b, &err), &err, ERR_INVALID);
}

static void
unlinking_may_be_repeated(void)
{
    CLEANUP(mem_free) char *path = below("u");
    struct err err = { 0 };

    make_file("u", "x");
    CHECK_OK(file_unlink_path(path, &err), &err);
    CHECK_OK(file_unlink_path(path, &err), &err);
    CHECK_OK(file_unlink_path("/nonexistent/x", &err), &err);
    CHECK_OK(file_unlink(top_fd, "u", &err), &err);
    CHECK_ERR(file_unlink(top_fd, "dir", &err), &err, ERR_INVALID);
}

/* What is counted shows it: a file for each directory would be synced twice. */
static void
several_are_unlinked_with_one_sync_of_their_directory(void)
{
    CLEANUP(mem_free) char *a = below("dir/a");
    CLEANUP(mem_free) char *b = below("dir/b");
    CLEANUP(mem_free) char *c = below("c");
    const char *const paths[] = { a, c, "/nonexistent/x", b };
    struct err err = { 0 };
    struct effect before, after;
    struct stat st;

    make_file("c", "x");
    CHECK_INT(rename(c, a), ==, 0);
    make_file("c", "x");
    effect_flow_set("test");
    before = effect_begin("test", "begin");
    effect_end(&before);
    CHECK_OK(file_unlink_paths(paths, ARRAY_SIZE(paths), &err), &err);
    after = effect_begin("test", "end");
    effect_end(&after);
    effect_flow_set(NULL);
    /* Three unlinks (one of a file that is not there), two directories. */
    CHECK_INT(after.n - before.n, ==, 3 + 2 + 1);
    CHECK(stat(a, &st) < 0 && stat(b, &st) < 0 && stat(c, &st) < 0);
}

static void
renaming_moves_between_directories(void)
{
    CLEANUP(mem_free) char *from = below("from");
    CLEANUP(mem_free) char *to = below("dir/to");
    struct file_id a, b;
    struct err err = { 0 };

    make_file("from", "x");
    CHECK_OK(file_id_of_path(from, &a, &err), &err);
    CHECK_OK(file_rename_path(from, to, &err), &err);
    CHECK_OK(file_id_of_path(to, &b, &err), &err);
    CHECK(file_id_equal(&a, &b));
    CHECK_ERR(file_rename_path(from, to, &err), &err, ERR_NOT_FOUND);
    CHECK_ERR(file_id_of_path(from, &a, &err), &err, ERR_NOT_FOUND);
    CHECK(file_is_at(to, &b) && !file_is_at(from, &b));
    CHECK_OK(file_sync_path(to, &err), &err);
}

static void
directories_are_made_along_the_way(void)
{
    CLEANUP(mem_free) char *deep = below("m/n/o/");
    CLEANUP(mem_free) char *blocked = below("kept/x");
    CLEANUP(mem_free) char *file = below("kept");
    struct err err = { 0 };
    struct stat st;

    CHECK_OK(file_make_dirs(deep, 0700, &err), &err);
    CHECK_OK(file_make_dirs(deep, 0755, &err), &err);
    CHECK_INT(stat(deep, &st), ==, 0);
    CHECK_INT(st.st_mode & 07777, ==, 0700);
    CHECK_OK(file_make_dirs("/", 0700, &err), &err);
    CHECK_INT(file_make_dirs(blocked, 0700, &err), <, 0);
    CHECK_INT(file_make_dirs(file, 0700, &err), <, 0);
    CHECK_ERR(file_make_dirs("", 0700, &err), &err, ERR_INVALID);
}

static void
paths_are_split_at_the_last_slash(void)
{
    static const char *const rows[][3] = { { "/a/b", "/a", "b" },
                                           { "/a", "/", "a" },
                                           { "a", ".", "a" },
                                           { "/", "/", "" },
                                           { "/a/b/", "/a/b", "" } };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        CLEANUP(mem_free) char *dir = file_dirname(rows[i][0]);

        CHECK(strcmp(dir, rows[i][1]) == 0);
        CHECK(strcmp(file_basename(rows[i][0]), rows[i][2]) == 0);
    }
}

static void
a_full_disk_is_said_and_the_old_bytes_stay(void)
{
    CLEANUP(fd_close) int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct err err = { 0 };

    CHECK_INT(fd, >=, 0);
    CHECK_ERR(file_write_fd(fd, "x", 1, "the table", &err), &err, ERR_NO_SPACE);
    CHECK(strncmp(err.msg, "the table: write: ", 18) == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "opening stays beneath its directory",
          opening_stays_beneath_its_directory },
        { "replacing leaves the new bytes and no other file",
          replacing_leaves_the_new_bytes_and_no_other_file },
        { "sweeping removes what a crash left, and nothing else",
          sweeping_removes_what_a_crash_left_and_nothing_else },
        { "reading is bounded and leaves nothing behind",
          reading_is_bounded_and_leaves_nothing_behind },
        { "unlinking may be repeated", unlinking_may_be_repeated },
        { "several are unlinked with one sync of their directory",
          several_are_unlinked_with_one_sync_of_their_directory },
        { "renaming moves between directories",
          renaming_moves_between_directories },
        { "directories are made along the way",
          directories_are_made_along_the_way },
        { "paths are split at the last slash",
          paths_are_split_at_the_last_slash },
        { "a full disk is said", a_full_disk_is_said_and_the_old_bytes_stay },
    };
    const char *const rm[] = { "rm", "-rf", top, NULL };
    struct err err = { 0 };

    CHECK(mkdtemp(top) != NULL);
    CHECK_OK(file_open_dir(top, &top_fd, &err), &err);
    int rc = test_main(cases, ARRAY_SIZE(cases));
    (void)close(top_fd);
    return spawn_run(rm, 10000, NULL, &err) < 0 ? 1 : rc;
}
