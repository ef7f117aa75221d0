/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "base/mem.h"
#include "base/spawn.h"
#include "test.h"
#include "volume/imglock.h"
#include "volume/qimg.h"

static char dir[] = "/tmp/vk-lock,XXXXXX";
static const struct qimg_keep none = { NULL, 0 };

static void
run(const char *const argv[])
{
    struct err err = { 0 };

    CHECK_OK(spawn_run(argv, 20000, NULL, &err), &err);
}

static char *
image(const char *name, const char *format)
{
    char *path = xasprintf("%s/%s", dir, name);
    const char *const argv[] = { "qemu-img", "create", "-q", "-f",
                                 format,     path,     "1M", NULL };

    run(argv);
    return path;
}

/* The exit code of a qemu-io command on the image. */
static int
qemu_io(const char *path, const char *command)
{
    struct err err = { 0 };
    int code = -1;
    const char *const argv[] = { "qemu-io", "-f", "qcow2", "-c",
                                 command,   path, NULL };

    CHECK_OK(spawn_run_code(argv, 20000, NULL, &code, &err), &err);
    return code;
}

static void
qemu_fails_while_the_lock_is_held(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *path = image("a b", "qcow2");
    CLEANUP(imglock_free) struct imglock *l = imglock_new();

    CHECK_INT(qemu_io(path, "read 0 1k"), ==, 0);
    CHECK_OK(imglock_add(l, path, NULL, &err), &err);
    CHECK_OK(imglock_add(l, path, NULL, &err), &err);
    CHECK_INT(qemu_io(path, "read 0 1k"), !=, 0);
    imglock_free(TAKE(l));
    CHECK_INT(qemu_io(path, "read 0 1k"), ==, 0);
}

static void
a_file_in_use_is_busy(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *path = image("b", "qcow2");
    CLEANUP(imglock_free) struct imglock *l = imglock_new();
    CLEANUP(imglock_free) struct imglock *other = imglock_new();
    CLEANUP(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    const struct file_id wrong = { 1, 2 };

    CHECK_OK(imglock_add(l, path, NULL, &err), &err);
    CHECK_ERR(imglock_add(other, path, NULL, &err), &err, ERR_BUSY);
    imglock_free(TAKE(l));
    CHECK_OK(imglock_mark(fd, path, &err), &err);
    CHECK_ERR(imglock_add(other, path, NULL, &err), &err, ERR_BUSY);
    CHECK_INT(qemu_io(path, "read 0 1k"), ==, 0);
    close(fd);
    fd = -1;
    CHECK_ERR(imglock_add(other, path, &wrong, &err), &err, ERR_CONFLICT);
    CHECK_OK(imglock_add(other, path, NULL, &err), &err);
    CHECK_ERR(imglock_add(other, "/no/such", NULL, &err), &err, ERR_NOT_FOUND);
}

/* A child that we leave behind keeps the file locked until it ends. */
static void
a_child_holds_the_lock_too(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *path = image("c", "qcow2");
    CLEANUP(imglock_free) struct imglock *l = imglock_new();
    CLEANUP(imglock_free) struct imglock *other = imglock_new();
    static const char *const sleeper[] = { "sleep", "0.3", NULL };
    size_t n;
    const int *fds;
    pid_t pid;

    CHECK_OK(imglock_add(l, path, NULL, &err), &err);
    fds = imglock_fds(l, &n);
    CHECK_INT(n, ==, 1);
    CHECK_OK(spawn_start(sleeper, fds[0], &pid, &err), &err);
    imglock_free(TAKE(l));
    CHECK_ERR(imglock_add(other, path, NULL, &err), &err, ERR_BUSY);
    CHECK_INT(spawn_run(sleeper, 5000, NULL, &err), ==, 0);
    CHECK_INT(spawn_run(sleeper, 5000, NULL, &err), ==, 0);
    CHECK_OK(imglock_add(other, path, NULL, &err), &err);
}

static void
commit_rebase_and_copy_work_under_the_lock(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *base = image("base, with comma", "raw");
    CLEANUP(mem_free) char *top = image("-top", "qcow2");
    CLEANUP(mem_free) char *copy = image("copy", "qcow2");
    const struct qimg_file base_file = { base, "raw" };
    CLEANUP(imglock_free) struct imglock *l = imglock_new();
    const char *const compare[] = { "qemu-img", "compare", "-q",  "-f",
                                    "qcow2",    "-F",      "raw", "--",
                                    copy,       base,      NULL };
    const char *const check[] = { "qemu-img", "check", "-q", "-f",
                                  "qcow2",    "--",    top,  NULL };
    struct qimg_keep keep;
    uint64_t bytes = 0;

    CHECK_OK(qimg_create(top, &base_file, 2 << 20, &none, &err), &err);
    CHECK_INT(qemu_io(top, "write -P 7 1536k 64k"), ==, 0);
    CHECK_OK(
        qimg_convert(&(struct qimg_file){ top, "qcow2" }, copy, &none, &err),
        &err);
    CHECK_OK(qimg_measure(&base_file, &bytes, &err), &err);
    CHECK_INT(bytes, >, 0);
    CHECK_OK(imglock_add(l, base, NULL, &err), &err);
    CHECK_OK(imglock_add(l, top, NULL, &err), &err);
    keep.fds = imglock_fds(l, &keep.n);
    CHECK_OK(qimg_rebase(top, &base_file, &keep, &err), &err);
    CHECK_OK(qimg_commit(top, 2 << 20, &base_file, 1 << 20, &keep, &err), &err);
    CHECK_OK(qimg_commit(top, 2 << 20, &base_file, 2 << 20, &keep, &err), &err);
    imglock_free(TAKE(l));
    run(compare);
    run(check);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "qemu-io fails while the lock is held",
          qemu_fails_while_the_lock_is_held },
        { "a file in use is BUSY", a_file_in_use_is_busy },
        { "a child holds the lock too", a_child_holds_the_lock_too },
        { "commit, rebase and copy work under the lock",
          commit_rebase_and_copy_work_under_the_lock },
    };
    const char *const rm[] = { "rm", "-rf", "--", dir, NULL };
    struct err err = { 0 };
    int rc;

    if (mkdtemp(dir) == NULL)
        return 1;
    rc = test_main(cases, ARRAY_SIZE(cases));
    return spawn_run(rm, 10000, NULL, &err) < 0 ? 1 : rc;
}
