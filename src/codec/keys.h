/* SPDX-License-Identifier: Apache-2.0 */
/* codec/keys.h: the keys of a repository, and what each role has of them.
 *
 * Every key epoch has a root key, from which the keys that wrap packs are
 * derived; the keys of ids and of the log come from the first root and stay.
 * Who lacks a key has zeros in its place. Slots: codec/keys-slot.h.
 * source  docs/formats/keys.md
 * threads any
 */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "codec/hash.h"

#define KEYS_SIZE       32
#define KEYS_SIGN_SIZE  64
#define KEYS_EPOCHS_MAX 64
#define KEYS_BOX_EXTRA  48u /* a sealed box is that much longer */

enum keys_role {
    KEYS_ROLE_FULL = 0,
    KEYS_ROLE_BACKUP = 1,   /* adds backups; reads metadata only */
    KEYS_ROLE_RESTORE = 2,  /* reads everything */
    KEYS_ROLE_MAINTAIN = 3, /* deletes, collects, compacts */
    KEYS_ROLE_COUNT = 4,
};

/* "full", "backup-only", "restore-only", "maintainer" */
const char *keys_role_name(enum keys_role role);
bool keys_role_parse(const char *name, enum keys_role *ret);

struct keys_epoch {
    uint8_t rotation[16];          /* which rotation made it; 0: zeros */
    uint8_t root[KEYS_SIZE];       /* full */
    uint8_t meta[KEYS_SIZE];       /* wraps the keys of metadata packs */
    uint8_t data[KEYS_SIZE];       /* of data packs: full, restore-only */
    uint8_t box_secret[KEYS_SIZE]; /* the same two: opens what is sealed */
    uint8_t box_public[KEYS_SIZE]; /* to this X25519 key */
};

/* A secret: keys_wipe(). */
struct keys {
    enum keys_role role;
    struct hash_key id;              /* K_id */
    struct hash_key log;             /* MACs of log entries */
    uint8_t admin_public[KEYS_SIZE]; /* Ed25519: checks what deletes */
    uint8_t admin_seed[KEYS_SIZE];   /* full, maintainer: signs it */
    uint8_t owner_public[KEYS_SIZE]; /* Ed25519: checks key slots */
    unsigned epoch_count;            /* at least one */
    struct keys_epoch epochs[KEYS_EPOCHS_MAX];
};

/* All keys of a repository with that root key, epoch 0. */
void keys_init(struct keys *k, const uint8_t root[KEYS_SIZE]);
void keys_wipe(struct keys *k);
/* One more epoch. False: there are KEYS_EPOCHS_MAX. */
bool keys_add_epoch(struct keys *k, const uint8_t root[KEYS_SIZE],
                    const uint8_t rotation[16]);

bool keys_can_read(const struct keys *k);   /* data */
bool keys_can_backup(const struct keys *k); /* add backups */
bool keys_can_delete(const struct keys *k); /* sign what deletes */
bool keys_can_own(const struct keys *k);    /* sign key slots */

/* What a role gets of them, as bytes; appended to `out`: wipe it. */
#define KEYS_BUNDLE_MAX (160u + 176u * KEYS_EPOCHS_MAX)
void keys_encode(const struct keys *k, enum keys_role role, struct buf *out);
/*   errors  CORRUPT */
int keys_decode(const uint8_t *data, size_t len, enum keys_role role,
                struct keys *ret, struct err *err) NODISCARD;

/* HMAC(key, "vmkeep/1/" label): a key of another use. */
void keys_derive(const uint8_t key[KEYS_SIZE], const char *label,
                 uint8_t out[KEYS_SIZE]);
/* The key of a pack's footer: from `meta` of its epoch. */
void keys_footer(const struct keys *k, unsigned epoch, const uint8_t origin[21],
                 uint8_t out[KEYS_SIZE]);

/* Ed25519; the signer's seed must be there. */
void keys_admin_sign(const struct keys *k, const void *data, size_t len,
                     uint8_t out[KEYS_SIGN_SIZE]);
void keys_owner_sign(const struct keys *k, const void *data, size_t len,
                     uint8_t out[KEYS_SIGN_SIZE]);
bool keys_sign_check(const uint8_t public_key[KEYS_SIZE], const void *data,
                     size_t len, const uint8_t sign[KEYS_SIGN_SIZE]);

/* X25519 sealed boxes (libsodium crypto_box_seal); `out` has `len` and
 * KEYS_BOX_EXTRA bytes, or that much less. */
void keys_box_public(const uint8_t secret[KEYS_SIZE], uint8_t out[KEYS_SIZE]);
void keys_box_seal(const uint8_t public_key[KEYS_SIZE], const void *data,
                   size_t len, uint8_t *out);
/* False: was not sealed to that key, or changed. */
bool keys_box_open(const uint8_t secret[KEYS_SIZE], const uint8_t *data,
                   size_t len, uint8_t *out) NODISCARD;
