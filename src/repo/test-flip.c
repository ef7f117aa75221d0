/* SPDX-License-Identifier: Apache-2.0 */
/* F15: a bit flips in memory after a chunk, or a node, was hashed. Linked with
 * --wrap: frame_pack() gets other bytes than were hashed, and what frame_seal()
 * wrote changes behind it.
 *
 * Whatever comes of it, no backup that is committed reads as other bytes than
 * were given: it is whole, or CORRUPT.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "repo/compact.h"
#include "repo/gc.h"
#include "repo/parity.h"
#include "repo/repo-private.h"
#include "repo/scrub.h"
#include "repo/test-model.h"

#define LOG2   16u
#define CHUNK  ((size_t)1 << LOG2)
#define CHUNKS 40u /* two are sampled: numbers 0 and 32 */

struct frame_body __real_frame_pack(struct frame_ctx *ctx, const void *plain,
                                    uint32_t len, bool is_encrypted);
struct frame_body __wrap_frame_pack(struct frame_ctx *ctx, const void *plain,
                                    uint32_t len, bool is_encrypted);
void __real_frame_seal(struct frame_ctx *ctx, const struct frame_origin *origin,
                       uint8_t slot, uint32_t ordinal,
                       const struct frame_body *body, uint8_t *out);
void __wrap_frame_seal(struct frame_ctx *ctx, const struct frame_origin *origin,
                       uint8_t slot, uint32_t ordinal,
                       const struct frame_body *body, uint8_t *out);

uint8_t *__real_parity_encode(const struct pack_id *id, const uint8_t *pack,
                              size_t pack_len, size_t *ret_len);
uint8_t *__wrap_parity_encode(const struct pack_id *id, const uint8_t *pack,
                              size_t pack_len, size_t *ret_len);

/* Which bit flips. Writers of these tests have one worker, beside it those that
 * build the tree and write packs. */
enum {
    NOWHERE,
    CHUNK_BEFORE, /* between hash and compression */
    META_BEFORE,
    CHUNK_AFTER, /* in the sealed frame */
    META_AFTER,
    FOOTER_AFTER,
    PACK_AFTER, /* before its parity is made */
};

static struct {
    atomic_int where;
    atomic_int which; /* the n-th of them, counted down */
} flip;

/* True once, when it is this one's turn. */
static bool
is_hit(int where)
{
    if (atomic_load(&flip.where) != where ||
        atomic_fetch_sub(&flip.which, 1) > 0)
        return false;
    atomic_store(&flip.where, NOWHERE);
    return true;
}

struct frame_body
__wrap_frame_pack(struct frame_ctx *ctx, const void *plain, uint32_t len,
                  bool is_encrypted)
{
    static uint8_t copy[FRAME_PLAIN_MAX]; /* the body may point to it */
    bool is_chunk = len == CHUNK;

    if (!is_hit(is_chunk ? CHUNK_BEFORE : META_BEFORE))
        return __real_frame_pack(ctx, plain, len, is_encrypted);
    memcpy(copy, plain, len);
    copy[len / 2] ^= 0x10;
    return __real_frame_pack(ctx, copy, len, is_encrypted);
}

void
__wrap_frame_seal(struct frame_ctx *ctx, const struct frame_origin *origin,
                  uint8_t slot, uint32_t ordinal, const struct frame_body *body,
                  uint8_t *out)
{
    __real_frame_seal(ctx, origin, slot, ordinal, body, out);
    if (is_hit(ordinal == FRAME_FOOTER_ORDINAL ? FOOTER_AFTER
               : body->ulen == CHUNK           ? CHUNK_AFTER
                                               : META_AFTER))
        out[FRAME_HEADER_SIZE + body->clen / 2] ^= 0x10;
}

uint8_t *
__wrap_parity_encode(const struct pack_id *id, const uint8_t *pack,
                     size_t pack_len, size_t *ret_len)
{
    if (is_hit(PACK_AFTER))
        ((uint8_t *)(uintptr_t)pack)[pack_len / 2] ^= 0x10;
    return __real_parity_encode(id, pack, pack_len, ret_len);
}

