/* SPDX-License-Identifier: Apache-2.0 */
/* base/buf.h: a byte buffer that grows; always followed by a NUL byte. */
#pragma once
#include <stdarg.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
    char *data; /* NULL while empty; data[len] == 0 otherwise */
    size_t len;
    size_t cap;
};

#define BUF_INIT                                                               \
    {                                                                          \
        NULL, 0, 0                                                             \
    }

void buf_fini(struct buf *b);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF(2, 0);
void buf_truncate(struct buf *b, size_t len); /* len <= b->len */
/* The text, never NULL; the buffer is empty afterwards. Caller frees. */
char *buf_take_str(struct buf *b) NODISCARD;
/* The text for reading, "" while empty; valid until the next change. */
const char *buf_str(const struct buf *b);

static inline void
buf_fini_p(struct buf *b)
{
    buf_fini(b);
}
