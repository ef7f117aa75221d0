/* SPDX-License-Identifier: Apache-2.0 */
/* codec/compress.h: zstd, or stored when that does not help.
 *
 * source  RFC 8878
 * threads a context is one thread's at a time
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

/* The numbers are those of docs/formats/pack.md. */
enum compress_codec {
    COMPRESS_STORE = 0,
    COMPRESS_ZSTD = 2,
};

struct compress;

/* zstd's levels, and one below 1: see compress.c. */
#define COMPRESS_FAST 0

struct compress *compress_new(int level) NODISCARD;
void compress_set_level(struct compress *c, int level);
void compress_free(struct compress *c); /* NULL is fine */
DEFINE_CLEANUP(compress_free, struct compress *)

/* Bytes that `out` must have for compress_pack() of `len` bytes. */
size_t compress_bound(size_t len);

/* Compress into `out` (compress_bound(len) bytes). Returns the codec: ZSTD
 * with *ret_len bytes in `out`, or STORE when less than 1/16 would be saved:
 * then `out` is unspecified and the data itself is what to keep. */
enum compress_codec compress_pack(struct compress *c, const void *data,
                                  size_t len, void *out, size_t *ret_len)
    NODISCARD;

/* False unless it gives exactly `out_len` bytes. */
bool compress_unpack(struct compress *c, enum compress_codec codec,
                     const void *data, size_t len, void *out, size_t out_len)
    NODISCARD;
