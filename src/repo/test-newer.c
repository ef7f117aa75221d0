/* SPDX-License-Identifier: Apache-2.0 */
/* F30: hosts of several versions on one repository. A newer one writes entries,
 * slots, segments and hints that this one does not know: what it may ignore it
 * ignores, for the rest it refuses to go on, and harms nothing. */
#include "base/buf.h"
#include "base/mem.h"
#include "codec/le.h"
#include "repo/compact.h"
#include "repo/gc.h"
#include "repo/hold.h"
#include "repo/repo-private.h"
#include "repo/scrub.h"
#include "repo/test-model.h"

#define LOG2  16u
#define CHUNK ((size_t)1 << LOG2)

static struct testing_disk disk = { .name = "d",
                                    .size = 6 * CHUNK,
                                    .log2 = LOG2 };

static int
back_up(struct repo *repo, struct repo_backup *b, char id[REPO_ID_SIZE],
        struct err *err)
{
    const struct repo_backup_options o = { .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *own = NULL;
    unsigned n;

    if (b == NULL) {
        if (repo_backup_begin(repo, &o, &own, err) < 0)
            return -1;
        b = own;
    }
    if (repo_backup_add_disk(b, disk.name, disk.size, LOG2, &n, err) < 0 ||
        testing_disk_write(&disk, b, n, err) < 0 ||
        repo_backup_commit(b, NULL, 0, "uid", err) < 0)
        return -1;
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    return 0;
}

static void
check_reads(struct repo *repo, const char *id)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    testing_disk_check(&disk, v);
}

static size_t
count(struct repo *repo, const char *prefix)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    CHECK_OK(blob_list(repo->blob, prefix, &n, &err), &err);
    return n.count;
}

static void
put(struct repo *repo, const char *name, const void *data, size_t len)
{
    struct err err = { 0 };
    bool existed = true;

    CHECK_OK(blob_put(repo->blob, name, data, len, &existed, &err), &err);
    CHECK(!existed);
}

/* What a newer version appends: an entry of type 200. */
static void
append_unknown(struct repo *repo, bool is_critical)
{
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    struct commitlog_entry e = { .type = 200,
                                 .is_critical = is_critical,
                                 .is_signed = true,
                                 .seq = count(repo, "log/"),
                                 .body = (const uint8_t *)"?",
                                 .body_len = 1 };
    uint8_t last[COMMITLOG_SIZE_MAX];
    char name[32];
    size_t len = 0;
    struct err err = { 0 };

    commitlog_name(e.seq++, name);
    CHECK_OK(blob_get(repo->blob, name, 0, last, sizeof last, &len, &err),
             &err);
    hash_sha256(last, len, e.prev);
    commitlog_encode(&e, repo->uuid, &repo->keys, &bytes);
    commitlog_name(e.seq, name);
    put(repo, name, bytes.data, bytes.len);
}

static void
what_may_be_ignored_is(void)
{
    const struct repo_gc_options at_once = { .kill_s = REPO_GC_KILL_S };
    struct repo_scrub_options o = { .level = REPO_VERIFY_FRAMES };
    struct repo_scrub_sink sink = { 0 };
    struct repo_scrub_result r;
    struct repo_gc_result g;
    struct repo *repo, *other = NULL;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], slot[64];
    const char *ids[] = { a };
    uint8_t newer[256] = "VMKSLOT";
    struct repo_entry *e = NULL;
    size_t n = 0, damage = 9;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    CHECK_OK(back_up(repo, NULL, a, &err), &err);
    append_unknown(repo, false);
    le_put16(newer + 8, 2);
    (void)snprintf(slot, sizeof slot, "keys/%s",
                   "11111111-1111-4111-8111-111111111111");
    put(repo, slot, newer, sizeof newer);
    memcpy(newer, "VMKSEGM", 8);
    put(repo, "x/22222222-2222-4222-8222-222222222222", newer, sizeof newer);
    put(repo, "hint/scrub/7", "{\"version\":9}", 13);
    put(repo, "hint/copies/7", newer, 57);
    put(repo, "hint/checked/7", newer, 16);
    put(repo, "new/thing", newer, 16);
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(repo_list(other, &e, &n, &damage, &err), &err);
    CHECK(n == 1 && damage == 0);
    free(TAKE(e));
    CHECK_OK(back_up(other, NULL, b, &err), &err);
    CHECK_OK(back_up(repo, NULL, b, &err), &err); /* who had it open */
    CHECK_OK(repo_delete(other, ids, 1, &err), &err);
    CHECK_OK(repo_gc(other, &at_once, NULL, &g, &err), &err);
    CHECK_OK(repo_scrub_run(other, &o, &sink, &r, &err), &err);
    CHECK_INT(r.bad, ==, 0);
    check_reads(other, b);
    CHECK_INT(count(repo, "new/"), ==, 1); /* not ours to touch */
    repo_close(other);
    repo_close(repo);
    testing_dir_remove();
}

static void
what_must_be_known_ends_it(void)
{
    const struct repo_gc_options at_once = { 0 };
    const struct repo_compact_options co = { .dead_percent = 1 };
    const struct repo_compact_sink cs = { 0 };
    const struct repo_backup_options bo = { .threads = 1 };
    struct repo_compact_result cr;
    struct repo_gc_result g;
    struct repo_backup *began = NULL;
    struct repo_view *v = NULL;
    struct repo_entry *e = NULL;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    const char *ids[] = { a };
    size_t n = 0, damage = 0, packs;
    struct repo *repo;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    CHECK_OK(back_up(repo, NULL, a, &err), &err);
    CHECK_OK(repo_view_open(repo, a, &v, &err), &err);
    CHECK_OK(repo_backup_begin(repo, &bo, &began, &err), &err);
    append_unknown(repo, true);
    packs = count(repo, "p/") + count(repo, "m/");
    /* Who was at work when the newer one came, and who begins. */
    CHECK_ERR(back_up(repo, began, b, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(back_up(repo, NULL, b, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(repo_list(repo, &e, &n, &damage, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(repo_delete(repo, ids, 1, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(repo_hold_set(repo, a, "", &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(repo_gc(repo, &at_once, NULL, &g, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(repo_compact(repo, &co, &cs, &cr, &err), &err, ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "type 200") != NULL);
    /* Frames may have gone where only the newer one knows. */
    if (repo_view_pin(v, &err) < 0)
        CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
    repo_view_close(v);
    repo_backup_free(began);
    CHECK_INT(count(repo, "p/") + count(repo, "m/"), >=, packs);
    repo_close(repo);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "what may be ignored is", what_may_be_ignored_is },
        { "what must be known ends it", what_must_be_known_ends_it },
    };

    for (uint64_t c = 0; c < 6; c++)
        testing_disk_set(&disk, c, TESTING_RANDOM, c + 1);
    return test_main(tests, ARRAY_SIZE(tests));
}
