/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "types/kind.h"

void
causes_add(struct causes *c, const char *reason, const char *field,
           const char *fmt, ...)
{
    struct cause *cause;
    va_list ap;

    if (c->n == CAUSES_MAX)
        return;
    cause = &c->v[c->n++];
    (void)snprintf(cause->reason, sizeof cause->reason, "%s", reason);
    (void)snprintf(cause->field, sizeof cause->field, "%s", field);
    va_start(ap, fmt);
    (void)vsnprintf(cause->message, sizeof cause->message, fmt, ap);
    va_end(ap);
}
