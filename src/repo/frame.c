/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/frame.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"

#define AAD_SIZE 32

/* Offsets of docs/formats/pack.md, "Frame". */
enum {
    AT_CLEN = 0,
    AT_ULEN = 4,
    AT_ORDINAL = 8,
    AT_CODEC = 12,
    AT_SLOT = 13,
    AT_ZERO = 14,
    AT_CRC = 16,
    AT_HEADER_CRC = 20,
};

struct frame_ctx {
    struct compress *compress;
    struct aead *aead;
    uint64_t serial; /* of the key that `aead` has; 0: none */
    uint8_t *packed; /* compress_bound(FRAME_PLAIN_MAX) */
    uint8_t *raw;    /* FRAME_SIZE_MAX, made when first asked for */
    uint8_t *plain;  /* FRAME_PLAIN_MAX, the same */
};

uint64_t
frame_serial(void)
{
    static atomic_uint_fast64_t last;

    return atomic_fetch_add(&last, 1) + 1;
}

struct frame_ctx *
frame_ctx_new(int level)
{
    struct frame_ctx *ctx = xcalloc(1, sizeof *ctx);

    ctx->compress = compress_new(level);
    ctx->aead = aead_new();
    ctx->packed = xcalloc(1, compress_bound(FRAME_PLAIN_MAX));
    return ctx;
}

void
frame_ctx_set_level(struct frame_ctx *ctx, int level)
{
    compress_set_level(ctx->compress, level);
}

void
frame_ctx_free(struct frame_ctx *ctx)
{
    if (ctx == NULL)
        return;
    compress_free(ctx->compress);
    aead_free(ctx->aead);
    free(ctx->packed);
    free(ctx->raw);
    free(ctx->plain);
    free(ctx);
}

uint8_t *
frame_ctx_raw(struct frame_ctx *ctx)
{
    if (ctx->raw == NULL)
        ctx->raw = xcalloc(1, FRAME_SIZE_MAX);
    return ctx->raw;
}

uint8_t *
frame_ctx_plain(struct frame_ctx *ctx)
{
    if (ctx->plain == NULL)
        ctx->plain = xcalloc(1, FRAME_PLAIN_MAX);
    return ctx->plain;
}

void
frame_loc_encode(const struct frame_loc *loc, uint8_t out[FRAME_LOC_SIZE])
{
    memcpy(out, loc->session, 16);
    le_put32(out + 16, loc->n);
    le_put32(out + 20, loc->off8);
    le_put32(out + 24, loc->flen);
    le_put32(out + 28, loc->ulen);
}

int
frame_loc_check(const struct frame_loc *loc, struct err *err)
{
    if (loc->ulen == 0 || loc->ulen > FRAME_PLAIN_MAX ||
        loc->flen <= FRAME_HEADER_SIZE || loc->flen > FRAME_SIZE_MAX ||
        loc->flen % 8 != 0 || loc->off8 < 8)
        return err_set(err, ERR_CORRUPT, "a location that no pack can have");
    return 0;
}

int
frame_loc_decode(const uint8_t data[FRAME_LOC_SIZE], struct frame_loc *loc,
                 struct err *err)
{
    memcpy(loc->session, data, 16);
    loc->n = le_get32(data + 16);
    loc->off8 = le_get32(data + 20);
    loc->flen = le_get32(data + 24);
    loc->ulen = le_get32(data + 28);
    return frame_loc_check(loc, err);
}

static uint32_t
frame_length(uint32_t clen, bool is_encrypted)
{
    uint32_t len =
        FRAME_HEADER_SIZE + clen + (is_encrypted ? AEAD_TAG_SIZE : 0);

    return (len + 7) & ~7u;
}

struct frame_body
frame_pack_plain(const void *plain, uint32_t len, bool is_encrypted)
{
    return (struct frame_body){ .codec = COMPRESS_STORE,
                                .data = plain,
                                .clen = len,
                                .ulen = len,
                                .flen = frame_length(len, is_encrypted) };
}

