/* SPDX-License-Identifier: Apache-2.0 */
/* codec/hash.h: SHA-256 and HMAC-SHA-256, several messages at once.
 *
 * One core hashes 1.3 GB/s with OpenSSL and 4 GB/s with four messages of one
 * length side by side in the CPU's SHA instructions. A CPU without these (one
 * of Intel's before 2019, mostly) takes eight side by side in AVX2: OpenSSL
 * alone would be at 0.5 GB/s there. Where neither is, or does not agree with
 * OpenSSL on test messages at start-up, OpenSSL does all of it.
 * source  FIPS 180-4, RFC 2104
 * threads any
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

#define HASH_SIZE  32
#define HASH_LANES 8 /* at most */

/* A key, prepared. A secret: wipe it with mem_wipe(). */
struct hash_key {
    uint8_t bytes[HASH_SIZE];
    uint32_t inner[8]; /* the state after the block key ^ ipad */
    uint32_t outer[8];
};

void hash_key_init(struct hash_key *k, const uint8_t bytes[HASH_SIZE]);

void hash_sha256(const void *data, size_t len, uint8_t out[HASH_SIZE]);
void hash_hmac(const struct hash_key *k, const void *data, size_t len,
               uint8_t out[HASH_SIZE]);

/* `count` (1..HASH_LANES) messages of `len` bytes each. */
void hash_hmac_lanes(const struct hash_key *k, const uint8_t *const data[],
                     unsigned count, size_t len, uint8_t out[][HASH_SIZE]);
/* How many of that length are best handed in at once: a divisor of HASH_LANES.
 * Of long ones fewer, for they have to lie in memory at the same time. */
unsigned hash_lanes(size_t len);

/* Equal, in a time that does not depend on where they differ. */
bool hash_is_equal(const uint8_t a[HASH_SIZE], const uint8_t b[HASH_SIZE]);

/* Who hashes. */
enum hash_path {
    HASH_OPENSSL,
    HASH_AVX2,
    HASH_SHANI,
};

enum hash_path hash_path_get(void);
/* For tests and benches, before threads are made: from now on this one.
 * False: it does not work here, and nothing was changed. */
bool hash_path_force(enum hash_path path) NODISCARD;
