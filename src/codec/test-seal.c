/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/seal.h"
#include "test.h"

static const uint8_t key[SEAL_KEY_SIZE] = { 1, 2, 3 };

static void
what_is_sealed_opens(void)
{
    static const char *const texts[] = { "", "x", "<domain>secret</domain>" };
    struct err err;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        CLEANUP(buf_fini) struct buf blob = BUF_INIT;
        CLEANUP(buf_fini) struct buf plain = BUF_INIT;
        size_t len = strlen(texts[i]);

        CHECK_OK(seal_make(key, "a", texts[i], len, &blob, &err), &err);
        CHECK_INT(blob.len, ==, len + SEAL_EXTRA);
        CHECK(len < 8 || memmem(blob.data, blob.len, texts[i], len) == NULL);
        CHECK_OK(seal_open(key, "a", blob.data, blob.len, &plain, &err), &err);
        CHECK(plain.len == len && strcmp(buf_str(&plain), texts[i]) == 0);
    }
}

static void
anything_else_is_refused(void)
{
    CLEANUP(buf_fini) struct buf blob = BUF_INIT;
    CLEANUP(buf_fini) struct buf plain = BUF_INIT;
    uint8_t other[SEAL_KEY_SIZE] = { 9 };
    struct err err;

    CHECK_OK(seal_make(key, "a", "secret", 6, &blob, &err), &err);
    CHECK_ERR(seal_open(key, "b", blob.data, blob.len, &plain, &err), &err,
              ERR_CORRUPT);
    CHECK_ERR(seal_open(other, "a", blob.data, blob.len, &plain, &err), &err,
              ERR_CORRUPT);
    for (size_t len = 0; len < blob.len; len++)
        CHECK_ERR(seal_open(key, "a", blob.data, len, &plain, &err), &err,
                  ERR_CORRUPT);
    for (size_t i = 0; i < blob.len; i++) {
        blob.data[i] = (char)(blob.data[i] ^ 1);
        CHECK_ERR(seal_open(key, "a", blob.data, blob.len, &plain, &err), &err,
                  ERR_CORRUPT);
        blob.data[i] = (char)(blob.data[i] ^ 1);
    }
    CHECK_INT(plain.len, ==, 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what is sealed opens", what_is_sealed_opens },
        { "any changed byte, key or name is refused",
          anything_else_is_refused },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
