/* SPDX-License-Identifier: Apache-2.0 */
/* controller/release.h: `vmkeep vm release`: a VM goes back to plain disks, and
 * every trace of vmkeep goes.
 *
 * Who calls it has seen that the VM has no snapshots, and holds its lock.
 * Threads: any.
 */
#pragma once
#include "controller/ctl.h"

/*   errors  CONFLICT (something refers to its layers); BUSY
 *   blocks  on libvirt and on merges */
int release_vm(struct ctl *ctl, const char *uuid, struct err *err) NODISCARD;
