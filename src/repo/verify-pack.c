/* SPDX-License-Identifier: Apache-2.0 */
/* A pack is read once from front to end through a window. Its stripes are
 * checked as they come; with a key, its frames are decoded as soon as they lie
 * in the window, four digests at once, against the ids in the footer.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "repo/logstate.h"
#include "repo/verify.h"

#define READ_SIZE (8 * PACK_STRIPE)

struct scan {
    struct verify *v;
    struct frame_ctx *ctx;
    const struct pack_id *id;
    char name[PACK_NAME_SIZE];
    struct pack_trailer trailer;
    uint8_t *table; /* stripes, then the trailer */

    uint8_t *window;
    uint64_t base; /* offset in the pack of window[0] */
    size_t len;    /* bytes in the window */

    struct frame_origin *origins;
    unsigned origin_count;
    struct pack_footer_entry *entries;
    uint32_t entry_count;
    uint32_t next; /* entry to decode */

    uint8_t *plain[HASH_LANES];
    uint32_t at[HASH_LANES]; /* entries decoded, digests not compared yet */
    uint32_t ulen;           /* of all of them */
    unsigned n;
};

static void
damage_pack(struct scan *s, const char *cause)
{
    verify_damage_pack(s->v, s->id, cause);
}

static int
get(struct scan *s, uint64_t off, void *data, size_t len, size_t *ret_len,
    struct err *err)
{
    if (blob_get(s->v->repo->blob, s->name, off, data, len, ret_len, err) < 0)
        return -1;
    return 0;
}

/* Of what was read: 1 when the pack is damaged there. */
static int
judge(struct scan *s, int rc, const struct err *err)
{
    if (rc == 0 || err->code == ERR_NOT_FOUND || !blob_is_lost(err))
        return rc;
    damage_pack(s, err->msg);
    return 1;
}

static int
load_tail(struct scan *s, struct err *err)
{
    return judge(
        s, pack_read_tail(s->v->repo->blob, s->id, &s->trailer, &s->table, err),
        err);
}

static int
load_footer(struct scan *s, struct err *err)
{
    return judge(s,
                 pack_read_footer(s->v->repo->blob, s->id, &s->trailer, s->ctx,
                                  &s->origins[s->origin_count], &s->entries,
                                  &s->entry_count, err),
                 err);
}

static int
load_head(struct scan *s, struct err *err)
{
    CLEANUP(mem_free) uint8_t *head = xcalloc(1, pack_head_size(PACK_KEYS_MAX));
    size_t n = 0;

    if (get(s, 0, head, pack_head_size(PACK_KEYS_MAX), &n, err) < 0)
        return judge(s, -1, err);
    if (pack_header_decode(&s->v->repo->wrap, s->id, head, n, &s->origins,
                           &s->origin_count, err) < 0) {
        damage_pack(s, err->msg);
        return 1;
    }
    return 0;
}

static void
check_stripes(struct scan *s, uint64_t off, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at += PACK_STRIPE) {
        size_t n = len - at < PACK_STRIPE ? len - at : PACK_STRIPE;
        uint64_t stripe = (off + at) / PACK_STRIPE;
        char cause[80];

        if (crc_32c(0, data + at, n) == le_get32(s->table + 4 * stripe))
            continue;
        (void)snprintf(cause, sizeof cause,
                       "stripe %llu (offset %llu): checksum mismatch",
                       (unsigned long long)stripe,
                       (unsigned long long)(stripe * PACK_STRIPE));
        /* With a key the frames in it are looked at one by one. */
        if (s->v->level == REPO_VERIFY_STRIPES)
            verify_damage_part(s->v, s->id, (off + at) / 8, (off + at + n) / 8,
                               cause);
        else
            verify_damage(s->v, s->name, cause);
    }
}

static void
damage_frame(struct scan *s, uint32_t i, const char *cause)
{
    char text[600];

    (void)snprintf(text, sizeof text, "frame at %llu: %s",
                   (unsigned long long)s->entries[i].off8 * 8, cause);
    verify_damage_part(s->v, s->id, s->entries[i].off8, s->entries[i].off8 + 1,
                       text);
    verify_bad_frame(s->v, s->id, s->entries[i].off8, s->entries[i].id);
}

static void
compare_digests(struct scan *s)
{
    const uint8_t *data[HASH_LANES];
    uint8_t ids[HASH_LANES][HASH_SIZE];

    for (unsigned i = 0; i < s->n; i++)
        data[i] = s->plain[i];
    if (s->n > 0)
        hash_hmac_lanes(&s->v->repo->keys.id, data, s->n, s->ulen, ids);
    for (unsigned i = 0; i < s->n; i++)
        if (!hash_is_equal(ids[i], s->entries[s->at[i]].id))
            damage_frame(s, s->at[i], "digest mismatch");
    s->n = 0;
}

