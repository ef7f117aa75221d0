/* SPDX-License-Identifier: Apache-2.0 */
/* How long the key table is, is known when the pack is full: frames are
 * collected behind room for the longest one, and moved down to their place
 * when the pack is written. Every head is a multiple of 8 long.
 */
#include "repo/mover.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "repo/parity.h"

#define ROOM       (PACK_HEADER_SIZE + PACK_KEYS_MAX * PACK_KEY_SIZE)
#define FRAMES_MAX 65536u /* per pack, as packer.c */
#define ORIGIN     20u    /* bytes of an entry that name its origin */

/* Of a frame's header: docs/formats/pack.md. */
enum {
    AT_SLOT = 13,
    AT_HEADER_CRC = 20,
};

struct mover {
    struct packer_config config;
    struct frame_ctx *ctx;
    bool reseals;
    struct frame_origin origin; /* of the open pack */
    uint8_t *bytes;             /* ROOM, then frames; config.pack_size + ROOM */
    size_t used;                /* with ROOM; 0: no pack is open */
    uint32_t n;                 /* of the open pack, or the next one */
    uint8_t entries[(PACK_KEYS_MAX - 1) * PACK_KEY_SIZE];
    unsigned entry_count;
    uint8_t *footer; /* an entry per frame; off8 as in `bytes` */
    uint32_t frames, footer_cap;
    struct movemap_move *moves;
    size_t move_count, move_cap;
    size_t moves_done; /* of packs that are written */
    uint64_t stored;
};

/* ---- sources ---- */

int
mover_source_open(struct blob *blob, bool is_encrypted,
                  const struct pack_id *id, uint32_t place,
                  struct mover_source *ret, struct err *err)
{
    CLEANUP(mem_free) uint8_t *head = xcalloc(1, ROOM);
    char name[PACK_NAME_SIZE];
    unsigned keys = 0;
    size_t n = 0;

    pack_name(id, name);
    if (blob_get(blob, name, 0, head, ROOM, &n, err) < 0)
        return -1;
    if (pack_header_check(is_encrypted, id, head, n, &keys, err) < 0)
        return err_wrap(err, "%s", name);
    *ret = (struct mover_source){ .id = *id, .place = place, .keys = keys };
    ret->head = xcalloc(1, pack_head_size(keys));
    memcpy(ret->head, head, pack_head_size(keys));
    return 0;
}

int
mover_source_unlock(struct mover_source *s, const struct pack_wrap *wrap,
                    struct err *err)
{
    return pack_header_decode(wrap, &s->id, s->head, pack_head_size(s->keys),
                              &s->origins, &s->origin_count, err);
}

void
mover_source_fini(struct mover_source *s)
{
    free(s->head);
    if (s->origins != NULL)
        pack_origins_free(s->origins, s->origin_count);
    *s = (struct mover_source){ 0 };
}

/* ---- the open pack ---- */

struct mover *
mover_new(const struct packer_config *config)
{
    struct mover *m = xcalloc(1, sizeof *m);

    m->config = *config;
    m->n = config->first_n;
    m->ctx = frame_ctx_new(1);
    m->bytes = xcalloc(1, config->pack_size + ROOM);
    return m;
}

void
mover_reseal(struct mover *m)
{
    m->reseals = true;
}

void
mover_free(struct mover *m)
{
    if (m == NULL)
        return;
    mem_wipe(&m->origin, sizeof m->origin);
    frame_ctx_free(m->ctx);
    free(m->bytes);
    free(m->footer);
    free(m->moves);
    free(m);
}

static bool
has_room(const struct mover *m, uint32_t flen)
{
    size_t footer = FRAME_HEADER_SIZE + AEAD_TAG_SIZE + 8 +
                    (size_t)PACK_FOOTER_ENTRY * (m->frames + 1);
    size_t body = m->used + flen + footer;

    return m->frames < FRAMES_MAX &&
           body + pack_tail_size(body) <= m->config.pack_size;
}

/* The slot of an origin in the open pack; 0: it does not fit. */
static unsigned
slot_of(struct mover *m, const uint8_t *entry)
{
    uint8_t *at = m->entries;

    for (unsigned i = 0; i < m->entry_count; i++, at += PACK_KEY_SIZE)
        if (memcmp(at, entry, ORIGIN) == 0)
            return i + 1;
    if (m->entry_count == PACK_KEYS_MAX - 1)
        return 0;
    memcpy(at, entry, PACK_KEY_SIZE);
    return ++m->entry_count;
}

