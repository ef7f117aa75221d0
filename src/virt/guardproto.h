/* SPDX-License-Identifier: Apache-2.0 */
/* virt/guardproto.h: the words between vmkeepd and vmkeep-guard.
 *
 * One text message per packet of a SOCK_SEQPACKET pair, which is descriptor 3
 * of the guard:
 *
 *   vmkeepd says
 *     ARM <id> <uuid> resume=<0|1> thaw=<0|1> deadline_ms=<n>
 *     DISARM <id>
 *   the guard answers
 *     ARMED <id>       it watches: you may freeze
 *     DISARMED <id>    it forgot; also for an unknown id
 *     REFUSED <id>     it has no libvirt or no room: do not freeze
 *
 * ids are chosen by vmkeepd, and not used twice in the life of one guard. The
 * deadline counts from the ARM. On the deadline, the end of the socket or
 * SIGTERM the guard resumes (resume=1) and thaws (thaw=1) the domain until that
 * succeeds; a DISARM meanwhile ends it, and so does a later ARM for the same
 * domain, which takes its place.
 * Threads: pure functions.
 * source  DESIGN 5, "The guard"
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"

#define GUARDPROTO_MAX 160 /* bytes of the longest message, with a NUL */

enum guardproto_verb {
    GUARDPROTO_ARM,
    GUARDPROTO_DISARM,
    GUARDPROTO_ARMED,
    GUARDPROTO_DISARMED,
    GUARDPROTO_REFUSED,
};

struct guardproto {
    enum guardproto_verb verb;
    uint64_t id;
    /* for ARM only */
    char uuid[UUID_STR_SIZE];
    bool resume, thaw;
    uint64_t deadline_ms; /* at most a day */
};

/* Returns the length; the text is NUL-terminated, the NUL is not sent. */
size_t guardproto_encode(const struct guardproto *msg,
                         char text[GUARDPROTO_MAX]);

/* `text` need not end with a NUL. Takes what encode writes, and no byte more
 * or less. errors  INVALID */
int guardproto_decode(const char *text, size_t len, struct guardproto *ret_msg,
                      struct err *err) NODISCARD;
