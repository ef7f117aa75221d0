/* SPDX-License-Identifier: Apache-2.0 */
/* repo/parity.h: an object beside each pack that repairs it.
 *
 * A hint like the index: never needed to read, never believed. What it makes
 * is handed on only if every stripe has its digest and the pack agrees with
 * its own checksums. Needs no key.
 * Bytes: docs/formats/parity.md. parity.c is encoding and decoding,
 * parity-store.c what happens in the store.
 * Threads: any. The calls with a store block on it.
 */
#pragma once
#include "blob/blob.h"
#include "codec/erasure.h"
#include "codec/hash.h"
#include "repo/pack.h"

#define PARITY_SUFFIX     ".parity"
#define PARITY_NAME_SIZE  (sizeof PARITY_SUFFIX + PACK_NAME_SIZE)
#define PARITY_PACK_MAX   ((uint64_t)64 << 20)
#define PARITY_PACK_MIN   (PACK_HEADER_SIZE + PACK_TRAILER_SIZE)
#define PARITY_STRIPE_MAX ((uint32_t)1 << 20)
#define PARITY_HEAD       64u
#define PARITY_HEAD_MAX   (PARITY_HEAD + HASH_SIZE * ERASURE_STRIPES_MAX)
#define PARITY_SIZE_MAX                                                        \
    (PARITY_HEAD_MAX + (size_t)ERASURE_PARITY * PARITY_STRIPE_MAX)

/* "p/<session>/<n>.parity" */
void parity_name(const struct pack_id *id, char out[PARITY_NAME_SIZE]);
bool parity_name_parse(const char *name, struct pack_id *ret);

/* ---- bytes --------------------------------------------------------------- */

struct parity_head {
    uint64_t pack_len;
    uint32_t stripe; /* length of one */
    unsigned count;  /* of the pack; ERASURE_PARITY more of parity */
    uint8_t end[4];  /* of the pack */
    uint8_t digests[ERASURE_STRIPES_MAX][HASH_SIZE];
};

size_t parity_head_size(const struct parity_head *h);
size_t parity_size(const struct parity_head *h); /* of the object */
/* Bytes of the pack in its stripe `i`. */
size_t parity_stripe_len(const struct parity_head *h, unsigned i);

/* Digests of the stripes `from`..`to` (exclusive) that `data` points to. */
void parity_digest(const struct parity_head *h, const uint8_t *const data[],
                   unsigned from, unsigned to, uint8_t out[][HASH_SIZE]);

/* The object for a pack of PARITY_PACK_MIN..PARITY_PACK_MAX bytes. The caller
 * frees it. */
uint8_t *parity_encode(const struct pack_id *id, const uint8_t *pack,
                       size_t pack_len, size_t *ret_len) NODISCARD;

/* The head of the object that `data` begins, which has `size` bytes.
 *   len     at least PARITY_HEAD_MAX, or all of it
 *   errors  CORRUPT (not the parity of that pack), UNSUPPORTED */
int parity_head_decode(const struct pack_id *id, const uint8_t *data,
                       size_t len, uint64_t size, struct parity_head *ret,
                       struct err *err) NODISCARD;

/* ---- in the store -------------------------------------------------------- */

/* The parity of a pack that was just written, whose bytes are at hand. That
 * there is no room for it is no error.
 *   errors  those of the store, but NO_SPACE; INTERNAL (they were changed since
 *           they were sealed: faulty memory) */
int parity_put(struct blob *blob, const struct pack_id *id, const uint8_t *pack,
               size_t pack_len, struct err *err) NODISCARD;

/* Is there parity for that pack, whole, and of its bytes? The pack is not read,
 * but its end.
 *   ret_bytes  that were read
 *   errors     NOT_FOUND (none); CORRUPT, or what blob_is_lost() knows */
int parity_check(struct blob *blob, const struct pack_id *id,
                 uint64_t *ret_bytes, struct err *err) NODISCARD;

/* Make it anew, in the place of what is there, from a pack that is whole.
 *   ret_bytes  that were read
 *   errors  CORRUPT (the pack is not whole by its own checksums);
 *           UNSUPPORTED (too long) */
int parity_make(struct blob *blob, const struct pack_id *id,
                uint64_t *ret_bytes, struct err *err) NODISCARD;

/* What repairing found. */
struct parity_repair {
    unsigned damaged; /* stripes of the pack: 0: none, its length was wrong */
    uint32_t stripe;
    char text[160]; /* "stripes 3 and 17 (1 MiB each) made again" */
};

/* The bytes of a damaged pack as they were written.
 *   ret_pack  the caller's to free
 *   errors    NOT_FOUND (no parity, or no pack); CORRUPT (more is damaged than
 *             parity repairs; the parity itself is); EXISTS (it says that the
 *             pack is as it was written) */
int parity_rebuild(struct blob *blob, const struct pack_id *id,
                   uint8_t **ret_pack, size_t *ret_len,
                   struct parity_repair *ret, struct err *err) NODISCARD;

/* The same, and put them into the place of the damaged ones; the parity too, if
 * a part of it was damaged, and if that can be written. */
int parity_repair(struct blob *blob, const struct pack_id *id,
                  struct parity_repair *ret, struct err *err) NODISCARD;

/* When the pack was removed. Nothing there is fine. */
int parity_remove(struct blob *blob, const struct pack_id *id, struct err *err)
    NODISCARD;
