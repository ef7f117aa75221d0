/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "codec/hash-shani.h"

#define BLOCK 64

static const uint32_t initial[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                     0xa54ff53a, 0x510e527f, 0x9b05688c,
                                     0x1f83d9ab, 0x5be0cd19 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool lanes_work; /* [C] after once */
static atomic_bool is_openssl_forced;

static void
put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* The last block or two of a message: what is left of it, the bit 1, zeros,
 * and the length in bits of all of it, `before` bytes ahead of `data`. */
static size_t
pad(uint8_t out[2 * BLOCK], const uint8_t *data, size_t len, uint64_t before)
{
    size_t rest = len % BLOCK;
    size_t size = rest + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
    uint64_t bits = (before + len) * 8;

    memset(out, 0, size);
    if (rest > 0)
        memcpy(out, data + len - rest, rest);
    out[rest] = 0x80;
    put_be32(out + size - 8, (uint32_t)(bits >> 32));
    put_be32(out + size - 4, (uint32_t)bits);
    return size / BLOCK;
}

static void
outer_block(uint8_t out[BLOCK], const uint32_t inner[8])
{
    memset(out, 0, BLOCK);
    for (int i = 0; i < 8; i++)
        put_be32(out + 4 * i, inner[i]);
    out[32] = 0x80;
    put_be32(out + 60, (BLOCK + HASH_SIZE) * 8);
}

static void
digest(uint8_t out[HASH_SIZE], const uint32_t s[8])
{
    for (int i = 0; i < 8; i++)
        put_be32(out + 4 * i, s[i]);
}

static void
hmac_x4(const struct hash_key *k, const uint8_t *const data[4], size_t len,
        uint8_t out[4][HASH_SIZE])
{
    uint32_t s[4][8];
    uint8_t tail[4][2 * BLOCK];
    const uint8_t *t[4];
    size_t n = 0;

    for (int l = 0; l < 4; l++) {
        memcpy(s[l], k->inner, sizeof s[l]);
        n = pad(tail[l], data[l], len, BLOCK);
        t[l] = tail[l];
    }
    hash_shani_x4(s, data, len / BLOCK);
    hash_shani_x4(s, t, n);
    for (int l = 0; l < 4; l++) {
        outer_block(tail[l], s[l]);
        memcpy(s[l], k->outer, sizeof s[l]);
    }
    hash_shani_x4(s, t, 1);
    for (int l = 0; l < 4; l++)
        digest(out[l], s[l]);
}

static void
hmac_x1(const struct hash_key *k, const uint8_t *data, size_t len,
        uint8_t out[HASH_SIZE])
{
    uint32_t s[8];
    uint8_t tail[2 * BLOCK];
    size_t n = pad(tail, data, len, BLOCK);

    memcpy(s, k->inner, sizeof s);
    hash_shani_x1(s, data, len / BLOCK);
    hash_shani_x1(s, tail, n);
    outer_block(tail, s);
    memcpy(s, k->outer, sizeof s);
    hash_shani_x1(s, tail, 1);
    digest(out, s);
}

static void
hmac_openssl(const struct hash_key *k, const void *data, size_t len,
             uint8_t out[HASH_SIZE])
{
    unsigned n = HASH_SIZE;

    if (HMAC(EVP_sha256(), k->bytes, HASH_SIZE, data, len, out, &n) == NULL)
        abort(); /* out of memory, or OpenSSL without SHA-256 */
}

static void
key_states(struct hash_key *k)
{
    uint8_t block[BLOCK];

    memcpy(k->inner, initial, sizeof initial);
    memcpy(k->outer, initial, sizeof initial);
    memset(block, 0x36, BLOCK);
    for (int i = 0; i < HASH_SIZE; i++)
        block[i] ^= k->bytes[i];
    hash_shani_x1(k->inner, block, 1);
    for (int i = 0; i < BLOCK; i++)
        block[i] ^= 0x36 ^ 0x5c;
    hash_shani_x1(k->outer, block, 1);
    OPENSSL_cleanse(block, sizeof block);
}

/* Messages around every edge of the padding, against OpenSSL. */
static void
self_test(void)
{
    static const size_t lens[] = { 0, 1, 55, 56, 63, 64, 65, 119, 120, 250 };
    struct hash_key k;
    uint8_t text[4][256], got[4][HASH_SIZE], want[HASH_SIZE];
    const uint8_t *data[4] = { text[0], text[1], text[2], text[3] };

    if (!hash_shani_is_here())
        return;
    memset(k.bytes, 0xA7, sizeof k.bytes);
    key_states(&k);
    for (size_t i = 0; i < sizeof text; i++)
        text[i / 256][i % 256] = (uint8_t)(i * 37 + i / 256);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        hmac_x4(&k, data, lens[i], got);
        for (int l = 0; l < 4; l++) {
            hmac_openssl(&k, text[l], lens[i], want);
            if (memcmp(want, got[l], HASH_SIZE) != 0)
                return;
        }
        hmac_x1(&k, text[0], lens[i], got[1]);
        if (memcmp(got[0], got[1], HASH_SIZE) != 0)
            return;
    }
    lanes_work = true;
}

bool
hash_has_lanes(void)
{
    pthread_once(&once, self_test);
    return lanes_work && !atomic_load(&is_openssl_forced);
}

void
hash_force_openssl(bool is_forced)
{
    atomic_store(&is_openssl_forced, is_forced);
}

void
hash_key_init(struct hash_key *k, const uint8_t bytes[HASH_SIZE])
{
    memset(k, 0, sizeof *k);
    memcpy(k->bytes, bytes, HASH_SIZE);
    pthread_once(&once, self_test);
    if (lanes_work)
        key_states(k);
}

void
hash_sha256(const void *data, size_t len, uint8_t out[HASH_SIZE])
{
    if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

void
hash_hmac(const struct hash_key *k, const void *data, size_t len,
          uint8_t out[HASH_SIZE])
{
    if (hash_has_lanes())
        hmac_x1(k, data, len, out);
    else
        hmac_openssl(k, data, len, out);
}

void
hash_hmac_lanes(const struct hash_key *k, const uint8_t *const data[],
                unsigned count, size_t len, uint8_t out[][HASH_SIZE])
{
    const uint8_t *d[4];
    uint8_t o[4][HASH_SIZE];

    if (count < 2 || !hash_has_lanes()) {
        for (unsigned i = 0; i < count; i++)
            hash_hmac(k, data[i], len, out[i]);
        return;
    }
    /* Lanes are nearly free: an empty one repeats the first. */
    for (unsigned i = 0; i < 4; i++)
        d[i] = data[i < count ? i : 0];
    hmac_x4(k, d, len, o);
    memcpy(out, o, count * sizeof o[0]);
}

bool
hash_is_equal(const uint8_t a[HASH_SIZE], const uint8_t b[HASH_SIZE])
{
    return CRYPTO_memcmp(a, b, HASH_SIZE) == 0;
}
