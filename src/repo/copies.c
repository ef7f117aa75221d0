/* SPDX-License-Identifier: Apache-2.0 */
/* Objects hint/copies/<n>: records as badset_copy_encode() writes them; the
 * newest has what the others had. Only asked for when something is damaged. */
#include "repo/copies.h"

#include "base/mem.h"
#include "repo/hint.h"

#define PREFIX "hint/copies/"
#define MAX    ((size_t)1 << 24) /* bytes */

static int
load(struct repo *repo, struct badset *ret, uint64_t *ret_number,
     struct err *err)
{
    CLEANUP(buf_fini) struct buf data = BUF_INIT;

    if (hint_load(repo, PREFIX, MAX, &data, ret_number, err) < 0)
        return -1;
    for (size_t at = 0; at + BADSET_SIZE <= data.len; at += BADSET_SIZE) {
        struct badset_frame f;

        if (badset_copy_decode((const uint8_t *)data.data + at, &f, err) == 0)
            badset_add(ret, &f);
    }
    return 0;
}

int
copies_bad(struct repo *repo, struct badset *ret, struct err *err)
{
    CLEANUP(badset_fini) struct badset known = { 0 };
    uint64_t number;

    if (commitlog_bad(repo->log, ret, err) < 0)
        return -1;
    if (ret->count == 0)
        return 0;
    if (load(repo, &known, &number, err) < 0) {
        badset_fini(ret);
        return -1;
    }
    for (size_t i = 0; i < known.count; i++)
        badset_set_copy(ret, &known.frames[i]);
    return 0;
}

int
copies_add(struct repo *repo, const struct badset *healed, struct err *err)
{
    CLEANUP(badset_fini) struct badset all = { 0 };
    CLEANUP(buf_fini) struct buf data = BUF_INIT;
    uint64_t number;

    if (load(repo, &all, &number, err) < 0)
        return -1;
    for (size_t i = 0; i < healed->count; i++) {
        badset_add(&all, &healed->frames[i]);
        badset_set_copy(&all, &healed->frames[i]);
    }
    for (size_t i = 0; i < all.count && data.len < MAX; i++) {
        uint8_t one[BADSET_SIZE];

        badset_copy_encode(&all.frames[i], one);
        buf_add(&data, one, sizeof one);
    }
    return hint_store(repo, PREFIX, number, data.data, data.len, err);
}

bool
copies_find(void *arg, enum frame_kind kind, const struct frame_loc *loc,
            struct frame_loc *ret)
{
    CLEANUP(badset_fini) struct badset bad = { 0 };
    struct err ignored;

    return copies_bad(arg, &bad, &ignored) == 0 &&
           badset_copy_of(&bad, kind, loc, ret);
}
