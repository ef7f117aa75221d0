/* SPDX-License-Identifier: Apache-2.0 */
/* codec/hash.h: SHA-256 and HMAC-SHA-256, four messages at once.
 *
 * One core hashes 1.3 GB/s with OpenSSL and 4 GB/s with four messages of one
 * length side by side in the CPU's SHA instructions. Where these are missing,
 * or where they do not agree with OpenSSL on a test message at start-up,
 * OpenSSL does all of it.
 * source  FIPS 180-4, RFC 2104
 * threads any
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_SIZE  32
#define HASH_LANES 4

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

/* `count` (1..4) messages of `len` bytes each. */
void hash_hmac_lanes(const struct hash_key *k, const uint8_t *const data[],
                     unsigned count, size_t len, uint8_t out[][HASH_SIZE]);

/* Equal, in a time that does not depend on where they differ. */
bool hash_is_equal(const uint8_t a[HASH_SIZE], const uint8_t b[HASH_SIZE]);

/* For tests and `info`: do the lanes run here, or OpenSSL? */
bool hash_has_lanes(void);
void hash_force_openssl(bool is_forced); /* tests: compare the two */
