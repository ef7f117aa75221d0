/* SPDX-License-Identifier: Apache-2.0 */
#include "base/macros.h"
#include "controller/trust.h"
#include "test.h"

/* The chains of these tests: what an event does to files and bitmaps is what
 * was measured (docs/decisions/0022-checkpoints.md). */

#define A      "aaaaaaaa-0000-4000-8000-000000000001"
#define B      "bbbbbbbb-0000-4000-8000-000000000002"
#define C      "cccccccc-0000-4000-8000-000000000003"
#define GOOD   TRUST_BITMAP_GOOD
#define ABSENT TRUST_BITMAP_ABSENT
#define BROKEN TRUST_BITMAP_BROKEN
#define MIB    ((uint64_t)1 << 20)

static const struct trust_record recorded = {
    .layer = A,
    .file = { 8, 100 },
    .path = "/v/disk.qcow2",
    .format = "qcow2",
    .size = MIB,
};

static struct trust_layer
layer(const char *id, uint64_t ino, const char *path, enum trust_bitmap bitmap)
{
    struct trust_layer l = { .file = { 8, ino },
                             .path = path,
                             .format = "qcow2",
                             .size = MIB,
                             .bitmap = bitmap };

    memcpy(l.id, id, sizeof l.id);
    return l;
}
#define DISK(id, bitmap)  layer(id, 100, "/v/disk.qcow2", bitmap)
#define OVER1(id, bitmap) layer(id, 101, "/v/disk.vmkeep-1.qcow2", bitmap)
#define OVER2(id, bitmap) layer(id, 102, "/v/disk.vmkeep-2.qcow2", bitmap)

static struct trust_facts
facts(const struct trust_layer *layers, size_t n)
{
    return (struct trust_facts){ .has_parent = true,
                                 .parent_size = MIB,
                                 .record = &recorded,
                                 .layers = layers,
                                 .n_layers = n };
}

/* What it says about these layers; DIRTY: how many bitmaps are read, else 0. */
static size_t
dirty_layers(const struct trust_layer *layers, size_t n)
{
    struct trust_facts f = facts(layers, n);
    struct trust_verdict v = trust_decide(&f);

    CHECK(v.reason != NULL);
    CHECK(v.level == TRUST_DIRTY || v.level == TRUST_RESCAN);
    CHECK(v.level == TRUST_DIRTY ? v.n_layers > 0 : v.n_layers == 0);
    CHECK(v.dirty_from == UINT64_MAX);
    return v.n_layers;
}
#define DIRTY(...)                                                             \
    dirty_layers((const struct trust_layer[]){ __VA_ARGS__ },                  \
                 sizeof((const struct trust_layer[]){ __VA_ARGS__ }) /         \
                     sizeof(struct trust_layer))

static void
what_keeps_a_bitmap_right(void)
{
    /* stop and start, destroy, save and restore, libvirtd killed, undefine and
     * define: the same file with its bitmap */
    CHECK_INT(DIRTY(DISK(A, GOOD)), ==, 1);
    /* the backup's own overlay was merged back: the upper id, the lower file */
    CHECK_INT(DIRTY(DISK(B, GOOD)), ==, 1);
    /* a snapshot since: libvirt gave the overlay a bitmap */
    CHECK_INT(DIRTY(OVER1(B, GOOD), DISK(A, GOOD)), ==, 2);
    /* two, and the disk below never had it */
    CHECK_INT(DIRTY(OVER2(C, GOOD), OVER1(A, GOOD), DISK(B, ABSENT)), ==, 2);
    /* the recorded layer was merged into the one below it: its id stays */
    CHECK_INT(DIRTY(OVER1(B, GOOD), layer(A, 99, "/v/root.qcow2", GOOD)), ==,
              2);
    /* a bitmap below the origin does no harm and is taken, too */
    CHECK_INT(DIRTY(DISK(A, GOOD), OVER1(B, GOOD)), ==, 2);
}

