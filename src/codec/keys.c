/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/keys.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/format.h"
#include "codec/le.h"

static const char *const role_names[KEYS_ROLE_COUNT] = {
    [KEYS_ROLE_FULL] = "full",
    [KEYS_ROLE_BACKUP] = "backup-only",
    [KEYS_ROLE_RESTORE] = "restore-only",
    [KEYS_ROLE_MAINTAIN] = "maintainer",
};

const char *
keys_role_name(enum keys_role role)
{
    return role_names[role];
}

bool
keys_role_parse(const char *name, enum keys_role *ret)
{
    for (unsigned i = 0; i < KEYS_ROLE_COUNT; i++)
        if (strcmp(name, role_names[i]) == 0) {
            *ret = (enum keys_role)i;
            return true;
        }
    return false;
}

/* ---- derivation ---------------------------------------------------------- */

void
keys_derive(const uint8_t key[KEYS_SIZE], const char *label,
            uint8_t out[KEYS_SIZE])
{
    struct hash_key k;
    char text[48];
    int n =
        snprintf(text, sizeof text, "vmkeep/" FORMAT_VERSION_TEXT "/%s", label);

    hash_key_init(&k, key);
    hash_hmac(&k, text, (size_t)n, out);
    mem_wipe(&k, sizeof k);
}

static void
derive_key(const uint8_t root[KEYS_SIZE], const char *label,
           struct hash_key *out)
{
    uint8_t sub[KEYS_SIZE];

    keys_derive(root, label, sub);
    hash_key_init(out, sub);
    mem_wipe(sub, sizeof sub);
}

static void
sign_public(const uint8_t seed[KEYS_SIZE], uint8_t out[KEYS_SIZE])
{
    uint8_t secret[crypto_sign_SECRETKEYBYTES];

    (void)crypto_sign_seed_keypair(out, secret, seed);
    mem_wipe(secret, sizeof secret);
}

bool
keys_add_epoch(struct keys *k, const uint8_t root[KEYS_SIZE],
               const uint8_t rotation[16])
{
    struct keys_epoch *e = &k->epochs[k->epoch_count];

    if (k->epoch_count == KEYS_EPOCHS_MAX)
        return false;
    k->epoch_count++;
    memcpy(e->rotation, rotation, sizeof e->rotation);
    memcpy(e->root, root, KEYS_SIZE);
    keys_derive(root, "meta", e->meta);
    keys_derive(root, "data", e->data);
    keys_derive(root, "data-box", e->box_secret);
    keys_box_public(e->box_secret, e->box_public);
    return true;
}

void
keys_init(struct keys *k, const uint8_t root[KEYS_SIZE])
{
    static const uint8_t first[16];
    uint8_t owner[KEYS_SIZE];

    if (sodium_init() < 0)
        abort();
    memset(k, 0, sizeof *k);
    derive_key(root, "id", &k->id);
    derive_key(root, "log", &k->log);
    keys_derive(root, "admin", k->admin_seed);
    sign_public(k->admin_seed, k->admin_public);
    keys_derive(root, "owner", owner);
    sign_public(owner, k->owner_public);
    mem_wipe(owner, sizeof owner);
    (void)keys_add_epoch(k, root, first);
}

void
keys_wipe(struct keys *k)
{
    mem_wipe(k, sizeof *k);
}

void
keys_footer(const struct keys *k, unsigned epoch, const uint8_t origin[21],
            uint8_t out[KEYS_SIZE])
{
    static const char label[] = "vmkeep/" FORMAT_VERSION_TEXT "/footer";
    struct hash_key meta;
    uint8_t text[sizeof label - 1 + 21];

    memcpy(text, label, sizeof label - 1);
    memcpy(text + sizeof label - 1, origin, 21);
    hash_key_init(&meta, k->epochs[epoch].meta);
    hash_hmac(&meta, text, sizeof text, out);
    mem_wipe(&meta, sizeof meta);
}

/* ---- roles --------------------------------------------------------------- */

bool
keys_can_read(const struct keys *k)
{
    return k->role == KEYS_ROLE_FULL || k->role == KEYS_ROLE_RESTORE;
}

bool
keys_can_backup(const struct keys *k)
{
    return k->role == KEYS_ROLE_FULL || k->role == KEYS_ROLE_BACKUP;
}

bool
keys_can_delete(const struct keys *k)
{
    return k->role == KEYS_ROLE_FULL || k->role == KEYS_ROLE_MAINTAIN;
}

bool
keys_can_own(const struct keys *k)
{
    return k->role == KEYS_ROLE_FULL;
}

static void
put_if(struct buf *out, const uint8_t *key, bool is_given)
{
    static const uint8_t none[KEYS_SIZE];

    buf_add(out, is_given ? key : none, KEYS_SIZE);
}