static struct frame_origin
make_origin(const struct mover *m)
{
    struct frame_origin o = { .n = m->n,
                              .kind = m->config.kind,
                              .is_encrypted = m->config.wrap.keys != NULL,
                              .serial = frame_serial() };

    memcpy(o.session, m->config.session, 16);
    if (o.is_encrypted)
        uuid_random_bytes(o.key, sizeof o.key);
    return o;
}

static void
begin_pack(struct mover *m)
{
    m->used = ROOM;
    m->entry_count = 0;
    m->frames = 0;
    m->origin = make_origin(m);
}

/* Everything moves down by `shift` bytes. */
static void
settle(struct mover *m, size_t shift)
{
    for (uint32_t i = 0; i < m->frames; i++) {
        uint8_t *e = m->footer + (size_t)i * PACK_FOOTER_ENTRY + HASH_SIZE;

        le_put32(e, le_get32(e) - (uint32_t)(shift / 8));
    }
    for (size_t i = m->moves_done; i < m->move_count; i++)
        m->moves[i].to8 -= (uint32_t)(shift / 8);
}

static int
write_pack(struct mover *m, const struct frame_origin *origin, struct err *err)
{
    struct pack_id id = { .kind = m->config.kind, .n = m->n };
    size_t head = pack_head_size(origin->is_encrypted ? 1 + m->entry_count : 0);
    size_t shift = ROOM - head, size;
    uint8_t *pack = m->bytes + shift;
    struct frame_origin footer_origin;
    struct frame_body footer;
    struct pack_trailer t;
    char name[PACK_NAME_SIZE];
    bool existed = false;

    memcpy(id.session, m->config.session, 16);
    (void)pack_header_encode_moved(&m->config.wrap, origin, m->entries,
                                   m->entry_count, pack);
    settle(m, shift);
    footer = frame_pack_plain(m->footer, m->frames * PACK_FOOTER_ENTRY,
                              origin->is_encrypted);
    t = (struct pack_trailer){ .footer_off = m->used - shift,
                               .footer_len = footer.flen,
                               .body_len = m->used - shift + footer.flen };
    pack_footer_origin(&m->config.wrap, &id, &footer_origin);
    frame_seal(m->ctx, &footer_origin, 0, FRAME_FOOTER_ORDINAL, &footer,
               pack + t.footer_off);
    mem_wipe(&footer_origin, sizeof footer_origin);
    if (pack_check_frames(pack, head, t.body_len, origin->is_encrypted, err) <
        0)
        return -1;
    pack_tail_encode(pack, &id, &t);
    size = t.body_len + pack_tail_size(t.body_len);
    pack_name(&id, name);
    if (blob_put_spare(m->config.blob, name, pack, size, &existed, err) < 0)
        return err_wrap(err, "write pack %s", name);
    if (existed)
        return err_set(err, ERR_EXISTS,
                       "%s: exists already; its session is not unique", name);
    m->stored += size;
    if (!m->config.makes_parity)
        return 0;
    return parity_put(m->config.blob, &id, pack, size, err);
}

int
mover_finish(struct mover *m, struct err *err)
{
    int rc;

    if (m->used == 0)
        return 0;
    rc = write_pack(m, &m->origin, err);
    mem_wipe(&m->origin, sizeof m->origin);
    m->used = 0;
    m->n++;
    if (rc == 0)
        m->moves_done = m->move_count;
    return rc;
}

/* ---- frames ---- */

