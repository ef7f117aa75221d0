/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-due.h: when a target's next maintenance is due. Pure. */
#pragma once
#include <stdint.h>

/* Seconds from now; 0: now; -1: never (interval 0).
 *
 *   last_s     when it was done; 0: never, then `created_s` counts. One that
 *              lies a day or more in the future is that of a wrong clock, and
 *              it is due */
int64_t target_due_in_s(int64_t now_s, int64_t last_s, int64_t created_s,
                        int64_t interval_s);
