/* SPDX-License-Identifier: Apache-2.0 */
/* codec/aead.h: AES-256-GCM.
 *
 * source  NIST SP 800-38D
 * threads a context is one thread's at a time
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

#define AEAD_KEY_SIZE   32
#define AEAD_NONCE_SIZE 12
#define AEAD_TAG_SIZE   16

struct aead;

struct aead *aead_new(void) NODISCARD;
void aead_free(struct aead *a); /* NULL is fine; wipes the key */
DEFINE_CLEANUP(aead_free, struct aead *)

/* Setting a key costs as much as 2 KiB of data: keep it while it serves. */
void aead_set_key(struct aead *a, const uint8_t key[AEAD_KEY_SIZE]);

/* `out` has `len` bytes, and may be `data` itself. A nonce is used once. */
void aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_SIZE],
               const void *aad, size_t aad_len, const void *data, size_t len,
               uint8_t *out, uint8_t tag[AEAD_TAG_SIZE]);

/* False when the tag does not match; `out` is then zeros. */
bool aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_SIZE],
               const void *aad, size_t aad_len, const void *data, size_t len,
               const uint8_t tag[AEAD_TAG_SIZE], uint8_t *out) NODISCARD;
