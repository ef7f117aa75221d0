/* SPDX-License-Identifier: Apache-2.0 */
/* controller/content.h: the status of a VirtualMachineSnapshotContent.
 *
 * Threads: any. source  spec kubevirt 1.2, 2.5
 */
#pragma once
#include "controller/ctl.h"

/* Look whether everything that `content` names is there, and write its status.
 * *content is replaced by the new version. Cheap: reads headers only.
 * errors  BUSY (layers of the VM are being merged: look again) */
int content_sync(struct ctl *ctl, struct object **content, struct err *err)
    NODISCARD;
