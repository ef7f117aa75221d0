/* SPDX-License-Identifier: Apache-2.0 */
/* controller/userfreeze.h: freezes that a user asked for, and holds.
 *
 * A backup tool freezes a guest, does its work, and thaws it. The hold lives
 * in this process: when that ends, vmkeep-guard thaws. It always has an end:
 * the caller's timeout, at most USERFREEZE_MAX_MS.
 * Threads: any; one call per VM at a time (the caller's VM lock).
 * source  spec kubevirt 5.2; DESIGN 5
 */
#pragma once
#include "controller/ctl.h"

/* "0s" asks for no end in KubeVirt; a guest that nobody thaws is harmed. */
#define USERFREEZE_MAX_MS (60 * 60 * 1000)

struct userfreeze;
extern struct role userfreeze_lock;

struct userfreeze *userfreeze_new(struct ctl *ctl) NODISCARD;
/* Thaws what is held. NULL is fine. */
void userfreeze_free(struct userfreeze *u);

/* Freeze `vm` until `timeout_ms` (0: the longest). Held already: nothing
 * happens, also not to the timeout. *ret_left_ms: until the thaw is due.
 * errors  those of freeze_begin(); CONFLICT (somebody else froze it) */
int userfreeze_begin(struct userfreeze *u, const struct object *vm,
                     uint64_t timeout_ms, uint64_t *ret_left_ms,
                     struct err *err) NODISCARD EXCLUDES(userfreeze_lock);
/* Thaw it. Not held: nothing happens. */
void userfreeze_end(struct userfreeze *u, const struct object *vm)
    EXCLUDES(userfreeze_lock);
/* The same if it is due; else *ret_left_ms > 0. Not held: 0. */
void userfreeze_expire(struct userfreeze *u, const struct object *vm,
                       uint64_t *ret_left_ms) EXCLUDES(userfreeze_lock);
