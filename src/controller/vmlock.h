/* SPDX-License-Identifier: Apache-2.0 */
/* controller/vmlock.h: one lock per VM, with a reason.
 *
 * Taken by a named holder (an object: "snapshot default/s1"), kept across the
 * steps of a controller, gone with the process (crash-only: recovery runs
 * before anybody takes one). Nobody waits here: who does not get it returns
 * "again after" and is called again as soon as it is released.
 *
 *              CUT  MERGE  READ  POWER  RESTORE  COPY      yes: together
 *   CUT         -     -    yes     -       -      -
 *   MERGE       -     -     -      -       -      -
 *   READ       yes    -    yes    yes      -     yes
 *   POWER       -     -    yes     -       -     yes
 *   RESTORE     -     -     -      -       -      -
 *   COPY        -     -    yes    yes      -      -
 *
 * COPY changes the VM's layer table (its job is in the journal) but none of
 * the disks that its domain uses: who starts or stops it does not wait for a
 * copy of hundreds of gigabytes. Who holds it has settled the VM
 * (controller/recover.h), and nobody may settle it anew meanwhile.
 *
 * Threads: any. source  DESIGN 5 step 1
 */
#pragma once
#include "base/err.h"
#include "base/mutex.h"
#include "base/queue.h"

enum vmlock_reason {
    VMLOCK_CUT,     /* freeze, cut, thaw */
    VMLOCK_MERGE,   /* layers are merged or removed */
    VMLOCK_READ,    /* layers are read or listed */
    VMLOCK_POWER,   /* start, stop, pause */
    VMLOCK_RESTORE, /* disks are replaced */
    VMLOCK_COPY,    /* a snapshot becomes another VM's disks */
    VMLOCK_PULL,    /* disks are pulled: libvirt cuts and merges none then */
};

struct vmlock;
extern struct role vmlock_lock;

struct vmlock *vmlock_new(void) NODISCARD;
void vmlock_free(struct vmlock *t); /* NULL is fine */

/* Take it; the holder that has it already (same reason) gets it again: one
 * release ends it.
 *
 *   holder  whose it is, for messages and for the release
 *   queue   where `key` is added when the VM becomes free; NULL: nowhere
 *   errors  BUSY, naming holder, reason and for how long
 */
int vmlock_take(struct vmlock *t, const char *vm_uuid,
                enum vmlock_reason reason, const char *holder,
                struct queue *queue, const char *key, struct err *err)
    NODISCARD EXCLUDES(vmlock_lock);
/* Not held: nothing happens. */
void vmlock_release(struct vmlock *t, const char *vm_uuid, const char *holder)
    EXCLUDES(vmlock_lock);
/* Before a queue is freed: no key of it is added any more. */
void vmlock_forget_queue(struct vmlock *t, const struct queue *queue)
    EXCLUDES(vmlock_lock);
