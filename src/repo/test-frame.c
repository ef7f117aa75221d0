/* SPDX-License-Identifier: Apache-2.0 */
/* A frame opens to what it was made of, or not at all: no byte of it, no field
 * that somebody set again with its checksums, no length but its own. */
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "repo/frame.h"
#include "test.h"

#define LEN 5000u

enum {
    AT_CLEN = 0,
    AT_ULEN = 4,
    AT_ORDINAL = 8,
    AT_CODEC = 12,
    AT_SLOT = 13,
    AT_CRC = 16,
    AT_HEADER_CRC = 20,
};

static uint8_t plain[LEN], got[LEN + 8];

static struct frame_origin
origin(bool is_encrypted)
{
    struct frame_origin o = { .n = 3,
                              .kind = FRAME_DATA,
                              .is_encrypted = is_encrypted,
                              .serial = frame_serial() };

    memset(o.session, 0x5e, sizeof o.session);
    memset(o.key, 0x4b, sizeof o.key);
    return o;
}

/* Text that compresses, or noise that is stored. The caller frees. */
static uint8_t *
make(struct frame_ctx *ctx, const struct frame_origin *o, bool is_text,
     uint32_t *ret_flen)
{
    struct frame_body body;
    uint32_t s = 12345;
    uint8_t *out;

    for (size_t i = 0; i < LEN; i++) {
        s = s * 1103515245 + 12345;
        plain[i] = is_text ? (uint8_t)("abcd efg"[i % 8]) : (uint8_t)(s >> 16);
    }
    body = frame_pack(ctx, plain, LEN, o->is_encrypted);
    CHECK_INT(body.codec, ==, is_text ? COMPRESS_ZSTD : COMPRESS_STORE);
    out = xcalloc(1, body.flen);
    frame_seal(ctx, o, 0, 7, &body, out);
    *ret_flen = body.flen;
    return out;
}

/* True if it opens to the plaintext; never to anything else. */
static bool
opens(struct frame_ctx *ctx, const struct frame_origin *o, const uint8_t *data,
      size_t flen, uint32_t ulen)
{
    /* Its own memory, so that a sanitizer sees who reads beyond it. */
    CLEANUP(mem_free) uint8_t *copy = xcalloc(1, flen);
    struct err err = { 0 };

    memcpy(copy, data, flen);
    memset(got, 0, sizeof got);
    if (frame_open(ctx, o, 1, copy, flen, got, ulen, &err) < 0) {
        CHECK(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED);
        return false;
    }
    CHECK_INT(ulen, ==, LEN);
    CHECK(memcmp(got, plain, LEN) == 0);
    return true;
}

static void
no_byte_of_a_frame_can_change(void)
{
    CLEANUP(frame_ctx_free) struct frame_ctx *ctx = frame_ctx_new(1);

    for (unsigned i = 0; i < 4; i++) {
        struct frame_origin o = origin(i % 2 == 0);
        uint32_t flen = 0, end;
        CLEANUP(mem_free) uint8_t *f = make(ctx, &o, i / 2 == 0, &flen);

        end = FRAME_HEADER_SIZE + le_get32(f + AT_CLEN) +
              (o.is_encrypted ? AEAD_TAG_SIZE : 0);
        CHECK(opens(ctx, &o, f, flen, LEN));
        for (uint32_t at = 0; at < end; at++) {
            /* With a tag nobody needs this checksum. */
            if (o.is_encrypted && at >= AT_CRC && at < AT_HEADER_CRC)
                continue;
            f[at] ^= (uint8_t)(1u << (at % 8));
            CHECK(!opens(ctx, &o, f, flen, LEN));
            f[at] ^= (uint8_t)(1u << (at % 8));
        }
    }
}

/* Sets a field and the checksums. */
static bool
opens_with(struct frame_ctx *ctx, const struct frame_origin *o,
           const uint8_t *frame, uint32_t flen, unsigned at, uint32_t value)
{
    CLEANUP(mem_free) uint8_t *f = xcalloc(1, flen);

    memcpy(f, frame, flen);
    if (at == AT_CODEC || at == AT_SLOT)
        f[at] = (uint8_t)value;
    else
        le_put32(f + at, value);
    le_put32(f + AT_HEADER_CRC, crc_32c(0, f, AT_HEADER_CRC));
    return opens(ctx, o, f, flen, LEN);
}

static void
no_field_can_be_set_again(void)
{
    CLEANUP(frame_ctx_free) struct frame_ctx *ctx = frame_ctx_new(1);
    struct frame_origin o = origin(true), other = o;
    uint32_t flen = 0, clen;
    CLEANUP(mem_free) uint8_t *f = make(ctx, &o, true, &flen);

    clen = le_get32(f + AT_CLEN);
    CHECK(!opens_with(ctx, &o, f, flen, AT_ORDINAL, 8));
    CHECK(!opens_with(ctx, &o, f, flen, AT_ULEN, LEN - 1));
    CHECK(!opens_with(ctx, &o, f, flen, AT_CODEC, COMPRESS_STORE));
    CHECK(!opens_with(ctx, &o, f, flen, AT_CODEC, 1));
    CHECK(!opens_with(ctx, &o, f, flen, AT_SLOT, 1));
    CHECK(!opens_with(ctx, &o, f, flen, AT_CLEN, clen - 1));
    CHECK(!opens_with(ctx, &o, f, flen, AT_CLEN, clen + 8));
    CHECK(!opens_with(ctx, &o, f, flen, AT_CLEN, 0));
    CHECK(!opens_with(ctx, &o, f, flen, AT_CLEN, UINT32_MAX));
    /* Nor does it belong to another pack, or the other kind. */
    other.n++;
    other.serial = frame_serial();
    CHECK(!opens(ctx, &other, f, flen, LEN));
    other = o;
    other.kind = FRAME_META;
    CHECK(!opens(ctx, &other, f, flen, LEN));
    other = o;
    other.session[3] ^= 1;
    CHECK(!opens(ctx, &other, f, flen, LEN));
    other = o;
    other.key[0] ^= 1;
    other.serial = frame_serial();
    CHECK(!opens(ctx, &other, f, flen, LEN));
    CHECK(opens(ctx, &o, f, flen, LEN));
}

