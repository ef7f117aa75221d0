/* SPDX-License-Identifier: Apache-2.0 */
/* volume/splitbrain.h: a libvirt that is wrong about a running guest's disks.
 * Threads: any.
 * source  docs/decisions/0024-split-brain.md
 */
#pragma once
#include "virt/virt.h"

/* Does libvirt's idea of each disk agree with what QEMU holds open? The top of
 * each chain must be open for writing, and no other file of a chain may be.
 * CONFLICT with a text for the admin: which disk, which file QEMU writes,
 * which one libvirt believes in, and the way to repair it. NULL vm->live: 0. */
int splitbrain_check(struct virt *v, const struct virt_vm *vm, struct err *err)
    NODISCARD;
