/* SPDX-License-Identifier: Apache-2.0 */
/* Random trees, random deletes and restores, against a model of disks.
 *
 * A model file is 16 blocks, each unallocated (0) or holding a number; reading
 * falls through to its backing file, as in qcow2. After every small step, also
 * in the middle of a merge, whatever is kept must read as it did when it was
 * made: snapshots, the guest's disk, linked clones, detached disks. Invariant
 * 1: nothing that is named goes. Invariant 3: no commit into a file with two
 * readers. */
#include "base/mem.h"
#include "test.h"
#include "volume/plan.h"

enum {
    BLOCKS = 16,
    FILES = 512,
    KEPT = 64,
    ROUNDS = 300,
    STEPS = 120,
};

struct file {
    bool is_there;
    int block[BLOCKS];
    int backing; /* index, -1: none */
};
struct kept {
    bool is_used;
    char cut[UUID_STR_SIZE];
    int file; /* a linked clone or a detached disk; -1: a cut */
    int content[BLOCKS];
};

static struct file files[FILES];
static int n_files;
static struct kept kept[KEPT];
static int guest[BLOCKS]; /* what the guest must read */
static bool is_live;
static struct layer_table *t;
static int next_value;

static unsigned
pick(unsigned n)
{
    return (unsigned)random() % n;
}

static int
index_of(const struct layer *l)
{
    return (int)l->file.ino - 1;
}

static void
read_file(int f, int content[BLOCKS])
{
    for (int b = 0; b < BLOCKS; b++) {
        int at = f;

        while (at >= 0 && files[at].block[b] == 0) {
            CHECK(files[at].is_there);
            at = files[at].backing;
        }
        content[b] = at < 0 ? 0 : files[at].block[b];
    }
}

static int
new_file(int backing)
{
    CHECK_INT(n_files, <, FILES);
    files[n_files] = (struct file){ .is_there = true, .backing = backing };
    return n_files++;
}

static struct layer *
add_layer(const char *parent, enum layer_state state, int file, bool is_made)
{
    char path[16];
    struct layer *l;

    (void)snprintf(path, sizeof path, "/d/%d", file);
    l = layer_add(t, NULL, parent, "vda", state, "qcow2", path, BLOCKS);
    l->file = (struct file_id){ .dev = 1, .ino = (uint64_t)file + 1 };
    l->is_made = is_made;
    return l;
}

static void
check_content(int file, const int want[BLOCKS])
{
    int got[BLOCKS];

    read_file(file, got);
    CHECK(memcmp(got, want, sizeof got) == 0);
}

static void
check_all(void)
{
    struct err err = { 0 };

    CHECK_OK(layer_table_check(t, &err), &err);
    check_content(index_of(layer_find_active(t, "vda")), guest);
    for (int i = 0; i < KEPT; i++) {
        const struct layer_ref *r;

        if (!kept[i].is_used)
            continue;
        if (kept[i].file >= 0) {
            check_content(kept[i].file, kept[i].content);
            continue;
        }
        r = layer_ref_find(t, LAYER_REF_CUT, kept[i].cut, "vda");
        CHECK(r != NULL);
        check_content(index_of(layer_find(t, r->layer)), kept[i].content);
    }
}

static struct kept *
free_slot(void)
{
    for (int i = 0; i < KEPT; i++)
        if (!kept[i].is_used)
            return &kept[i];
    return NULL;
}

static void
add_user(struct plan_facts *f, enum plan_user_kind kind, bool is_own,
         bool is_top, int file)
{
    f->users = xrealloc(f->users, f->n_users + 1, sizeof *f->users);
    f->users[f->n_users++] = (struct plan_user){
        .kind = kind,
        .is_own = is_own,
        .is_top = is_top,
        .file = { .dev = 1, .ino = (uint64_t)file + 1 },
        .target = "vda",
    };
}

