/* SPDX-License-Identifier: Apache-2.0 */
/* codec/seal.h: small secrets at rest, sealed with one key.
 *
 * AES-256-GCM: what comes out of seal_open() is exactly what went into
 * seal_make() under the same key and name, or CORRUPT.
 *
 *   "VKS1"  nonce[12]  ciphertext[len]  tag[16]
 *
 * The name is authenticated, not stored: a sealed blob cannot be passed off
 * as another one. Nonces are random; a key is good for 2^32 blobs.
 * Threads: pure functions.
 * source  NIST SP 800-38D
 */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define SEAL_KEY_SIZE 32
#define SEAL_EXTRA    32 /* a blob is that much longer than its content */
#define SEAL_MAX      (16u << 20)

/* Appends the blob to `out`.
 * errors  INVALID (longer than SEAL_MAX) */
int seal_make(const uint8_t key[SEAL_KEY_SIZE], const char *name,
              const void *data, size_t len, struct buf *out, struct err *err)
    NODISCARD;
/* Appends the content to `out`; wipe it after use.
 * errors  CORRUPT (not sealed so, or not under this key and name) */
int seal_open(const uint8_t key[SEAL_KEY_SIZE], const char *name,
              const void *blob, size_t len, struct buf *out, struct err *err)
    NODISCARD;