struct frame_body
frame_pack(struct frame_ctx *ctx, const void *plain, uint32_t len,
           bool is_encrypted)
{
    size_t n = 0;

    if (compress_pack(ctx->compress, plain, len, ctx->packed, &n) ==
        COMPRESS_STORE)
        return frame_pack_plain(plain, len, is_encrypted);
    return (struct frame_body){ .codec = COMPRESS_ZSTD,
                                .data = ctx->packed,
                                .clen = (uint32_t)n,
                                .ulen = len,
                                .flen =
                                    frame_length((uint32_t)n, is_encrypted) };
}

static void
use_key(struct frame_ctx *ctx, const struct frame_origin *origin)
{
    if (ctx->serial == origin->serial)
        return;
    aead_set_key(ctx->aead, origin->key);
    ctx->serial = origin->serial;
}

static void
make_aad(const struct frame_origin *o, enum compress_codec codec,
         uint32_t ordinal, uint32_t ulen, uint8_t nonce[AEAD_NONCE_SIZE],
         uint8_t aad[AAD_SIZE])
{
    memset(aad, 0, AAD_SIZE);
    memcpy(aad, o->session, 16);
    le_put32(aad + 16, o->n);
    aad[20] = (uint8_t)o->kind;
    aad[21] = (uint8_t)codec;
    le_put32(aad + 24, ordinal);
    le_put32(aad + 28, ulen);
    memset(nonce, 0, AEAD_NONCE_SIZE);
    le_put32(nonce, ordinal);
}

void
frame_seal(struct frame_ctx *ctx, const struct frame_origin *origin,
           uint8_t slot, uint32_t ordinal, const struct frame_body *body,
           uint8_t *out)
{
    uint8_t nonce[AEAD_NONCE_SIZE], aad[AAD_SIZE];
    uint8_t *stored = out + FRAME_HEADER_SIZE;
    uint32_t end = FRAME_HEADER_SIZE + body->clen;

    memset(out, 0, FRAME_HEADER_SIZE);
    le_put32(out + AT_CLEN, body->clen);
    le_put32(out + AT_ULEN, body->ulen);
    le_put32(out + AT_ORDINAL, ordinal);
    out[AT_CODEC] = (uint8_t)body->codec;
    out[AT_SLOT] = slot;
    if (origin->is_encrypted) {
        use_key(ctx, origin);
        make_aad(origin, body->codec, ordinal, body->ulen, nonce, aad);
        aead_seal(ctx->aead, nonce, aad, sizeof aad, body->data, body->clen,
                  stored, stored + body->clen);
        end += AEAD_TAG_SIZE;
    } else if (body->clen > 0) {
        memcpy(stored, body->data, body->clen);
    }
    memset(out + end, 0, body->flen - end);
    le_put32(out + AT_CRC, crc_32c(0, stored, end - FRAME_HEADER_SIZE));
    le_put32(out + AT_HEADER_CRC, crc_32c(0, out, AT_HEADER_CRC));
}

int
frame_header_decode(const uint8_t *data, size_t len, bool is_encrypted,
                    struct frame_header *ret, struct err *err)
{
    struct frame_header h;
    bool is_footer;

    if (len < FRAME_HEADER_SIZE ||
        le_get32(data + AT_HEADER_CRC) != crc_32c(0, data, AT_HEADER_CRC))
        return err_set(err, ERR_CORRUPT, "frame header: checksum mismatch");
    h.clen = le_get32(data + AT_CLEN);
    h.ulen = le_get32(data + AT_ULEN);
    h.ordinal = le_get32(data + AT_ORDINAL);
    h.codec = (enum compress_codec)data[AT_CODEC];
    h.slot = data[AT_SLOT];
    h.crc = le_get32(data + AT_CRC);
    is_footer = h.ordinal == FRAME_FOOTER_ORDINAL;
    if (h.codec != COMPRESS_STORE && h.codec != COMPRESS_ZSTD)
        return err_set(err, ERR_UNSUPPORTED, "frame: codec %d is unknown",
                       data[AT_CODEC]);
    if (le_get16(data + AT_ZERO) != 0 || h.clen > h.ulen ||
        h.ulen > (is_footer ? FRAME_FOOTER_MAX : FRAME_PLAIN_MAX) ||
        (h.codec == COMPRESS_STORE && h.clen != h.ulen) ||
        (!is_footer && h.clen == 0) || (!is_encrypted && h.slot != 0))
        return err_set(err, ERR_CORRUPT, "frame header: impossible lengths");
    h.flen = frame_length(h.clen, is_encrypted);
    *ret = h;
    return 0;
}

