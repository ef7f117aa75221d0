/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tpmowner.h: whose the state files of a software TPM are.
 *
 * Threads: any.
 * source  libvirt 9.0 src/qemu/qemu_conf.c: swtpm_user and swtpm_group of
 *         qemu.conf, else "tss", else root
 */
#pragma once
#include "base/file.h"

#define TPMOWNER_CONF "/etc/libvirt/qemu.conf"

/* Who runs swtpm for the VM whose state directory is `dir`: the owner of what
 * is in it; where it is empty, as `conf` (a qemu.conf) has it.
 * errors  INVALID (qemu.conf names somebody unknown) */
int tpmowner_find(int dir, const char *conf, struct file_owner *ret_owner,
                  struct err *err) NODISCARD;
