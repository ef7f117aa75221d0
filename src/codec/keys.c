/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/keys.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "codec/aead.h"
#include "codec/crc.h"
#include "codec/le.h"

#define MAGIC     "VMKSLOT" /* with its NUL: 8 bytes */
#define FILE_WORD "vmkeep-key-0 "

/* Offsets of docs/formats/keys.md. */
enum {
    AT_VERSION = 8,
    AT_KIND = 10,
    AT_CIPHER = 11,
    AT_ZERO = 12,
    AT_REPO = 16,
    AT_UUID = 32,
    AT_OPS = 48,
    AT_MEM = 56,
    AT_SALT = 64,
    AT_NONCE = 80,
    AT_WRAPPED = 92,
    AT_TAG = 124,
    AT_ZERO2 = 140,
    AT_CRC = 156,
};

#define OPS_MAX 64
#define MEM_MIN ((uint64_t)8 << 10)
#define MEM_MAX ((uint64_t)1 << 30)

static void
derive(const struct hash_key *root, const char *label, uint8_t out[KEYS_SIZE])
{
    char text[32];
    int n = snprintf(text, sizeof text, "vmkeep/0/%s", label);

    hash_hmac(root, text, (size_t)n, out);
}

void
keys_init(struct keys *k, const uint8_t root[KEYS_SIZE])
{
    struct hash_key rk;
    uint8_t sub[KEYS_SIZE];

    memcpy(k->root, root, KEYS_SIZE);
    hash_key_init(&rk, root);
    derive(&rk, "id", sub);
    hash_key_init(&k->id, sub);
    derive(&rk, "data", k->data);
    derive(&rk, "meta", k->meta);
    derive(&rk, "log", sub);
    hash_key_init(&k->log, sub);
    mem_wipe(sub, sizeof sub);
    mem_wipe(&rk, sizeof rk);
}

void
keys_wipe(struct keys *k)
{
    mem_wipe(k, sizeof *k);
}

