/* SPDX-License-Identifier: Apache-2.0 */
/* codec/hash-avx2.h: SHA-256 of eight messages side by side, for CPUs that
 * have AVX2 and no SHA instructions; see hash.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_AVX2_LANES 8

/* Does this CPU, and its operating system, have it? */
bool hash_avx2_is_here(void);

/* Fold `blocks` blocks of 64 bytes into each state. */
void hash_avx2_fold(uint32_t state[HASH_AVX2_LANES][8],
                    const uint8_t *const data[HASH_AVX2_LANES], size_t blocks);
