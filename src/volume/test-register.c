/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/mem.h"
#include "base/spawn.h"
#include "test.h"
#include "volume/volume-priv.h"

#define VM "11111111-1111-4111-8111-111111111111"
#define S1 "bbbbbbbb-0000-4000-8000-000000000001"

static char dir[] = "/tmp/vk-register-XXXXXX";

/* A raw image of one MiB. */
static char *
image(const char *name, struct file_id *ret_id)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/%s", dir, name);
    const char *const argv[] = { "truncate", "-s", "1M", path, NULL };
    struct err err = { 0 };

    CHECK_OK(spawn_run(argv, 10000, NULL, &err), &err);
    CHECK_OK(file_id_of_path(path, ret_id, &err), &err);
    return TAKE(path);
}

/* A domain with `a` and `b` as its disks; b_target NULL: one disk. */
static struct domxml *
domain(const char *a_target, const char *a, const char *b_target, const char *b)
{
    static const char disk[] =
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        "<source file='%s'/><target dev='%s' bus='virtio'/></disk>";
    CLEANUP(buf_fini) struct buf xml = BUF_INIT;
    struct err err = { 0 };
    struct domxml *d;

    buf_add_str(&xml, "<domain type='qemu'><name>g</name><uuid>" VM
                      "</uuid><devices>");
    buf_printf(&xml, disk, a, a_target);
    if (b_target != NULL)
        buf_printf(&xml, disk, b, b_target);
    buf_add_str(&xml, "</devices></domain>");
    d = domxml_parse(buf_str(&xml), &err);
    CHECK_OK(d != NULL ? 0 : -1, &err);
    return d;
}

/* The row of a file that is no longer there, with the number of one that is:
 * ext4 gave it to the next file that was made. */
static struct layer *
row_of_a_dead_file(struct layer_table *t, const char *target,
                   const struct file_id *id)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/gone-%s", dir, target);
    struct layer *l =
        layer_add(t, NULL, NULL, target, LAYER_ACTIVE, "raw", path, 1 << 20);

    l->file = *id;
    return l;
}

static void
a_number_that_was_another_disks_does_not_make_it_that_disk(void)
{
    struct err err = { 0 };
    CLEANUP(layer_table_free) struct layer_table *t = layer_table_new(VM);
    CLEANUP(mem_free) char *path = NULL;
    CLEANUP(domxml_free) struct domxml *now = NULL;
    struct file_id id;
    struct layer *row;

    path = image("a", &id);
    now = domain("vda", path, NULL, NULL);
    row = row_of_a_dead_file(t, "vdb", &id);
    row->file.born--;
    layer_ref_add(t, LAYER_REF_CUT, S1, "vdb", row->id);
    CHECK_OK(volume_cut_register(t, "vda", now, &row, &err), &err);
    CHECK(strcmp(row->path, path) == 0);
    CHECK(strcmp(row->target, "vda") == 0);
    CHECK_INT(t->n_layers, ==, 2);
    CHECK_OK(layer_table_check(t, &err), &err);
}

static void
where_no_births_are_known_what_nothing_needs_is_forgotten(void)
{
    struct err err = { 0 };
    CLEANUP(layer_table_free) struct layer_table *t = layer_table_new(VM);
    CLEANUP(mem_free) char *path = NULL;
    CLEANUP(domxml_free) struct domxml *now = NULL;
    struct file_id id;
    struct layer *row;

    path = image("b", &id);
    now = domain("vda", path, NULL, NULL);
    id.born = 0;
    (void)row_of_a_dead_file(t, "vdb", &id);
    CHECK_OK(volume_cut_register(t, "vda", now, &row, &err), &err);
    CHECK_INT(t->n_layers, ==, 1);
    CHECK(strcmp(t->layers[0].target, "vda") == 0);
    /* But not what a snapshot needs. */
    layer_remove(t, t->layers[0].id);
    row = row_of_a_dead_file(t, "vdb", &id);
    layer_ref_add(t, LAYER_REF_CUT, S1, "vdb", row->id);
    CHECK_ERR(volume_cut_register(t, "vda", now, &row, &err), &err,
              ERR_CONFLICT);
}

/* From SATA to virtio, or two of them changed over: nothing refers to their
 * old names, and they can be snapshotted again. */
