/* SPDX-License-Identifier: Apache-2.0 */
/* The instruction sha256rnds2 takes four cycles to answer and two to begin:
 * one message alone waits for itself. Four independent messages, interleaved
 * round by round, fill the gaps. The loops over the lane have a constant
 * bound, so the compiler unrolls them; message words live in memory, as 16
 * registers hold only the states.
 */
#include "codec/hash-shani.h"

#if defined __x86_64__
#include <immintrin.h>

#include "codec/hash-round.h"

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))

bool
hash_shani_is_here(void)
{
    unsigned a, b, c, d;

    if (!__builtin_cpu_supports("sse4.1") || !__builtin_cpu_supports("ssse3"))
        return false;
    __asm__ volatile("cpuid"
                     : "=a"(a), "=b"(b), "=c"(c), "=d"(d)
                     : "a"(7), "c"(0));
    return (b & (1u << 29)) != 0;
}

/* The instructions want the state as two vectors, ABEF and CDGH. */
TARGET static inline void
state_load(const uint32_t s[8], __m128i *abef, __m128i *cdgh)
{
    __m128i lo = _mm_loadu_si128((const __m128i *)(const void *)s);
    __m128i hi = _mm_loadu_si128((const __m128i *)(const void *)(s + 4));

    lo = _mm_shuffle_epi32(lo, 0xB1); /* CDAB */
    hi = _mm_shuffle_epi32(hi, 0x1B); /* EFGH */
    *abef = _mm_alignr_epi8(lo, hi, 8);
    *cdgh = _mm_blend_epi16(hi, lo, 0xF0);
}

TARGET static inline void
state_store(uint32_t s[8], __m128i abef, __m128i cdgh)
{
    __m128i lo = _mm_shuffle_epi32(abef, 0x1B); /* FEBA */
    __m128i hi = _mm_shuffle_epi32(cdgh, 0xB1); /* DCHG */

    _mm_storeu_si128((__m128i *)(void *)s, _mm_blend_epi16(lo, hi, 0xF0));
    _mm_storeu_si128((__m128i *)(void *)(s + 4), _mm_alignr_epi8(hi, lo, 8));
}

/* Words t+16..t+19 from the four vectors that hold t..t+15. */
TARGET static inline __m128i
schedule(__m128i w0, __m128i w1, __m128i w2, __m128i w3)
{
    __m128i x =
        _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));

    return _mm_sha256msg2_epu32(x, w3);
}

#define DEFINE_HASH(NAME, LANES)                                               \
    TARGET static void NAME(uint32_t state[LANES][8],                          \
                            const uint8_t *const data[LANES], size_t blocks)   \
    {                                                                          \
        const __m128i swap =                                                   \
            _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);        \
        __m128i a[LANES], c[LANES], w[LANES][4];                               \
                                                                               \
        for (unsigned l = 0; l < LANES; l++)                                   \
            state_load(state[l], &a[l], &c[l]);                                \
        for (size_t n = 0; n < blocks; n++) {                                  \
            __m128i a0[LANES], c0[LANES];                                      \
                                                                               \
            for (unsigned l = 0; l < LANES; l++) {                             \
                a0[l] = a[l];                                                  \
                c0[l] = c[l];                                                  \
            }                                                                  \
            _Pragma("GCC unroll 16") for (unsigned t = 0; t < 16; t++)         \
            {                                                                  \
                __m128i k =                                                    \
                    _mm_load_si128((const __m128i *)(const void *)&K[4 * t]);  \
                                                                               \
                _Pragma("GCC unroll 4") for (unsigned l = 0; l < LANES; l++)   \
                {                                                              \
                    __m128i m;                                                 \
                                                                               \
                    if (t < 4)                                                 \
                        w[l][t] = _mm_shuffle_epi8(                            \
                            _mm_loadu_si128(                                   \
                                (const __m128i *)(const void *)(data[l] +      \
                                                                64 * n +       \
                                                                16 * t)),      \
                            swap);                                             \
                    else                                                       \
                        w[l][t & 3] =                                          \
                            schedule(w[l][t & 3], w[l][(t + 1) & 3],           \
                                     w[l][(t + 2) & 3], w[l][(t + 3) & 3]);    \
                    m = _mm_add_epi32(w[l][t & 3], k);                         \
                    c[l] = _mm_sha256rnds2_epu32(c[l], a[l], m);               \
                    a[l] = _mm_sha256rnds2_epu32(a[l], c[l],                   \
                                                 _mm_shuffle_epi32(m, 0x0E));  \
                }                                                              \
            }                                                                  \
            for (unsigned l = 0; l < LANES; l++) {                             \
                a[l] = _mm_add_epi32(a[l], a0[l]);                             \
                c[l] = _mm_add_epi32(c[l], c0[l]);                             \
            }                                                                  \
        }                                                                      \
        for (unsigned l = 0; l < LANES; l++)                                   \
            state_store(state[l], a[l], c[l]);                                 \
    }

DEFINE_HASH(run_x4, 4)
DEFINE_HASH(run_x1, 1)

void
hash_shani_x4(uint32_t state[4][8], const uint8_t *const data[4], size_t blocks)
{
    run_x4(state, data, blocks);
}

void
hash_shani_x1(uint32_t state[8], const uint8_t *data, size_t blocks)
{
    uint32_t s[1][8];
    const uint8_t *d[1] = { data };

    for (unsigned i = 0; i < 8; i++)
        s[0][i] = state[i];
    run_x1(s, d, blocks);
    for (unsigned i = 0; i < 8; i++)
        state[i] = s[0][i];
}

#else

bool
hash_shani_is_here(void)
{
    return false;
}

void
hash_shani_x4(uint32_t state[4][8], const uint8_t *const data[4], size_t blocks)
{
    (void)state, (void)data, (void)blocks;
}

void
hash_shani_x1(uint32_t state[8], const uint8_t *data, size_t blocks)
{
    (void)state, (void)data, (void)blocks;
}
#endif