static struct testing_disk disk = { .name = "d",
                                    .size = CHUNKS * CHUNK,
                                    .log2 = LOG2 };

static void
make_disk(void)
{
    for (uint64_t c = 0; c < CHUNKS; c++)
        testing_disk_set(&disk, c, c % 2 == 0 ? TESTING_RANDOM : TESTING_TEXT,
                         c + 1);
}

static int
backup(struct repo *repo, const char *parent, bool checks_all,
       char id[REPO_ID_SIZE], struct err *err)
{
    struct repo_backup_options o = { .threads = 1,
                                     .parent = parent,
                                     .checks_all = checks_all };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    unsigned n;

    CHECK_OK(repo_backup_begin(repo, &o, &b, err), err);
    CHECK_OK(repo_backup_add_disk(b, disk.name, disk.size, LOG2, &n, err), err);
    if (testing_disk_write(&disk, b, n, err) < 0 ||
        repo_backup_commit(b, "meta", 4, "uid", err) < 0)
        return -1;
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    return 0;
}

/* Does it read as the disk is? */
static bool
is_whole(struct repo *repo, const char *id)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, disk.size);
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    if (repo_view_read(v, 0, 0, data, disk.size, &err) < 0) {
        CHECK_INT(err.code, ==, ERR_CORRUPT);
        return false;
    }
    testing_disk_check(&disk, v);
    return true;
}

static void
check_refused(int where, unsigned which, bool checks_all)
{
    char id[REPO_ID_SIZE];
    struct repo *repo;
    struct repo_entry *e = NULL;
    size_t n = 0, damage = 0;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(which % 2 == 0);
    flip.which = (int)which;
    flip.where = where;
    CHECK_ERR(backup(repo, NULL, checks_all, id, &err), &err, ERR_INTERNAL);
    CHECK(strstr(err.msg, "memory or the processor") != NULL);
    CHECK_INT(flip.where, ==, NOWHERE);
    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_INT(n + damage, ==, 0);
    CHECK_OK(backup(repo, NULL, checks_all, id, &err), &err);
    CHECK(is_whole(repo, id));
    free(e);
    repo_close(repo);
    testing_dir_remove();
}

/* A leaf, the metadata, the pack summary, the root. */
static void
metadata_is_read_back(void)
{
    for (unsigned which = 0; which < 4; which++)
        check_refused(META_BEFORE, which, false);
}

static void
of_chunks_a_few_are_read_back(void)
{
    check_refused(CHUNK_BEFORE, 0, false);
    check_refused(CHUNK_BEFORE, 32, false);
}

static void
or_all_of_them(void)
{
    for (unsigned which = 1; which < CHUNKS; which += 6)
        check_refused(CHUNK_BEFORE, which, true);
}

static void
what_is_sealed_is_checked_before_it_is_written(void)
{
    for (unsigned which = 0; which < CHUNKS; which += 7)
        check_refused(CHUNK_AFTER, which, false);
    for (unsigned which = 0; which < 4; which++)
        check_refused(META_AFTER, which, false);
    check_refused(FOOTER_AFTER, 0, false);
    check_refused(FOOTER_AFTER, 1, false);
}

/* Or the parity would be of other bytes than the pack, and repair nothing. */
static void
a_pack_is_checked_again_with_its_parity(void)
{
    testing_has_parity = true;
    for (unsigned which = 0; which < 2; which++)
        check_refused(PACK_AFTER, which, false);
    testing_has_parity = false;
}

struct heard {
    unsigned damages, affected;
    uint64_t lost;
    char backup[REPO_ID_SIZE];
};

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct heard *h = arg;

    h->damages++;
}

static void
on_affected(void *arg, const struct repo_entry *entry, const char *name,
            uint64_t lost_bytes)
{
    struct heard *h = arg;

    h->affected++;
    h->lost += lost_bytes;
    memcpy(h->backup, entry->id, sizeof h->backup);
}

