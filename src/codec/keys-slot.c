/* SPDX-License-Identifier: Apache-2.0 */
/* A slot is wrapped by its own secret, so that who can only write to the store
 * cannot put other keys under it; what comes later (a grant) is sealed to the
 * slot's X25519 key, which needs no secret of the slot, and signed by the
 * owner key that the slot gave out.
 */
#include "codec/keys-slot.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "codec/aead.h"
#include "codec/crc.h"
#include "codec/format.h"
#include "codec/le.h"

#define MAGIC "VMKSLOT" /* with its NUL: 8 bytes */

/* Offsets of docs/formats/keys.md. */
enum {
    AT_VERSION = 8,
    AT_KIND = 10,
    AT_CIPHER = 11,
    AT_ROLE = 12,
    AT_ZERO = 13,
    AT_EPOCH = 14,
    AT_REPO = 16,
    AT_UUID = 32,
    AT_OPS = 48,
    AT_MEM = 56,
    AT_SALT = 64,
    AT_BOX = 80,
    AT_ROTATION = 112,
    AT_LABEL = 128,
    AT_CREATED = 160,
    AT_NONCE = 168,
    AT_LEN = 180,
    AT_ZERO2 = 184,
};

#define OPS_MAX 64
#define MEM_MIN ((uint64_t)8 << 10)
#define MEM_MAX ((uint64_t)1 << 30)

void
keys_slot_set_limits(struct keys_slot *head, bool is_fast)
{
    head->ops = is_fast ? crypto_pwhash_OPSLIMIT_INTERACTIVE
                        : crypto_pwhash_OPSLIMIT_MODERATE;
    head->mem = is_fast ? crypto_pwhash_MEMLIMIT_INTERACTIVE
                        : crypto_pwhash_MEMLIMIT_MODERATE;
}

static bool
is_sealed(enum keys_slot_kind kind)
{
    return kind == KEYS_SLOT_RECIPIENT || kind == KEYS_SLOT_GRANT;
}

/* What a slot's secret becomes: a key that wraps, one that opens grants. */
struct kek {
    uint8_t wrap[KEYS_SIZE];
    uint8_t box[KEYS_SIZE];
};

static int
make_kek(const struct keys_slot *s, const struct keys_secret *secret,
         struct kek *ret, struct err *err)
{
    uint8_t key[KEYS_SIZE];

    if (sodium_init() < 0)
        return err_set(err, ERR_INTERNAL, "libsodium does not start");
    if (secret->kind != KEYS_SLOT_PASSPHRASE)
        memcpy(key, secret->key, KEYS_SIZE);
    else if (crypto_pwhash(key, KEYS_SIZE, secret->passphrase,
                           strlen(secret->passphrase), s->salt, s->ops,
                           (size_t)s->mem, crypto_pwhash_ALG_ARGON2ID13) != 0)
        return err_set(err, ERR_NO_MEMORY,
                       "Argon2id: not enough memory (%llu MiB wanted)",
                       (unsigned long long)(s->mem >> 20));
    if (secret->kind == KEYS_SLOT_RECIPIENT) {
        memcpy(ret->box, key, KEYS_SIZE);
    } else {
        keys_derive(key, "slot", ret->wrap);
        keys_derive(key, "slot-box", ret->box);
    }
    mem_wipe(key, sizeof key);
    return 0;
}

/* ---- encode -------------------------------------------------------------- */

static void
put_head(const struct keys_slot *s, size_t bundle, uint8_t out[KEYS_SLOT_HEAD])
{
    size_t extra = is_sealed(s->kind) ? KEYS_BOX_EXTRA : AEAD_TAG_SIZE;

    memset(out, 0, KEYS_SLOT_HEAD);
    memcpy(out, MAGIC, 8);
    le_put16(out + AT_VERSION, FORMAT_VERSION);
    out[AT_KIND] = (uint8_t)s->kind;
    out[AT_CIPHER] = s->cipher;
    out[AT_ROLE] = (uint8_t)s->role;
    le_put16(out + AT_EPOCH, (uint16_t)s->epoch);
    memcpy(out + AT_REPO, s->repo_uuid, 16);
    memcpy(out + AT_UUID, s->uuid, 16);
    le_put64(out + AT_OPS, s->ops);
    le_put64(out + AT_MEM, s->mem);
    memcpy(out + AT_SALT, s->salt, 16);
    memcpy(out + AT_BOX, s->box_public, KEYS_SIZE);
    memcpy(out + AT_ROTATION, s->rotation, 16);
    memcpy(out + AT_LABEL, s->label, strlen(s->label));
    le_put64(out + AT_CREATED, (uint64_t)s->created_unix_s);
    if (!is_sealed(s->kind))
        uuid_random_bytes(out + AT_NONCE, AEAD_NONCE_SIZE);
    le_put32(out + AT_LEN, (uint32_t)(bundle + extra));
}

