/* SPDX-License-Identifier: Apache-2.0 */
/* api/strangers.h: connections whose peer has not said yet who it is.
 *
 * Whoever reaches the TLS port can open connections and say nothing, or a byte
 * now and then. They are few at a time and live shortly: one too many ends the
 * oldest, and none outlives its time. A peer that has shown a token is no
 * stranger any more.
 * Threads: any.
 */
#pragma once
#include <stdint.h>

#include "base/macros.h"

struct strangers;
struct stranger;

struct strangers *strangers_new(unsigned max, uint64_t life_ms) NODISCARD;
/* All have gone. NULL is fine. */
void strangers_free(struct strangers *s);

/* A connection came. `fd` is borrowed until strangers_left(); to end the
 * connection it is shut down, and whoever serves it sees its end. */
struct stranger *strangers_came(struct strangers *s, int fd, uint64_t now_ms)
    NODISCARD;
/* It has shown who it is; again: nothing. */
void strangers_known(struct strangers *s, struct stranger *who);
/* The connection has ended, `fd` is about to be closed; `who` is freed. */
void strangers_left(struct strangers *s, struct stranger *who);
/* End those whose time is over. */
void strangers_tick(struct strangers *s, uint64_t now_ms);
