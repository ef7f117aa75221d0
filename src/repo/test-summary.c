/* SPDX-License-Identifier: Apache-2.0 */
/* Pack summaries: see also test-repo, which compares each with its tree. */
#include "base/mem.h"
#include "repo/summary.h"
#include "repo/test-model.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static void
backup(struct repo *repo, struct testing_disk *d, const char *parent,
       uint64_t zero_from, char ret_id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .parent = parent, .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct err err = { 0 };
    unsigned n = 0;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, d->name, d->size, d->log2, &n, &err),
             &err);
    if (parent == NULL)
        CHECK_OK(testing_disk_write(d, b, n, &err), &err);
    else
        CHECK_OK(repo_backup_zero(b, n, zero_from, d->size - zero_from, &err),
                 &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, NULL, &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

/* The end of the disk is zeroed by a whole subtree, and then cut: the node
 * that was replaced must not be taken from the parent again. */
static void
a_zeroed_end_that_is_cut_stays_zero(void)
{
    struct testing_disk d = { .name = "vda", .size = 5 * GIB, .log2 = 16 };
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(repo_close) struct repo *repo = NULL;
    char first[REPO_ID_SIZE], second[REPO_ID_SIZE];
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(false);
    testing_disk_set(&d, 3, TESTING_RANDOM, 1);
    testing_disk_set(&d, (4 * GIB + 100 * MIB) >> 16, TESTING_RANDOM, 2);
    testing_disk_set(&d, (4 * GIB + 900 * MIB) >> 16, TESTING_RANDOM, 3);
    backup(repo, &d, NULL, 0, first);
    testing_disk_resize(&d, 4 * GIB + GIB / 2);
    testing_disk_zero(&d, (4 * GIB) >> 16, testing_disk_chunks(&d));
    backup(repo, &d, first, 4 * GIB, second);
    CHECK_OK(repo_view_open(repo, second, &v, &err), &err);
    testing_disk_check(&d, v);
    testing_disk_fini(&d);
    testing_dir_remove();
}

static struct pack_id
pack(unsigned session, uint32_t n)
{
    struct pack_id id = { .kind = n % 3 == 0 ? FRAME_META : FRAME_DATA,
                          .n = n };

    memset(id.session, (int)session, 16);
    return id;
}

/* Several frames: what was encoded comes back. */
static void
a_large_summary_survives_in_parts(void)
{
    struct packset sets[2] = { { 0 }, { 0 } }, back[2] = { { 0 }, { 0 } };
    const struct packset_item *items[2];
    size_t counts[2], at = 0;
    unsigned disk = 0, parts = 0;
    struct err err = { 0 };

    for (uint32_t i = 0; i < 200000; i++) {
        struct pack_id id = pack(i % 7, i);

        packset_set(&sets[i % 2], &id, i + 1);
    }
    for (unsigned i = 0; i < 2; i++)
        items[i] = packset_sorted(&sets[i], &counts[i]);
    while (disk < 2) {
        CLEANUP(buf_fini) struct buf out = BUF_INIT;

        summary_encode(items, counts, 2, &disk, &at, &out);
        CHECK(out.len < 2 * SUMMARY_PART);
        CHECK_OK(
            summary_decode((const uint8_t *)out.data, out.len, 2, back, &err),
            &err);
        CHECK_ERR(summary_decode((const uint8_t *)out.data, out.len - 1, 2,
                                 back, &err),
                  &err, ERR_CORRUPT);
        parts++;
    }
    CHECK(parts > 1);
    for (uint32_t i = 0; i < 200000; i++) {
        struct pack_id id = pack(i % 7, i);

        CHECK(packset_get(&back[i % 2], &id) == i + 1);
        CHECK(packset_get(&back[1 - i % 2], &id) == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        free((void *)(uintptr_t)items[i]);
        packset_fini(&sets[i]);
        packset_fini(&back[i]);
    }
}

static void
a_packset_adds_and_takes_away(void)
{
    CLEANUP(packset_fini) struct packset s = { 0 };
    struct pack_id a = pack(1, 1), b = pack(1, 2);
    size_t pos = 0;

    packset_add(&s, &a, 10);
    packset_add(&s, &a, 5);
    packset_add(&s, &b, 1);
    CHECK(!packset_sub(&s, &a, 16));
    CHECK(packset_sub(&s, &b, 1));
    CHECK(packset_get(&s, &a) == 15 && packset_get(&s, &b) == 0);
    CHECK(packset_next(&s, &pos) != NULL && packset_next(&s, &pos) == NULL);
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "a zeroed end that is cut stays zero",
          a_zeroed_end_that_is_cut_stays_zero },
        { "a large summary survives in parts",
          a_large_summary_survives_in_parts },
        { "a packset adds and takes away", a_packset_adds_and_takes_away },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
