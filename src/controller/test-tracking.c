/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "controller/tracking-priv.h"
#include "test.h"

#define VM "c0c0c0c0-0000-4000-8000-000000000001"
#define B1 "b1b1b1b1-0000-4000-8000-000000000001"
#define B2 "b2b2b2b2-0000-4000-8000-000000000002"
#define R  "eeeeeeee-0000-4000-8000-000000000003"

static struct tracking_point *
point(const char *backup, const char *entry)
{
    struct tracking_point *p = xcalloc(1, sizeof *p);

    memcpy(p->backup, backup, UUID_STR_SIZE);
    memcpy(p->repo, R, UUID_STR_SIZE);
    p->time_s = 1800000000;
    if (entry == NULL)
        return p;
    p->entry = xstrdup(entry);
    p->disks = xcalloc(1, sizeof *p->disks);
    p->n = 1;
    p->disks[0] = (struct tracking_disk){
        .target = "vda",
        .layer = B1,
        .path = xstrdup("/v/a \"disk\" \xc3\xa9.qcow2"),
        .format = xstrdup("qcow2"),
        .file = { 0xfffffffffffffff0u, 12345678901234u },
        .size = 1 << 30,
    };
    return p;
}

static struct tracking *
sample(void)
{
    struct tracking *t = xcalloc(1, sizeof *t);

    memcpy(t->vm, VM, UUID_STR_SIZE);
    t->pending = point(B2, NULL);
    t->committed = point(B1, "7-0a0b");
    t->stale = xcalloc(1, sizeof *t->stale);
    memcpy(t->stale[t->n_stale++], R, UUID_STR_SIZE);
    t->committed->is_clone = true;
    t->released = xcalloc(1, sizeof *t->released);
    memcpy(t->released[t->n_released++], B2, UUID_STR_SIZE);
    return t;
}

static void
what_is_written_is_read_back(void)
{
    CLEANUP(tracking_free) struct tracking *t = sample();
    CLEANUP(tracking_free) struct tracking *u = NULL;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    struct err err = { 0 };

    tracking_code_encode(t, &text);
    u = tracking_code_decode(buf_str(&text), text.len, &err);
    CHECK(u != NULL);
    CHECK(strcmp(u->vm, VM) == 0 && strcmp(u->pending->backup, B2) == 0);
    CHECK(u->pending->n == 0 && u->pending->entry == NULL);
    CHECK(strcmp(u->committed->entry, "7-0a0b") == 0);
    CHECK_INT(u->committed->n, ==, 1);
    CHECK(file_id_equal(&u->committed->disks[0].file,
                        &t->committed->disks[0].file));
    CHECK(strcmp(u->committed->disks[0].path, t->committed->disks[0].path) ==
          0);
    CHECK_INT(u->committed->disks[0].size, ==, 1 << 30);
    CHECK_INT(u->n_stale, ==, 1);
    CHECK(u->committed->is_clone && !u->pending->is_clone);
    CHECK(u->n_released == 1 && strcmp(u->released[0], B2) == 0);
}

/* Nothing that differs from what was written is believed, but for what is
 * no damage: another letter in a name or path, another digit in a number. */
static void
a_file_that_lacks_something_is_refused(void)
{
    CLEANUP(tracking_free) struct tracking *t = sample();
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    struct err err = { 0 };

    tracking_code_encode(t, &text);
    for (size_t len = 0; len < text.len; len++) {
        CLEANUP(tracking_free)
        struct tracking *u = tracking_code_decode(buf_str(&text), len, &err);

        CHECK(u == NULL);
        CHECK_INT(err.code, ==, ERR_CORRUPT);
    }
}

static void
points_are_what_they_say(void)
{
    static const char *const bad[] = {
        "{\"stale\":[],\"version\":1}\n",
        "{\"stale\":[],\"version\":1,\"vm\":\"x\"}\n",
        "{\"stale\":[\"x\"],\"version\":1,\"vm\":\"" VM "\"}\n",
        "{\"stale\":[],\"more\":1,\"version\":1,\"vm\":\"" VM "\"}\n",
        "{\"committed\":{\"backup\":\"" B1 "\",\"disks\":[],\"repository\":\"" R
        "\",\"time\":1},\"stale\":[],\"version\":1,\"vm\":\"" VM "\"}\n",
        "{\"pending\":{\"backup\":\"" B1
        "\",\"disks\":[],\"entry\":\"1\",\"repository\":\"" R
        "\",\"time\":1},\"stale\":[],\"version\":1,\"vm\":\"" VM "\"}\n",
        "{\"released\":[],\"stale\":[],\"version\":1,\"vm\":\"" VM "\"}\n",
        "{\"released\":[\"x\"],\"stale\":[],\"version\":1,\"vm\":\"" VM "\"}\n",
        "[]\n",
    };
    struct err err = { 0 };
    static const char newer[] = "{\"version\":2}";

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CHECK(tracking_code_decode(bad[i], strlen(bad[i]), &err) == NULL);
        CHECK_INT(err.code, ==, ERR_CORRUPT);
    }
    CHECK(tracking_code_decode(newer, strlen(newer), &err) == NULL);
    CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what is written is read back", what_is_written_is_read_back },
        { "a file that lacks something is refused",
          a_file_that_lacks_something_is_refused },
        { "points are what they say", points_are_what_they_say },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
