/* SPDX-License-Identifier: Apache-2.0 */
/* controller/freeze.h: guests that we froze or suspended, and how they run
 * again whatever happens.
 *
 * Each freeze is written to <state_dir>/frozen/<vm-uuid> and synced before it
 * is asked for, and the guard (controller/guardclient.h) is armed; the entry
 * goes when a thaw has succeeded. While an entry is there a thaw is owed: it
 * is tried again and again in the background, and nobody may touch that VM
 * (freeze_is_owed()). A guest that was frozen before we came is not ours: it
 * gets no entry and no thaw.
 * Threads: any, one freeze per VM at a time (the caller's VM lock).
 * source  DESIGN 5; spec guest.md 0 (facts 2 and 3), 2
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "base/mutex.h"
#include "base/uuid.h"
#include "controller/guardclient.h"
#include "virt/virt.h"

struct freeze;
extern struct role freeze_lock;

/* Everything is borrowed for its life. `timeout_ms`: for one agent answer. */
struct freeze *freeze_new(const char *state_dir, struct virt *virt,
                          struct guardclient *guard, uint64_t timeout_ms,
                          struct err *err) NODISCARD;
/* Ends the background thaws; what is owed stays in the journal. */
void freeze_free(struct freeze *f);
DEFINE_CLEANUP(freeze_free, struct freeze *)

/* Once, at start: everything in the journal is owed a thaw from now on. Does
 * not wait for it. `done` is called with a VM's UUID when its thaw has
 * succeeded (a background thread; must only enqueue); may be NULL. */
int freeze_recover(struct freeze *f, void (*done)(void *arg, const char *uuid),
                   void *arg, struct err *err) NODISCARD EXCLUDES(freeze_lock);
/* Does this VM wait for a thaw of ours? Then leave it alone. */
bool freeze_is_owed(struct freeze *f, const char *vm_uuid)
    EXCLUDES(freeze_lock);

/* One freeze that is held. */
struct freeze_hold {
    char uuid[UUID_STR_SIZE];
    uint64_t arm_id;
    unsigned frozen;     /* file systems that the freeze reported */
    unsigned thawed;     /* file systems that the thaw reported */
    uint64_t begin_ns;   /* monotonic: return of FSFreeze */
    uint64_t end_ns;     /* monotonic: call of FSThaw */
    bool is_held;        /* frozen by us, not yet thawed */
    bool is_foreign;     /* frozen already, by somebody else */
    bool is_thaw_failed; /* the background goes on with it */
    bool is_paused;      /* suspended by us, not yet resumed */
    bool is_resume_failed;
    uint64_t pause_begin_ns; /* monotonic: call of Suspend */
    uint64_t pause_end_ns;   /* monotonic: return of Resume */
};

/* Journal, arm, freeze. On an error nothing is frozen, or a thaw is owed and
 * the background sees to it (a freeze that timed out may happen later).
 *
 *   hold_ms   how long it is to be held: the guard waits that much longer
 *   ret_hold  is_foreign: nothing was done, freeze_end() does nothing
 *   errors    TIMEOUT (hung agent); UNAVAILABLE (no agent, no guard); BUSY (a
 *             thaw is still owed); the agent's own ("command Freeze failed")
 */
int freeze_begin(struct freeze *f, const char *vm_uuid, uint64_t hold_ms,
                 struct freeze_hold *ret_hold, struct err *err)
    NODISCARD EXCLUDES(freeze_lock);
/* Thaw, at once; cannot fail: what does not succeed now is owed. */
void freeze_end(struct freeze *f, struct freeze_hold *hold)
    EXCLUDES(freeze_lock);

/* Suspend a running VM: journal, arm, Suspend. `hold` is that of a freeze that
 * is held, or zeroed. On an error the VM runs, or a resume is owed and the
 * background sees to it.
 * errors  UNAVAILABLE (no guard); BUSY (a thaw or resume is still owed) */
int freeze_pause(struct freeze *f, const char *vm_uuid,
                 struct freeze_hold *hold, struct err *err)
    NODISCARD EXCLUDES(freeze_lock);
/* Resume, at once, before freeze_end(); cannot fail: what does not succeed now
 * is owed. */
void freeze_unpause(struct freeze *f, struct freeze_hold *hold)
    EXCLUDES(freeze_lock);

/* Did everything that froze stay frozen until the thaw? Only then may the cut
 * between be called quiesced. */
bool freeze_was_complete(const struct freeze_hold *hold);
