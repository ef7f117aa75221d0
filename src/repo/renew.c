/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/renew.h"

#include "base/clock.h"

void
renew_set(struct renew *r, int64_t after_s)
{
    *r = (struct renew){ .wall_s = clock_wall_s(),
                         .mono_ms = clock_mono_ms(),
                         .after_s = after_s };
}

bool
renew_is_due(const struct renew *r)
{
    int64_t wall_s = clock_wall_s() - r->wall_s;
    uint64_t mono_ms = clock_mono_ms() - r->mono_ms;

    return wall_s >= r->after_s || wall_s <= -r->after_s ||
           mono_ms >= (uint64_t)r->after_s * 1000;
}
