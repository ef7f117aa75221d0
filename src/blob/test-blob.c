/* SPDX-License-Identifier: Apache-2.0 */
/* One conformance test, over every implementation. */
#include <sys/stat.h>

#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "blob/blob-dir.h"
#include "blob/blob-fault.h"
#include "test.h"

static char root[64];

static void
make_root(void)
{
    (void)snprintf(root, sizeof root, "/tmp/vmkeep-blob-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
}

static void
remove_root(void)
{
    char cmd[128];

    (void)snprintf(cmd, sizeof cmd, "rm -rf -- %s", root);
    CHECK_INT(system(cmd), ==, 0); // NOLINT
}

static struct blob *
open_root(bool is_wrapped)
{
    struct err err = { 0 };
    struct blob *b = NULL;

    CHECK_OK(blob_dir_open(root, &b, &err), &err);
    if (is_wrapped)
        b = blob_fault_new(b, (struct blob_fault_plan){ 0 });
    return b;
}

static void
put(struct blob *b, const char *name, const char *text, bool want_existed)
{
    struct err err = { 0 };
    bool existed = !want_existed;

    CHECK_OK(blob_put(b, name, text, strlen(text), &existed, &err), &err);
    CHECK_INT(existed, ==, want_existed);
}

static void
replace_text(struct blob *b, const char *name, const char *text)
{
    struct err err = { 0 };

    CHECK_OK(blob_replace(b, name, text, strlen(text), &err), &err);
}

static void
check_text(struct blob *b, const char *name, const char *want)
{
    struct err err = { 0 };
    char got[100] = "";
    uint64_t size = 0;
    size_t n = 0;

    CHECK_OK(blob_get(b, name, 0, got, sizeof got - 1, &n, &err), &err);
    CHECK_INT(n, ==, strlen(want));
    CHECK(memcmp(got, want, n) == 0);
    CHECK_OK(blob_size(b, name, &size, &err), &err);
    CHECK_INT(size, ==, strlen(want));
}

static void
conforms(struct blob *b)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };
    char got[10];
    size_t len = 0;
    bool existed;

    CHECK_OK(blob_list(b, "", &n, &err), &err);
    CHECK_INT(n.count, ==, 0);
    CHECK_OK(blob_list(b, "p/", &n, &err), &err);
    CHECK_INT(n.count, ==, 0);
    CHECK_ERR(blob_get(b, "a", 0, got, 1, &len, &err), &err, ERR_NOT_FOUND);
    CHECK_ERR(blob_get(b, "a/b", 0, got, 1, &len, &err), &err, ERR_NOT_FOUND);

    put(b, "a", "first", false);
    put(b, "a", "second", true);
    check_text(b, "a", "first");
    put(b, "p/x/1", "one", false);
    put(b, "p/x/0", "", false);
    put(b, "p/y/0", "y", false);
    check_text(b, "p/x/0", "");
    CHECK_OK(blob_sync(b, &err), &err);

    CHECK_OK(blob_get(b, "a", 3, got, 10, &len, &err), &err);
    CHECK_INT(len, ==, 2);
    CHECK_OK(blob_get(b, "a", 30, got, 10, &len, &err), &err);
    CHECK_INT(len, ==, 0);

    CHECK_OK(blob_list(b, "p/", &n, &err), &err);
    CHECK_INT(n.count, ==, 3);
    CHECK(strcmp(n.names[0], "p/x/0") == 0);
    CHECK(strcmp(n.names[2], "p/y/0") == 0);
    blob_names_fini(&n);
    CHECK_OK(blob_list(b, "p/x/", &n, &err), &err);
    CHECK_INT(n.count, ==, 2);
    blob_names_fini(&n);

    static const char *const bad[] = { "",       "/a", "a/", "a//b", "../a",
                                       "a/../b", ".a", "A",  "a b",  "a/.b" };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK_ERR(blob_put(b, bad[i], "x", 1, &existed, &err), &err,
                  ERR_INVALID);
    CHECK_OK(blob_remove(b, "p/x/0", &err), &err);
    CHECK_OK(blob_remove(b, "p/x/0", &err), &err);
    CHECK_OK(blob_remove(b, "no/such", &err), &err);
    CHECK_ERR(blob_size(b, "p/x/0", &(uint64_t){ 0 }, &err), &err,
              ERR_NOT_FOUND);
}

/* What a name gives is the old bytes or the new ones, and nothing else is
 * left. */
