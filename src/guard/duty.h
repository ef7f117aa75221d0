/* SPDX-License-Identifier: Apache-2.0 */
/* guard/duty.h: what the guard has promised for one guest, and doing it.
 *
 * A duty is armed, and then either forgotten (disarmed) or done: by a thread
 * of its own, so that a guest whose agent hangs does not keep the others
 * waiting. Threads: the functions are for one thread, the guard's main.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "virt/guardproto.h"
#include "virt/virt.h"

struct duty_list;

struct duty_list *duty_list_new(struct virt *virt) NODISCARD;
void duty_list_free(struct duty_list *l); /* joins what has begun */
DEFINE_CLEANUP(duty_list_free, struct duty_list *)

/* errors  BUSY (too many); EXISTS (this id) */
int duty_list_arm(struct duty_list *l, const struct guardproto *arm,
                  struct err *err) NODISCARD;
/* Forget it; one that is being done stops before its next step. An id that is
 * not known is fine. */
void duty_list_disarm(struct duty_list *l, uint64_t id);

/* Begin those whose deadline has passed. Returns how many ms to the next
 * deadline, -1: none is armed. */
int duty_list_check(struct duty_list *l);
/* Begin all, and wait until each is done or pointless. May take for ever: as
 * long as a guest may be frozen. */
void duty_list_finish(struct duty_list *l);
