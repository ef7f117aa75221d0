/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody changes a repository from outside, whole objects at a time: puts an
 * older copy in its place while it is open, swaps packs. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "repo/gc.h"
#include "repo/test-model.h"

#define DAY   86400
#define CHUNK ((uint64_t)1 << 16)

static void
disk_fini_p(struct testing_disk *d)
{
    testing_disk_fini(d);
}

static void
run(const char *text)
{
    CLEANUP(mem_free)
    char *cmd = xasprintf("cd %s && %s", testing_dir, text);

    CHECK_INT(system(cmd), ==, 0); // NOLINT
}

/* In the same directory, as rsync --delete does it: who has it open sees
 * nothing of that. */
static void
put_back(void)
{
    run("rm -rf * && cp -a ../$(basename $PWD).old/. . && rm -rf ../$(basename $PWD).old");
}

static void
put_aside(void)
{
    run("cp -a . ../$(basename $PWD).old");
}

static struct repo_backup *
begin(struct repo *repo, struct testing_disk *d, const char *parent,
      uint64_t first)
{
    struct repo_backup_options o = { .parent = parent, .threads = 1 };
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, CHUNK);
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    unsigned n = 0;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d->name, d->size, d->log2, &n, &err),
             &err);
    for (uint64_t c = first; c < first + 4; c++) {
        testing_disk_set(d, c, TESTING_RANDOM, testing_random());
        testing_disk_read(d, c * CHUNK, data, CHUNK);
        CHECK_OK(repo_backup_write(b, n, c * CHUNK, data, CHUNK, &err), &err);
    }
    return b;
}

static void
make(struct repo *repo, struct testing_disk *d, const char *parent,
     uint64_t first, char ret_id[REPO_ID_SIZE])
{
    CLEANUP(repo_backup_free)
    struct repo_backup *b = begin(repo, d, parent, first);
    struct err err = { 0 };

    CHECK_OK(repo_backup_commit(b, "meta", 4, NULL, &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

static struct testing_disk
new_disk(void)
{
    return (struct testing_disk){ .name = "vda",
                                  .size = (uint64_t)64 << 20,
                                  .log2 = 16 };
}

static void
an_older_copy_under_an_open_repository_gets_no_entry(void)
{
    CLEANUP(disk_fini) struct testing_disk d = new_disk();
    CLEANUP(disk_fini) struct testing_disk then = new_disk();
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *open = NULL;
    struct repo_backup_options o = { .threads = 1 };
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], c[REPO_ID_SIZE];
    struct repo_backup *none = NULL;
    struct repo_entry *e = NULL;
    size_t n = 0, damage = 0;
    bool went_back = true;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    make(repo, &d, NULL, 0, a);
    testing_disk_copy(&then, &d);
    CHECK_OK(repo_went_back(repo, &went_back, &err), &err);
    CHECK(!went_back);
    put_aside();
    make(repo, &d, a, 100, b);
    open = begin(repo, &d, b, 200);
    put_back();
    CHECK_OK(repo_went_back(repo, &went_back, &err), &err);
    CHECK(went_back);
    /* Neither what was begun nor anything new: it would refer to what is not
     * there, and be believed. */
    CHECK_ERR(repo_backup_commit(open, NULL, 0, "uid", &err), &err,
              ERR_UNAVAILABLE);
    CHECK_ERR(repo_backup_begin(repo, &o, &none, &err), &err, ERR_UNAVAILABLE);
    repo_backup_free(TAKE(open));
    repo_close(TAKE(repo));
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_INT(n, ==, 1);
    CHECK_INT(damage, ==, 0);
    free(e);
    testing_backup_check(repo, a, &then);
    make(repo, &then, a, 300, c);
    testing_backup_check(repo, c, &then);
    testing_check_sound(repo);
    testing_dir_remove();
}

static void
what_was_deleted_since_then_is_not_removed_from_an_older_copy(void)
{
    CLEANUP(disk_fini) struct testing_disk d = new_disk();
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_gc_options o = { .kill_s = 7 * DAY };
    struct repo_gc_result r;
    char a[REPO_ID_SIZE];
    const char *ids[] = { a };
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    make(repo, &d, NULL, 0, a);
    put_aside();
    CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
    o.grace_s = DAY; /* condemned, and not removed yet */
    CHECK_OK(repo_gc(repo, &o, NULL, &r, &err), &err);
    put_back();
    o.grace_s = 0;
    o.now_unix_s = (int64_t)time(NULL) + 3 * DAY;
    CHECK_ERR(repo_gc(repo, &o, NULL, &r, &err), &err, ERR_UNAVAILABLE);
    repo_close(TAKE(repo));
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    testing_backup_check(repo, a, &d);
    testing_check_sound(repo);
    testing_dir_remove();
}

struct findings {
    unsigned damages, affected;
};

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct findings *f = arg;

    f->damages++;
}

static void
on_affected(void *arg, const struct repo_entry *backup, const char *disk,
            uint64_t lost_bytes)
{
    struct findings *f = arg;

    CHECK(lost_bytes >= 4 * CHUNK);
    f->affected++;
}

static void
packs_that_were_swapped_are_found(void)
{
    for (int is_encrypted = 0; is_encrypted < 2; is_encrypted++) {
        CLEANUP(disk_fini) struct testing_disk d1 = new_disk();
        CLEANUP(disk_fini) struct testing_disk d2 = new_disk();
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        CLEANUP(mem_free) uint8_t *data = xcalloc(1, CHUNK);
        CLEANUP(mem_free) char *swap = NULL;
        struct findings seen = { 0 };
        struct repo_verify_sink sink = { .damage = on_damage,
                                         .affected = on_affected,
                                         .arg = &seen };
        char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
        struct err err = { 0 };
        uint64_t n = 0;

        testing_dir_make();
        repo = testing_repo_create(is_encrypted == 1);
        make(repo, &d1, NULL, 0, a);
        make(repo, &d2, NULL, 0, b);
        swap = xasprintf("mv p/%s/0 x.tmp && mv p/%s/0 p/%s/0 && "
                         "mv x.tmp p/%s/0",
                         a, b, a, b);
        run(swap);
        repo_close(TAKE(repo));
        repo = testing_repo_open((struct blob_fault_plan){ 0 });
        CHECK_OK(repo_view_open(repo, a, &v, &err), &err);
        CHECK_ERR(repo_view_read(v, 0, 0, data, CHUNK, &err), &err,
                  ERR_CORRUPT);
        CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 1, &sink, &n, &err),
                 &err);
        CHECK(n >= 2 && seen.damages >= 2);
        CHECK_INT(seen.affected, ==, 2);
        testing_dir_remove();
    }
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "an older copy under an open repository gets no entry",
          an_older_copy_under_an_open_repository_gets_no_entry },
        { "what was deleted since then is not removed from an older copy",
          what_was_deleted_since_then_is_not_removed_from_an_older_copy },
        { "packs that were swapped are found",
          packs_that_were_swapped_are_found },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
