/* SPDX-License-Identifier: Apache-2.0 */
/* repo/frame.h: frames, the pieces of a pack.
 *
 * A frame holds 1 byte to 4 MiB, compressed and encrypted. Its id, the HMAC
 * of the plaintext, is kept by whoever refers to it.
 * Bytes: docs/formats/pack.md.
 * Threads: a context is one thread's at a time; the rest never changes.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "codec/aead.h"
#include "codec/compress.h"
#include "codec/hash.h"

#define FRAME_HEADER_SIZE    24
#define FRAME_PLAIN_MAX      ((uint32_t)1 << 22)
#define FRAME_FOOTER_MAX     ((uint32_t)1 << 26)
#define FRAME_FOOTER_ORDINAL UINT32_MAX
/* The most that a chunk's frame occupies: stored, with tag and padding. */
#define FRAME_SIZE_MAX                                                         \
    (FRAME_HEADER_SIZE + FRAME_PLAIN_MAX + AEAD_TAG_SIZE + 8u)
#define FRAME_LOC_SIZE 32

enum frame_kind {
    FRAME_DATA = 0,
    FRAME_META = 1,
};

/* Where a frame lies. */
struct frame_loc {
    uint8_t session[16];
    uint32_t n;
    uint32_t off8; /* offset / 8 */
    uint32_t flen; /* with header, tag and padding */
    uint32_t ulen; /* plaintext */
};

void frame_loc_encode(const struct frame_loc *loc, uint8_t out[FRAME_LOC_SIZE]);
/* Does it name something that a pack can hold? `data` as encoded. */
int frame_loc_decode(const uint8_t data[FRAME_LOC_SIZE], struct frame_loc *loc,
                     struct err *err) NODISCARD;
int frame_loc_check(const struct frame_loc *loc, struct err *err) NODISCARD;

/* The pack in which a frame was first written, and its key. */
struct frame_origin {
    uint8_t session[16];
    uint32_t n;
    enum frame_kind kind;
    bool is_encrypted;
    bool is_locked; /* our role, or our epochs, do not have its key */
    uint8_t key[AEAD_KEY_SIZE];
    uint64_t serial; /* of the key in this process; see frame_serial() */
};

uint64_t frame_serial(void); /* a new number */

/* What encoding and decoding need besides the bytes. */
struct frame_ctx;

struct frame_ctx *frame_ctx_new(int level) NODISCARD; /* as compress_new() */
void frame_ctx_set_level(struct frame_ctx *ctx, int level);
void frame_ctx_free(struct frame_ctx *ctx); /* NULL is fine */
DEFINE_CLEANUP(frame_ctx_free, struct frame_ctx *)
/* FRAME_SIZE_MAX bytes for a caller to read a frame into. */
uint8_t *frame_ctx_raw(struct frame_ctx *ctx);
/* FRAME_PLAIN_MAX bytes for a caller to decode a frame into. */
uint8_t *frame_ctx_plain(struct frame_ctx *ctx);

/* A frame's content before encryption: in the context's memory, or the
 * plaintext itself; valid until the next call with that context. */
struct frame_body {
    enum compress_codec codec;
    const uint8_t *data;
    uint32_t clen;
    uint32_t ulen;
    uint32_t flen; /* what it will occupy */
};

struct frame_body frame_pack(struct frame_ctx *ctx, const void *plain,
                             uint32_t len, bool is_encrypted);
/* A footer, never compressed; at most FRAME_FOOTER_MAX. */
struct frame_body frame_pack_plain(const void *plain, uint32_t len,
                                   bool is_encrypted);

/* Write body->flen bytes to `out`. An ordinal is used once per origin. */
void frame_seal(struct frame_ctx *ctx, const struct frame_origin *origin,
                uint8_t slot, uint32_t ordinal, const struct frame_body *body,
                uint8_t *out);

struct frame_header {
    uint32_t clen, ulen, ordinal;
    enum compress_codec codec;
    uint8_t slot;
    uint32_t crc;
    uint32_t flen; /* derived */
};

int frame_header_decode(const uint8_t *data, size_t len, bool is_encrypted,
                        struct frame_header *ret, struct err *err) NODISCARD;

/* Is the frame that begins at `data` whole: lengths and checksum? Needs no key.
 *   len     of what is there; the frame may be shorter
 *   errors  CORRUPT, UNSUPPORTED */
int frame_check(const uint8_t *data, size_t len, bool is_encrypted,
                struct frame_header *ret, struct err *err) NODISCARD;

/* As frame_open() into frame_ctx_plain(), whose id the caller compares; and the
 * same frame, compressed as it was, encrypted for `to`: flen bytes to `out`. */
int frame_reseal(struct frame_ctx *ctx, const struct frame_origin *origins,
                 unsigned origin_count, const uint8_t *data, size_t flen,
                 uint32_t ulen, const struct frame_origin *to, uint32_t ordinal,
                 uint8_t *out, struct err *err) NODISCARD;

/* Decrypt and decompress the frame at `data` into `out` of `ulen` bytes. The
 * caller compares the id.
 *   origins  the pack's key table; at least one
 *   errors   CORRUPT; DENIED (the origin is locked) */
int frame_open(struct frame_ctx *ctx, const struct frame_origin *origins,
               unsigned origin_count, const uint8_t *data, size_t flen,
               uint8_t *out, uint32_t ulen, struct err *err) NODISCARD;
