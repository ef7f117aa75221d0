/* SPDX-License-Identifier: Apache-2.0 */
/* disk/qcow2-priv.h: what the readers of qcow2 files share. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

static inline uint32_t
qcow2_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

static inline uint64_t
qcow2_be64(const uint8_t *p)
{
    return (uint64_t)qcow2_be32(p) << 32 | qcow2_be32(p + 4);
}

/* Fewer bytes than wanted: the file ends there. */
int qcow2_read_at(int fd, const char *what, uint64_t at, uint8_t *data,
                  size_t want, size_t *ret_got, struct err *err) NODISCARD;
