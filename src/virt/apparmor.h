/* SPDX-License-Identifier: Apache-2.0 */
/* virt/apparmor.h: what libvirt's AppArmor profile of a domain forbids.
 *
 * virt-aa-helper writes the rules of a domain's files to
 * /etc/apparmor.d/libvirt/libvirt-<uuid>.files. Before libvirt 12.1 it adds a
 * "deny" of writes for every backing file whenever it makes the list anew, and
 * a deny wins over the rule by which libvirt later allows the very same file
 * for a commit: merging a layer of a running domain fails with "Permission
 * denied" (libvirt issue 806).
 * source  docs/decisions/0032-apparmor.md
 */
#pragma once
#include "base/err.h"

#define APPARMOR_DIR "/etc/apparmor.d/libvirt"

/* Take the deny of writes to `path` out of the list of the domain. libvirt
 * loads the list with its next change: the one that allows the file.
 * No AppArmor, no list and no such rule are success.
 *
 *   dir     APPARMOR_DIR; tests have their own
 *   errors  of the file
 *   source  virt-aa-helper.c, vah_add_path()
 */
int apparmor_undeny(const char *dir, const char *uuid, const char *path,
                    struct err *err) NODISCARD;