static void
wrap(const uint8_t *head, const uint8_t key[KEYS_SIZE],
     const struct buf *bundle, uint8_t *out)
{
    CLEANUP(aead_free) struct aead *aead = aead_new();

    aead_set_key(aead, key);
    aead_seal(aead, head + AT_NONCE, head, KEYS_SLOT_HEAD, bundle->data,
              bundle->len, out, out + bundle->len);
}

int
keys_slot_encode(const struct keys *k, const struct keys_slot *head,
                 const struct keys_secret *secret, struct buf *out,
                 struct err *err)
{
    CLEANUP(buf_fini) struct buf bundle = BUF_INIT;
    uint8_t bytes[KEYS_SLOT_HEAD], sign[KEYS_SIGN_SIZE], crc[4];
    uint8_t wrapped[KEYS_BUNDLE_MAX + KEYS_BOX_EXTRA];
    struct keys_slot s = *head;
    struct kek kek = { 0 };

    if (s.kind == KEYS_SLOT_PASSPHRASE)
        uuid_random_bytes(s.salt, sizeof s.salt);
    if (!is_sealed(s.kind)) {
        if (make_kek(&s, secret, &kek, err) < 0)
            return -1;
        keys_box_public(kek.box, s.box_public);
    }
    s.epoch = k->epoch_count - 1;
    memcpy(s.rotation, k->epochs[s.epoch].rotation, sizeof s.rotation);
    keys_encode(k, s.role, &bundle);
    put_head(&s, bundle.len, bytes);
    if (is_sealed(s.kind))
        keys_box_seal(s.box_public, bundle.data, bundle.len, wrapped);
    else
        wrap(bytes, kek.wrap, &bundle, wrapped);
    mem_wipe(&kek, sizeof kek);
    mem_wipe(bundle.data, bundle.len);
    buf_add(out, bytes, sizeof bytes);
    buf_add(out, wrapped, le_get32(bytes + AT_LEN));
    keys_owner_sign(k, out->data, out->len, sign);
    buf_add(out, sign, sizeof sign);
    le_put32(crc, crc_32c(0, out->data, out->len));
    buf_add(out, crc, sizeof crc);
    return 0;
}

/* ---- decode -------------------------------------------------------------- */

static bool
label_is_valid(const uint8_t *d)
{
    size_t n = strnlen((const char *)d, KEYS_SLOT_LABEL);

    for (size_t i = 0; i < n; i++)
        if (d[i] < 0x20 || d[i] > 0x7e)
            return false;
    return le_is_zero(d + n, KEYS_SLOT_LABEL - n);
}

static bool
fields_are_valid(const uint8_t *d, enum keys_slot_kind kind)
{
    uint64_t ops = le_get64(d + AT_OPS), mem = le_get64(d + AT_MEM);

    if (d[AT_ROLE] >= KEYS_ROLE_COUNT || d[AT_ZERO] != 0 ||
        !le_is_zero(d + AT_ZERO2, 8) || !label_is_valid(d + AT_LABEL) ||
        le_get16(d + AT_EPOCH) >= KEYS_EPOCHS_MAX)
        return false;
    if (is_sealed(kind) && !le_is_zero(d + AT_NONCE, AEAD_NONCE_SIZE))
        return false;
    if (kind == KEYS_SLOT_PASSPHRASE)
        return ops >= 1 && ops <= OPS_MAX && mem >= MEM_MIN && mem <= MEM_MAX;
    return le_is_zero(d + AT_OPS, AT_BOX - AT_OPS);
}

static bool
length_is_right(const uint8_t *d, size_t len, enum keys_slot_kind kind)
{
    size_t extra = is_sealed(kind) ? KEYS_BOX_EXTRA : AEAD_TAG_SIZE;
    size_t bundle = 160 + (size_t)176 * (le_get16(d + AT_EPOCH) + 1u);

    return le_get32(d + AT_LEN) == bundle + extra &&
           len == KEYS_SLOT_HEAD + bundle + extra + KEYS_SIGN_SIZE + 4;
}

