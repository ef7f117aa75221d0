/* SPDX-License-Identifier: Apache-2.0 */
/* codec/le.h: little-endian integers in bytes, and a bounded reader. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"

static inline void
le_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void
le_put32(uint8_t *p, uint32_t v)
{
    le_put16(p, (uint16_t)v);
    le_put16(p + 2, (uint16_t)(v >> 16));
}

static inline void
le_put64(uint8_t *p, uint64_t v)
{
    le_put32(p, (uint32_t)v);
    le_put32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t
le_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint16_t)p[1] << 8);
}

static inline uint32_t
le_get32(const uint8_t *p)
{
    return (uint32_t)le_get16(p) | (uint32_t)le_get16(p + 2) << 16;
}

static inline uint64_t
le_get64(const uint8_t *p)
{
    return (uint64_t)le_get32(p) | (uint64_t)le_get32(p + 4) << 32;
}

/* The low `size` bytes of v, at the end of a buffer. */
static inline void
le_add(struct buf *out, uint64_t v, unsigned size)
{
    uint8_t b[8];

    le_put64(b, v);
    buf_add(out, b, size);
}

static inline bool
le_is_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* Reads fields from the front of bytes. Past the end it yields zeros and
 * remembers: check `is_short` once, after the last field. */
struct le_reader {
    const uint8_t *p;
    size_t left;
    bool is_short;
};

static inline const uint8_t *
le_take(struct le_reader *r, size_t len)
{
    const uint8_t *p = r->p;

    if (len > r->left) {
        r->is_short = true;
        r->left = 0;
        return NULL;
    }
    r->p += len;
    r->left -= len;
    return p;
}

static inline uint64_t
le_take_int(struct le_reader *r, unsigned size)
{
    const uint8_t *p = le_take(r, size);
    uint64_t v = 0;

    for (unsigned i = 0; p != NULL && i < size; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static inline void
le_take_bytes(struct le_reader *r, void *out, size_t len)
{
    const uint8_t *p = le_take(r, len);

    if (p != NULL)
        memcpy(out, p, len);
    else
        memset(out, 0, len);
}
