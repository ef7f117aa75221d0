/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static void
reserve(struct buf *b, size_t more)
{
    size_t need, cap;

    if (__builtin_add_overflow(b->len, more, &need) ||
        __builtin_add_overflow(need, (size_t)1, &need))
        abort();
    if (need <= b->cap)
        return;
    for (cap = b->cap ? b->cap : 64; cap < need;)
        if (__builtin_mul_overflow(cap, (size_t)2, &cap))
            abort();
    b->data = xrealloc(b->data, cap, 1);
    b->cap = cap;
}

void
buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf)BUF_INIT;
}

void
buf_add(struct buf *b, const void *data, size_t len)
{
    reserve(b, len);
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = 0;
}

void
buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void
buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        abort();
    reserve(b, (size_t)n);
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void
buf_truncate(struct buf *b, size_t len)
{
    assert(len <= b->len);
    b->len = len;
    if (b->data != NULL)
        b->data[len] = 0;
}

char *
buf_take_str(struct buf *b)
{
    char *s;

    reserve(b, 0);
    b->data[b->len] = 0;
    s = b->data;
    *b = (struct buf)BUF_INIT;
    return s;
}

const char *
buf_str(const struct buf *b)
{
    return b->data == NULL ? "" : b->data;
}
