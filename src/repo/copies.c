/* SPDX-License-Identifier: Apache-2.0 */
/* Objects hint/copies/<n>: records as badset_copy_encode() writes them. The one
 * with the highest number counts; it has what the others had. Only asked for
 * when something is damaged. */
#include "repo/copies.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define PREFIX "hint/copies/"
#define MAX    ((size_t)1 << 24) /* bytes */

/* *ret_name: "" when there is none. */
static int
load(struct repo *repo, struct badset *ret, uint64_t *ret_number,
     struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    CLEANUP(mem_free) uint8_t *data = NULL;
    char name[64];
    uint64_t size = 0;
    size_t len = 0;

    *ret_number = 0;
    if (blob_list(repo->blob, PREFIX, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++) {
        uint64_t number = strtoull(n.names[i] + strlen(PREFIX), NULL, 10);

        *ret_number = number > *ret_number ? number : *ret_number;
    }
    if (*ret_number == 0)
        return 0;
    (void)snprintf(name, sizeof name, PREFIX "%llu",
                   (unsigned long long)*ret_number);
    if (blob_size(repo->blob, name, &size, err) < 0 || size > MAX)
        return 0; /* a hint that is gone, or none of ours */
    data = xcalloc(1, (size_t)size + 1);
    if (blob_get(repo->blob, name, 0, data, (size_t)size, &len, err) < 0)
        return 0;
    for (size_t at = 0; at + BADSET_SIZE <= len; at += BADSET_SIZE) {
        struct badset_frame f;

        if (badset_copy_decode(data + at, &f, err) == 0)
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
    char name[64];
    uint64_t number;
    bool existed;

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
    (void)snprintf(name, sizeof name, PREFIX "%llu",
                   (unsigned long long)number + 1);
    if (blob_put(repo->blob, name, data.data, data.len, &existed, err) < 0)
        return -1;
    (void)snprintf(name, sizeof name, PREFIX "%llu",
                   (unsigned long long)number);
    return number == 0 ? 0 : blob_remove(repo->blob, name, err);
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
