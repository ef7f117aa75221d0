/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void *
xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);

    if (p == NULL)
        abort();
    return p;
}

void *
xrealloc(void *p, size_t n, size_t size)
{
    void *q = reallocarray(p, n ? n : 1, size ? size : 1);

    if (q == NULL)
        abort();
    return q;
}

char *
xstrdup(const char *s)
{
    return s == NULL ? NULL : xstrndup(s, strlen(s));
}

char *
xstrndup(const char *s, size_t n)
{
    char *p = strndup(s, n);

    if (p == NULL)
        abort();
    return p;
}

char *
xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *s;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    return s;
}

void *
mem_try(size_t size, const char *what, struct err *err)
{
    void *p = calloc(1, size ? size : 1);

    if (p == NULL)
        return err_set_null(err, ERR_NO_MEMORY, "%s: no memory for %zu bytes",
                            what, size);
    return p;
}

void
mem_wipe(void *p, size_t len)
{
    if (p != NULL)
        explicit_bzero(p, len);
}