/* One that was not read back: found by verify and scrub, named, never used
 * again, stored again by the next backup, and so healed. */
static void
what_slips_through_is_found_and_healed(void)
{
    struct repo_verify_sink verify = { .damage = on_damage,
                                       .affected = on_affected };
    struct repo_scrub_options o = { .level = REPO_VERIFY_FRAMES };
    struct repo_scrub_sink sink = { .damage = on_damage,
                                    .affected = on_affected };
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    struct repo_scrub_result r;
    struct heard h = { 0 };
    struct repo *repo;
    uint64_t damages = 0;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    flip.which = 5;
    flip.where = CHUNK_BEFORE;
    CHECK_OK(backup(repo, NULL, false, a, &err), &err);
    CHECK(!is_whole(repo, a));
    verify.arg = sink.arg = &h;
    CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 1, &verify, &damages, &err),
             &err);
    CHECK(damages >= 1 && h.damages >= 1);
    CHECK_INT(h.affected, ==, 1);
    CHECK_INT(h.lost, ==, CHUNK);
    CHECK(strcmp(h.backup, a) == 0);

    h = (struct heard){ 0 };
    CHECK_OK(repo_scrub_run(repo, &o, &sink, &r, &err), &err);
    CHECK_INT(r.new_bad, ==, 1);
    CHECK(h.affected == 1 && strcmp(h.backup, a) == 0);
    CHECK_OK(backup(repo, a, false, b, &err), &err);
    CHECK(is_whole(repo, b));
    CHECK_OK(repo_scrub_run(repo, &o, &sink, &r, &err), &err);
    CHECK_INT(r.healed, ==, 1);
    CHECK_INT(r.bad, ==, 0);
    CHECK(is_whole(repo, a));
    repo_close(repo);
    testing_dir_remove();
}

/* Compaction: the old packs stay until what was moved is whole. */
static void
what_is_moved_is_checked_too(void)
{
    struct repo_compact_options o = { .dead_percent = 1 };
    struct repo_compact_result r;
    struct repo_compact_sink sink = { 0 };
    const struct repo_gc_options at_once = { .kill_s = REPO_GC_KILL_S };
    struct repo_gc_result g;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    const char *ids[] = { a };
    struct repo *repo;
    struct err err = { 0 };

    for (int where = META_BEFORE; where <= FOOTER_AFTER; where++) {
        if (where == CHUNK_AFTER) /* they are copied, not sealed */
            continue;
        testing_dir_make();
        repo = testing_repo_create(true);
        CHECK_OK(backup(repo, NULL, false, a, &err), &err);
        for (uint64_t c = 0; c < CHUNKS; c += 2)
            testing_disk_set(&disk, c, TESTING_RANDOM, 1000 + c);
        CHECK_OK(backup(repo, a, false, b, &err), &err);
        CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
        CHECK_OK(repo_gc(repo, &at_once, NULL, &g, &err), &err);
        flip.which = 0;
        flip.where = where;
        CHECK_ERR(repo_compact(repo, &o, &sink, &r, &err), &err, ERR_INTERNAL);
        CHECK(is_whole(repo, b));
        CHECK_OK(repo_compact(repo, &o, &sink, &r, &err), &err);
        CHECK(is_whole(repo, b));
        repo_close(repo);
        testing_dir_remove();
        make_disk();
    }
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "metadata is read back", metadata_is_read_back },
        { "of chunks a few are read back", of_chunks_a_few_are_read_back },
        { "or all of them", or_all_of_them },
        { "what is sealed is checked before it is written",
          what_is_sealed_is_checked_before_it_is_written },
        { "a pack is checked again with its parity",
          a_pack_is_checked_again_with_its_parity },
        { "what slips through is found and healed",
          what_slips_through_is_found_and_healed },
        { "what is moved is checked too", what_is_moved_is_checked_too },
    };

    make_disk();
    return test_main(tests, ARRAY_SIZE(tests));
}
