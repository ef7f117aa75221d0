/* SPDX-License-Identifier: Apache-2.0 */
/* base/mem.h: allocation.
 *
 * Small sizes that we choose: the x functions, which abort when memory is out
 * (the daemon is crash-only). Sizes that come from a user, a disk or the
 * wire: bound them first, then mem_try(), which can fail.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

void *xcalloc(size_t n, size_t size) NODISCARD;
void *xrealloc(void *p, size_t n, size_t size)
    NODISCARD;                          /* n * size, checked */
char *xstrdup(const char *s) NODISCARD; /* NULL stays NULL */
char *xstrndup(const char *s, size_t n) NODISCARD;
char *xasprintf(const char *fmt, ...) NODISCARD PRINTF(1, 2);

/* Zeroed memory of `size` bytes, or NULL with NO_MEMORY. */
void *mem_try(size_t size, const char *what, struct err *err) NODISCARD;

/* Overwrite a secret in a way that the compiler does not drop. */
void mem_wipe(void *p, size_t len);
