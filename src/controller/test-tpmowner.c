/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include "controller/tpmowner.h"
#include "test.h"

static char dir[] = "/tmp/tpmowner-XXXXXX";

/* The owner as a qemu.conf of `text` has it. */
static int
find(const char *text, struct file_owner *o, struct err *err)
{
    char path[64];
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/qemu.conf", dir);
    f = fopen(path, "we");
    CHECK(fd >= 0 && f != NULL);
    CHECK(fputs(text, f) >= 0 && fclose(f) == 0);
    rc = tpmowner_find(fd, path, o, err);
    CHECK(unlink(path) == 0 && close(fd) == 0);
    return rc;
}

static void
qemu_conf_names_the_user(void)
{
    struct file_owner o;
    struct err err;

    CHECK_OK(find("#swtpm_user = \"bin\"\n swtpm_user = \"daemon\" # yes\n"
                  "swtpm_group=\"games\"\n",
                  &o, &err),
             &err);
    CHECK_INT(o.uid, ==, 1);
    CHECK_INT(o.gid, ==, 60);
    CHECK_OK(find("swtpm_user = \"+1234\"\nswtpm_group = 77", &o, &err), &err);
    CHECK_INT(o.uid, ==, 1234);
    CHECK_INT(o.gid, ==, 77);
    CHECK_ERR(find("swtpm_user = \"nobody-like-that\"", &o, &err), &err,
              ERR_INVALID);
    CHECK(strstr(err.msg, "nobody-like-that") != NULL);
}

static void
without_a_word_it_is_tss_or_root(void)
{
    const struct passwd *tss = getpwnam("tss"); /* NOLINT: one thread */
    struct file_owner o;
    struct err err;

    CHECK_OK(find("swtpm_users = \"bin\"\n", &o, &err), &err);
    CHECK_INT(o.uid, ==, tss == NULL ? 0 : tss->pw_uid);
}

static void
the_owner_of_what_is_there_comes_first(void)
{
    struct file_owner o;
    struct err err;
    char path[64];

    (void)snprintf(path, sizeof path, "%s/tpm2", dir);
    CHECK(mkdir(path, 0700) == 0);
    CHECK_OK(find("swtpm_user = \"daemon\"\n", &o, &err), &err);
    CHECK_INT(o.uid, ==, geteuid());
    CHECK(rmdir(path) == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "qemu.conf names the user", qemu_conf_names_the_user },
        { "without a word it is tss, or root",
          without_a_word_it_is_tss_or_root },
        { "the owner of what is there comes first",
          the_owner_of_what_is_there_comes_first },
    };
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    rc = test_main(cases, sizeof cases / sizeof cases[0]);
    CHECK(rmdir(dir) == 0);
    return rc;
}
