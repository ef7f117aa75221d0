/* SPDX-License-Identifier: Apache-2.0 */
/* controller/firmware.h: what a VM remembers outside its disks: UEFI variables
 * (its NVRAM file) and the state of its software TPM.
 *
 *   <state_dir>/nvram/<snapshot-uid>/nvram        the file
 *   <state_dir>/nvram/<snapshot-uid>/tpm/...      a copy of the directory
 *
 * Copied inside the cut, between freeze and thaw: they are small. A directory
 * is complete once firmware_seal() has returned. The same layout below another
 * directory serves a backup's files.
 * Threads: any; one VM at a time (its lock).
 * source  spec kubevirt 2.6; DESIGN 4 (Disks), 7
 */
#pragma once
#include "base/err.h"
#include "virt/virt.h"

struct firmware_kept {
    bool has_nvram, has_tpm;
};

/* Does this VM have any? Then the following are worth their time. */
bool firmware_is_wanted(const struct virt_vm *vm);
/* Copy it. No sync: quick. A file that is not there (never booted) is left
 * out. errors  NO_SPACE; what reading says */
int firmware_copy(const char *state_dir, const struct virt_vm *vm,
                  const char *snapshot_uid, struct firmware_kept *ret_kept,
                  struct err *err) NODISCARD;
/* Make the copy durable, or remove it: absent is success. */
int firmware_seal(const char *state_dir, const char *snapshot_uid,
                  struct err *err) NODISCARD;
int firmware_delete(const char *state_dir, const char *snapshot_uid,
                    struct err *err) NODISCARD;

/* Is there a kept NVRAM file? */
bool firmware_has_nvram(const char *state_dir, const char *snapshot_uid);
/* Put the kept NVRAM to `path` (0600; libvirt gives it to QEMU's user at
 * start), fsynced, replacing what is there. */
int firmware_put_nvram(const char *state_dir, const char *snapshot_uid,
                       const char *path, struct err *err) NODISCARD;
/* Put the kept TPM state where swtpm of `vm_uuid` looks, fsynced; what else is
 * there goes. libvirt gives the files to swtpm's user at start. None is kept:
 * nothing happens. */
int firmware_put_tpm(const char *state_dir, const char *snapshot_uid,
                     const char *vm_uuid, struct err *err) NODISCARD;

/* Before something else is put in its place: keep what a VM that is off has
 * under `uid` (a restore's), durably. What was set aside under it before and
 * not brought back stays: that is the older, the true one. */
int firmware_set_aside(const char *state_dir, const struct virt_vm *vm,
                       const char *uid, struct err *err) NODISCARD;
/* What was set aside under `uid` is the VM's again, and is no longer kept.
 * Nothing was set aside: nothing happens. */
int firmware_bring_back(const char *state_dir, const struct virt_vm *vm,
                        const char *uid, struct err *err) NODISCARD;
