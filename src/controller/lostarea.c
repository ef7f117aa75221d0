/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/lostarea.h"

#include <stddef.h>

/* The lost area begins anywhere and goes to what was the disk's end. Of the
 * chunks that it covers as a whole, those that the guest has not written to
 * since are holes now: they are found by asking the backup before for data
 * there. The one in which it begins has kept its first part; it ends in a hole,
 * and what follows it is lost, or marked, or the disk's end. So a chunk that
 * is not marked itself, ends in a hole and is followed by one of these three is
 * taken as well: at most one for each range that is read anyway. */

/* Is the hole [off, end) in whole chunks data in the backup before? */
static int
add_hole(struct ranges *want, uint64_t off, uint64_t end, uint64_t size,
         uint64_t chunk, const struct lostarea_parent *parent, struct err *err)
{
    off = (off + chunk - 1) / chunk * chunk;
    if (end < size)
        end = end / chunk * chunk;
    while (off < end) {
        bool is_data = false;
        uint64_t len = 0;

        if (parent->extent(parent->arg, off, end - off, &is_data, &len, err) <
            0)
            return -1;
        if (len == 0)
            return err_set(err, ERR_INTERNAL, "an extent of no bytes");
        if (is_data)
            ranges_add(want, off, len);
        off += len;
    }
    return 0;
}

/* The chunk that ends at `end`. */
static void
add_before(struct ranges *add, const struct ranges *want,
           const struct ranges *data, uint64_t end, uint64_t chunk)
{
    uint64_t off = (end - 1) / chunk * chunk;

    if (!ranges_overlaps(want, off, end - off) &&
        !ranges_overlaps(data, end - 1, 1) &&
        ranges_overlaps(data, off, end - off))
        ranges_add(add, off, end - off);
}

int
lostarea_add(struct ranges *want, const struct ranges *data, uint64_t size,
             uint64_t chunk, const struct lostarea_parent *parent,
             struct err *err)
{
    CLEANUP(ranges_fini) struct ranges lost = RANGES_INIT;
    CLEANUP(ranges_fini) struct ranges begun = RANGES_INIT;
    struct range next = { 0, 0 };

    for (uint64_t pos = 0; pos < size; pos = next.off + next.len) {
        if (!ranges_next(data, pos, &next) || next.off > size)
            next = (struct range){ size, 0 };
        if (add_hole(&lost, pos, next.off, size, chunk, parent, err) < 0)
            return -1;
        if (next.len == 0)
            break;
    }
    ranges_align_out(&lost, chunk);
    ranges_clip(&lost, size);
    ranges_union(want, &lost);
    for (size_t i = 0; i < want->n; i++)
        if (want->v[i].off > 0 && want->v[i].off <= size)
            add_before(&begun, want, data, want->v[i].off, chunk);
    if (size > 0)
        add_before(&begun, want, data, size, chunk);
    ranges_union(want, &begun);
    return 0;
}