int
frame_check(const uint8_t *data, size_t len, bool is_encrypted,
            struct frame_header *ret, struct err *err)
{
    if (frame_header_decode(data, len, is_encrypted, ret, err) < 0)
        return -1;
    if (ret->flen > len ||
        ret->crc != crc_32c(0, data + FRAME_HEADER_SIZE,
                            ret->clen + (is_encrypted ? AEAD_TAG_SIZE : 0)))
        return err_set(err, ERR_CORRUPT, "frame: checksum mismatch");
    return 0;
}

int
frame_open(struct frame_ctx *ctx, const struct frame_origin *origins,
           unsigned origin_count, const uint8_t *data, size_t flen,
           uint8_t *out, uint32_t ulen, struct err *err)
{
    const struct frame_origin *o = &origins[0];
    const uint8_t *stored = data + FRAME_HEADER_SIZE;
    uint8_t nonce[AEAD_NONCE_SIZE], aad[AAD_SIZE];
    struct frame_header h;
    uint8_t *plain;

    if (frame_header_decode(data, flen, o->is_encrypted, &h, err) < 0)
        return -1;
    if (h.flen != flen || h.ulen != ulen || h.slot >= origin_count)
        return err_set(err, ERR_CORRUPT, "frame: not the one expected here");
    o = &origins[h.slot];
    if (!o->is_encrypted && h.crc != crc_32c(0, stored, h.clen))
        return err_set(err, ERR_CORRUPT, "frame: checksum mismatch");
    if (o->is_locked)
        return err_set(err, ERR_DENIED,
                       "frame: the key that is used here cannot read it");
    if (o->is_encrypted) {
        use_key(ctx, o);
        make_aad(o, h.codec, h.ordinal, h.ulen, nonce, aad);
        plain = h.codec == COMPRESS_STORE ? out : ctx->packed;
        if (!aead_open(ctx->aead, nonce, aad, sizeof aad, stored, h.clen,
                       stored + h.clen, plain))
            return err_set(err, ERR_CORRUPT, "frame: does not decrypt");
        if (h.codec == COMPRESS_STORE)
            return 0;
        stored = plain;
    }
    if (!compress_unpack(ctx->compress, h.codec, stored, h.clen, out, ulen))
        return err_set(err, ERR_CORRUPT, "frame: does not decompress");
    return 0;
}

int
frame_reseal(struct frame_ctx *ctx, const struct frame_origin *origins,
             unsigned origin_count, const uint8_t *data, size_t flen,
             uint32_t ulen, const struct frame_origin *to, uint32_t ordinal,
             uint8_t *out, struct err *err)
{
    uint8_t *plain = frame_ctx_plain(ctx);
    struct frame_body body = { .ulen = ulen, .flen = (uint32_t)flen };

    if (frame_open(ctx, origins, origin_count, data, flen, plain, ulen, err) <
        0)
        return -1;
    body.codec = (enum compress_codec)data[AT_CODEC];
    body.clen = le_get32(data + AT_CLEN);
    /* Where frame_open() left what it decrypted. */
    body.data = body.codec == COMPRESS_STORE ? plain : ctx->packed;
    frame_seal(ctx, to, 0, ordinal, &body, out);
    return 0;
}
