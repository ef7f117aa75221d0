/* SPDX-License-Identifier: Apache-2.0 */
/* volume/overlay.h: the driver for qcow2 overlays on any file system.
 *
 * A cut of a running VM is one atomic libvirt call and no pause. See
 * volume/driver.h for the functions. `virt` is borrowed for its life. */
#pragma once
#include "volume/driver.h"

struct driver *overlay_new(struct virt *virt) NODISCARD;