static void
what_breaks_it(void)
{
    /* QEMU killed: made in that run, or loaded by it */
    CHECK_INT(DIRTY(DISK(A, ABSENT)), ==, 0);
    CHECK_INT(DIRTY(DISK(A, BROKEN)), ==, 0);
    CHECK_INT(DIRTY(OVER1(B, ABSENT), DISK(A, GOOD)), ==, 0);
    CHECK_INT(DIRTY(OVER1(B, GOOD), DISK(A, BROKEN)), ==, 0);
    CHECK_INT(DIRTY(OVER2(C, GOOD), OVER1(B, ABSENT), DISK(A, GOOD)), ==, 0);
    CHECK_INT(DIRTY(DISK(A, GOOD), OVER1(B, BROKEN)), ==, 0);
    /* restored in place to a snapshot older than the backup */
    CHECK_INT(DIRTY(OVER1(B, GOOD), OVER2(C, ABSENT)), ==, 0);
    CHECK_INT(DIRTY(OVER1(B, ABSENT), OVER2(C, ABSENT)), ==, 0);
    /* rolled back by cp from before the backup: no such bitmap in it */
    CHECK_INT(DIRTY(DISK(A, ABSENT)), ==, 0);
    /* rolled back by mv, moved, copied: another file, whatever it carries */
    CHECK_INT(DIRTY(layer(B, 555, "/v/disk.qcow2", GOOD)), ==, 0);
    CHECK_INT(DIRTY(layer(B, 555, "/w/disk.qcow2", GOOD)), ==, 0);
    /* the recorded inode belongs to an overlay now: its file was unlinked */
    CHECK_INT(DIRTY(layer(B, 100, "/v/disk.vmkeep-9.qcow2", GOOD)), ==, 0);
    /* streamed flat, or converted */
    CHECK_INT(DIRTY(OVER1(B, GOOD)), ==, 0);
    CHECK_INT(DIRTY(OVER1(B, ABSENT)), ==, 0);
}

static void
another_vm_or_repository_has_no_parent_or_no_record(void)
{
    struct trust_layer l = DISK(A, GOOD);
    struct trust_facts f = facts(&l, 1);

    f.has_parent = false; /* a clone's first backup */
    CHECK_INT(trust_decide(&f).level, ==, TRUST_FULL);
    f.has_parent = true;
    f.record = NULL;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    f.record = &recorded;
    f.record_refusal = "it was made for another repository";
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    CHECK(strcmp(trust_decide(&f).reason, f.record_refusal) == 0);
    f.record_refusal = NULL;
    f.n_layers = 0;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
}

static void
a_disk_that_has_grown_is_dirty_from_its_old_end(void)
{
    struct trust_layer l = DISK(A, GOOD);
    struct trust_facts f = facts(&l, 1);

    l.size = 3 * MIB;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_DIRTY);
    CHECK_INT(trust_decide(&f).dirty_from, ==, MIB);
    l.size = MIB / 2;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_DIRTY);
    CHECK(trust_decide(&f).dirty_from == UINT64_MAX);
    /* the repository's disk is not of the size at the checkpoint */
    f.parent_size = 2 * MIB;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
}

static void
raw_disks_and_internal_snapshots_are_compared(void)
{
    struct trust_layer l[] = { OVER1(B, GOOD), DISK(A, GOOD) };
    struct trust_facts f = facts(l, 2);

    CHECK_INT(trust_decide(&f).level, ==, TRUST_DIRTY);
    l[1].n_snapshots = 1;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    l[1].n_snapshots = 0;
    l[0].format = "raw";
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    CHECK(strstr(trust_decide(&f).reason, "raw") != NULL);
    /* an overlay on a raw disk that the backup before read as raw */
    l[0] = OVER1(B, GOOD);
    l[1] = DISK(A, ABSENT);
    l[1].format = "raw";
    f.record = NULL;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
}

/* Nothing that happens to QEMU or to the disk's file makes a copy lie. */
static void
copies_are_compared_file_by_file(void)
{
    struct trust_layer l[] = { OVER1(B, ABSENT), DISK(A, ABSENT) };
    struct trust_layer old[] = { OVER1(C, ABSENT), DISK(C, ABSENT) };
    struct trust_facts f = facts(l, 2);

    f.is_clone = true;
    f.clone = old;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN); /* they are gone */
    f.n_clone = 2;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_DIRTY);
    CHECK(trust_decide(&f).by_clone && trust_decide(&f).n_layers == 0);
    l[0].format = old[0].format = "raw";
    l[1].n_snapshots = 1;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_DIRTY);
    l[0].size = 2 * MIB;
    CHECK_INT(trust_decide(&f).dirty_from, ==, MIB);
    old[0].format = "qcow2";
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    old[0].format = "raw";
    old[1].file.dev++; /* on another file system */
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    old[1].file.dev--;
    f.n_clone = 1; /* another chain */
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    f.n_clone = 2;
    f.record_refusal = "another repository";
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    f.record_refusal = NULL;
    f.parent_size = 2 * MIB;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_RESCAN);
    f.has_parent = false;
    CHECK_INT(trust_decide(&f).level, ==, TRUST_FULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what keeps a bitmap right", what_keeps_a_bitmap_right },
        { "what breaks it", what_breaks_it },
        { "another VM or repository has no parent or no record",
          another_vm_or_repository_has_no_parent_or_no_record },
        { "a disk that has grown is dirty from its old end",
          a_disk_that_has_grown_is_dirty_from_its_old_end },
        { "raw disks and internal snapshots are compared",
          raw_disks_and_internal_snapshots_are_compared },
        { "copies are compared file by file",
          copies_are_compared_file_by_file },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
