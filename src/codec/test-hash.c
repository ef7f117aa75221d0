/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/hmac.h>

#include "codec/aead.h"
#include "codec/compress.h"
#include "codec/crc.h"
#include "codec/hash.h"
#include "test.h"

static uint32_t seed = 1;

static uint8_t
next_byte(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint8_t)(seed >> 24);
}

static void
crc_32c_has_the_standard_value_at_every_length(void)
{
    uint8_t data[8000];
    uint32_t whole;

    CHECK_INT(crc_32c(0, "123456789", 9), ==, 0xE3069283);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = next_byte();
    whole = crc_32c(0, data, sizeof data);
    /* Byte by byte takes the other path through the same polynomial. */
    for (size_t cut = 0; cut <= sizeof data; cut += 7) {
        uint32_t c = 0;

        c = crc_32c(c, data, cut);
        c = crc_32c(c, data + cut, sizeof data - cut);
        CHECK_INT(c, ==, whole);
    }
}

/* The path that is in force, over every number of messages. */
static void
compare_with_openssl(void)
{
    static uint8_t data[HASH_LANES][1 << 16];
    const uint8_t *p[HASH_LANES];
    uint8_t key[32], want[32], got[HASH_LANES][32];
    struct hash_key k;

    for (size_t i = 0; i < sizeof key; i++)
        key[i] = next_byte();
    for (size_t i = 0; i < sizeof data; i++)
        data[i >> 16][i & 0xffff] = next_byte();
    for (unsigned l = 0; l < HASH_LANES; l++)
        p[l] = data[l];
    hash_key_init(&k, key);
    for (size_t len = 0; len < 1 << 16; len = len < 200 ? len + 1 : len * 2 + 3)
        for (unsigned n = 1; n <= HASH_LANES; n++) {
            memset(got, 0, sizeof got);
            hash_hmac_lanes(&k, p, n, len, got);
            for (unsigned l = 0; l < n; l++) {
                CHECK(HMAC(EVP_sha256(), key, 32, data[l], len, want, NULL) !=
                      NULL);
                CHECK(hash_is_equal(want, got[l]));
            }
            hash_hmac(&k, p[n - 1], len, got[0]);
            CHECK(hash_is_equal(want, got[0]));
        }
}

static void
every_path_and_lane_agrees_with_openssl(void)
{
    static const enum hash_path paths[] = { HASH_SHANI, HASH_AVX2,
                                            HASH_OPENSSL };
    enum hash_path best = hash_path_get();

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        if (!hash_path_force(paths[i])) {
            CHECK(paths[i] != HASH_OPENSSL && paths[i] != best);
            printf("# this CPU has no path %d\n", (int)paths[i]);
            continue;
        }
        CHECK_INT(hash_path_get(), ==, paths[i]);
        CHECK_INT(HASH_LANES % hash_lanes(1 << 18), ==, 0);
        CHECK_INT(hash_lanes((size_t)1 << 22), <=, 4);
        compare_with_openssl();
    }
    CHECK(hash_path_force(best));
}

static void
a_sealed_text_opens_only_unchanged(void)
{
    CLEANUP(aead_free) struct aead *a = aead_new();
    uint8_t key[32] = { 1 }, nonce[12] = { 2 }, tag[16];
    uint8_t text[100] = "secret", sealed[100], opened[100];

    aead_set_key(a, key);
    aead_seal(a, nonce, "aad", 3, text, sizeof text, sealed, tag);
    CHECK(aead_open(a, nonce, "aad", 3, sealed, sizeof sealed, tag, opened));
    CHECK(memcmp(text, opened, sizeof text) == 0);
    CHECK(!aead_open(a, nonce, "aae", 3, sealed, sizeof sealed, tag, opened));
    sealed[50] ^= 1;
    CHECK(!aead_open(a, nonce, "aad", 3, sealed, sizeof sealed, tag, opened));
    CHECK_INT(opened[0], ==, 0);
}

static void
what_shrinks_is_compressed_and_comes_back(void)
{
    CLEANUP(compress_free) struct compress *c = compress_new(1);
    static uint8_t data[1 << 18], out[(1 << 18) + 4096], back[1 << 18];
    size_t n = 0;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(next_byte() & 3);
    CHECK_INT(compress_pack(c, data, sizeof data, out, &n), ==, COMPRESS_ZSTD);
    CHECK_INT(n, <, sizeof data / 2);
    CHECK(compress_unpack(c, COMPRESS_ZSTD, out, n, back, sizeof back));
    CHECK(memcmp(data, back, sizeof data) == 0);
    CHECK(!compress_unpack(c, COMPRESS_ZSTD, out, n - 1, back, sizeof back));
    CHECK(!compress_unpack(c, COMPRESS_ZSTD, out, n, back, sizeof back - 1));

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = next_byte();
    for (int i = 0; i < 3; i++) /* with and without the probe */
        CHECK_INT(compress_pack(c, data, sizeof data, out, &n), ==,
                  COMPRESS_STORE);
    memset(data, 'a', sizeof data);
    CHECK_INT(compress_pack(c, data, sizeof data, out, &n), ==, COMPRESS_ZSTD);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "crc-32c has the standard value at every length",
          crc_32c_has_the_standard_value_at_every_length },
        { "every path and lane agrees with OpenSSL",
          every_path_and_lane_agrees_with_openssl },
        { "a sealed text opens only unchanged",
          a_sealed_text_opens_only_unchanged },
        { "what shrinks is compressed and comes back",
          what_shrinks_is_compressed_and_comes_back },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
