/* SPDX-License-Identifier: Apache-2.0 */
/* A frame that was moved again and again is found where it is now.
 * test-redirect [ROUNDS]. */
#include <string.h>

#include "base/mem.h"
#include "repo/collect.h"
#include "repo/movemap.h"
#include "repo/packer.h"
#include "repo/redirect.h"
#include "repo/repo-id.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define MOVES 200u /* a rewrite every other day, for a year */

static unsigned rounds = 5;

/* Somebody rewrote the pack of `from`: what was there is in the first pack of
 * that session now. */
static void
move(struct repo *repo, const struct frame_loc *from, const uint8_t session[16],
     uint32_t to8)
{
    static const uint8_t none[16];
    struct packer_config config = { .blob = repo->blob,
                                    .wrap = repo->wrap,
                                    .session = session,
                                    .kind = FRAME_META,
                                    .pack_size = (size_t)1 << 20,
                                    .id_key = &repo->keys.id };
    CLEANUP(frame_ctx_free) struct frame_ctx *ctx = frame_ctx_new(1);
    CLEANUP(packer_free) struct packer *p = packer_new(&config);
    struct movemap_move one = { .from8 = from->off8,
                                .to8 = to8,
                                .flen = from->flen };
    struct movemap map = {
        .kind = FRAME_DATA, .sources = 1, .moves = &one, .count = 1
    };
    struct pack_id source = packset_id_of(from, FRAME_DATA);
    struct movemap_entry e = { .kind = FRAME_DATA,
                               .covers = UINT32_MAX,
                               .map.type = TREE_REF,
                               .sources = &source,
                               .count = 1 };
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    struct err err = { 0 };

    memcpy(e.session, session, 16);
    CHECK_OK(commitlog_append_open(repo->log, session, none, 1, NULL, &err),
             &err);
    movemap_encode(&map, &bytes);
    hash_hmac(&repo->keys.id, bytes.data, bytes.len, e.map.id);
    CHECK_OK(packer_add(p, ctx, bytes.data, (uint32_t)bytes.len, e.map.id,
                        &e.map.loc, &err),
             &err);
    CHECK_OK(packer_finish(p, &err), &err);
    movemap_entry_encode(&e, &body);
    CHECK_OK(commitlog_append(repo->log, COMMITLOG_REDIRECT, &body, &err),
             &err);
}

static void
however_often_a_frame_was_moved_it_is_found(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct frame_loc first = { .off8 = 8, .flen = 64, .ulen = 30 };
    struct frame_loc at = first, got;
    uint8_t session[16];
    struct err err = { 0 };
    bool moved = false;

    testing_dir_make();
    repo = testing_repo_create(true);
    repo_id_random(first.session);
    memcpy(at.session, first.session, 16);
    for (unsigned i = 0; i < MOVES; i++) {
        repo_id_random(session);
        move(repo, &at, session, at.off8 + 8);
        memcpy(at.session, session, 16);
        at.off8 += 8;
    }
    CHECK_OK(redirect_update(repo->moves, true, &err), &err);
    for (unsigned i = 0; i < 2; i++) { /* the maps are in memory then */
        got = first;
        CHECK_OK(redirect_resolve(repo->moves, FRAME_DATA, &got, &moved, &err),
                 &err);
        CHECK(moved && memcmp(&got, &at, sizeof got) == 0);
    }
    /* Back to where it began: nobody's program writes that. */
    move(repo, &at, first.session, first.off8);
    CHECK_OK(redirect_update(repo->moves, true, &err), &err);
    got = first;
    CHECK_ERR(redirect_resolve(repo->moves, FRAME_DATA, &got, &moved, &err),
              &err, ERR_CORRUPT);
    testing_dir_remove();
}

/* The same by backups, deletions and collections: each deletion leaves one
 * chunk dead in the pack that holds the others, which are rewritten. */
static void
a_chunk_that_collectors_moved_is_read(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    const struct repo_collect_options o = {
        .gc.kill_s = REPO_GC_KILL_S,
        .compact = { .dead_percent = 1, .rest_percent = 100 }
    };
    const struct repo_collect_sink sink = { 0 };
    char(*ids)[REPO_ID_SIZE] = xcalloc(rounds + 1, sizeof *ids);
    struct testing_disk d = { .name = "d", .log2 = 16 };
    struct err err = { 0 };
    unsigned rewritten = 0, n;

    d.size = (uint64_t)(rounds + 1) << 16;
    testing_dir_make();
    repo = testing_repo_create(true);
    for (uint64_t c = 0; c <= rounds; c++)
        testing_disk_set(&d, c, TESTING_RANDOM, c);
    for (unsigned i = 0; i <= rounds; i++) {
        struct repo_backup_options b_options = { .threads = 1,
                                                 .parent = i > 0 ? ids[i - 1]
                                                                 : NULL };
        CLEANUP(repo_backup_free) struct repo_backup *b = NULL;

        if (i > 0)
            testing_disk_set(&d, i, TESTING_RANDOM, 1000 + i);
        CHECK_OK(repo_backup_begin(repo, &b_options, &b, &err), &err);
        CHECK_OK(repo_backup_add_disk(b, d.name, d.size, d.log2, &n, &err),
                 &err);
        CHECK_OK(testing_disk_write(&d, b, n, &err), &err);
        CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
        memcpy(ids[i], repo_backup_id(b), REPO_ID_SIZE);
    }
    for (unsigned i = 0; i < rounds; i++) {
        const char *gone[] = { ids[i] };
        struct repo_collect_result r;

        CHECK_OK(repo_delete(repo, gone, 1, &err), &err);
        CHECK_OK(repo_collect(repo, &o, &sink, &r, &err), &err);
        rewritten += r.compact.packs_rewritten > 0;
    }
    CHECK_INT(rewritten, >=, rounds - rounds / 50); /* 1 % is dead */
    testing_backup_check(repo, ids[rounds], &d);
    testing_check_sound(repo);
    repo_close(TAKE(repo));
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    testing_backup_check(repo, ids[rounds], &d);
    free(ids);
    testing_disk_fini(&d);
    testing_dir_remove();
}

int
main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        { "however often a frame was moved it is found",
          however_often_a_frame_was_moved_it_is_found },
        { "a chunk that collectors moved is read",
          a_chunk_that_collectors_moved_is_read },
    };

    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 10);

    return test_main(cases, ARRAY_SIZE(cases));
}
