/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "controller/firmware.h"
#include "test.h"

#define SNAPSHOT "11111111-1111-4111-8111-111111111111"
#define RESTORE  "22222222-2222-4222-8222-222222222222"

static char dir[] = "/tmp/firmware-XXXXXX";
static char nvram[64], state[64];
static struct domxml dom = { .nvram = nvram };
static struct virt_vm vm = { .uuid = "33333333-3333-4333-8333-333333333333",
                             .inactive = &dom };

static void
write_nvram(const char *text)
{
    FILE *f = fopen(nvram, "we");

    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static bool
nvram_is(const char *text)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct err err;

    CHECK_OK(file_read_all(nvram, 100, &b, &err), &err);
    return strcmp(buf_str(&b), text) == 0;
}

static void
variables_are_kept_and_put_back(void)
{
    struct firmware_kept kept;
    struct err err;

    write_nvram("one");
    CHECK(firmware_is_wanted(&vm));
    CHECK_OK(firmware_copy(state, &vm, SNAPSHOT, &kept, &err), &err);
    CHECK(kept.has_nvram && !kept.has_tpm);
    CHECK_OK(firmware_seal(state, SNAPSHOT, &err), &err);
    write_nvram("two");
    CHECK_OK(firmware_put_nvram(state, SNAPSHOT, nvram, &err), &err);
    CHECK(nvram_is("one"));
}

/* A restore that died after it had put the snapshot's variables in place, and
 * is tried again: what was there first is what must come back. */
static void
what_was_set_aside_first_comes_back(void)
{
    struct err err;

    write_nvram("mine");
    CHECK_OK(firmware_set_aside(state, &vm, RESTORE, &err), &err);
    CHECK_OK(firmware_put_nvram(state, SNAPSHOT, nvram, &err), &err);
    CHECK_OK(firmware_set_aside(state, &vm, RESTORE, &err), &err);
    CHECK_OK(firmware_bring_back(state, &vm, RESTORE, &err), &err);
    CHECK(nvram_is("mine"));
    CHECK(!firmware_has_nvram(state, RESTORE));
    write_nvram("later");
    CHECK_OK(firmware_bring_back(state, &vm, RESTORE, &err), &err);
    CHECK(nvram_is("later"));
}

/* Died while setting aside: the half set is made again, and is nothing that
 * could be brought back. */
static void
half_a_set_is_none(void)
{
    struct firmware_kept kept;
    struct err err;

    write_nvram("half");
    CHECK_OK(firmware_copy(state, &vm, RESTORE, &kept, &err), &err);
    write_nvram("whole");
    CHECK_OK(firmware_bring_back(state, &vm, RESTORE, &err), &err);
    CHECK(nvram_is("whole"));
    CHECK_OK(firmware_set_aside(state, &vm, RESTORE, &err), &err);
    write_nvram("other");
    CHECK_OK(firmware_bring_back(state, &vm, RESTORE, &err), &err);
    CHECK(nvram_is("whole"));
}

static void
what_is_kept_can_be_deleted(void)
{
    struct err err;

    CHECK_OK(firmware_delete(state, SNAPSHOT, &err), &err);
    CHECK(!firmware_has_nvram(state, SNAPSHOT));
    CHECK_OK(firmware_delete(state, SNAPSHOT, &err), &err);
    CHECK_ERR(firmware_delete(state, "..", &err), &err, ERR_INVALID);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "variables are kept and put back", variables_are_kept_and_put_back },
        { "what was set aside first comes back",
          what_was_set_aside_first_comes_back },
        { "half a set is none", half_a_set_is_none },
        { "what is kept can be deleted", what_is_kept_can_be_deleted },
    };
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    (void)snprintf(nvram, sizeof nvram, "%s/VARS.fd", dir);
    (void)snprintf(state, sizeof state, "%s/state", dir);
    rc = test_main(cases, ARRAY_SIZE(cases));
    (void)snprintf(state, sizeof state, "%s/state/nvram", dir);
    CHECK(rmdir(state) == 0);
    (void)snprintf(state, sizeof state, "%s/state", dir);
    CHECK(rmdir(state) == 0 && unlink(nvram) == 0 && rmdir(dir) == 0);
    return rc;
}
