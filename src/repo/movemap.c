/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/movemap.h"

#include <string.h>

#include "base/mem.h"
#include "codec/format.h"
#include "codec/le.h"

#define MAGIC  "VMKM"
#define SOURCE 20u

/* ---- the entry of the log ---- */

void
movemap_entry_fini(struct movemap_entry *e)
{
    free(e->sources);
    *e = (struct movemap_entry){ 0 };
}

void
movemap_entry_encode(const struct movemap_entry *e, struct buf *out)
{
    uint8_t loc[FRAME_LOC_SIZE];

    buf_add(out, e->session, 16);
    le_add(out, e->covers, 8);
    le_add(out, (uint64_t)e->kind, 1);
    le_add(out, 0, 1);
    le_add(out, e->count, 2);
    frame_loc_encode(&e->map.loc, loc);
    buf_add(out, loc, sizeof loc);
    buf_add(out, e->map.id, HASH_SIZE);
    for (unsigned i = 0; i < e->count; i++) {
        buf_add(out, e->sources[i].session, 16);
        le_add(out, e->sources[i].n, 4);
    }
}

static int
take_sources(struct le_reader *r, struct movemap_entry *e, struct err *err)
{
    e->sources = xcalloc(e->count, sizeof *e->sources);
    for (unsigned i = 0; i < e->count; i++) {
        struct pack_id *id = &e->sources[i];

        id->kind = e->kind;
        le_take_bytes(r, id->session, 16);
        id->n = (uint32_t)le_take_int(r, 4);
        if (memcmp(id->session, e->session, 16) == 0)
            return err_set(err, ERR_CORRUPT, "REDIRECT: to itself");
    }
    return 0;
}

int
movemap_entry_decode(const uint8_t *data, size_t len, struct movemap_entry *ret,
                     struct err *err)
{
    CLEANUP(movemap_entry_fini) struct movemap_entry e = { 0 };
    struct le_reader r = { .p = data, .left = len };
    uint8_t loc[FRAME_LOC_SIZE];
    uint64_t kind, zero;

    le_take_bytes(&r, e.session, 16);
    e.covers = le_take_int(&r, 8);
    kind = le_take_int(&r, 1);
    zero = le_take_int(&r, 1);
    e.kind = kind == 0 ? FRAME_DATA : FRAME_META;
    e.count = (unsigned)le_take_int(&r, 2);
    le_take_bytes(&r, loc, sizeof loc);
    le_take_bytes(&r, e.map.id, HASH_SIZE);
    e.map.type = TREE_REF;
    if (r.is_short || kind > 1 || zero != 0 || e.count < 1 ||
        e.count > MOVEMAP_SOURCES_MAX || r.left != (size_t)e.count * SOURCE)
        return err_set(err, ERR_CORRUPT, "REDIRECT: wrong length or fields");
    if (frame_loc_decode(loc, &e.map.loc, err) < 0 ||
        take_sources(&r, &e, err) < 0)
        return -1;
    if (memcmp(e.map.loc.session, e.session, 16) != 0)
        return err_set(err, ERR_CORRUPT, "REDIRECT: map of another session");
    *ret = e;
    e.sources = NULL;
    return 0;
}

/* ---- the map ---- */

void
movemap_fini(struct movemap *m)
{
    free(m->moves);
    *m = (struct movemap){ 0 };
}

static int
compare(const void *a, const void *b)
{
    const struct movemap_move *x = a, *y = b;

    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    return x->from8 < y->from8 ? -1 : x->from8 > y->from8;
}

void
movemap_encode(struct movemap *m, struct buf *out)
{
    if (m->count > 0)
        qsort(m->moves, m->count, sizeof *m->moves, compare);
    buf_add(out, MAGIC, 4);
    le_add(out, FORMAT_VERSION, 2);
    le_add(out, (uint64_t)m->kind, 1);
    le_add(out, 0, 1);
    le_add(out, m->sources, 4);
    le_add(out, m->count, 4);
    for (size_t i = 0; i < m->count; i++) {
        const struct movemap_move *v = &m->moves[i];

        le_add(out, v->source, 4);
        le_add(out, v->from8, 4);
        le_add(out, v->n, 4);
        le_add(out, v->to8, 4);
        le_add(out, v->flen, 4);
    }
}

static int
take_moves(struct le_reader *r, struct movemap *m, struct err *err)
{
    m->moves = mem_try((m->count + 1) * sizeof *m->moves, "map of moves", err);
    if (m->moves == NULL)
        return -1;
    for (size_t i = 0; i < m->count; i++) {
        struct movemap_move *v = &m->moves[i];

        v->source = (uint32_t)le_take_int(r, 4);
        v->from8 = (uint32_t)le_take_int(r, 4);
        v->n = (uint32_t)le_take_int(r, 4);
        v->to8 = (uint32_t)le_take_int(r, 4);
        v->flen = (uint32_t)le_take_int(r, 4);
        if (v->source >= m->sources || v->from8 < 8 || v->to8 < 8 ||
            v->flen <= FRAME_HEADER_SIZE || v->flen > FRAME_SIZE_MAX ||
            v->flen % 8 != 0 || (i > 0 && compare(v - 1, v) >= 0))
            return err_set(err, ERR_CORRUPT,
                           "map of moves: no place that a pack can have, "
                           "or not in order");
    }
    return 0;
}

int
movemap_decode(const uint8_t *data, size_t len, struct movemap *ret,
               struct err *err)
{
    CLEANUP(movemap_fini) struct movemap m = { 0 };
    struct le_reader r = { .p = data, .left = len };
    const uint8_t *magic = le_take(&r, 4);
    uint64_t version = le_take_int(&r, 2), kind = le_take_int(&r, 1);
    uint64_t zero = le_take_int(&r, 1);

    if (magic == NULL || memcmp(magic, MAGIC, 4) != 0)
        return err_set(err, ERR_CORRUPT, "not a map of moves");
    if (version != FORMAT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "map of moves of version %u",
                       (unsigned)version);
    m.kind = kind == 0 ? FRAME_DATA : FRAME_META;
    m.sources = (uint32_t)le_take_int(&r, 4);
    m.count = le_take_int(&r, 4);
    if (r.is_short || kind > 1 || zero != 0 || m.sources < 1 ||
        m.sources > MOVEMAP_SOURCES_MAX || m.count > MOVEMAP_MOVES_MAX ||
        r.left != m.count * MOVEMAP_MOVE)
        return err_set(err, ERR_CORRUPT, "map of moves: wrong length");
    if (take_moves(&r, &m, err) < 0)
        return -1;
    *ret = m;
    m.moves = NULL;
    return 0;
}

const struct movemap_move *
movemap_find(const struct movemap *m, uint32_t source, uint32_t from8)
{
    struct movemap_move key = { .source = source, .from8 = from8 };

    if (m->count == 0)
        return NULL;
    return bsearch(&key, m->moves, m->count, sizeof *m->moves, compare);
}
