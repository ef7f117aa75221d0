/* SPDX-License-Identifier: Apache-2.0 */
/* controller/age.h: how old an object is, whatever the wall clock does.
 *
 * An object's creationTimestamp is of the wall clock. When this process sees
 * the object for the first time that says its age; from then on the monotonic
 * clock does, so that a clock that is set does not end a deadline, nor put it
 * off.
 * Threads: any.
 */
#pragma once
#include <stdint.h>

#include "base/macros.h"
#include "base/mutex.h"

struct age_table;
extern struct role age_lock;

struct age_table *age_table_new(void) NODISCARD;
void age_table_free(struct age_table *t); /* NULL is fine */

/* In milliseconds; never negative. */
int64_t age_of_ms(struct age_table *t, const char *uid, int64_t created_ms)
    EXCLUDES(age_lock);
/* Nobody will ask for it any more. */
void age_forget(struct age_table *t, const char *uid) EXCLUDES(age_lock);
