/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/dedup.h"

#include <string.h>

#include "base/mem.h"

/* 2^19 slots of 48 bytes are 24 MiB, three quarters of them in use: 96 GiB of
 * chunks of 256 KiB. Ids are uniform, so their first bytes are the hash. */
#define SLOTS_FIRST ((size_t)1 << 10)
#define SLOTS_MAX   ((size_t)1 << 19)

struct slot {
    uint8_t id[HASH_SIZE];
    uint32_t n, off8, flen, ulen; /* ulen 0: empty */
};

struct dedup {
    uint8_t session[16];
    struct slot *slots;
    size_t cap;
    size_t count;
};

struct dedup *
dedup_new(const uint8_t session[16])
{
    struct dedup *d = xcalloc(1, sizeof *d);

    memcpy(d->session, session, 16);
    d->cap = SLOTS_FIRST;
    d->slots = xcalloc(d->cap, sizeof *d->slots);
    return d;
}

void
dedup_free(struct dedup *d)
{
    if (d == NULL)
        return;
    free(d->slots);
    free(d);
}

/* The slot with that id, or the empty one where it would be. */
static struct slot *
slot_of(const struct dedup *d, const uint8_t id[HASH_SIZE])
{
    uint64_t h;
    size_t i;

    memcpy(&h, id, sizeof h);
    for (i = h & (d->cap - 1); d->slots[i].ulen != 0;
         i = (i + 1) & (d->cap - 1))
        if (memcmp(d->slots[i].id, id, HASH_SIZE) == 0)
            break;
    return &d->slots[i];
}

bool
dedup_find(const struct dedup *d, const uint8_t id[HASH_SIZE],
           struct frame_loc *ret_loc)
{
    const struct slot *s = slot_of(d, id);

    if (s->ulen == 0)
        return false;
    memcpy(ret_loc->session, d->session, 16);
    ret_loc->n = s->n;
    ret_loc->off8 = s->off8;
    ret_loc->flen = s->flen;
    ret_loc->ulen = s->ulen;
    return true;
}

static void
grow(struct dedup *d)
{
    struct slot *old = d->slots;
    size_t cap = d->cap;

    d->cap = 2 * cap;
    d->slots = xcalloc(d->cap, sizeof *d->slots);
    for (size_t i = 0; i < cap; i++)
        if (old[i].ulen != 0)
            *slot_of(d, old[i].id) = old[i];
    free(old);
}

void
dedup_add(struct dedup *d, const uint8_t id[HASH_SIZE],
          const struct frame_loc *loc)
{
    struct slot *s;

    if (d->count >= d->cap / 4 * 3) {
        if (d->cap == SLOTS_MAX)
            return;
        grow(d);
    }
    s = slot_of(d, id);
    if (s->ulen == 0)
        d->count++;
    memcpy(s->id, id, HASH_SIZE);
    s->n = loc->n;
    s->off8 = loc->off8;
    s->flen = loc->flen;
    s->ulen = loc->ulen;
}
