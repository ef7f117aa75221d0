/* SPDX-License-Identifier: Apache-2.0 */
/* A sorted array: it is empty in any repository that is well. */
#include "repo/badset.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/le.h"

void
badset_fini(struct badset *b)
{
    free(b->frames);
    *b = (struct badset){ 0 };
}

void
badset_copy(const struct badset *from, struct badset *to)
{
    *to = (struct badset){ .count = from->count };
    if (from->count == 0)
        return;
    to->frames = xcalloc(2 * from->count + 1, sizeof *to->frames);
    memcpy(to->frames, from->frames, from->count * sizeof *to->frames);
}

static int
compare(const struct badset_frame *a, const struct badset_frame *b)
{
    int by_session = memcmp(a->session, b->session, 16);

    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (by_session != 0)
        return by_session;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return a->off8 < b->off8 ? -1 : a->off8 > b->off8;
}

/* Where it is, or where it would be. */
static size_t
place(const struct badset *b, const struct badset_frame *f, bool *ret_found)
{
    size_t lo = 0, hi = b->count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (compare(&b->frames[mid], f) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_found = lo < b->count && compare(&b->frames[lo], f) == 0;
    return lo;
}

bool
badset_has(const struct badset *b, enum frame_kind kind,
           const struct frame_loc *loc)
{
    struct badset_frame f = { .kind = kind, .n = loc->n, .off8 = loc->off8 };
    bool found;

    if (b->count == 0)
        return false;
    memcpy(f.session, loc->session, 16);
    (void)place(b, &f, &found);
    if (found)
        return true;
    f.off8 = BADSET_ALL;
    (void)place(b, &f, &found);
    return found;
}

bool
badset_copy_of(const struct badset *b, enum frame_kind kind,
               const struct frame_loc *loc, struct frame_loc *ret)
{
    struct badset_frame f = { .kind = kind, .n = loc->n, .off8 = loc->off8 };
    bool found = false;
    size_t at;

    memcpy(f.session, loc->session, 16);
    at = place(b, &f, &found);
    if (!found || !b->frames[at].has_copy ||
        b->frames[at].copy.ulen != loc->ulen)
        return false;
    *ret = b->frames[at].copy;
    return true;
}

void
badset_set_copy(struct badset *b, const struct badset_frame *f)
{
    bool found;
    size_t at = place(b, f, &found);

    if (!found)
        return;
    b->frames[at].has_copy = true;
    b->frames[at].copy = f->copy;
}

bool
badset_has_id(const struct badset *b, const uint8_t id[HASH_SIZE])
{
    for (size_t i = 0; i < b->count; i++)
        if (hash_is_equal(b->frames[i].id, id))
            return true;
    return false;
}

void
badset_add(struct badset *b, const struct badset_frame *f)
{
    bool found;
    size_t at = place(b, f, &found);

    if (found)
        return;
    if ((b->count & (b->count - 1)) == 0)
        b->frames = xrealloc(b->frames, b->count == 0 ? 1 : 2 * b->count,
                             sizeof *b->frames);
    memmove(&b->frames[at + 1], &b->frames[at],
            (b->count - at) * sizeof *b->frames);
    b->frames[at] = *f;
    b->count++;
}

void
badset_remove(struct badset *b, const struct badset_frame *f)
{
    bool found;
    size_t at = place(b, f, &found);

    if (!found)
        return;
    memmove(&b->frames[at], &b->frames[at + 1],
            (b->count - at - 1) * sizeof *b->frames);
    b->count--;
    /* The array doubles when the count is a power of two: keep that true. */
    b->frames = xrealloc(b->frames, 2 * b->count + 1, sizeof *b->frames);
}

static void
encode_place(const struct badset_frame *f, uint8_t out[BADSET_SIZE])
{
    memcpy(out, f->session, 16);
    le_put32(out + 16, f->n);
    le_put32(out + 20, f->off8);
    out[24] = (uint8_t)f->kind;
}

static int
decode_place(const uint8_t data[BADSET_SIZE], struct badset_frame *ret,
             struct err *err)
{
    *ret = (struct badset_frame){ 0 };
    if (data[24] > FRAME_META)
        return err_set(err, ERR_CORRUPT, "BAD: a pack of kind %u", data[24]);
    memcpy(ret->session, data, 16);
    ret->n = le_get32(data + 16);
    ret->off8 = le_get32(data + 20);
    ret->kind = (enum frame_kind)data[24];
    return 0;
}

void
badset_encode(const struct badset_frame *f, uint8_t out[BADSET_SIZE])
{
    encode_place(f, out);
    memcpy(out + 25, f->id, HASH_SIZE);
}

int
badset_decode(const uint8_t data[BADSET_SIZE], struct badset_frame *ret,
              struct err *err)
{
    if (decode_place(data, ret, err) < 0)
        return -1;
    memcpy(ret->id, data + 25, HASH_SIZE);
    return 0;
}

void
badset_copy_encode(const struct badset_frame *f, uint8_t out[BADSET_SIZE])
{
    encode_place(f, out);
    frame_loc_encode(&f->copy, out + 25);
}

int
badset_copy_decode(const uint8_t data[BADSET_SIZE], struct badset_frame *ret,
                   struct err *err)
{
    if (decode_place(data, ret, err) < 0)
        return -1;
    ret->has_copy = true;
    return frame_loc_decode(data + 25, &ret->copy, err);
}