static void
note_frame(struct mover *m, const struct mover_source *s,
           const struct frame_loc *loc, const uint8_t id[HASH_SIZE])
{
    uint8_t *e;

    if (m->frames == m->footer_cap) {
        m->footer_cap = m->footer_cap == 0 ? 256 : 2 * m->footer_cap;
        m->footer = xrealloc(m->footer, m->footer_cap, PACK_FOOTER_ENTRY);
    }
    if (m->move_count == m->move_cap) {
        m->move_cap = m->move_cap == 0 ? 256 : 2 * m->move_cap;
        m->moves = xrealloc(m->moves, m->move_cap, sizeof *m->moves);
    }
    e = m->footer + (size_t)m->frames++ * PACK_FOOTER_ENTRY;
    memcpy(e, id, HASH_SIZE);
    le_put32(e + HASH_SIZE, (uint32_t)(m->used / 8));
    m->moves[m->move_count++] =
        (struct movemap_move){ .source = s->place,
                               .from8 = loc->off8,
                               .n = m->n,
                               .to8 = (uint32_t)(m->used / 8),
                               .flen = loc->flen };
    m->used += loc->flen;
}

static int
read_frame(struct mover *m, const struct mover_source *s,
           const struct frame_loc *loc, uint8_t *out, struct frame_header *ret,
           struct err *err)
{
    bool is_encrypted = m->config.wrap.keys != NULL;
    char name[PACK_NAME_SIZE];
    size_t n = 0;

    pack_name(&s->id, name);
    if (blob_get(m->config.blob, name, (uint64_t)loc->off8 * 8, out, loc->flen,
                 &n, err) < 0)
        return -1;
    if (n < loc->flen)
        return err_set(err, ERR_CORRUPT, "%s: cut short", name);
    if (frame_check(out, n, is_encrypted, ret, err) < 0)
        return err_wrap(err, "%s: frame at %llu", name,
                        (unsigned long long)loc->off8 * 8);
    if (ret->flen != loc->flen || ret->ulen != loc->ulen ||
        ret->ordinal == FRAME_FOOTER_ORDINAL ||
        (is_encrypted && ret->slot >= s->keys))
        return err_set(err, ERR_CORRUPT, "%s: frame at %llu: is another one",
                       name, (unsigned long long)loc->off8 * 8);
    return 0;
}

/* The frame at its new place, with another key. */
static int
reseal(struct mover *m, const struct mover_source *s,
       const struct frame_loc *loc, const uint8_t *frame,
       const uint8_t id[HASH_SIZE], struct err *err)
{
    uint8_t actual[HASH_SIZE];

    if (frame_reseal(m->ctx, s->origins, s->origin_count, frame, loc->flen,
                     loc->ulen, &m->origin, m->frames, m->bytes + m->used,
                     err) < 0)
        return -1;
    hash_hmac(m->config.id_key, frame_ctx_plain(m->ctx), loc->ulen, actual);
    return hash_is_equal(actual, id)
               ? 0
               : err_set(err, ERR_CORRUPT, "frame: digest mismatch");
}

int
mover_add(struct mover *m, const struct mover_source *s,
          const struct frame_loc *loc, const uint8_t id[HASH_SIZE],
          struct err *err)
{
    uint8_t *frame = frame_ctx_raw(m->ctx);
    const uint8_t *entry = NULL;
    struct frame_header h;
    unsigned slot = 0;

    if (read_frame(m, s, loc, frame, &h, err) < 0)
        return -1;
    if (m->used != 0 && !has_room(m, loc->flen) && mover_finish(m, err) < 0)
        return -1;
    if (m->used == 0)
        begin_pack(m);
    if (m->reseals) {
        if (reseal(m, s, loc, frame, id, err) < 0)
            return -1;
        note_frame(m, s, loc, id);
        return 0;
    }
    if (m->config.wrap.keys != NULL) {
        entry = s->head + pack_head_size(h.slot);
        slot = slot_of(m, entry);
        if (slot == 0) { /* of too many origins: the next pack */
            if (mover_finish(m, err) < 0)
                return -1;
            begin_pack(m);
            slot = slot_of(m, entry);
        }
    }
    assert(slot < PACK_KEYS_MAX);
    frame[AT_SLOT] = (uint8_t)slot;
    le_put32(frame + AT_HEADER_CRC, crc_32c(0, frame, AT_HEADER_CRC));
    memcpy(m->bytes + m->used, frame, loc->flen);
    note_frame(m, s, loc, id);
    return 0;
}

const struct movemap_move *
mover_moves(const struct mover *m, size_t *ret_count)
{
    *ret_count = m->moves_done;
    return m->moves;
}

uint64_t
mover_stored(const struct mover *m)
{
    return m->stored;
}
