/* SPDX-License-Identifier: Apache-2.0 */
/* codec/erasure.h: two stripes of parity for up to 64 stripes of data.
 *
 * Any two of all stripes can be made again from the others. Reed-Solomon code
 * over GF(2^8), the one of RAID 6: docs/formats/parity.md, "The code". It says
 * nothing about which stripes are good: the caller has their digests.
 * Threads: any. source  ISA-L 2.30, erasure_code.h
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

#define ERASURE_DATA_MAX    64u
#define ERASURE_PARITY      2u
#define ERASURE_STRIPES_MAX (ERASURE_DATA_MAX + ERASURE_PARITY)
#define ERASURE_LEN_MAX     ((size_t)1 << 30)

/* From `count` stripes of `len` bytes each (1..ERASURE_DATA_MAX and
 * 1..ERASURE_LEN_MAX). */
void erasure_encode(unsigned count, size_t len, const uint8_t *const data[],
                    uint8_t *const parity[ERASURE_PARITY]);

/* Make the lost ones of count + ERASURE_PARITY stripes, data first, where
 * `stripes` points to.
 *   errors  CORRUPT (more are lost than that) */
int erasure_rebuild(unsigned count, size_t len, uint8_t *const stripes[],
                    const bool is_lost[], struct err *err) NODISCARD;
