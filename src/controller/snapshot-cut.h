/* SPDX-License-Identifier: Apache-2.0 */
/* controller/snapshot-cut.h: one try to take a snapshot, from the VM's lock to
 * the content object.
 *
 * Either everything is there afterwards (the cut, the sealed XML, the firmware
 * state, the content), or the VM's disks are as they were.
 * Threads: any; the caller holds the VM's lock as CUT.
 * source  DESIGN 5; spec kubevirt 2.4 to 2.6
 */
#pragma once
#include "controller/ctl.h"

struct snapshot_cut_job {
    struct object *snapshot;
    const json_t *snapshot_json;
    const json_t *vm_json;
    unsigned attempts;   /* this one included */
    uint64_t expires_ms; /* clock_mono_ms(): not begun after it; 0: never */
};

/* ret_is_freeze_failure: with an error: the guest agent was the reason. */
int snapshot_cut(struct ctl *ctl, const struct snapshot_cut_job *job,
                 bool *ret_is_freeze_failure, struct err *err) NODISCARD;