/* Header facts are read from the model's files, not from the table. */
static struct plan_facts
observe(void)
{
    struct plan_facts f = { .has_domain = true,
                            .is_persistent = true,
                            .is_live = is_live,
                            .is_steady = true };
    int active = index_of(layer_find_active(t, "vda"));

    f.files = xcalloc(t->n_layers, sizeof *f.files);
    for (size_t i = 0; i < t->n_layers; i++) {
        const struct file *file = &files[index_of(&t->layers[i])];

        f.files[i] = (struct plan_file){ file->is_there,     true,  true,
                                         file->backing >= 0, { 0 }, BLOCKS };
        if (file->backing >= 0)
            f.files[i].backing =
                (struct file_id){ .dev = 1,
                                  .ino = (uint64_t)file->backing + 1 };
    }
    for (int at = active; at >= 0; at = files[at].backing) {
        add_user(&f, PLAN_USER_INACTIVE, true, at == active, at);
        if (is_live)
            add_user(&f, PLAN_USER_LIVE, true, at == active, at);
    }
    for (int i = 0; i < n_files; i++) {
        bool is_row = false;

        for (size_t r = 0; r < t->n_layers; r++)
            is_row |= index_of(&t->layers[r]) == i;
        if (files[i].is_there && !is_row && files[i].backing >= 0)
            add_user(&f, PLAN_USER_HEADER, false, false, files[i].backing);
    }
    return f;
}

static int
readers_of(int file)
{
    int n = 0;

    for (int i = 0; i < n_files; i++)
        n += files[i].is_there && files[i].backing == file;
    return n;
}

static void
do_unlink(int file)
{
    CHECK_INT(readers_of(file), ==, 0);
    CHECK_INT(index_of(layer_find_active(t, "vda")), !=, file);
    files[file].is_there = false;
}

/* In small steps, with a repetition from the start, as after a crash. */
static void
do_merge(size_t l_row, size_t c_row)
{
    char l_id[UUID_STR_SIZE], c_id[UUID_STR_SIZE];
    int l = index_of(&t->layers[l_row]), c = index_of(&t->layers[c_row]);
    bool was_active = t->layers[c_row].state == LAYER_ACTIVE;

    memcpy(l_id, t->layers[l_row].id, sizeof l_id);
    memcpy(c_id, t->layers[c_row].id, sizeof c_id);
    CHECK_INT(readers_of(l), ==, 1);
    CHECK_INT(files[c].backing, ==, l);
    CHECK(t->layers[l_row].state != LAYER_FOREIGN);
    for (int crash = (int)pick(3); crash >= 0; crash--)
        for (int b = 0; b < (crash > 0 ? (int)pick(BLOCKS) : BLOCKS); b++) {
            if (files[c].block[b] != 0)
                files[l].block[b] = files[c].block[b];
            check_all();
        }
    for (int i = 0; i < n_files; i++)
        if (files[i].is_there && files[i].backing == c) {
            files[i].backing = l;
            check_all();
        }
    CHECK(t->layers[c_row].is_made);
    layer_merged(t, l_id, c_id);
    if (was_active)
        CHECK_INT(index_of(layer_find_active(t, "vda")), ==, l);
    do_unlink(c);
    check_all();
}

static size_t
collect(void)
{
    for (;;) {
        struct plan_item items[FILES];
        struct plan_facts f = observe();
        size_t row, left = 0;

        plan_collect(t, &f, items);
        row = plan_next(t, items);
        for (size_t i = 0; i < t->n_layers; i++)
            left += items[i].verb == PLAN_HIDDEN;
        plan_facts_fini(&f);
        if (row == t->n_layers)
            return left;
        if (items[row].verb == PLAN_MERGE) {
            do_merge(row, items[row].child);
            continue;
        }
        if (items[row].verb == PLAN_UNLINK)
            do_unlink(index_of(&t->layers[row]));
        layer_remove(t, t->layers[row].id);
        check_all();
    }
}

static void
do_write(void)
{
    int active = index_of(layer_find_active(t, "vda"));

    for (unsigned n = pick(6); n > 0; n--) {
        unsigned b = pick(BLOCKS);

        files[active].block[b] = guest[b] = ++next_value;
    }
}

static void
do_cut(void)
{
    struct layer *old = layer_find_active(t, "vda"), *new;
    struct kept *k = free_slot();
    char old_id[UUID_STR_SIZE];

    if (k == NULL || layer_depth(t, old) >= LAYER_DEPTH_MAX)
        return;
    memcpy(old_id, old->id, sizeof old_id);
    new = add_layer(old_id, LAYER_PLANNED, new_file(index_of(old)), true);
    layer_seal(t, old_id, new->id);
    *k = (struct kept){ .is_used = true, .file = -1 };
    uuid_random(k->cut);
    memcpy(k->content, guest, sizeof guest);
    layer_ref_add(t, LAYER_REF_CUT, k->cut, "vda", old_id);
}

static struct kept *
pick_cut(void)
{
    struct kept *k = &kept[pick(KEPT)];

    return k->is_used && k->file < 0 ? k : NULL;
}

static void
do_delete(void)
{
    struct kept *k = pick_cut();

    if (k == NULL)
        return;
    layer_ref_drop(t, LAYER_REF_CUT, k->cut);
    k->is_used = false;
}

