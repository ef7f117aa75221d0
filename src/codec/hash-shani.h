/* SPDX-License-Identifier: Apache-2.0 */
/* codec/hash-shani.h: SHA-256 by the SHA instructions; see hash.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does this CPU have them? */
bool hash_shani_is_here(void);

/* Fold `blocks` blocks of 64 bytes into each state. */
void hash_shani_x4(uint32_t state[4][8], const uint8_t *const data[4],
                   size_t blocks);
void hash_shani_x1(uint32_t state[8], const uint8_t *data, size_t blocks);
