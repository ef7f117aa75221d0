/* SPDX-License-Identifier: Apache-2.0 */
/* Frames stand in an array in order of first sight; a hash table of their
 * places finds one by pack and offset.
 */
#include "repo/liveset.h"

#include <string.h>

#include "base/mem.h"

struct liveset {
    struct liveset_pack *packs;
    size_t pack_count, from, to;
    struct liveset_frame *frames;
    size_t count, cap, max;
    uint32_t *slots; /* place + 1 in `frames`; 0: empty */
    size_t slot_count;
};

static int
compare(const void *a, const void *b)
{
    const struct liveset_pack *x = a, *y = b;
    int c = memcmp(x->id.session, y->id.session, 16);

    if (c != 0)
        return c;
    if (x->id.kind != y->id.kind)
        return x->id.kind < y->id.kind ? -1 : 1;
    return x->id.n < y->id.n ? -1 : x->id.n > y->id.n;
}

void
liveset_sort(struct liveset_pack *packs, size_t count)
{
    if (count > 0)
        qsort(packs, count, sizeof *packs, compare);
}

struct liveset *
liveset_new(struct liveset_pack *packs, size_t count, size_t from,
            size_t frames_max)
{
    struct liveset *s = xcalloc(1, sizeof *s);

    s->packs = packs;
    s->pack_count = count;
    s->from = from;
    s->to = count;
    s->max = frames_max;
    s->slot_count = 1024;
    s->slots = xcalloc(s->slot_count, sizeof *s->slots);
    for (size_t i = from; i < count; i++) {
        packs[i].live = 0;
        packs[i].frames = 0;
    }
    return s;
}

void
liveset_free(struct liveset *s)
{
    if (s == NULL)
        return;
    free(s->frames);
    free(s->slots);
    free(s);
}

/* The slot of a frame, or the empty one where it belongs. */
static uint32_t *
slot_of(const struct liveset *s, uint32_t pack, uint32_t off8)
{
    uint64_t h = ((uint64_t)pack << 32 | off8) * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h >> 20) & (s->slot_count - 1);

    while (s->slots[i] != 0) {
        const struct liveset_frame *f = &s->frames[s->slots[i] - 1];

        if (f->pack == pack && f->off8 == off8)
            break;
        i = (i + 1) & (s->slot_count - 1);
    }
    return &s->slots[i];
}

static void
rehash(struct liveset *s)
{
    free(s->slots);
    s->slots = xcalloc(s->slot_count, sizeof *s->slots);
    for (size_t i = 0; i < s->count; i++)
        *slot_of(s, s->frames[i].pack, s->frames[i].off8) = (uint32_t)i + 1;
}

/* Give up the last half of the packs, but for the first one. */
static void
shrink(struct liveset *s)
{
    size_t n = 0;

    s->to = s->from + (s->to - s->from + 1) / 2;
    for (size_t i = 0; i < s->count; i++)
        if (s->frames[i].pack < s->to)
            s->frames[n++] = s->frames[i];
    s->count = n;
    rehash(s);
}

bool
liveset_add(struct liveset *s, enum frame_kind kind, const struct tree_entry *e)
{
    struct liveset_pack key = { .id = { .kind = kind, .n = e->loc.n } };
    struct liveset_pack *p;
    struct liveset_frame *f;
    uint32_t pack, *slot;

    memcpy(key.id.session, e->loc.session, 16);
    if (s->to == s->from)
        return false;
    p = bsearch(&key, s->packs + s->from, s->to - s->from, sizeof *p, compare);
    if (p == NULL)
        return false;
    pack = (uint32_t)(p - s->packs);
    slot = slot_of(s, pack, e->loc.off8);
    if (*slot != 0)
        return false;
    if (s->count == s->cap) {
        s->cap = s->cap == 0 ? 1024 : 2 * s->cap;
        s->frames = xrealloc(s->frames, s->cap, sizeof *s->frames);
    }
    f = &s->frames[s->count++];
    *f = (struct liveset_frame){ .pack = pack,
                                 .off8 = e->loc.off8,
                                 .flen = e->loc.flen,
                                 .ulen = e->loc.ulen,
                                 .order = (uint32_t)s->count };
    memcpy(f->id, e->id, HASH_SIZE);
    *slot = (uint32_t)s->count;
    p->live += e->loc.flen;
    p->frames++;
    if (2 * s->count > s->slot_count) {
        s->slot_count *= 2;
        rehash(s);
    }
    while (s->count > s->max && s->to - s->from > 1)
        shrink(s);
    return pack < s->to;
}

void
liveset_fix(struct liveset *s)
{
    s->max = SIZE_MAX;
}

size_t
liveset_to(const struct liveset *s)
{
    return s->to;
}

const struct liveset_frame *
liveset_frames(const struct liveset *s, size_t *ret_count)
{
    *ret_count = s->count;
    return s->frames;
}
