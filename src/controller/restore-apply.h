/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-apply.h: one try to restore: preflight, new disks, the
 * definition, the old disks.
 *
 * Until the domain is defined the VM is as it was, and an error leaves it so.
 * Threads: any; the caller holds the source VM's lock as RESTORE.
 * source  DESIGN 7; spec kubevirt 3
 */
#pragma once
#include "controller/ctl.h"
#include "controller/restore-plan.h"

struct restore_job {
    const json_t *restore_json, *snapshot_json, *content_json;
    const json_t *vm_json; /* the target's object; NULL: a new VM */
};

/* On success the domain names the new disks. *restore is replaced by newer
 * versions: the plan of the try is written to its status before anything that
 * a crash must be able to tell (status.vmkeep.target, .disks, .dropped).
 * errors  INVALID, UNSUPPORTED, CORRUPT, DENIED: trying again is of no use */
int restore_apply(struct ctl *ctl, const struct restore_job *job,
                  struct object **restore, struct err *err) NODISCARD;

/* Does the domain name the new disks of the try that `status` describes?
 * errors  UNAVAILABLE (libvirt does not say) */
int restore_apply_is_done(struct ctl *ctl, const json_t *status, bool *ret_is,
                          struct err *err) NODISCARD;
