/* SPDX-License-Identifier: Apache-2.0 */
/* repo/renew.h: when who is at work says so again, so that no collector takes
 * him for dead (docs/formats/log.md: OPEN, PIN).
 *
 * A clock that is set back must not put it off, one that is set forward must
 * not be missed: whichever of the two clocks moved counts. Pure but for those.
 * Threads: none; the owner locks.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define RENEW_S       86400 /* collectors wait for a week (REPO_GC_KILL_S) */
#define RENEW_RETRY_S 3600  /* it could not be written */

struct renew {
    int64_t wall_s;
    uint64_t mono_ms;
    int64_t after_s;
};

/* Due `after_s` from now. */
void renew_set(struct renew *r, int64_t after_s);
bool renew_is_due(const struct renew *r);