static void
decode(struct scan *s, const uint8_t *data, uint64_t room)
{
    struct frame_header h;
    struct err err;

    if (frame_header_decode(data, FRAME_HEADER_SIZE, s->origins[0].is_encrypted,
                            &h, &err) < 0) {
        damage_frame(s, s->next, err.msg);
        return;
    }
    if (h.flen != room || h.ulen > FRAME_PLAIN_MAX || h.ulen == 0) {
        damage_frame(s, s->next, "has another length than the footer says");
        return;
    }
    if (s->n == hash_lanes(h.ulen) || (s->n > 0 && s->ulen != h.ulen))
        compare_digests(s);
    if (s->plain[s->n] == NULL)
        s->plain[s->n] = xcalloc(1, FRAME_PLAIN_MAX);
    if (frame_open(s->ctx, s->origins, s->origin_count, data, h.flen,
                   s->plain[s->n], h.ulen, &err) < 0) {
        damage_frame(s, s->next, err.msg);
        return;
    }
    s->ulen = h.ulen;
    s->at[s->n++] = s->next;
}

/* Decode what lies in the window whole; a frame ends where the next begins. */
static void
check_frames(struct scan *s)
{
    for (; s->next < s->entry_count; s->next++) {
        uint64_t off = (uint64_t)s->entries[s->next].off8 * 8;
        uint64_t end = s->next + 1 < s->entry_count
                           ? (uint64_t)s->entries[s->next + 1].off8 * 8
                           : s->trailer.footer_off;

        if (off < s->base || end <= off || end - off > FRAME_SIZE_MAX ||
            end > s->trailer.footer_off) {
            damage_frame(s, s->next, "the footer gives an impossible place");
            continue;
        }
        if (end > s->base + s->len)
            break;
        decode(s, s->window + (off - s->base), end - off);
    }
}

/* Keep what belongs to the frame that is not whole yet. */
static void
slide(struct scan *s)
{
    uint64_t end = s->base + s->len;
    uint64_t keep =
        s->next < s->entry_count ? (uint64_t)s->entries[s->next].off8 * 8 : end;

    keep = keep < s->base ? s->base : keep < end ? keep : end;
    memmove(s->window, s->window + (keep - s->base), (size_t)(end - keep));
    s->len = (size_t)(end - keep);
    s->base = keep;
}

static int
scan_body(struct scan *s, struct err *err)
{
    for (uint64_t off = 0; off < s->trailer.body_len;) {
        uint64_t left = s->trailer.body_len - off;
        size_t want = (size_t)(left < READ_SIZE ? left : READ_SIZE), n = 0;

        if (get(s, off, s->window + s->len, want, &n, err) < 0) {
            int rc = judge(s, -1, err);

            /* With a key the walk looks at each frame that is needed. */
            if (rc < 0 || s->v->level > REPO_VERIFY_STRIPES)
                return rc;
            off += want;
            continue;
        }
        if (n < want)
            return err_set(err, ERR_UNAVAILABLE,
                           "%s: became shorter while it was read", s->name);
        check_stripes(s, off, s->window + s->len, n);
        s->len += n;
        off += n;
        check_frames(s);
        slide(s);
        if (verify_read_done(s->v, n, err) < 0)
            return -1;
    }
    if (s->entries != NULL)
        compare_digests(s);
    return 0;
}

static int
scan(struct scan *s, struct err *err)
{
    int rc = load_tail(s, err);

    if (rc == 0 && s->v->level > REPO_VERIFY_STRIPES) {
        rc = load_head(s, err);
        if (rc == 0)
            rc = load_footer(s, err);
    }
    return rc == 0 ? scan_body(s, err) : rc;
}

/* Condemned since we began: it may have gone at any time. */
static int
look_for(void *arg, const struct logstate *s, struct err *err)
{
    return packset_get(&s->condemned, arg) != 0
               ? 0
               : err_set(err, ERR_NOT_FOUND, "is missing");
}

bool
verify_is_collected(struct verify *v, const struct pack_id *id)
{
    struct pack_id pack = *id;
    struct err ignored;

    return commitlog_look(v->repo->log, true, look_for, &pack, &ignored) == 0;
}

int
verify_pack(struct verify *v, struct frame_ctx *ctx, uint8_t *window,
            const struct pack_id *id, struct err *err)
{
    struct scan s = { .v = v, .ctx = ctx, .id = id, .window = window };
    int rc;

    static_assert(VERIFY_WINDOW >= READ_SIZE + FRAME_SIZE_MAX, "window");
    pack_name(id, s.name);
    rc = scan(&s, err);
    if (rc < 0 && err->code == ERR_NOT_FOUND) {
        if (!verify_is_collected(v, id))
            damage_pack(&s, "is missing");
        rc = 0;
    }
    free(s.table);
    free(s.entries);
    pack_origins_free(s.origins, s.origin_count);
    for (unsigned i = 0; i < HASH_LANES; i++)
        free(s.plain[i]);
    return rc < 0 ? -1 : 0;
}
