/* SPDX-License-Identifier: Apache-2.0 */
/* Every pair of lost stripes comes back, three are refused, and the code is the
 * one that docs/formats/parity.md describes. */
#include <string.h>

#include "base/mem.h"
#include "codec/erasure.h"
#include "test.h"

static uint8_t *bytes;
static uint8_t *stripes[ERASURE_STRIPES_MAX];

/* `count` stripes of data, with their parity. */
static void
make(unsigned count, size_t len)
{
    const uint8_t *data[ERASURE_DATA_MAX];
    uint32_t x = (uint32_t)(count * 2654435761u + len);

    free(bytes);
    bytes = xcalloc(count + ERASURE_PARITY, len);
    for (size_t i = 0; i < count * len; i++) {
        x = x * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(x >> 24);
    }
    for (unsigned i = 0; i < count + ERASURE_PARITY; i++)
        stripes[i] = bytes + i * len;
    for (unsigned i = 0; i < count; i++)
        data[i] = stripes[i];
    erasure_encode(count, len, data, stripes + count);
}

/* Lose a and b (may be one), and get them back. */
static void
lose(unsigned count, size_t len, unsigned a, unsigned b)
{
    size_t all = (count + ERASURE_PARITY) * len;
    CLEANUP(mem_free) uint8_t *was = xcalloc(1, all);
    bool is_lost[ERASURE_STRIPES_MAX] = { 0 };
    struct err err = { 0 };

    memcpy(was, bytes, all);
    is_lost[a] = is_lost[b] = true;
    memset(stripes[a], 0xa5, len);
    memset(stripes[b], 0x5a, len);
    CHECK_OK(erasure_rebuild(count, len, stripes, is_lost, &err), &err);
    CHECK(memcmp(was, bytes, all) == 0);
}

static void
every_pair_comes_back(void)
{
    static const unsigned counts[] = { 1, 2, 3, 17, 64 };

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        make(counts[i], 96);
        for (unsigned a = 0; a < counts[i] + ERASURE_PARITY; a++)
            for (unsigned b = a; b < counts[i] + ERASURE_PARITY; b++)
                if (counts[i] < 64 || a % 5 == 0 || b >= counts[i])
                    lose(counts[i], 96, a, b);
    }
}

static void
any_length_does(void)
{
    static const size_t lengths[] = { 1, 2, 31, 33, 63, 65, 4096, 70001 };

    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        make(5, lengths[i]);
        lose(5, lengths[i], 0, 4);
        lose(5, lengths[i], 2, 5);
        lose(5, lengths[i], 5, 6);
        lose(5, lengths[i], 3, 3);
    }
}

static void
three_are_refused(void)
{
    bool is_lost[ERASURE_STRIPES_MAX] = { [1] = true, [3] = true, [9] = true };
    struct err err = { 0 };

    make(8, 64);
    CHECK_ERR(erasure_rebuild(8, 64, stripes, is_lost, &err), &err,
              ERR_CORRUPT);
    memset(is_lost, 0, sizeof is_lost);
    CHECK_OK(erasure_rebuild(8, 64, stripes, is_lost, &err), &err);
}

static uint8_t
twice(uint8_t x)
{
    return (uint8_t)(x << 1 ^ (x & 0x80 ? 0x1d : 0));
}

static void
it_is_the_code_of_the_page(void)
{
    for (unsigned count = 1; count <= ERASURE_DATA_MAX; count += 9) {
        make(count, 40);
        for (size_t at = 0; at < 40; at++) {
            uint8_t p = 0, q = 0;

            for (unsigned i = count; i > 0; i--) { /* Horner */
                p ^= stripes[i - 1][at];
                q = (uint8_t)(twice(q) ^ stripes[i - 1][at]);
            }
            CHECK_INT(stripes[count][at], ==, p);
            CHECK_INT(stripes[count + 1][at], ==, q);
        }
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "every pair comes back", every_pair_comes_back },
        { "any length does", any_length_does },
        { "three are refused", three_are_refused },
        { "it is the code of the page", it_is_the_code_of_the_page },
    };
    int rc = test_main(cases, ARRAY_SIZE(cases));

    free(bytes);
    return rc;
}
