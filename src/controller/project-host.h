/* SPDX-License-Identifier: Apache-2.0 */
/* controller/project-host.h: this host as a Node, and the classes that its
 * disks have as StorageClasses. A part of controller/project.c.
 * Threads: a project worker's. source  DESIGN 4
 */
#pragma once
#include "controller/ctl.h"

/* Of every claim of an attached disk file. */
#define PROJECT_HOST_CLASS "vmkeep-overlay"

/* Write what is new about them. `is_connected`: to libvirt.
 * errors  as the store's */
int project_host_sync(struct ctl *ctl, bool is_connected, struct err *err)
    NODISCARD;
