/* SPDX-License-Identifier: Apache-2.0 */
/* base/clock.h: time. Durations by the monotonic clock, stamps by the wall
 * clock; a wall clock that jumps may make a stamp odd, never a wait.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

#define CLOCK_RFC3339_SIZE 21 /* "2026-08-01T10:00:07Z" and NUL */
#define CLOCK_AGE_SIZE     48 /* "3d2h" and NUL */

uint64_t clock_mono_ns(void);
uint64_t clock_mono_ms(void);
int64_t clock_wall_s(void); /* seconds since 1970, UTC */
/* The wall clock, but it never goes faster than the monotonic one did since the
 * process began: for what is removed when its time has come. A clock that is
 * set forward by days must not empty a trash. */
int64_t clock_patient_s(void);
/* Call once, before threads exist: where clock_patient_s() begins. For tests,
 * VMKEEP_CLOCK_SHIFT=FILE: FILE holds seconds that clock_wall_s() is off. */
void clock_init(void);

/* Sleep until clock_mono_ms() reaches `until_ms`; signals do not end it. */
void clock_sleep_until(uint64_t until_ms);
void clock_sleep_ms(uint64_t ms);

/* "2026-08-01T10:00:07Z"; source: RFC 3339, whole seconds as Kubernetes. */
void clock_format_rfc3339(int64_t unix_s, char buf[CLOCK_RFC3339_SIZE]);
/* Any RFC 3339 stamp (fraction and offset too); INVALID otherwise. */
int clock_parse_rfc3339(const char *s, int64_t *ret_unix_s, struct err *err)
    NODISCARD;

/* A Go duration ("300ms", "1m", "1.5h", "-2s", "0") in milliseconds.
 * INVALID for a number without a unit other than 0, or out of range. */
int clock_parse_duration(const char *s, int64_t *ret_ms, struct err *err)
    NODISCARD;

/* The age as kubectl prints it: "5s", "7m15s", "3h12m", "2d3h", "40d". */
void clock_format_age(int64_t age_s, char buf[CLOCK_AGE_SIZE]);
