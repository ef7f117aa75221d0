/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/tree.h"

#include <string.h>

#include "codec/format.h"
#include "codec/le.h"

#define MAGIC       "VMKN"
#define HEADER_SIZE 12
#define PACK_ENTRY  20
#define REF_SIZE    46

bool
tree_entry_is_equal(const struct tree_entry *a, const struct tree_entry *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == TREE_PATTERN)
        return memcmp(a->pattern, b->pattern, sizeof a->pattern) == 0;
    /* The same plaintext; where it lies is of no matter. */
    return a->type == TREE_ZERO || (memcmp(a->id, b->id, sizeof a->id) == 0 &&
                                    a->loc.ulen == b->loc.ulen);
}

unsigned
tree_top_level(uint64_t chunks)
{
    unsigned level = 0;

    for (uint64_t n = TREE_FANOUT; n < chunks; n *= TREE_FANOUT)
        level++;
    return level;
}

/* The place of the entry's pack in the table, added if it is new. */
static unsigned
table_place(uint8_t *table, unsigned *count, const struct frame_loc *loc)
{
    uint8_t key[PACK_ENTRY];

    memcpy(key, loc->session, 16);
    le_put32(key + 16, loc->n);
    for (unsigned i = *count; i > 0; i--)
        if (memcmp(table + (size_t)(i - 1) * PACK_ENTRY, key, PACK_ENTRY) == 0)
            return i - 1;
    memcpy(table + (size_t)*count * PACK_ENTRY, key, PACK_ENTRY);
    return (*count)++;
}

static uint8_t *
put_ref(uint8_t *p, const struct tree_entry *e, unsigned place)
{
    memcpy(p, e->id, HASH_SIZE);
    le_put16(p + 32, (uint16_t)place);
    le_put32(p + 34, e->loc.off8);
    le_put32(p + 38, e->loc.flen);
    le_put32(p + 42, e->loc.ulen);
    return p + REF_SIZE;
}

size_t
tree_encode(struct tree_node *node, uint8_t out[TREE_NODE_MAX])
{
    unsigned place[TREE_FANOUT], packs = 0, count = TREE_FANOUT;
    uint8_t *p;

    while (count > 0 && node->entries[count - 1].type == TREE_ZERO)
        count--;
    node->count = count;
    if (count == 0)
        return 0;
    for (unsigned i = 0; i < count; i++)
        if (node->entries[i].type == TREE_REF)
            place[i] =
                table_place(out + HEADER_SIZE, &packs, &node->entries[i].loc);
    memcpy(out, MAGIC, 4);
    out[4] = FORMAT_VERSION;
    out[5] = (uint8_t)node->level;
    le_put16(out + 6, (uint16_t)count);
    le_put16(out + 8, (uint16_t)packs);
    le_put16(out + 10, 0);
    p = out + HEADER_SIZE + (size_t)packs * PACK_ENTRY;
    for (unsigned i = 0; i < count; i++)
        *p++ = (uint8_t)node->entries[i].type;
    for (unsigned i = 0; i < count; i++) {
        const struct tree_entry *e = &node->entries[i];

        if (e->type == TREE_REF) {
            p = put_ref(p, e, place[i]);
        } else if (e->type == TREE_PATTERN) {
            memcpy(p, e->pattern, sizeof e->pattern);
            p += sizeof e->pattern;
        }
    }
    return (size_t)(p - out);
}

static int
get_ref(struct le_reader *r, const uint8_t *table, unsigned packs,
        unsigned *used, struct tree_entry *e, struct err *err)
{
    unsigned place;

    le_take_bytes(r, e->id, HASH_SIZE);
    place = (unsigned)le_take_int(r, 2);
    e->loc.off8 = (uint32_t)le_take_int(r, 4);
    e->loc.flen = (uint32_t)le_take_int(r, 4);
    e->loc.ulen = (uint32_t)le_take_int(r, 4);
    /* In order of first use: each new place is the next one. */
    if (r->is_short || place >= packs || place > *used)
        return err_set(err, ERR_CORRUPT, "node: bad pack table");
    if (place == *used)
        (*used)++;
    memcpy(e->loc.session, table + (size_t)place * PACK_ENTRY, 16);
    e->loc.n = le_get32(table + (size_t)place * PACK_ENTRY + 16);
    return frame_loc_check(&e->loc, err);
}

/* Is no pack in the table twice? There are few but in a compacted store. */
static bool
is_distinct(const uint8_t *table, unsigned packs)
{
    for (unsigned i = 1; i < packs; i++)
        for (unsigned k = 0; k < i; k++)
            if (memcmp(table + (size_t)i * PACK_ENTRY,
                       table + (size_t)k * PACK_ENTRY, PACK_ENTRY) == 0)
                return false;
    return true;
}

static int
get_entry(struct le_reader *r, uint8_t type, const uint8_t *table,
          unsigned packs, unsigned *used, unsigned level, struct tree_entry *e,
          struct err *err)
{
    if (type > TREE_REF || (type == TREE_PATTERN && level > 0))
        return err_set(err, ERR_CORRUPT, "node: entry of type %d", type);
    e->type = (enum tree_type)type;
    if (e->type == TREE_PATTERN)
        le_take_bytes(r, e->pattern, sizeof e->pattern);
    if (e->type == TREE_REF)
        return get_ref(r, table, packs, used, e, err);
    return 0;
}

int
tree_decode(const uint8_t *data, size_t len, unsigned level,
            struct tree_node *ret, struct err *err)
{
    struct le_reader r = { .p = data, .left = len };
    const uint8_t *magic = le_take(&r, 4), *table, *types;
    unsigned version = (unsigned)le_take_int(&r, 1), packs, used = 0;

    memset(ret, 0, sizeof *ret);
    if (magic == NULL || memcmp(magic, MAGIC, 4) != 0)
        return err_set(err, ERR_CORRUPT, "not a tree node");
    if (version != FORMAT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "node of version %u", version);
    ret->level = (unsigned)le_take_int(&r, 1);
    ret->count = (unsigned)le_take_int(&r, 2);
    packs = (unsigned)le_take_int(&r, 2);
    if (le_take_int(&r, 2) != 0 || ret->level != level || ret->count < 1 ||
        ret->count > TREE_FANOUT || packs > TREE_FANOUT)
        return err_set(err, ERR_CORRUPT, "node: bad header");
    table = le_take(&r, (size_t)packs * PACK_ENTRY);
    types = le_take(&r, ret->count);
    if (r.is_short || types[ret->count - 1] == TREE_ZERO)
        return err_set(err, ERR_CORRUPT, "node: cut short or not minimal");
    if (!is_distinct(table, packs))
        return err_set(err, ERR_CORRUPT, "node: bad pack table");
    for (unsigned i = 0; i < ret->count; i++)
        if (get_entry(&r, types[i], table, packs, &used, level,
                      &ret->entries[i], err) < 0)
            return -1;
    if (r.is_short || r.left != 0 || used != packs)
        return err_set(err, ERR_CORRUPT, "node: wrong length");
    return 0;
}