static void
replaces(struct blob *b)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    CHECK_ERR(blob_replace(b, "p/x/9", "x", 1, &err), &err, ERR_NOT_FOUND);
    CHECK_ERR(blob_replace(b, "q/x", "x", 1, &err), &err, ERR_NOT_FOUND);
    CHECK_ERR(blob_replace(b, "../q", "x", 1, &err), &err, ERR_INVALID);
    put(b, "p/x/9", "as it was", false);
    replace_text(b, "p/x/9", "as it is");
    check_text(b, "p/x/9", "as it is");
    replace_text(b, "p/x/9", "");
    check_text(b, "p/x/9", "");
    CHECK_OK(blob_sync(b, &err), &err);
    CHECK_OK(blob_list(b, "p/x/", &n, &err), &err);
    for (size_t i = 0; i < n.count; i++)
        CHECK(strstr(n.names[i], "tmp") == NULL);
}

/* Root repairs what others made, who want to read it afterwards. */
static void
what_is_replaced_stays_whose_it_was(void)
{
    CLEANUP(blob_free) struct blob *b = NULL;
    char path[96];
    struct stat st;

    make_root();
    b = open_root(false);
    put(b, "p/x/9", "as it was", false);
    (void)snprintf(path, sizeof path, "%s/p/x/9", root);
    CHECK_INT(chmod(path, 0640), ==, 0);
    if (geteuid() == 0)
        CHECK_INT(chown(path, 12345, 23456), ==, 0);
    replace_text(b, "p/x/9", "as it is");
    check_text(b, "p/x/9", "as it is");
    CHECK_INT(stat(path, &st), ==, 0);
    CHECK_INT(st.st_mode & 07777, ==, 0640);
    if (geteuid() == 0)
        CHECK(st.st_uid == 12345 && st.st_gid == 23456);
    /* A link may be anybody's, and lets everybody through. */
    CHECK_INT(unlink(path), ==, 0);
    CHECK_INT(symlink("/etc/passwd", path), ==, 0);
    replace_text(b, "p/x/9", "as it is");
    CHECK_INT(lstat(path, &st), ==, 0);
    CHECK_INT(st.st_mode, ==, S_IFREG | 0600);
    remove_root();
}

static void
a_directory_conforms(void)
{
    CLEANUP(blob_free) struct blob *b = NULL;

    make_root();
    b = open_root(false);
    conforms(b);
    replaces(b);
    remove_root();
}

static void
a_wrapped_directory_conforms(void)
{
    CLEANUP(blob_free) struct blob *b = NULL;

    make_root();
    b = open_root(true);
    conforms(b);
    replaces(b);
    remove_root();
}

static void
the_probe_finds_one_winner_and_leaves_nothing(void)
{
    CLEANUP(blob_free) struct blob *b = NULL;
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    make_root();
    b = open_root(false);
    CHECK_OK(blob_dir_probe(b, &err), &err);
    CHECK_OK(blob_list(b, "", &n, &err), &err);
    CHECK_INT(n.count, ==, 0);
    remove_root();
}

static void
a_link_on_the_way_is_refused(void)
{
    CLEANUP(blob_free) struct blob *b = NULL;
    struct err err = { 0 };
    char path[128], got[4];
    bool existed;
    size_t n;

    make_root();
    b = open_root(false);
    (void)snprintf(path, sizeof path, "%s/p", root);
    CHECK_INT(symlink("/tmp", path), ==, 0);
    (void)snprintf(path, sizeof path, "%s/f", root);
    CHECK_INT(symlink("/etc/passwd", path), ==, 0);
    CHECK_ERR(blob_put(b, "p/x", "x", 1, &existed, &err), &err, ERR_INVALID);
    CHECK_ERR(blob_get(b, "f", 0, got, 4, &n, &err), &err, ERR_INVALID);
    remove_root();
}

/* Opening a FIFO would wait for a writer that never comes. */
static void
what_is_no_file_is_not_waited_for(void)
{
    static const char *const names[] = { "fifo", "dir", "socket" };
    CLEANUP(blob_names_fini) struct blob_names list = { 0 };
    CLEANUP(blob_free) struct blob *b = NULL;
    struct err err = { 0 };
    char path[128], got[4];
    bool existed = false;
    uint64_t size;
    size_t n;

    make_root();
    b = open_root(false);
    (void)alarm(30);
    (void)snprintf(path, sizeof path, "%s/fifo", root);
    CHECK_INT(mkfifo(path, 0600), ==, 0);
    (void)snprintf(path, sizeof path, "%s/dir", root);
    CHECK_INT(mkdir(path, 0700), ==, 0);
    (void)snprintf(path, sizeof path, "%s/socket", root);
    CHECK_INT(mknod(path, S_IFSOCK | 0600, 0), ==, 0);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        CHECK(blob_get(b, names[i], 0, got, 4, &n, &err) < 0);
        CHECK(err.code != ERR_NOT_FOUND);
        CHECK(strstr(err.msg, names[i]) != NULL);
        CHECK(blob_size(b, names[i], &size, &err) < 0);
        CHECK(err.code != ERR_NOT_FOUND);
        CHECK_OK(blob_put(b, names[i], "x", 1, &existed, &err), &err);
        CHECK(existed);
    }
    CHECK_OK(blob_list(b, "", &list, &err), &err);
    CHECK_INT(list.count, ==, 0);
    CHECK_OK(blob_remove(b, "fifo", &err), &err);
    (void)alarm(0);
    remove_root();
}

