/* SPDX-License-Identifier: Apache-2.0 */
/* controller/recover.h: after a crash: who must be put right before anybody
 * touches him, and the parts that outlive a restart.
 *
 * At start nothing is waited for: freezes of the journal are thawed in the
 * background, and each VM's volume journal is settled (volume_recover) by
 * whoever comes to that VM first, at the latest by controller/tidy.c.
 * Threads: any. source  DESIGN 2, 10
 */
#pragma once
#include "controller/ctl.h"
#include "controller/freeze.h"
#include "controller/secrets.h"

struct recover;

/* Opens the guard, the freeze journal and the secrets, and starts to thaw what
 * the journal names. Before ctl_start(); `ctl` has store, virt, volume, locks
 * and config. Put the result into ctl->recover. */
struct recover *recover_open(struct ctl *ctl, struct err *err) NODISCARD;
/* After ctl_stop(). NULL is fine. */
void recover_close(struct recover *r);
DEFINE_CLEANUP(recover_close, struct recover *)

struct freeze *recover_freeze(struct ctl *ctl);
struct secrets *recover_secrets(struct ctl *ctl);

/* May this VM be touched? Settles what a crash left, once. The caller holds
 * the VM's lock.
 * errors  BUSY (a thaw is owed); UNAVAILABLE (no libvirt); what volume/ says */
int recover_vm(struct ctl *ctl, const char *vm_uuid, struct err *err) NODISCARD;
/* A step on this VM was left half done by an error: settle it again before
 * the next one. */
void recover_again(struct ctl *ctl, const char *vm_uuid);
