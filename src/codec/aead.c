/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/aead.h"

#include <assert.h>
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/mem.h"

struct aead {
    EVP_CIPHER_CTX *seal;
    EVP_CIPHER_CTX *open;
};

/* OpenSSL fails here only for want of memory or of the cipher itself. */
static void
must(int rc)
{
    if (rc != 1)
        abort();
}

struct aead *
aead_new(void)
{
    struct aead *a = xcalloc(1, sizeof *a);

    a->seal = EVP_CIPHER_CTX_new();
    a->open = EVP_CIPHER_CTX_new();
    if (a->seal == NULL || a->open == NULL)
        abort();
    must(EVP_EncryptInit_ex(a->seal, EVP_aes_256_gcm(), NULL, NULL, NULL));
    must(EVP_DecryptInit_ex(a->open, EVP_aes_256_gcm(), NULL, NULL, NULL));
    return a;
}

void
aead_free(struct aead *a)
{
    if (a == NULL)
        return;
    EVP_CIPHER_CTX_free(a->seal);
    EVP_CIPHER_CTX_free(a->open);
    free(a);
}

void
aead_set_key(struct aead *a, const uint8_t key[AEAD_KEY_SIZE])
{
    must(EVP_EncryptInit_ex(a->seal, NULL, NULL, key, NULL));
    must(EVP_DecryptInit_ex(a->open, NULL, NULL, key, NULL));
}

void
aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_SIZE], const void *aad,
          size_t aad_len, const void *data, size_t len, uint8_t *out,
          uint8_t tag[AEAD_TAG_SIZE])
{
    int n;

    assert(len <= INT_MAX && aad_len <= INT_MAX);
    must(EVP_EncryptInit_ex(a->seal, NULL, NULL, NULL, nonce));
    must(EVP_EncryptUpdate(a->seal, NULL, &n, aad, (int)aad_len));
    must(EVP_EncryptUpdate(a->seal, out, &n, data, (int)len));
    must(EVP_EncryptFinal_ex(a->seal, out + n, &n));
    must(EVP_CIPHER_CTX_ctrl(a->seal, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE,
                             tag));
}

bool
aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_SIZE], const void *aad,
          size_t aad_len, const void *data, size_t len,
          const uint8_t tag[AEAD_TAG_SIZE], uint8_t *out)
{
    uint8_t want[AEAD_TAG_SIZE];
    int n;

    assert(len <= INT_MAX && aad_len <= INT_MAX);
    memcpy(want, tag, sizeof want);
    must(EVP_DecryptInit_ex(a->open, NULL, NULL, NULL, nonce));
    must(EVP_DecryptUpdate(a->open, NULL, &n, aad, (int)aad_len));
    must(EVP_DecryptUpdate(a->open, out, &n, data, (int)len));
    must(EVP_CIPHER_CTX_ctrl(a->open, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE,
                             want));
    if (EVP_DecryptFinal_ex(a->open, out + n, &n) == 1)
        return true;
    memset(out, 0, len);
    return false;
}