int
keys_slot_decode(const uint8_t *d, size_t len, const uint8_t repo_uuid[16],
                 uint8_t cipher, struct keys_slot *ret, struct err *err)
{
    enum keys_slot_kind kind;

    if (len < KEYS_SLOT_HEAD + KEYS_SIGN_SIZE + 4 || len > KEYS_SLOT_MAX ||
        memcmp(d, MAGIC, 8) != 0)
        return err_set(err, ERR_CORRUPT, "not a key slot");
    if (le_get16(d + AT_VERSION) != FORMAT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "key slot of version %u",
                       le_get16(d + AT_VERSION));
    if (le_get32(d + len - 4) != crc_32c(0, d, len - 4))
        return err_set(err, ERR_CORRUPT, "key slot: checksum mismatch");
    if (memcmp(d + AT_REPO, repo_uuid, 16) != 0 || d[AT_CIPHER] != cipher)
        return err_set(err, ERR_CORRUPT,
                       "key slot: belongs to another repository");
    if (d[AT_KIND] > KEYS_SLOT_GRANT)
        return err_set(err, ERR_UNSUPPORTED, "key slot of kind %u", d[AT_KIND]);
    kind = (enum keys_slot_kind)d[AT_KIND];
    if (!fields_are_valid(d, kind) || !length_is_right(d, len, kind))
        return err_set(err, ERR_CORRUPT, "key slot: bad fields or length");
    memset(ret, 0, sizeof *ret);
    ret->kind = kind;
    ret->role = (enum keys_role)d[AT_ROLE];
    ret->cipher = cipher;
    ret->epoch = le_get16(d + AT_EPOCH);
    memcpy(ret->repo_uuid, repo_uuid, 16);
    memcpy(ret->uuid, d + AT_UUID, 16);
    memcpy(ret->rotation, d + AT_ROTATION, 16);
    ret->ops = le_get64(d + AT_OPS);
    ret->mem = le_get64(d + AT_MEM);
    memcpy(ret->salt, d + AT_SALT, 16);
    memcpy(ret->box_public, d + AT_BOX, KEYS_SIZE);
    memcpy(ret->label, d + AT_LABEL, KEYS_SLOT_LABEL);
    ret->created_unix_s = (int64_t)le_get64(d + AT_CREATED);
    ret->bytes = d;
    ret->len = len;
    return 0;
}

bool
keys_slot_is_signed(const struct keys_slot *s,
                    const uint8_t owner_public[KEYS_SIZE])
{
    size_t n = s->len - 4 - KEYS_SIGN_SIZE;

    return keys_sign_check(owner_public, s->bytes, n, s->bytes + n);
}

/* ---- open ---------------------------------------------------------------- */

static int
unseal(const struct keys_slot *s, const uint8_t box[KEYS_SIZE],
       bool *ret_matched, struct keys *ret, struct err *err)
{
    uint8_t bundle[KEYS_BUNDLE_MAX];
    size_t len = le_get32(s->bytes + AT_LEN);
    int rc = 0;

    *ret_matched = keys_box_open(box, s->bytes + KEYS_SLOT_HEAD, len, bundle);
    if (*ret_matched)
        rc = keys_decode(bundle, len - KEYS_BOX_EXTRA, s->role, ret, err);
    mem_wipe(bundle, sizeof bundle);
    return rc;
}

static int
unwrap(const struct keys_slot *s, const uint8_t key[KEYS_SIZE],
       bool *ret_matched, struct keys *ret, struct err *err)
{
    CLEANUP(aead_free) struct aead *aead = aead_new();
    uint8_t bundle[KEYS_BUNDLE_MAX];
    const uint8_t *wrapped = s->bytes + KEYS_SLOT_HEAD;
    size_t len = le_get32(s->bytes + AT_LEN) - AEAD_TAG_SIZE;
    int rc = 0;

    aead_set_key(aead, key);
    *ret_matched =
        aead_open(aead, s->bytes + AT_NONCE, s->bytes, KEYS_SLOT_HEAD, wrapped,
                  len, wrapped + len, bundle);
    if (*ret_matched)
        rc = keys_decode(bundle, len, s->role, ret, err);
    mem_wipe(bundle, sizeof bundle);
    return rc;
}

int
keys_slot_open(const struct keys_slot *s, const struct keys_secret *secret,
               bool *ret_matched, struct keys *ret, uint8_t ret_box[KEYS_SIZE],
               struct err *err)
{
    struct kek kek = { 0 };
    int rc;

    *ret_matched = false;
    if (s->kind != secret->kind || s->kind == KEYS_SLOT_GRANT)
        return 0;
    if (make_kek(s, secret, &kek, err) < 0)
        return -1;
    rc = s->kind == KEYS_SLOT_RECIPIENT
             ? unseal(s, kek.box, ret_matched, ret, err)
             : unwrap(s, kek.wrap, ret_matched, ret, err);
    memcpy(ret_box, kek.box, KEYS_SIZE);
    mem_wipe(&kek, sizeof kek);
    return rc;
}

int
keys_slot_open_grant(const struct keys_slot *s, const uint8_t box[KEYS_SIZE],
                     bool *ret_matched, struct keys *ret, struct err *err)
{
    *ret_matched = false;
    if (s->kind != KEYS_SLOT_GRANT)
        return 0;
    return unseal(s, box, ret_matched, ret, err);
}
