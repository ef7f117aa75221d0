/* SPDX-License-Identifier: Apache-2.0 */
/* codec/keys-slot.h: keys wrapped for one passphrase, key file or recipient.
 *
 * source  docs/formats/keys.md
 * threads any
 */
#pragma once
#include "codec/keys.h"

#define KEYS_SLOT_HEAD  192u
#define KEYS_SLOT_EXTRA (KEYS_SLOT_HEAD + KEYS_BOX_EXTRA + KEYS_SIGN_SIZE + 4u)
#define KEYS_SLOT_MAX   (KEYS_SLOT_EXTRA + KEYS_BUNDLE_MAX)
#define KEYS_SLOT_LABEL 32

enum keys_slot_kind {
    KEYS_SLOT_FILE = 0,
    KEYS_SLOT_PASSPHRASE = 1,
    KEYS_SLOT_RECIPIENT = 2, /* sealed to an X25519 key */
    KEYS_SLOT_GRANT = 3,     /* more keys for a slot of another kind */
};

/* What stands in a slot in clear. */
struct keys_slot {
    enum keys_slot_kind kind;
    enum keys_role role;
    uint8_t cipher;
    unsigned epoch; /* the newest in it */
    uint8_t repo_uuid[16];
    uint8_t uuid[16];     /* the slot's; in a grant: of the slot it is for */
    uint8_t rotation[16]; /* that made `epoch` */
    uint64_t ops, mem;    /* Argon2id; passphrases only */
    uint8_t salt[16];
    uint8_t box_public[KEYS_SIZE]; /* X25519: grants are sealed to it */
    int64_t created_unix_s;
    char label[KEYS_SLOT_LABEL + 1]; /* printable ASCII */
    const uint8_t *bytes;            /* the whole slot, borrowed */
    size_t len;
};

/* What opens a slot: the 32 bytes of a key file or of a recipient, or a
 * passphrase. */
struct keys_secret {
    enum keys_slot_kind kind;
    uint8_t key[KEYS_SIZE];
    const char *passphrase; /* borrowed */
};

/* Wrap what `head->role` gets of `k`, signed by `k`, whose role is full.
 *   head    kind, role, cipher, the UUIDs, label and time are taken; of a
 *           passphrase the limits, of recipients and grants box_public too
 *   secret  NULL for recipients and grants
 *   errors  NO_MEMORY (Argon2id) */
int keys_slot_encode(const struct keys *k, const struct keys_slot *head,
                     const struct keys_secret *secret, struct buf *out,
                     struct err *err) NODISCARD;
/* Argon2id's limits: 256 MiB, or 64. */
void keys_slot_set_limits(struct keys_slot *head, bool is_fast);

/* The clear part; `data` is borrowed by *ret.
 *   errors  CORRUPT, UNSUPPORTED */
int keys_slot_decode(const uint8_t *data, size_t len,
                     const uint8_t repo_uuid[16], uint8_t cipher,
                     struct keys_slot *ret, struct err *err) NODISCARD;
bool keys_slot_is_signed(const struct keys_slot *s,
                         const uint8_t owner_public[KEYS_SIZE]);

/* Unwrap. *ret_matched false: another kind, or another secret.
 *   ret_box  the secret that opens this slot's grants
 *   errors   CORRUPT; NO_MEMORY */
int keys_slot_open(const struct keys_slot *s, const struct keys_secret *secret,
                   bool *ret_matched, struct keys *ret,
                   uint8_t ret_box[KEYS_SIZE], struct err *err) NODISCARD;
/* The same of a grant. */
int keys_slot_open_grant(const struct keys_slot *s,
                         const uint8_t box[KEYS_SIZE], bool *ret_matched,
                         struct keys *ret, struct err *err) NODISCARD;
