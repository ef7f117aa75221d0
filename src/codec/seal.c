/* SPDX-License-Identifier: Apache-2.0 */
/* codec/seal.c: the frame around codec/aead.h. */
#include "codec/seal.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "codec/aead.h"

#define MAGIC      "VKS1"
#define MAGIC_SIZE 4

static_assert(SEAL_KEY_SIZE == AEAD_KEY_SIZE, "one key size");
static_assert(MAGIC_SIZE + AEAD_NONCE_SIZE + AEAD_TAG_SIZE == SEAL_EXTRA,
              "SEAL_EXTRA is the frame");

int
seal_make(const uint8_t key[SEAL_KEY_SIZE], const char *name, const void *data,
          size_t len, struct buf *out, struct err *err)
{
    CLEANUP(aead_free) struct aead *a = aead_new();
    CLEANUP(mem_free) uint8_t *cipher = NULL;
    uint8_t nonce[AEAD_NONCE_SIZE], tag[AEAD_TAG_SIZE];

    if (len > SEAL_MAX)
        return err_set(err, ERR_INVALID, "seal %s: %zu bytes are too many",
                       name, len);
    cipher = mem_try(len + 1, "sealed blob", err);
    if (cipher == NULL)
        return -1;
    uuid_random_bytes(nonce, sizeof nonce);
    aead_set_key(a, key);
    aead_seal(a, nonce, name, strlen(name), data, len, cipher, tag);
    buf_add(out, MAGIC, MAGIC_SIZE);
    buf_add(out, nonce, sizeof nonce);
    buf_add(out, cipher, len);
    buf_add(out, tag, sizeof tag);
    return 0;
}

int
seal_open(const uint8_t key[SEAL_KEY_SIZE], const char *name, const void *blob,
          size_t len, struct buf *out, struct err *err)
{
    CLEANUP(aead_free) struct aead *a = aead_new();
    const uint8_t *in = blob;

    if (len < SEAL_EXTRA || len > SEAL_MAX + SEAL_EXTRA ||
        memcmp(in, MAGIC, MAGIC_SIZE) != 0)
        return err_set(err, ERR_CORRUPT, "sealed %s: not a sealed blob", name);

    size_t plain_len = len - SEAL_EXTRA;
    uint8_t *plain = mem_try(plain_len + 1, "sealed blob", err);

    if (plain == NULL)
        return -1;
    aead_set_key(a, key);

    bool is_good = aead_open(a, in + MAGIC_SIZE, name, strlen(name),
                             in + MAGIC_SIZE + AEAD_NONCE_SIZE, plain_len,
                             in + len - AEAD_TAG_SIZE, plain);

    if (is_good)
        buf_add(out, plain, plain_len);
    mem_wipe(plain, plain_len);
    free(plain);
    if (!is_good)
        return err_set(err, ERR_CORRUPT,
                       "sealed %s: damaged, or sealed with another key", name);
    return 0;
}
