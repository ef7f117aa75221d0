/* SPDX-License-Identifier: Apache-2.0 */
/* repo/movemap.h: the bytes that say where frames went.
 *
 * A REDIRECT of the log names packs whose live frames were copied into packs
 * of another session; the map, a frame of that session, says which went where.
 * Bytes: docs/formats/log.md, "REDIRECT"; docs/formats/pack.md, "Moved frames".
 * Threads: any.
 */
#pragma once
#include "base/buf.h"
#include "repo/pack.h"
#include "repo/tree.h"

#define MOVEMAP_SOURCES_MAX 1024u
#define MOVEMAP_HEAD        16u
#define MOVEMAP_MOVE        20u
#define MOVEMAP_MOVES_MAX   ((FRAME_PLAIN_MAX - MOVEMAP_HEAD) / MOVEMAP_MOVE)

/* What a REDIRECT says. */
struct movemap_entry {
    uint8_t session[16]; /* that wrote the new packs */
    uint64_t covers;     /* the last entry of the log that the map knows */
    enum frame_kind kind;
    struct tree_entry map;   /* a frame of that session */
    struct pack_id *sources; /* array, owned */
    unsigned count;
};

void movemap_entry_fini(struct movemap_entry *e);
static inline void
movemap_entry_fini_p(struct movemap_entry *e)
{
    movemap_entry_fini(e);
}

void movemap_entry_encode(const struct movemap_entry *e, struct buf *out);
int movemap_entry_decode(const uint8_t *data, size_t len,
                         struct movemap_entry *ret, struct err *err) NODISCARD;

struct movemap_move {
    uint32_t source; /* place of its old pack in the REDIRECT */
    uint32_t from8;  /* offset / 8 there */
    uint32_t n;      /* its new pack */
    uint32_t to8;
    uint32_t flen; /* where it is now */
};

struct movemap {
    enum frame_kind kind;
    uint32_t sources;
    struct movemap_move *moves; /* ascending by source and from8; owned */
    size_t count;
};

void movemap_fini(struct movemap *m);
static inline void
movemap_fini_p(struct movemap *m)
{
    movemap_fini(m);
}

/* Sorts `m->moves`; at most MOVEMAP_MOVES_MAX, each place once. */
void movemap_encode(struct movemap *m, struct buf *out);
int movemap_decode(const uint8_t *data, size_t len, struct movemap *ret,
                   struct err *err) NODISCARD;
/* NULL: that frame was not moved. */
const struct movemap_move *movemap_find(const struct movemap *m,
                                        uint32_t source, uint32_t from8);