/* The key-encryption key of a slot: from the file, or by Argon2id. */
static int
slot_kek(const uint8_t *slot, const struct keys_secret *secret,
         uint8_t kek[KEYS_SIZE], struct err *err)
{
    if (secret->kind == KEYS_SLOT_FILE) {
        memcpy(kek, secret->file_key, KEYS_SIZE);
        return 0;
    }
    if (sodium_init() < 0)
        return err_set(err, ERR_INTERNAL, "libsodium does not start");
    if (crypto_pwhash(kek, KEYS_SIZE, secret->passphrase,
                      strlen(secret->passphrase), slot + AT_SALT,
                      le_get64(slot + AT_OPS), le_get64(slot + AT_MEM),
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
        return err_set(err, ERR_NO_MEMORY,
                       "Argon2id: not enough memory (%llu MiB wanted)",
                       (unsigned long long)(le_get64(slot + AT_MEM) >> 20));
    return 0;
}

int
keys_slot_encode(const uint8_t root[KEYS_SIZE], const uint8_t repo_uuid[16],
                 const uint8_t uuid[16], uint8_t cipher,
                 const struct keys_secret *secret, bool is_fast,
                 uint8_t out[KEYS_SLOT_SIZE], struct err *err)
{
    CLEANUP(aead_free) struct aead *aead = aead_new();
    uint8_t kek[KEYS_SIZE];

    memset(out, 0, KEYS_SLOT_SIZE);
    memcpy(out, MAGIC, 8);
    out[AT_KIND] = (uint8_t)secret->kind;
    out[AT_CIPHER] = cipher;
    memcpy(out + AT_REPO, repo_uuid, 16);
    memcpy(out + AT_UUID, uuid, 16);
    if (secret->kind == KEYS_SLOT_PASSPHRASE) {
        le_put64(out + AT_OPS, is_fast ? crypto_pwhash_OPSLIMIT_INTERACTIVE
                                       : crypto_pwhash_OPSLIMIT_MODERATE);
        le_put64(out + AT_MEM, is_fast ? crypto_pwhash_MEMLIMIT_INTERACTIVE
                                       : crypto_pwhash_MEMLIMIT_MODERATE);
        uuid_random_bytes(out + AT_SALT, 16);
    }
    uuid_random_bytes(out + AT_NONCE, AEAD_NONCE_SIZE);
    if (slot_kek(out, secret, kek, err) < 0)
        return -1;
    aead_set_key(aead, kek);
    aead_seal(aead, out + AT_NONCE, out, AT_NONCE, root, KEYS_SIZE,
              out + AT_WRAPPED, out + AT_TAG);
    le_put32(out + AT_CRC, crc_32c(0, out, AT_CRC));
    mem_wipe(kek, sizeof kek);
    return 0;
}

static int
slot_check(const uint8_t *d, size_t len, const uint8_t repo_uuid[16],
           const uint8_t uuid[16], uint8_t cipher, struct err *err)
{
    uint64_t ops, mem;

    if (len != KEYS_SLOT_SIZE || memcmp(d, MAGIC, 8) != 0)
        return err_set(err, ERR_CORRUPT, "not a key slot");
    if (le_get16(d + AT_VERSION) != 0)
        return err_set(err, ERR_UNSUPPORTED, "key slot of version %u",
                       le_get16(d + AT_VERSION));
    if (le_get32(d + AT_CRC) != crc_32c(0, d, AT_CRC))
        return err_set(err, ERR_CORRUPT, "key slot: checksum mismatch");
    if (memcmp(d + AT_REPO, repo_uuid, 16) != 0 ||
        memcmp(d + AT_UUID, uuid, 16) != 0 || d[AT_CIPHER] != cipher)
        return err_set(err, ERR_CORRUPT,
                       "key slot: belongs to another repository or name");
    ops = le_get64(d + AT_OPS);
    mem = le_get64(d + AT_MEM);
    if (!le_is_zero(d + AT_ZERO, 4) || !le_is_zero(d + AT_ZERO2, 16))
        return err_set(err, ERR_CORRUPT, "key slot: unknown fields in use");
    if (d[AT_KIND] == KEYS_SLOT_FILE
            ? !le_is_zero(d + AT_OPS, AT_NONCE - AT_OPS)
            : d[AT_KIND] != KEYS_SLOT_PASSPHRASE || ops < 1 || ops > OPS_MAX ||
                  mem < MEM_MIN || mem > MEM_MAX)
        return err_set(err, ERR_CORRUPT, "key slot: bad kind or limits");
    return 0;
}

int
keys_slot_decode(const uint8_t *data, size_t len, const uint8_t repo_uuid[16],
                 const uint8_t uuid[16], uint8_t cipher,
                 const struct keys_secret *secret, bool *ret_matched,
                 uint8_t root[KEYS_SIZE], struct err *err)
{
    CLEANUP(aead_free) struct aead *aead = aead_new();
    uint8_t kek[KEYS_SIZE];

    if (slot_check(data, len, repo_uuid, uuid, cipher, err) < 0)
        return -1;
    *ret_matched = false;
    if (data[AT_KIND] != (uint8_t)secret->kind)
        return 0;
    if (slot_kek(data, secret, kek, err) < 0)
        return -1;
    aead_set_key(aead, kek);
    *ret_matched = aead_open(aead, data + AT_NONCE, data, AT_NONCE,
                             data + AT_WRAPPED, KEYS_SIZE, data + AT_TAG, root);
    mem_wipe(kek, sizeof kek);
    return 0;
}

void
keys_file_format(const uint8_t key[KEYS_SIZE], char text[KEYS_FILE_TEXT_SIZE])
{
    size_t at = strlen(FILE_WORD);

    memcpy(text, FILE_WORD, at);
    (void)sodium_bin2hex(text + at, KEYS_FILE_TEXT_SIZE - at, key, KEYS_SIZE);
    memcpy(text + at + 2 * KEYS_SIZE, "\n", 2);
}

int
keys_file_parse(const char *text, size_t len, uint8_t key[KEYS_SIZE],
                struct err *err)
{
    size_t at = strlen(FILE_WORD), n = 0;

    if (len < KEYS_FILE_TEXT_SIZE - 2 || len > KEYS_FILE_TEXT_SIZE - 1 ||
        memcmp(text, FILE_WORD, at) != 0 ||
        (len == KEYS_FILE_TEXT_SIZE - 1 && text[len - 1] != '\n') ||
        sodium_hex2bin(key, KEYS_SIZE, text + at, (size_t)2 * KEYS_SIZE, NULL,
                       &n, NULL) != 0 ||
        n != KEYS_SIZE)
        return err_set(
            err, ERR_INVALID,
            "not a key file (one line: vmkeep-key-0 and 64 hexadecimal digits)");
    return 0;
}
