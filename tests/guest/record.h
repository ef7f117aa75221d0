/* SPDX-License-Identifier: Apache-2.0 */
/* guest/record.h: the record that the test guest writes and the oracle reads.
 *
 * A log is a row of 4 KiB records, numbered from 1 without a gap. Bytes are in
 * host order: both programs run on x86-64. The CRC is that of the record with
 * a zero in its place (IEEE 802.3, as zlib's crc32).
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define RECORD_SIZE  4096
#define RECORD_MAGIC 0x4b4d5652u /* "RVMK" */

enum record_flag {
    RECORD_QUIESCED = 1, /* the last record before a freeze */
    RECORD_CAUGHT_UP = 2 /* written at a start: the other disk was ahead */
};

struct record {
    uint32_t magic;
    uint32_t crc;
    uint64_t seq;
    uint64_t written_ns; /* wall clock */
    uint32_t flags;
    uint32_t file; /* 0: first disk, 1: second */
    uint8_t noise[RECORD_SIZE - 32];
};

_Static_assert(sizeof(struct record) == RECORD_SIZE, "record");

static inline uint32_t
record_crc(struct record *r)
{
    const uint8_t *p = (const uint8_t *)r;
    uint32_t saved = r->crc, crc = ~0u;

    r->crc = 0;
    for (size_t i = 0; i < RECORD_SIZE; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
    }
    r->crc = saved;
    return ~crc;
}

static inline int
record_is_good(struct record *r)
{
    return r->magic == RECORD_MAGIC && r->crc == record_crc(r);
}
