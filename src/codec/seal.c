/* codec/seal.c: one EVP call sequence in each direction. */
#include "codec/seal.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"

#define MAGIC      "VKS1"
#define MAGIC_SIZE 4
#define NONCE_SIZE 12
#define TAG_SIZE   16

static_assert(MAGIC_SIZE + NONCE_SIZE + TAG_SIZE == SEAL_EXTRA,
              "SEAL_EXTRA is the frame");

DEFINE_CLEANUP(EVP_CIPHER_CTX_free, EVP_CIPHER_CTX *)

/* Encrypt or decrypt `len` bytes from `in` to `out` (same length). */
static bool
crypt_bytes(EVP_CIPHER_CTX *ctx, bool encrypt, const uint8_t key[SEAL_KEY_SIZE],
            const uint8_t *nonce, const char *name, const uint8_t *in,
            uint8_t *out, size_t len)
{
    int n = 0;

    return EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce,
                             encrypt) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)name,
                            (int)strlen(name)) == 1 &&
           (len == 0 || EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1);
}

int
seal_make(const uint8_t key[SEAL_KEY_SIZE], const char *name, const void *data,
          size_t len, struct buf *out, struct err *err)
{
    CLEANUP(EVP_CIPHER_CTX_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    CLEANUP(mem_free) uint8_t *cipher = NULL;
    uint8_t nonce[NONCE_SIZE], tag[TAG_SIZE];
    int n = 0;

    if (len > SEAL_MAX)
        return err_set(err, ERR_INVALID, "seal %s: %zu bytes are too many",
                       name, len);
    cipher = mem_try(len + 1, "sealed blob", err);
    if (cipher == NULL)
        return -1;
    uuid_random_bytes(nonce, sizeof nonce);
    if (ctx == NULL ||
        !crypt_bytes(ctx, true, key, nonce, name, data, cipher, len) ||
        EVP_CipherFinal_ex(ctx, cipher + len, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) != 1)
        return err_set(err, ERR_INTERNAL, "seal %s: AES-256-GCM failed", name);
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
    CLEANUP(EVP_CIPHER_CTX_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const uint8_t *in = blob;
    uint8_t tag[TAG_SIZE];
    int n = 0;

    if (len < SEAL_EXTRA || len > SEAL_MAX + SEAL_EXTRA ||
        memcmp(in, MAGIC, MAGIC_SIZE) != 0)
        return err_set(err, ERR_CORRUPT, "sealed %s: not a sealed blob", name);

    size_t plain_len = len - SEAL_EXTRA;
    uint8_t *plain = mem_try(plain_len + 1, "sealed blob", err);

    if (plain == NULL)
        return -1;
    memcpy(tag, in + len - TAG_SIZE, TAG_SIZE);

    bool is_good =
        ctx != NULL &&
        crypt_bytes(ctx, false, key, in + MAGIC_SIZE, name,
                    in + MAGIC_SIZE + NONCE_SIZE, plain, plain_len) &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1 &&
        EVP_CipherFinal_ex(ctx, plain + plain_len, &n) == 1;

    if (is_good)
        buf_add(out, plain, plain_len);
    mem_wipe(plain, plain_len);
    free(plain);
    if (!is_good)
        return err_set(err, ERR_CORRUPT,
                       "sealed %s: damaged, or sealed with another key", name);
    return 0;
}
