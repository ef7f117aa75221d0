/* SPDX-License-Identifier: Apache-2.0 */
/* With SSE 4.2 three streams run side by side, because crc32q takes three
 * cycles to answer and one to begin; their checksums are joined by moving a
 * checksum over 1 KiB of zeros, which is linear: one table look-up per byte.
 * Else a table of 256.
 */
#include "codec/crc.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined __x86_64__
#include <nmmintrin.h>
#endif

#define POLY   0x82F63B78u
#define STREAM ((size_t)1024)

static uint32_t table[256];
static uint32_t skip[4][256]; /* the checksum moved over STREAM zero bytes */
static bool has_sse42;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t
byte_step(uint32_t crc, uint8_t b)
{
    return table[(crc ^ b) & 0xff] ^ (crc >> 8);
}

static void
init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = (c & 1) ? POLY ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
    for (unsigned k = 0; k < 4; k++)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i << (8 * k);

            for (size_t n = 0; n < STREAM; n++)
                c = byte_step(c, 0);
            skip[k][i] = c;
        }
#if defined __x86_64__
    has_sse42 = __builtin_cpu_supports("sse4.2");
#endif
}

#if defined __x86_64__
static uint32_t
move(uint32_t c)
{
    return skip[0][c & 0xff] ^ skip[1][(c >> 8) & 0xff] ^
           skip[2][(c >> 16) & 0xff] ^ skip[3][c >> 24];
}

static uint64_t
word(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

__attribute__((target("sse4.2"))) static uint32_t
crc_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t a = crc;

    while (len >= 3 * STREAM) {
        uint64_t b = 0, c = 0;

        for (size_t i = 0; i < STREAM; i += 8) {
            a = _mm_crc32_u64(a, word(p + i));
            b = _mm_crc32_u64(b, word(p + STREAM + i));
            c = _mm_crc32_u64(c, word(p + 2 * STREAM + i));
        }
        a = move(move((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
        p += 3 * STREAM;
        len -= 3 * STREAM;
    }
    for (; len >= 8; p += 8, len -= 8)
        a = _mm_crc32_u64(a, word(p));
    for (; len > 0; p++, len--)
        a = _mm_crc32_u8((uint32_t)a, *p);
    return (uint32_t)a;
}
#endif

uint32_t
crc_32c(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    pthread_once(&once, init);
    crc = ~crc;
#if defined __x86_64__
    if (has_sse42)
        return ~crc_sse42(crc, p, len);
#endif
    for (size_t i = 0; i < len; i++)
        crc = byte_step(crc, p[i]);
    return ~crc;
}
