/* SPDX-License-Identifier: Apache-2.0 */
/* cli/bar.h: how far something is, as one line. Threads: pure. */
#pragma once
#include <stdint.h>

#include "base/buf.h"

struct bar_facts {
    const char *what;     /* "Reading" */
    int64_t done, all;    /* bytes; all > 0 */
    int64_t per_second;   /* bytes; 0: unknown */
    int64_t seconds_left; /* < 0: unknown */
};

/* "Reading  [######------] 43 %  1.2 GiB of 2.8 GiB  310 MiB/s  5 s left", in
 * at most `width` columns; width 0: the same without the bar, for a file. */
void bar_format(const struct bar_facts *f, unsigned width, struct buf *out);
