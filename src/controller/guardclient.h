/* SPDX-License-Identifier: Apache-2.0 */
/* controller/guardclient.h: our side of vmkeep-guard.
 *
 * The guard is a program of its own that resumes and thaws guests when this
 * process dies. It is started with the first arm and again when it has died;
 * nothing may be frozen or suspended before arm has returned 0.
 * Threads: any. Wire: virt/guardproto.h
 * source  DESIGN 5
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "base/mutex.h"

struct guardclient;
extern struct role guardclient_lock;

/* `path` of vmkeep-guard and `uri` of libvirt are borrowed for its life. */
struct guardclient *guardclient_new(const char *path, const char *uri)
    NODISCARD;
/* Ends the guard, unless something is armed: then it does its work first. */
void guardclient_free(struct guardclient *g);
DEFINE_CLEANUP(guardclient_free, struct guardclient *)

/* What the guard shall do when we die or the deadline passes. */
struct guardclient_duty {
    const char *vm_uuid;
    bool resume;
    bool thaw;
    uint64_t deadline_ms; /* from now */
};

/* Returns 0 when the guard watches, with the duty's number. UNAVAILABLE: it
 * did not answer, or has no libvirt itself. */
int guardclient_arm(struct guardclient *g, const struct guardclient_duty *duty,
                    uint64_t *ret_id, struct err *err)
    NODISCARD EXCLUDES(guardclient_lock);
/* The duty is done by us. Best effort: the guard repeating it is harmless. */
void guardclient_disarm(struct guardclient *g, uint64_t id)
    EXCLUDES(guardclient_lock);
