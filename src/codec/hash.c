/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/hash.h"

#include <assert.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "codec/hash-avx2.h"
#include "codec/hash-shani.h"

#define BLOCK 64

/* Messages of at most that many bytes are taken HASH_LANES at once. */
#define MANY_MAX ((size_t)1 << 20)

/* What folds blocks of several messages into their states. */
struct engine {
    bool (*is_here)(void);
    void (*fold)(uint32_t (*state)[8], const uint8_t *const *data,
                 size_t blocks);
    unsigned lanes;
    unsigned least; /* fewer messages are faster one after the other */
};

static const struct engine engines[] = {
    [HASH_OPENSSL] = { .lanes = 4, .least = UINT_MAX },
    [HASH_AVX2] = { hash_avx2_is_here, hash_avx2_fold, HASH_AVX2_LANES, 4 },
    [HASH_SHANI] = { hash_shani_is_here, hash_shani_x4, 4, 2 },
};

static const uint32_t initial[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                     0xa54ff53a, 0x510e527f, 0x9b05688c,
                                     0x1f83d9ab, 0x5be0cd19 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static enum hash_path path; /* [C] after once, but for hash_path_force() */

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

/* As many messages as the engine has lanes. */
static void
hmac_many(const struct engine *e, const struct hash_key *k,
          const uint8_t *const data[], size_t len, uint8_t out[][HASH_SIZE])
{
    uint32_t s[HASH_LANES][8];
    uint8_t tail[HASH_LANES][2 * BLOCK];
    const uint8_t *t[HASH_LANES];
    size_t n = 0;

    for (unsigned l = 0; l < e->lanes; l++) {
        memcpy(s[l], k->inner, sizeof s[l]);
        n = pad(tail[l], data[l], len, BLOCK);
        t[l] = tail[l];
    }
    e->fold(s, data, len / BLOCK);
    e->fold(s, t, n);
    for (unsigned l = 0; l < e->lanes; l++) {
        outer_block(tail[l], s[l]);
        memcpy(s[l], k->outer, sizeof s[l]);
    }
    e->fold(s, t, 1);
    for (unsigned l = 0; l < e->lanes; l++)
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

/* Fold one block into one state. */
static void
fold_one(const struct engine *e, uint32_t state[8], const uint8_t block[BLOCK])
{
    uint32_t s[HASH_LANES][8];
    const uint8_t *d[HASH_LANES];

    for (unsigned l = 0; l < e->lanes; l++) {
        memcpy(s[l], state, sizeof s[l]);
        d[l] = block;
    }
    e->fold(s, d, 1);
    memcpy(state, s[0], sizeof s[0]);
}

static void
key_states(const struct engine *e, struct hash_key *k)
{
    uint8_t block[BLOCK];

    memcpy(k->inner, initial, sizeof initial);
    memcpy(k->outer, initial, sizeof initial);
    memset(block, 0x36, BLOCK);
    for (int i = 0; i < HASH_SIZE; i++)
        block[i] ^= k->bytes[i];
    fold_one(e, k->inner, block);
    for (int i = 0; i < BLOCK; i++)
        block[i] ^= 0x36 ^ 0x5c;
    fold_one(e, k->outer, block);
    OPENSSL_cleanse(block, sizeof block);
}

/* Messages around every edge of the padding, against OpenSSL. */
static bool
works(enum hash_path which)
{
    static const size_t lens[] = { 0, 1, 55, 56, 63, 64, 65, 119, 120, 250 };
    const struct engine *e = &engines[which];
    struct hash_key k;
    uint8_t text[HASH_LANES][256], got[HASH_LANES][HASH_SIZE], want[HASH_SIZE];
    const uint8_t *data[HASH_LANES];

    if (e->is_here == NULL || !e->is_here())
        return false;
    memset(k.bytes, 0xA7, sizeof k.bytes);
    key_states(e, &k);
    for (size_t i = 0; i < sizeof text; i++)
        text[i / 256][i % 256] = (uint8_t)(i * 37 + i / 256);
    for (unsigned l = 0; l < HASH_LANES; l++)
        data[l] = text[l];
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        hmac_many(e, &k, data, lens[i], got);
        for (unsigned l = 0; l < e->lanes; l++) {
            hmac_openssl(&k, text[l], lens[i], want);
            if (memcmp(want, got[l], HASH_SIZE) != 0)
                return false;
        }
        if (which != HASH_SHANI)
            continue;
        hmac_x1(&k, text[0], lens[i], got[1]);
        if (memcmp(got[0], got[1], HASH_SIZE) != 0)
            return false;
    }
    return true;
}

static void
choose(void)
{
    if (works(HASH_SHANI))
        path = HASH_SHANI;
    else if (works(HASH_AVX2))
        path = HASH_AVX2;
}

enum hash_path
hash_path_get(void)
{
    pthread_once(&once, choose);
    return path;
}

bool
hash_path_force(enum hash_path which)
{
    pthread_once(&once, choose);
    if (which != HASH_OPENSSL && !works(which))
        return false;
    path = which;
    return true;
}

unsigned
hash_lanes(size_t len)
{
    unsigned lanes = engines[hash_path_get()].lanes;

    return lanes > HASH_LANES / 2 && len > MANY_MAX ? HASH_LANES / 2 : lanes;
}

void
hash_key_init(struct hash_key *k, const uint8_t bytes[HASH_SIZE])
{
    const struct engine *e = &engines[hash_path_get()];

    memset(k, 0, sizeof *k);
    memcpy(k->bytes, bytes, HASH_SIZE);
    if (e->fold != NULL)
        key_states(e, k);
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
    if (hash_path_get() == HASH_SHANI)
        hmac_x1(k, data, len, out);
    else
        hmac_openssl(k, data, len, out);
}

void
hash_hmac_lanes(const struct hash_key *k, const uint8_t *const data[],
                unsigned count, size_t len, uint8_t out[][HASH_SIZE])
{
    const struct engine *e = &engines[hash_path_get()];
    const uint8_t *d[HASH_LANES];
    uint8_t o[HASH_LANES][HASH_SIZE];

    assert(count <= HASH_LANES);
    while (count > 0) {
        unsigned n = count < e->lanes ? count : e->lanes;

        if (n < e->least) {
            hash_hmac(k, *data, len, *out);
            n = 1;
        } else {
            /* An empty lane costs nothing: it repeats the first message. */
            for (unsigned i = 0; i < e->lanes; i++)
                d[i] = data[i < n ? i : 0];
            hmac_many(e, k, d, len, o);
            memcpy(out, o, n * sizeof o[0]);
        }
        data += n;
        out += n;
        count -= n;
    }
}

bool
hash_is_equal(const uint8_t a[HASH_SIZE], const uint8_t b[HASH_SIZE])
{
    return CRYPTO_memcmp(a, b, HASH_SIZE) == 0;
}
