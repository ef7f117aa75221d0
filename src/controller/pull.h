/* SPDX-License-Identifier: Apache-2.0 */
/* controller/pull.h: disks of a backup that cannot be cut: raw block devices,
 * beside which nothing can be laid and which share no blocks.
 *
 * Running VM: libvirt's backup job in pull mode (virt/backup.h), begun at the
 * instant of the cut; its QEMU serves the disks as they were then. The scratch
 * files lie in scratch_dir of vmkeep.conf, and get all the room that they can
 * need before the backup goes on: the guest never meets a full scratch file,
 * also when vmkeepd is killed or others fill that file system.
 * Stopped VM: the device itself is read, by qemu-nbd with QEMU's image locks;
 * the kernel's count of what was written to it says afterwards whether it
 * stood still. (The locks alone do not: libvirt gives each QEMU device nodes of
 * its own, and locks are a node's.)
 *
 * What a crash leaves is in the record of the cut, and is named after the
 * backup: pull_end() finds it. A read that failed cannot be begun again: the
 * caller makes a new cut.
 * Threads: any, one per VM. Blocks on libvirt and disks.
 * source  DESIGN 6; docs/decisions/0031-pull.md
 */
#pragma once
#include "codec/jsonx.h"
#include "controller/ctl.h"
#include "disk/source.h"

struct pull;

/* Check them and make room. Nothing of the VM is touched.
 *
 *   uid     of the backup
 *   errors  NO_SPACE (says how much is missing where); UNSUPPORTED (no
 *           scratch_dir); CONFLICT (no block device) */
int pull_prepare(struct ctl *ctl, const struct virt_vm *vm, const char *uid,
                 const char *const *targets, size_t n, struct pull **ret_pull,
                 struct err *err) NODISCARD;
/* The instant. */
int pull_commit(struct pull *p, struct err *err) NODISCARD;
/* Reserve what the scratch files can need. Soon after, and not while the guest
 * is frozen. On an error pull_end() is the caller's. */
int pull_finish(struct pull *p, struct err *err) NODISCARD;
uint64_t pull_size(const struct pull *p, size_t i); /* bytes, of a disk */
/* The record of a disk, for status.vmkeep.cut.disks[].pull. The caller's. */
json_t *pull_record(const struct pull *p, size_t i) NODISCARD;
void pull_free(struct pull *p); /* undoes nothing; NULL is fine */
DEFINE_CLEANUP(pull_free, struct pull *)

/* One disk of a cut, from its record. */
struct pull_disk {
    struct ctl *ctl;
    const char *vm_uuid, *uid, *target;
    const json_t *record;
    const char *dir; /* of the job */
};
/* errors  UNAVAILABLE (the job is gone, the VM was stopped or started) */
int pull_open(const struct pull_disk *d, struct disk_source **ret_source,
              struct err *err) NODISCARD;
/* After the read: was it of the cut, to its end? The same errors. */
int pull_check(const struct pull_disk *d, struct err *err) NODISCARD;

/* End the job of this backup, remove its files. None is success. */
int pull_end(struct ctl *ctl, const char *vm_uuid, const char *uid,
             struct err *err) NODISCARD;
