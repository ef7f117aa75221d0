/* SPDX-License-Identifier: Apache-2.0 */
/* A frame that was moved again and again is found where it is now. */
#include <string.h>

#include "base/mem.h"
#include "repo/movemap.h"
#include "repo/packer.h"
#include "repo/redirect.h"
#include "repo/repo-id.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define MOVES 200u /* a rewrite every other day, for a year */

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

int
main(void)
{
    static const struct test_case cases[] = {
        { "however often a frame was moved it is found",
          however_often_a_frame_was_moved_it_is_found },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
