/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/packset.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define CAP_FIRST 16

void
packset_fini(struct packset *s)
{
    free(s->slots);
    free(s->is_used);
    *s = (struct packset){ 0 };
}

struct pack_id
packset_id_of(const struct frame_loc *loc, enum frame_kind kind)
{
    struct pack_id id = { .kind = kind, .n = loc->n };

    memcpy(id.session, loc->session, 16);
    return id;
}

int
packset_compare(const struct pack_id *a, const struct pack_id *b)
{
    int c;

    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    c = memcmp(a->session, b->session, 16);
    if (c != 0)
        return c;
    return a->n < b->n ? -1 : a->n > b->n;
}

/* The slot of that pack, or the empty one where it would be. Session ids are
 * random, numbers are small. */
static size_t
slot_of(const struct packset *s, const struct pack_id *id)
{
    uint64_t h;
    size_t i;

    memcpy(&h, id->session, sizeof h);
    h = (h ^ ((uint64_t)id->n << 1) ^ id->kind) * 0x9e3779b97f4a7c15u;
    for (i = (size_t)(h >> 32) & (s->cap - 1);
         s->is_used[i] && packset_compare(&s->slots[i].id, id) != 0;
         i = (i + 1) & (s->cap - 1))
        continue;
    return i;
}

static void
grow(struct packset *s)
{
    struct packset old = *s;

    s->cap = old.cap == 0 ? CAP_FIRST : 2 * old.cap;
    s->slots = xcalloc(s->cap, sizeof *s->slots);
    s->is_used = xcalloc(s->cap, sizeof *s->is_used);
    s->count = 0;
    for (size_t i = 0; i < old.cap; i++)
        if (old.is_used[i] && old.slots[i].value != 0)
            packset_set(s, &old.slots[i].id, old.slots[i].value);
    packset_fini(&old);
}

uint64_t
packset_get(const struct packset *s, const struct pack_id *id)
{
    size_t i;

    if (s->cap == 0)
        return 0;
    i = slot_of(s, id);
    return s->is_used[i] ? s->slots[i].value : 0;
}

void
packset_set(struct packset *s, const struct pack_id *id, uint64_t value)
{
    size_t i;

    if (4 * (s->count + 1) > 3 * s->cap)
        grow(s);
    i = slot_of(s, id);
    if (!s->is_used[i])
        s->count++;
    s->is_used[i] = true;
    s->slots[i] = (struct packset_item){ .id = *id, .value = value };
}

void
packset_add(struct packset *s, const struct pack_id *id, uint64_t value)
{
    packset_set(s, id, packset_get(s, id) + value);
}

bool
packset_sub(struct packset *s, const struct pack_id *id, uint64_t value)
{
    uint64_t have = packset_get(s, id);

    if (have < value)
        return false;
    packset_set(s, id, have - value);
    return true;
}

void
packset_add_all(struct packset *s, const struct packset *other)
{
    const struct packset_item *item;

    for (size_t pos = 0; (item = packset_next(other, &pos)) != NULL;)
        packset_add(s, &item->id, item->value);
}

const struct packset_item *
packset_next(const struct packset *s, size_t *pos)
{
    while (*pos < s->cap) {
        size_t i = (*pos)++;

        if (s->is_used[i] && s->slots[i].value != 0)
            return &s->slots[i];
    }
    return NULL;
}

static int
compare(const void *a, const void *b)
{
    const struct packset_item *x = a, *y = b;

    return packset_compare(&x->id, &y->id);
}

struct packset_item *
packset_sorted(const struct packset *s, size_t *ret_count)
{
    struct packset_item *items = xcalloc(s->count + 1, sizeof *items);
    const struct packset_item *item;
    size_t n = 0;

    for (size_t pos = 0; (item = packset_next(s, &pos)) != NULL;)
        items[n++] = *item;
    qsort(items, n, sizeof *items, compare);
    *ret_count = n;
    return items;
}
