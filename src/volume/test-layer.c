/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "test.h"
#include "volume/layer.h"

#define VM "11111111-1111-4111-8111-111111111111"
#define A  "aaaaaaaa-0000-4000-8000-000000000001"
#define B  "aaaaaaaa-0000-4000-8000-000000000002"
#define C  "aaaaaaaa-0000-4000-8000-000000000003"
#define S1 "bbbbbbbb-0000-4000-8000-000000000001"

static struct layer_table *
sample(void)
{
    struct layer_table *t = layer_table_new(VM);
    struct layer *l;
    struct layer_done *d;

    l = layer_add(t, A, NULL, "vda", LAYER_SEALED, "raw",
                  "/v/od d%\n\xc3\xa9.raw", 1 << 30);
    l->file = (struct file_id){ .dev = 66, .ino = 12345678901234u };
    l = layer_add(t, B, A, "vda", LAYER_ACTIVE, "qcow2", "/v/b.qcow2", 7);
    l->is_made = true;
    l->file = (struct file_id){ 66, 17, 1790000000123456789u };
    l = layer_add(t, C, A, "vda", LAYER_TRASH, "qcow2", "/v/c.trash", 7);
    l->was = xstrdup("/v/c.qcow2");
    l->until_s = 1800000000;
    layer_ref_add(t, LAYER_REF_CUT, S1, "vda", A);
    layer_job_begin(t, LAYER_JOB_MERGE, S1, NULL);
    layer_job_add(t, "vda", A, B, NULL);
    d = layer_done_begin(t, S1);
    layer_done_add(d, "vda", C, "qcow2", 7, "/v/b.qcow2");
    return t;
}

static struct layer_table *
decode(const struct buf *b, struct err *err)
{
    return layer_table_decode((const uint8_t *)buf_str(b), b->len, err);
}