static void
do_restore(void)
{
    struct kept *k = pick_cut(), *slot = free_slot();
    struct layer *old, *new;
    const char *on;

    if (k == NULL || slot == NULL || is_live)
        return;
    on = layer_ref_find(t, LAYER_REF_CUT, k->cut, "vda")->layer;
    new = add_layer(on, LAYER_PLANNED, new_file(index_of(layer_find(t, on))),
                    true);
    old = layer_find_active(t, "vda");
    if (pick(2) == 0) {
        old->state = LAYER_TRASH;
        old->was = xstrdup("/was");
    } else {
        old->state = LAYER_DETACHED;
        *slot = (struct kept){ .is_used = true, .file = index_of(old) };
        memcpy(slot->content, guest, sizeof guest);
    }
    new->state = LAYER_ACTIVE;
    memcpy(guest, k->content, sizeof guest);
}

/* What is in the trash goes; with `all`, detached disks go too. */
static void
empty_trash(bool all)
{
    struct plan_facts f = observe();

    for (size_t i = t->n_layers; i-- > 0;) {
        const struct layer *l = &t->layers[i];
        int file = index_of(l);

        if ((l->state != LAYER_TRASH && !(all && l->state == LAYER_DETACHED)) ||
            plan_unlink_why(t, &f, i) != PLAN_WHY_NONE)
            continue;
        for (int k = 0; k < KEPT; k++)
            if (kept[k].is_used && kept[k].file == file)
                kept[k].is_used = false;
        do_unlink(file);
        layer_remove(t, t->layers[i].id);
    }
    plan_facts_fini(&f);
}

/* An admin makes a linked clone of a sealed file, or removes one. */
static void
do_clone(void)
{
    struct kept *k = free_slot();
    struct layer *l = &t->layers[pick((unsigned)t->n_layers)];

    if (k == NULL || l->state != LAYER_SEALED)
        return;
    *k = (struct kept){ .is_used = true, .file = new_file(index_of(l)) };
    read_file(k->file, k->content);
    files[k->file].block[pick(BLOCKS)] = ++next_value;
    read_file(k->file, k->content);
}

static bool
is_row_file(int file)
{
    for (size_t r = 0; r < t->n_layers; r++)
        if (index_of(&t->layers[r]) == file)
            return true;
    return false;
}

static void
remove_clones(unsigned one_in)
{
    for (int i = 0; i < KEPT; i++)
        if (kept[i].is_used && kept[i].file >= 0 &&
            !is_row_file(kept[i].file) && pick(one_in) == 0) {
            files[kept[i].file].is_there = false;
            kept[i].is_used = false;
        }
}

static void
start(void)
{
    memset(files, 0, sizeof files);
    memset(kept, 0, sizeof kept);
    memset(guest, 0, sizeof guest);
    n_files = 0;
    is_live = false;
    t = layer_table_new("11111111-1111-4111-8111-111111111111");
    (void)add_layer(NULL, LAYER_ACTIVE, new_file(-1), false);
}

static void
one_step(void)
{
    switch (pick(12)) {
    case 0:
    case 1:
    case 2:
        do_cut();
        break;
    case 3:
    case 4:
        do_delete();
        break;
    case 5:
    case 6:
        do_restore();
        break;
    case 7:
        (void)collect();
        break;
    case 8:
        empty_trash(pick(4) == 0);
        break;
    case 9:
        do_clone();
        break;
    case 10:
        remove_clones(4);
        break;
    default:
        is_live = !is_live;
        break;
    }
    do_write();
    check_all();
}

static void
what_is_kept_reads_the_same_for_ever(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        srandom((unsigned)round);
        start();
        for (int step = 0; step < STEPS && n_files < FILES - 2; step++)
            one_step();
        /* All goes; the one file that is left is the one we began with. */
        remove_clones(1);
        for (int i = 0; i < KEPT; i++)
            if (kept[i].is_used && kept[i].file < 0) {
                layer_ref_drop(t, LAYER_REF_CUT, kept[i].cut);
                kept[i].is_used = false;
            }
        empty_trash(true);
        CHECK_INT(collect(), ==, 0);
        CHECK_INT(t->n_layers, ==, 1);
        CHECK_INT(index_of(&t->layers[0]), ==, 0);
        CHECK(!t->layers[0].is_made);
        check_all();
        layer_table_free(t);
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what is kept reads the same for ever, and nothing is left over",
          what_is_kept_reads_the_same_for_ever },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