static void
disks_may_be_given_other_names(void)
{
    struct err err = { 0 };
    CLEANUP(layer_table_free) struct layer_table *t = layer_table_new(VM);
    CLEANUP(mem_free) char *one = NULL;
    CLEANUP(mem_free) char *two = NULL;
    CLEANUP(domxml_free) struct domxml *before = NULL;
    CLEANUP(domxml_free) struct domxml *after = NULL;
    struct file_id id;
    struct layer *row;

    one = image("one", &id);
    two = image("two", &id);
    before = domain("sda", one, "vdb", two);
    after = domain("vdb", one, "vda", two);
    CHECK_OK(volume_cut_register(t, "sda", before, &row, &err), &err);
    CHECK_OK(volume_cut_register(t, "vdb", before, &row, &err), &err);
    CHECK_INT(t->n_layers, ==, 2);
    CHECK_OK(volume_cut_register(t, "vda", after, &row, &err), &err);
    CHECK(strcmp(row->path, two) == 0);
    CHECK_OK(volume_cut_register(t, "vdb", after, &row, &err), &err);
    CHECK(strcmp(row->path, one) == 0);
    CHECK(strcmp(layer_find_active(t, "vda")->path, two) == 0);
    CHECK_OK(layer_table_check(t, &err), &err);
}

static void
a_disk_that_snapshots_need_keeps_its_name(void)
{
    struct err err = { 0 };
    CLEANUP(layer_table_free) struct layer_table *t = layer_table_new(VM);
    CLEANUP(mem_free) char *path = NULL;
    CLEANUP(domxml_free) struct domxml *before = NULL;
    CLEANUP(domxml_free) struct domxml *after = NULL;
    CLEANUP(domxml_free) struct domxml *both = NULL;
    struct file_id id;
    struct layer *row;

    path = image("c", &id);
    before = domain("sda", path, NULL, NULL);
    after = domain("vda", path, NULL, NULL);
    both = domain("vda", path, "vdb", path);
    CHECK_OK(volume_cut_register(t, "sda", before, &row, &err), &err);
    layer_ref_add(t, LAYER_REF_CUT, S1, "sda", row->id);
    CHECK_ERR(volume_cut_register(t, "vda", after, &row, &err), &err,
              ERR_CONFLICT);
    CHECK(strstr(err.msg, "was the disk sda before") != NULL);
    layer_ref_drop(t, LAYER_REF_CUT, S1);
    /* One file as two disks is refused, whatever the table says. */
    CHECK_OK(volume_cut_register(t, "vda", both, &row, &err), &err);
    CHECK_ERR(volume_cut_register(t, "vdb", both, &row, &err), &err,
              ERR_CONFLICT);
}

/* NFS, btrfs and LVM after a reboot. */
static void
a_device_with_another_number_has_the_same_files(void)
{
    struct err err = { 0 };
    CLEANUP(mem_free) char *tables = xasprintf("%s/tables", dir);
    CLEANUP(volume_close) struct volume *v = volume_open(tables, NULL, &err);
    CLEANUP(layer_table_free) struct layer_table *t = layer_table_new(VM);
    CLEANUP(layer_table_free) struct layer_table *after = NULL;
    CLEANUP(mem_free) char *same = NULL;
    CLEANUP(mem_free) char *other = NULL;
    struct file_id same_id, other_id;
    struct layer *l;

    CHECK_OK(v != NULL ? 0 : -1, &err);
    same = image("same", &same_id);
    other = image("other", &other_id);
    l = layer_add(t, NULL, NULL, "vda", LAYER_ACTIVE, "raw", same, 1 << 20);
    l->file = same_id;
    l->file.dev += 7;
    l = layer_add(t, NULL, NULL, "vdb", LAYER_ACTIVE, "raw", other, 1 << 20);
    l->file = other_id;
    l->file.dev += 7;
    l->file.born++;
    CHECK_OK(volume_save(v, t, &err), &err);
    after = volume_load(v, VM, &err);
    CHECK_OK(after != NULL ? 0 : -1, &err);
    CHECK(file_is_at(same, &layer_find_active(after, "vda")->file));
    CHECK(!file_is_at(other, &layer_find_active(after, "vdb")->file));
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a number that was another disk's does not make it that disk",
          a_number_that_was_another_disks_does_not_make_it_that_disk },
        { "where no births are known, what nothing needs is forgotten",
          where_no_births_are_known_what_nothing_needs_is_forgotten },
        { "disks may be given other names", disks_may_be_given_other_names },
        { "a disk that snapshots need keeps its name",
          a_disk_that_snapshots_need_keeps_its_name },
        { "a device with another number has the same files",
          a_device_with_another_number_has_the_same_files },
    };
    const char *const rm[] = { "rm", "-rf", dir, NULL };
    struct err err = { 0 };

    CHECK(mkdtemp(dir) != NULL);
    int rc = test_main(cases, ARRAY_SIZE(cases));
    return spawn_run(rm, 10000, NULL, &err) < 0 ? 1 : rc;
}
