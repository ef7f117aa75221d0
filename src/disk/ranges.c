/* SPDX-License-Identifier: Apache-2.0 */
/* A sorted array. Most sets are made in ascending order, so adding looks at
 * the last range first; else the place is found by bisection and the ranges
 * that the new one touches are replaced by one.
 */
#include "disk/ranges.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

void
ranges_fini(struct ranges *r)
{
    free(r->v);
    *r = RANGES_INIT;
}

static uint64_t
end_of(const struct range *x)
{
    return x->off + x->len;
}

/* The first range that ends at `pos` or behind it. */
static size_t
find(const struct ranges *r, uint64_t pos)
{
    size_t low = 0, high = r->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (end_of(&r->v[mid]) < pos)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Join neighbours whose gap is at most `gap`. */
static void
close_gaps(struct ranges *r, uint64_t gap)
{
    size_t to = 0;

    for (size_t i = 1; i < r->n; i++) {
        if (r->v[i].off - end_of(&r->v[to]) <= gap)
            r->v[to].len = end_of(&r->v[i]) - r->v[to].off;
        else
            r->v[++to] = r->v[i];
    }
    if (r->n > 0)
        r->n = to + 1;
}

static void
make_room(struct ranges *r)
{
    for (uint64_t gap = 65536; r->n >= RANGES_MAX; gap *= 2)
        close_gaps(r, gap);
    if (r->n < r->cap)
        return;
    r->cap = r->cap == 0 ? 16 : r->cap * 2;
    r->v = xrealloc(r->v, r->cap, sizeof *r->v);
}

void
ranges_add(struct ranges *r, uint64_t off, uint64_t len)
{
    size_t from, to;
    uint64_t end;

    if (len > UINT64_MAX - off)
        len = UINT64_MAX - off;
    if (len == 0)
        return;
    if (r->n >= r->cap || r->n >= RANGES_MAX)
        make_room(r);
    if (r->n == 0 || off > end_of(&r->v[r->n - 1])) {
        r->v[r->n++] = (struct range){ off, len };
        return;
    }
    end = off + len;
    from = find(r, off);
    for (to = from; to < r->n && r->v[to].off <= end; to++) {
        off = r->v[to].off < off ? r->v[to].off : off;
        end = end_of(&r->v[to]) > end ? end_of(&r->v[to]) : end;
    }
    /* [from, to) become one. */
    if (to != from + 1)
        memmove(&r->v[from + 1], &r->v[to], (r->n - to) * sizeof *r->v);
    r->n = r->n - (to - from) + 1;
    r->v[from] = (struct range){ off, end - off };
}

void
ranges_union(struct ranges *r, const struct ranges *other)
{
    struct ranges sum = RANGES_INIT;
    size_t i = 0, j = 0;

    /* Merged in order: adding into the midst of a large set is slow. */
    while (i < r->n || j < other->n) {
        const struct range *x;

        if (j == other->n || (i < r->n && r->v[i].off < other->v[j].off))
            x = &r->v[i++];
        else
            x = &other->v[j++];
        ranges_add(&sum, x->off, x->len);
    }
    ranges_fini(r);
    *r = sum;
}

void
ranges_align_out(struct ranges *r, uint64_t chunk)
{
    struct ranges wide = RANGES_INIT;

    assert(chunk > 0);
    for (size_t i = 0; i < r->n; i++) {
        uint64_t off = r->v[i].off / chunk * chunk;
        uint64_t end = end_of(&r->v[i]);
        uint64_t over = end % chunk;

        if (over > 0)
            end = end > UINT64_MAX - (chunk - over) ? UINT64_MAX
                                                    : end + (chunk - over);
        ranges_add(&wide, off, end - off);
    }
    ranges_fini(r);
    *r = wide;
}

void
ranges_clip(struct ranges *r, uint64_t size)
{
    while (r->n > 0 && r->v[r->n - 1].off >= size)
        r->n--;
    if (r->n > 0 && end_of(&r->v[r->n - 1]) > size)
        r->v[r->n - 1].len = size - r->v[r->n - 1].off;
}

bool
ranges_next(const struct ranges *r, uint64_t pos, struct range *ret)
{
    size_t i = find(r, pos);
    struct range x;

    if (i < r->n && end_of(&r->v[i]) == pos)
        i++; /* it only touches */
    if (i == r->n)
        return false;
    x = r->v[i];
    if (x.off < pos)
        x = (struct range){ pos, end_of(&x) - pos };
    *ret = x;
    return true;
}

bool
ranges_overlaps(const struct ranges *r, uint64_t off, uint64_t len)
{
    struct range x;

    return len > 0 && ranges_next(r, off, &x) && x.off - off < len;
}

uint64_t
ranges_bytes(const struct ranges *r)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < r->n; i++)
        sum += r->v[i].len;
    return sum;
}