/* A directory or a file of that name, changed so long ago. */
static void
make_old(const char *name, bool is_dir, int64_t age_s)
{
    struct timespec t[2] = { { .tv_nsec = UTIME_NOW },
                             { .tv_sec = time(NULL) - age_s } };
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    if (is_dir) {
        CHECK_INT(mkdir(path, 0700), ==, 0);
    } else {
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        CHECK_INT(fd, >=, 0);
        (void)close(fd);
    }
    CHECK_INT(utimensat(AT_FDCWD, path, t, 0), ==, 0);
}

static bool
is_there(const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return access(path, F_OK) == 0;
}

/* On a file system without unnamed files a crash leaves up to 64 MiB each. */
static void
what_a_crash_left_is_swept(void)
{
    CLEANUP(blob_free) struct blob *b = NULL;
    struct err err = { 0 };

    make_root();
    b = open_root(false);
    make_old("p", true, 0);
    make_old("log", true, 9999999);
    make_old(".tmp-1", false, 100000);
    make_old("p/dead", true, 0);
    make_old("p/dead/.tmp-2", false, 100000);
    make_old("p/dead/.tmp-3", false, 1000);
    make_old("p/dead/0", false, 9999999);
    make_old("p/empty", true, 100000);
    make_old("p/new", true, 1000);
    CHECK_OK(blob_sweep(b, 86400, &err), &err);
    CHECK(!is_there(".tmp-1") && !is_there("p/dead/.tmp-2"));
    CHECK(is_there("p/dead/.tmp-3") && is_there("p/dead/0"));
    CHECK(!is_there("p/empty"));
    CHECK(is_there("p/new") && is_there("log"));
    remove_root();
}

static void
faults_come_as_planned(void)
{
    static const enum blob_fault_kind kinds[] = {
        BLOB_FAULT_ERROR, BLOB_FAULT_LOST, BLOB_FAULT_TORN, BLOB_FAULT_CRASH
    };

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        CLEANUP(blob_free) struct blob *b = NULL;
        CLEANUP(blob_free) struct blob *plain = NULL;
        struct blob_fault_plan plan = { .kind = kinds[i],
                                        .n = 2,
                                        .torn_permille = 500 };
        struct err err = { 0 };
        uint64_t size = 99;
        bool existed;
        int rc;

        make_root();
        plain = open_root(false);
        b = blob_fault_new(open_root(false), plan);
        CHECK_OK(blob_put(b, "a", "aaaa", 4, &existed, &err), &err);
        CHECK(blob_put(b, "b", "bbbb", 4, &existed, &err) < 0);
        CHECK_INT(err.code, ==,
                  kinds[i] == BLOB_FAULT_ERROR ? ERR_NO_SPACE
                                               : ERR_UNAVAILABLE);
        rc = blob_size(plain, "b", &size, &err);
        if (kinds[i] == BLOB_FAULT_LOST)
            CHECK_INT(size, ==, 4);
        else if (kinds[i] == BLOB_FAULT_TORN)
            CHECK_INT(size, ==, 2);
        else
            CHECK_INT(rc, <, 0);
        rc = blob_put(b, "c", "c", 1, &existed, &err);
        CHECK_INT(rc, ==,
                  kinds[i] == BLOB_FAULT_ERROR || kinds[i] == BLOB_FAULT_LOST
                      ? 0
                      : -1);
        remove_root();
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a directory conforms", a_directory_conforms },
        { "what is replaced stays whose it was",
          what_is_replaced_stays_whose_it_was },
        { "a wrapped directory conforms", a_wrapped_directory_conforms },
        { "the probe finds one winner and leaves nothing",
          the_probe_finds_one_winner_and_leaves_nothing },
        { "a link on the way is refused", a_link_on_the_way_is_refused },
        { "what is no file is not waited for",
          what_is_no_file_is_not_waited_for },
        { "what a crash left is swept", what_a_crash_left_is_swept },
        { "faults come as planned", faults_come_as_planned },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