void
keys_encode(const struct keys *k, enum keys_role role, struct buf *out)
{
    struct keys has = { .role = role };

    buf_add(out, k->id.bytes, KEYS_SIZE);
    buf_add(out, k->log.bytes, KEYS_SIZE);
    buf_add(out, k->admin_public, KEYS_SIZE);
    put_if(out, k->admin_seed, keys_can_delete(&has));
    buf_add(out, k->owner_public, KEYS_SIZE);
    for (unsigned i = 0; i < k->epoch_count; i++) {
        const struct keys_epoch *e = &k->epochs[i];

        buf_add(out, e->rotation, sizeof e->rotation);
        put_if(out, e->root, keys_can_own(&has));
        buf_add(out, e->meta, KEYS_SIZE);
        put_if(out, e->data, keys_can_read(&has));
        put_if(out, e->box_secret, keys_can_read(&has));
        buf_add(out, e->box_public, KEYS_SIZE);
    }
}

int
keys_decode(const uint8_t *data, size_t len, enum keys_role role,
            struct keys *ret, struct err *err)
{
    struct le_reader r = { .p = data, .left = len };
    uint8_t key[KEYS_SIZE];

    if (len <= 160 || len > KEYS_BUNDLE_MAX || (len - 160) % 176 != 0)
        return err_set(err, ERR_CORRUPT, "keys: wrong length");
    if (sodium_init() < 0)
        return err_set(err, ERR_INTERNAL, "libsodium does not start");
    memset(ret, 0, sizeof *ret);
    ret->role = role;
    le_take_bytes(&r, key, KEYS_SIZE);
    hash_key_init(&ret->id, key);
    le_take_bytes(&r, key, KEYS_SIZE);
    hash_key_init(&ret->log, key);
    mem_wipe(key, sizeof key);
    le_take_bytes(&r, ret->admin_public, KEYS_SIZE);
    le_take_bytes(&r, ret->admin_seed, KEYS_SIZE);
    le_take_bytes(&r, ret->owner_public, KEYS_SIZE);
    while (r.left > 0) {
        struct keys_epoch *e = &ret->epochs[ret->epoch_count++];

        le_take_bytes(&r, e->rotation, sizeof e->rotation);
        le_take_bytes(&r, e->root, KEYS_SIZE);
        le_take_bytes(&r, e->meta, KEYS_SIZE);
        le_take_bytes(&r, e->data, KEYS_SIZE);
        le_take_bytes(&r, e->box_secret, KEYS_SIZE);
        le_take_bytes(&r, e->box_public, KEYS_SIZE);
    }
    return 0;
}

/* ---- signatures ---------------------------------------------------------- */

static void
sign(const uint8_t seed[KEYS_SIZE], const void *data, size_t len,
     uint8_t out[KEYS_SIGN_SIZE])
{
    uint8_t secret[crypto_sign_SECRETKEYBYTES], public_key[KEYS_SIZE];

    static_assert(KEYS_SIGN_SIZE == crypto_sign_BYTES, "Ed25519");
    (void)crypto_sign_seed_keypair(public_key, secret, seed);
    (void)crypto_sign_detached(out, NULL, data, len, secret);
    mem_wipe(secret, sizeof secret);
}

void
keys_admin_sign(const struct keys *k, const void *data, size_t len,
                uint8_t out[KEYS_SIGN_SIZE])
{
    assert(keys_can_delete(k));
    sign(k->admin_seed, data, len, out);
}

void
keys_owner_sign(const struct keys *k, const void *data, size_t len,
                uint8_t out[KEYS_SIGN_SIZE])
{
    uint8_t seed[KEYS_SIZE];

    assert(keys_can_own(k));
    keys_derive(k->epochs[0].root, "owner", seed);
    sign(seed, data, len, out);
    mem_wipe(seed, sizeof seed);
}

bool
keys_sign_check(const uint8_t public_key[KEYS_SIZE], const void *data,
                size_t len, const uint8_t sign_bytes[KEYS_SIGN_SIZE])
{
    return crypto_sign_verify_detached(sign_bytes, data, len, public_key) == 0;
}

/* ---- sealed boxes -------------------------------------------------------- */

void
keys_box_public(const uint8_t secret[KEYS_SIZE], uint8_t out[KEYS_SIZE])
{
    (void)crypto_scalarmult_base(out, secret);
}

void
keys_box_seal(const uint8_t public_key[KEYS_SIZE], const void *data, size_t len,
              uint8_t *out)
{
    static_assert(KEYS_BOX_EXTRA == crypto_box_SEALBYTES, "sealed box");
    /* Fails for a key of small order only, which nobody's secret makes; what
     * is then written opens for nobody. */
    if (crypto_box_seal(out, data, len, public_key) != 0)
        memset(out, 0, len + KEYS_BOX_EXTRA);
}

bool
keys_box_open(const uint8_t secret[KEYS_SIZE], const uint8_t *data, size_t len,
              uint8_t *out)
{
    uint8_t public_key[KEYS_SIZE];

    if (len < KEYS_BOX_EXTRA)
        return false;
    keys_box_public(secret, public_key);
    return crypto_box_seal_open(out, data, len, public_key, secret) == 0;
}