static void
what_is_written_is_read_back(void)
{
    struct err err = { 0 };
    CLEANUP(layer_table_free) struct layer_table *t = sample();
    CLEANUP(layer_table_free) struct layer_table *u = NULL;
    CLEANUP(buf_fini) struct buf one = BUF_INIT;
    CLEANUP(buf_fini) struct buf two = BUF_INIT;

    layer_table_encode(t, &one);
    u = decode(&one, &err);
    CHECK(u != NULL);
    layer_table_encode(u, &two);
    CHECK(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    CHECK(strcmp(layer_find(u, A)->path, "/v/od d%\n\xc3\xa9.raw") == 0);
    CHECK_INT(layer_find(u, C)->until_s, ==, 1800000000);
    CHECK_INT(u->job.step, ==, LAYER_STEP_BEGIN);
    CHECK(layer_done_find(u, S1) != NULL);
}

/* As the first versions of vmkeep wrote it. */
static void
a_table_that_knows_no_births_is_a_version_1(void)
{
    struct err err = { 0 };
    CLEANUP(layer_table_free) struct layer_table *t = sample();
    CLEANUP(layer_table_free) struct layer_table *u = NULL;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    t->layers[1].file.born = 0;
    layer_table_encode(t, &text);
    CHECK(strncmp(buf_str(&text), "vmkeep-layers 1\n", 16) == 0);
    CHECK(strstr(buf_str(&text), " 66:17 ") != NULL);
    u = decode(&text, &err);
    CHECK_OK(u != NULL ? 0 : -1, &err);
    CHECK(file_id_equal(&u->layers[1].file, &t->layers[1].file));
    t->layers[1].file.born = 5;
    buf_truncate(&text, 0);
    layer_table_encode(t, &text);
    CHECK(strncmp(buf_str(&text), "vmkeep-layers 2\n", 16) == 0);
}

static void
a_merge_in_its_pivot_reads_back(void)
{
    CLEANUP(layer_table_free) struct layer_table *t = sample();
    CLEANUP(layer_table_free) struct layer_table *u = NULL;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    struct err err;

    t->job.step = LAYER_STEP_PIVOTING;
    layer_table_encode(t, &text);
    CHECK(strstr(buf_str(&text), " pivoting ") != NULL);
    u = decode(&text, &err);
    CHECK(u != NULL);
    CHECK_INT(u->job.step, ==, LAYER_STEP_PIVOTING);
}

/* One byte changed, removed or doubled anywhere is noticed. */
static void
every_damaged_byte_is_noticed(void)
{
    CLEANUP(layer_table_free) struct layer_table *t = sample();
    CLEANUP(buf_fini) struct buf good = BUF_INIT;

    layer_table_encode(t, &good);
    for (size_t i = 0; i < good.len; i++)
        for (int how = 0; how < 4; how++) {
            CLEANUP(buf_fini) struct buf bad = BUF_INIT;
            struct err err = { 0 };

            buf_add(&bad, good.data, good.len);
            if (how == 0)
                bad.data[i] ^= 1;
            else if (how == 1)
                bad.data[i] = ' ';
            else if (how == 2)
                buf_truncate(&bad, i);
            else
                buf_add(&bad, good.data + i, good.len - i);
            if (bad.len == good.len &&
                memcmp(bad.data, good.data, good.len) == 0)
                continue;
            CHECK(decode(&bad, &err) == NULL);
            CHECK(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED);
        }
}

static int
check_after(void (*change)(struct layer_table *t))
{
    struct err err = { 0 };
    CLEANUP(layer_table_free) struct layer_table *t = sample();
    CLEANUP(layer_table_free) struct layer_table *u = NULL;
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    change(t);
    layer_table_encode(t, &b);
    u = decode(&b, &err);
    return u != NULL ? 0 : (int)err.code;
}

static void
no_change(struct layer_table *t)
{
}
static void
twice(struct layer_table *t)
{
    layer_add(t, B, A, "vda", LAYER_SEALED, "qcow2", "/v/x", 1);
}
static void
same_path(struct layer_table *t)
{
    layer_add(t, NULL, A, "vda", LAYER_SEALED, "qcow2", "/v/b.qcow2", 1);
}
static void
no_parent(struct layer_table *t)
{
    layer_add(t, NULL, S1, "vda", LAYER_SEALED, "qcow2", "/v/x", 1);
}
static void
own_parent(struct layer_table *t)
{
    memcpy(t->layers[0].parent, A, sizeof A);
}
static void
later_parent(struct layer_table *t)
{
    memcpy(t->layers[0].parent, B, sizeof B);
}
static void
two_active(struct layer_table *t)
{
    layer_add(t, NULL, A, "vda", LAYER_ACTIVE, "qcow2", "/v/x", 1);
}
static void
on_active(struct layer_table *t)
{
    layer_add(t, NULL, B, "vda", LAYER_SEALED, "qcow2", "/v/x", 1);
}
static void
other_target(struct layer_table *t)
{
    layer_add(t, NULL, A, "vdb", LAYER_SEALED, "qcow2", "/v/x", 1);
}
static void
relative(struct layer_table *t)
{
    layer_set_path(&t->layers[1], "v/b");
}
static void
odd_format(struct layer_table *t)
{
    layer_add(t, NULL, A, "vda", LAYER_SEALED, "vmdk", "/v/x", 1);
}
static void
ref_nowhere(struct layer_table *t)
{
    layer_ref_add(t, LAYER_REF_CUT, S1, "vdb", S1);
}
static void
ref_twice(struct layer_table *t)
{
    layer_ref_add(t, LAYER_REF_CUT, S1, "vda", B);
}
static void
job_nowhere(struct layer_table *t)
{
    layer_job_add(t, "vda", S1, B, NULL);
}
static void
wrong_step(struct layer_table *t)
{
    t->job.step = LAYER_STEP_CREATED;
}
static void
long_path(struct layer_table *t)
{
    char path[1100];

    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = 0;
    layer_set_path(&t->layers[1], path);
}

static void
rules_over_lines_are_checked(void)
{
    static void (*const bad[])(struct layer_table * t) = {
        twice,       same_path, no_parent,   own_parent, later_parent,
        two_active,  on_active, relative,    odd_format, other_target,
        ref_nowhere, ref_twice, job_nowhere, wrong_step, long_path,
    };

    CHECK_INT(check_after(no_change), ==, 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (check_after(bad[i]) != ERR_CORRUPT) {
            printf("# case %zu\n", i);
            CHECK(0);
        }
}

static void
a_filled_restore_has_no_sealed_layer(void)
{
    static const enum layer_step steps[] = { LAYER_STEP_PLANNED,
                                             LAYER_STEP_CREATED,
                                             LAYER_STEP_FILLED };

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        CLEANUP(layer_table_free) struct layer_table *t = sample();
        CLEANUP(layer_table_free) struct layer_table *u = NULL;
        CLEANUP(buf_fini) struct buf text = BUF_INIT;
        struct err err = { 0 };

        layer_job_begin(t, LAYER_JOB_FILLINPLACE, S1, S1);
        layer_job_add(t, "vda", NULL, B, A);
        t->job.step = steps[i];
        layer_table_encode(t, &text);
        u = layer_table_decode((const uint8_t *)text.data, text.len, &err);
        CHECK(u != NULL && u->job.kind == LAYER_JOB_FILLINPLACE);
        CHECK(u != NULL && u->job.step == steps[i] &&
              u->job.disks[0].a[0] == 0);
        memcpy(t->job.disks[0].a, A, UUID_STR_SIZE);
        CHECK_INT(layer_table_check(t, &err), ==, -1);
        layer_job_begin(t, LAYER_JOB_FILLNEW, S1, S1);
        layer_job_add(t, "vda", NULL, B, A); /* it replaces nothing */
        CHECK_INT(layer_table_check(t, &err), ==, -1);
        layer_job_begin(t, LAYER_JOB_CLONE, S1, S1);
        layer_job_add(t, "vda", A, B, NULL);
        t->job.step = LAYER_STEP_FILLED;
        CHECK_INT(layer_table_check(t, &err), ==, -1);
    }
}

static void
a_newer_version_is_not_called_damaged(void)
{
    static const char text[] = "vmkeep-layers 3\nwhatever\n";
    struct err err = { 0 };

    CHECK(layer_table_decode((const uint8_t *)text, strlen(text), &err) ==
          NULL);
    CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
}

static void
a_merge_keeps_the_id_and_takes_the_file(void)
{
    CLEANUP(layer_table_free) struct layer_table *t = sample();
    struct layer *c;

    layer_remove(t, C);
    layer_ref_drop(t, LAYER_REF_CUT, S1);
    layer_job_end(t);
    layer_merged(t, A, B);
    c = layer_find(t, B);
    CHECK_INT(t->n_layers, ==, 1);
    CHECK(c->parent[0] == 0 && !c->is_made && c->state == LAYER_ACTIVE);
    CHECK(strcmp(c->format, "raw") == 0 && c->file.dev == 66);
    CHECK_INT(c->size, ==, 7);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a table that knows no births is a version 1",
          a_table_that_knows_no_births_is_a_version_1 },
        { "a merge in its pivot reads back", a_merge_in_its_pivot_reads_back },
        { "what is written is read back", what_is_written_is_read_back },
        { "every damaged byte is noticed", every_damaged_byte_is_noticed },
        { "rules over several lines are checked",
          rules_over_lines_are_checked },
        { "a filled restore has no sealed layer",
          a_filled_restore_has_no_sealed_layer },
        { "a newer version is not called damaged",
          a_newer_version_is_not_called_damaged },
        { "a merge keeps the id and takes the file",
          a_merge_keeps_the_id_and_takes_the_file },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