static void
a_frame_has_one_length(void)
{
    CLEANUP(frame_ctx_free) struct frame_ctx *ctx = frame_ctx_new(1);

    for (unsigned i = 0; i < 4; i++) {
        struct frame_origin o = origin(i % 2 == 0);
        uint32_t flen = 0;
        CLEANUP(mem_free) uint8_t *f = make(ctx, &o, i / 2 == 0, &flen);
        CLEANUP(mem_free) uint8_t *longer = xcalloc(1, flen + 8);

        memcpy(longer, f, flen);
        CHECK(!opens(ctx, &o, longer, flen + 8, LEN));
        for (uint32_t n = 0; n < flen; n += n < 64 || flen - n < 64 ? 1 : 97)
            CHECK(!opens(ctx, &o, f, n, LEN));
        CHECK(!opens(ctx, &o, f, flen, LEN - 1));
    }
}

/* Who set the checksums again may say any length. */
static void
no_frame_is_longer_than_frames_are(void)
{
    CLEANUP(frame_ctx_free) struct frame_ctx *ctx = frame_ctx_new(1);
    struct frame_origin o = origin(false);
    uint32_t flen = 0;
    CLEANUP(mem_free) uint8_t *f = make(ctx, &o, true, &flen);
    struct frame_header h;
    struct err err = { 0 };

    for (unsigned i = 0; i < 4; i++) {
        uint32_t max = i < 2 ? FRAME_PLAIN_MAX : FRAME_FOOTER_MAX;

        le_put32(f + AT_ORDINAL, i < 2 ? 7 : FRAME_FOOTER_ORDINAL);
        le_put32(f + AT_ULEN, max + i % 2);
        le_put32(f + AT_HEADER_CRC, crc_32c(0, f, AT_HEADER_CRC));
        if (i % 2 == 0)
            CHECK_OK(frame_header_decode(f, flen, false, &h, &err), &err);
        else
            CHECK_ERR(frame_header_decode(f, flen, false, &h, &err), &err,
                      ERR_CORRUPT);
    }
    /* Nor does it decode to another length than it says. */
    le_put32(f + AT_ORDINAL, 7);
    for (uint32_t len = LEN - 1; len <= LEN + 1; len++) {
        le_put32(f + AT_ULEN, len);
        le_put32(f + AT_HEADER_CRC, crc_32c(0, f, AT_HEADER_CRC));
        CHECK(opens(ctx, &o, f, flen, len) == (len == LEN));
    }
}

static void
a_location_is_one_that_a_pack_can_have(void)
{
    static const struct frame_loc good = { .off8 = 8,
                                           .flen = 64,
                                           .ulen = FRAME_PLAIN_MAX };
    struct frame_loc bad[] = { good, good, good, good, good, good }, got_loc;
    uint8_t bytes[FRAME_LOC_SIZE];
    struct err err = { 0 };

    bad[0].ulen = 0;
    bad[1].ulen++;
    bad[2].flen = FRAME_HEADER_SIZE;
    bad[3].flen = FRAME_SIZE_MAX / 8 * 8 + 8;
    bad[4].flen++;
    bad[5].off8--;
    frame_loc_encode(&good, bytes);
    CHECK_OK(frame_loc_decode(bytes, &got_loc, &err), &err);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        frame_loc_encode(&bad[i], bytes);
        CHECK_ERR(frame_loc_decode(bytes, &got_loc, &err), &err, ERR_CORRUPT);
    }
}

static void
a_frame_whose_key_is_locked_is_denied(void)
{
    CLEANUP(frame_ctx_free) struct frame_ctx *ctx = frame_ctx_new(1);
    struct frame_origin o = origin(true);
    uint32_t flen = 0;
    CLEANUP(mem_free) uint8_t *f = make(ctx, &o, true, &flen);
    struct err err = { 0 };

    o.is_locked = true;
    CHECK_ERR(frame_open(ctx, &o, 1, f, flen, got, LEN, &err), &err,
              ERR_DENIED);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "no byte of a frame can change", no_byte_of_a_frame_can_change },
        { "no field can be set again", no_field_can_be_set_again },
        { "a frame has one length", a_frame_has_one_length },
        { "no frame is longer than frames are",
          no_frame_is_longer_than_frames_are },
        { "a location is one that a pack can have",
          a_location_is_one_that_a_pack_can_have },
        { "a frame whose key is locked is denied",
          a_frame_whose_key_is_locked_is_denied },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
