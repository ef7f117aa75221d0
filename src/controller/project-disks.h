/* SPDX-License-Identifier: Apache-2.0 */
/* controller/project-disks.h: the disks of a domain, and their claims. */
#pragma once
#include "controller/ctl.h"
#include "controller/projection.h"

struct project_disks {
    struct projection_disk *v;
    size_t n;
};

/* Every disk of the persistent XML, as the live XML shows it, then those that
 * only the live XML has. Reads sizes from the files. */
void project_disks_collect(const struct virt_vm *vm,
                           struct project_disks *ret_disks);
void project_disks_fini(struct project_disks *d);

/* Make the claims of this VM what they are to be: one per attached disk file,
 * one per detached file of ours; others go. A claim that a user deleted goes
 * with its file if that is detached.
 *   p->vm_object  the VM as stored: it says the claims' names; p->vm NULL:
 *                 the domain is gone, detached files stay
 *   queue         gets `uuid` again when the VM's lock was in the way */
int project_disks_sync_claims(struct ctl *ctl, const struct projection *p,
                              const char *uuid, struct queue *queue,
                              struct err *err) NODISCARD;
