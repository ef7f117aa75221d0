/* SPDX-License-Identifier: Apache-2.0 */
/* codec/crc.h: CRC-32C (Castagnoli), against accidents only.
 *
 * source  RFC 3720, appendix B.4
 * threads any
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Of `len` bytes that follow those whose checksum is `crc` (0: none). */
uint32_t crc_32c(uint32_t crc, const void *data, size_t len);
