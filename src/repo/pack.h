/* SPDX-License-Identifier: Apache-2.0 */
/* repo/pack.h: what surrounds the frames of a pack.
 *
 * Bytes: docs/formats/pack.md. Only encoding and decoding: packer.h writes
 * packs, pack-read.h reads from them.
 * Threads: any.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "codec/keys.h"
#include "repo/frame.h"

#define PACK_HEADER_SIZE  64
#define PACK_KEY_SIZE     104
#define PACK_KEYS_MAX     256
#define PACK_TRAILER_SIZE 64
#define PACK_STRIPE       ((uint64_t)1 << 20)
#define PACK_SIZE_MAX     ((uint64_t)1 << 30)
#define PACK_FRAMES_MAX   ((uint32_t)1 << 20)
#define PACK_FOOTER_ENTRY 36
#define PACK_NAME_SIZE    64

struct pack_id {
    enum frame_kind kind;
    uint8_t session[16];
    uint32_t n;
};

/* "p/<session>/<n>" or "m/<session>/<n>" */
void pack_name(const struct pack_id *id, char out[PACK_NAME_SIZE]);
bool pack_name_parse(const char *name, struct pack_id *ret); /* false: none */

/* Who wraps the keys of packs. `keys` NULL: no encryption. */
struct pack_wrap {
    const struct keys *keys;
    const uint8_t *repo_uuid; /* 16 bytes */
    unsigned epoch;           /* of the keys that new packs get */
};

/* The header and the key table of a fresh pack, whose only origin is
 * `origin`. Returns their length. */
size_t pack_header_encode(const struct pack_wrap *wrap,
                          const struct frame_origin *origin,
                          uint8_t out[PACK_HEADER_SIZE + PACK_KEY_SIZE]);

/* The same for a pack with moved frames: `entries` are `count` further entries
 * of key tables, as they are. `out` has room for pack_head_size(1 + count).
 * Without encryption `count` is 0. */
size_t pack_header_encode_moved(const struct pack_wrap *wrap,
                                const struct frame_origin *origin,
                                const uint8_t *entries, unsigned count,
                                uint8_t *out);
/* Is it the head of that pack, with a key table as the repository's cipher
 * wants it? Needs no key; `is_encrypted` is the repository's.
 *   errors  CORRUPT, UNSUPPORTED */
int pack_header_check(bool is_encrypted, const struct pack_id *id,
                      const uint8_t *data, size_t len, unsigned *ret_key_count,
                      struct err *err) NODISCARD;

/* The head of a pack of which `data` are the first bytes.
 *   ret_key_count  with it `len` must be at least pack_head_size(); a first
 *                  call may give PACK_HEADER_SIZE bytes only: then nothing
 *                  but the number is decoded (`ret_origins` NULL)
 *   ret_origins    array of *ret_count (at least one), and one more: the
 *                  footer's; the caller's: pack_origins_free(). One whose key
 *                  we do not have is locked
 *   errors         CORRUPT, UNSUPPORTED */
int pack_header_peek(const uint8_t *data, size_t len, unsigned *ret_key_count,
                     struct err *err) NODISCARD;
int pack_header_decode(const struct pack_wrap *wrap, const struct pack_id *id,
                       const uint8_t *data, size_t len,
                       struct frame_origin **ret_origins, unsigned *ret_count,
                       struct err *err) NODISCARD;
size_t pack_head_size(unsigned key_count);
/* Are the pack and all its origins of that epoch? `head` is whole. */
bool pack_head_is_of(const uint8_t *head, unsigned key_count, unsigned epoch);
/* What the footer of a new pack is sealed with. */
void pack_footer_origin(const struct pack_wrap *wrap, const struct pack_id *id,
                        struct frame_origin *ret);
void pack_origins_free(struct frame_origin *origins, unsigned count);

struct pack_footer_entry {
    uint8_t id[32];
    uint32_t off8;
};

/* The footer's plaintext; entries in order of offset. */
int pack_footer_decode(const uint8_t *data, size_t len,
                       struct pack_footer_entry **ret_entries,
                       uint32_t *ret_count, struct err *err) NODISCARD;

struct pack_trailer {
    uint64_t body_len;
    uint64_t footer_off;
    uint32_t footer_len;
    uint32_t stripes;
};

/* Before a pack is written: is every frame from `off` to `end`, the footer too,
 * as it was sealed?
 *   errors  INTERNAL (this host's memory changed it) */
int pack_check_frames(const uint8_t *pack, size_t off, size_t end,
                      bool is_encrypted, struct err *err) NODISCARD;

/* Bytes of stripe table and trailer behind a body of that length. */
size_t pack_tail_size(uint64_t body_len);
/* Write them behind the `t->body_len` bytes at `pack`; sets t->stripes. */
void pack_tail_encode(uint8_t *pack, const struct pack_id *id,
                      struct pack_trailer *t);
/* From the last PACK_TRAILER_SIZE bytes of a pack of `pack_size` bytes. */
int pack_trailer_decode(const struct pack_id *id, const uint8_t *data,
                        uint64_t pack_size, struct pack_trailer *ret,
                        struct err *err) NODISCARD;
/* The checksum over table and trailer: `data` is both. */
int pack_tail_check(const uint8_t *data, size_t len, struct err *err) NODISCARD;
