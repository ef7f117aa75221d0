/* SPDX-License-Identifier: Apache-2.0 */
/* The textbook's SHA-256, each variable a vector: element l of it is message
 * l's. Only the message words have to be brought into that order: 8 words of 8
 * messages are a square that is turned over its diagonal.
 *
 * Not taken from a library: Debian 12 has libipsec-mb, whose HMAC takes 64 KiB
 * at most, and no isa-l_crypto; OpenSSL keeps its own eight lanes to itself.
 */
#include "codec/hash-avx2.h"

#if defined __x86_64__
#include <immintrin.h>

#include "codec/hash-round.h"

#define LANES  HASH_AVX2_LANES
#define BLOCK  64u
#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET __attribute__((always_inline)) static inline
#define UNROLL _Pragma("GCC unroll 16") for

bool
hash_avx2_is_here(void)
{
    return __builtin_cpu_supports("avx2");
}

INLINE __m256i
add(__m256i a, __m256i b)
{
    return _mm256_add_epi32(a, b);
}

INLINE __m256i xor (__m256i a, __m256i b) { return _mm256_xor_si256(a, b); }

        INLINE __m256i
    and (__m256i a, __m256i b)
{
    return _mm256_and_si256(a, b);
}

INLINE __m256i
right(__m256i x, int n)
{
    return _mm256_srli_epi32(x, n);
}

INLINE __m256i
rotate(__m256i x, int n)
{
    return _mm256_or_si256(_mm256_srli_epi32(x, n),
                           _mm256_slli_epi32(x, 32 - n));
}

/* v[l] becomes element l of each. */
INLINE void
transpose(__m256i v[8])
{
    __m256i a[8], b[8];

    UNROLL(unsigned i = 0; i < 8; i += 2)
    {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    UNROLL(unsigned i = 0; i < 8; i += 4)
    UNROLL(unsigned k = 0; k < 2; k++)
    {
        b[i + 2 * k] = _mm256_unpacklo_epi64(a[i + k], a[i + k + 2]);
        b[i + 2 * k + 1] = _mm256_unpackhi_epi64(a[i + k], a[i + k + 2]);
    }
    UNROLL(unsigned i = 0; i < 4; i++)
    {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

/* 16 words of each message, from byte `off`. */
INLINE void
load_words(__m256i w[16], const uint8_t *const data[LANES], size_t off)
{
    const __m256i swap = _mm256_broadcastsi128_si256(
        _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL));

    UNROLL(unsigned half = 0; half < 2; half++)
    {
        __m256i *v = w + (size_t)8 * half;

        UNROLL(unsigned l = 0; l < LANES; l++)
        v[l] = _mm256_shuffle_epi8(
            _mm256_loadu_si256(
                (const __m256i *)(const void *)(data[l] + off + 32 * half)),
            swap);
        transpose(v);
    }
}

/* FIPS 180-4, 6.2.2: word t from the 16 before it. */
INLINE __m256i
schedule(const __m256i w[16], unsigned t)
{
    __m256i x = w[(t + 1) & 15], y = w[(t + 14) & 15];
    __m256i s0 = xor(xor(rotate(x, 7), rotate(x, 18)), right(x, 3));
    __m256i s1 = xor(xor(rotate(y, 17), rotate(y, 19)), right(y, 10));

    return add(add(w[t & 15], s0), add(w[(t + 9) & 15], s1));
}

/* s: a to h. */
INLINE void
round_of(__m256i s[8], __m256i w, uint32_t k)
{
    __m256i a = s[0], b = s[1], c = s[2], e = s[4], f = s[5], g = s[6];
    __m256i s1 = xor(xor(rotate(e, 6), rotate(e, 11)), rotate(e, 25));
    __m256i s0 = xor(xor(rotate(a, 2), rotate(a, 13)), rotate(a, 22));
    __m256i choice = xor(g, and(e, xor(f, g)));
    __m256i majority = xor(b, and(xor(a, b), xor(b, c)));
    __m256i t =
        add(add(s[7], add(w, _mm256_set1_epi32((int)k))), add(s1, choice));

    s[7] = g;
    s[6] = f;
    s[5] = e;
    s[4] = add(s[3], t);
    s[3] = c;
    s[2] = b;
    s[1] = a;
    s[0] = add(t, add(s0, majority));
}

TARGET void
hash_avx2_fold(uint32_t state[LANES][8], const uint8_t *const data[LANES],
               size_t blocks)
{
    __m256i h[8];

    UNROLL(unsigned l = 0; l < LANES; l++)
    h[l] = _mm256_loadu_si256((const __m256i *)(const void *)state[l]);
    transpose(h);
    for (size_t n = 0; n < blocks; n++) {
        __m256i s[8], w[16];

        UNROLL(unsigned i = 0; i < 8; i++)
        s[i] = h[i];
        load_words(w, data, BLOCK * n);
        UNROLL(unsigned t = 0; t < 16; t++)
        round_of(s, w[t], K[t]);
        for (unsigned base = 16; base < 64; base += 16) {
            UNROLL(unsigned t = 0; t < 16; t++)
            {
                w[t] = schedule(w, t);
                round_of(s, w[t], K[base + t]);
            }
        }
        UNROLL(unsigned i = 0; i < 8; i++)
        h[i] = add(h[i], s[i]);
    }
    transpose(h);
    UNROLL(unsigned l = 0; l < LANES; l++)
    _mm256_storeu_si256((__m256i *)(void *)state[l], h[l]);
}

#else

bool
hash_avx2_is_here(void)
{
    return false;
}

void
hash_avx2_fold(uint32_t state[HASH_AVX2_LANES][8],
               const uint8_t *const data[HASH_AVX2_LANES], size_t blocks)
{
    (void)state, (void)data, (void)blocks;
}
#endif
