/* SPDX-License-Identifier: Apache-2.0 */
/* repo/retain.h: which backups a retention policy keeps.
 *
 * Pure: no I/O, no clock of its own. Backups are grouped (by VM); within a
 * group the order of the log is the order of time, whatever their stamps say.
 * With clocks that agree with that order the result is the well-known one:
 * the newest of each of the last n hours, days, ... is kept. With clocks that
 * do not, more is kept, never less: the same policy is asked under every
 * reading of the stamps that is possible, and what one of them keeps is kept.
 * Threads: any.
 * source  spec engine 7, F28
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

/* 0: that rule keeps nothing. All 0: no policy, everything is kept. */
struct retain_policy {
    unsigned last;     /* newest by the log, whatever the clocks say */
    unsigned hourly;   /* hours, UTC, in which there is a backup */
    unsigned daily;    /* days */
    unsigned weekly;   /* weeks, from Monday */
    unsigned monthly;  /* months */
    unsigned yearly;   /* years */
    uint64_t within_s; /* younger than that before the newest of the group */
};

/* Why a backup is kept: bits. */
enum retain_reason {
    RETAIN_LAST = 1 << 0,
    RETAIN_HOURLY = 1 << 1,
    RETAIN_DAILY = 1 << 2,
    RETAIN_WEEKLY = 1 << 3,
    RETAIN_MONTHLY = 1 << 4,
    RETAIN_YEARLY = 1 << 5,
    RETAIN_WITHIN = 1 << 6,
    RETAIN_HELD = 1 << 7,
    RETAIN_NEWEST = 1 << 8, /* the last good one of its group */
    RETAIN_NO_POLICY = 1 << 9,
};

struct retain_item {
    const char *group;      /* borrowed; one VM, or one of whatever it is */
    uint64_t seq;           /* of its COMMIT: the order */
    int64_t created_unix_s; /* what the clock of its host said */
    bool is_held;           /* never let go, and counts as any other */
    bool is_bad;            /* cannot be restored: takes nobody's place */
    unsigned reasons;       /* result; 0: not kept */
};

/* Set `reasons` of every item; the array is sorted by group and seq.
 *
 *   now_unix_s  this host's clock: stamps beyond it are not believed, unless
 *               the last backup has one: it may be this clock that is behind */
void retain_apply(const struct retain_policy *policy, struct retain_item *items,
                  size_t count, int64_t now_unix_s);

bool retain_policy_is_empty(const struct retain_policy *policy);

/* "last,daily" for reasons; the caller's to free(). */
char *retain_reasons_text(unsigned reasons) NODISCARD;

/* A time back: "36h", "30d", "8w", "6m", "2y" (months of 30 days, years of
 * 365), or several: "1y6m".
 *   errors  INVALID */
int retain_parse_within(const char *text, uint64_t *ret_s, struct err *err)
    NODISCARD;
