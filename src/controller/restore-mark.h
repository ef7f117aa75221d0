/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-mark.h: the marks that a restore leaves on the VM, its
 * claims and itself once the domain is defined.
 *
 * Threads: any. Blocks on the store.
 * source  spec kubevirt 1.3 (owner), 1.4, 3.5
 */
#pragma once
#include "controller/ctl.h"

#define RESTORE_MARK_NOTE "restore.kubevirt.io/lastRestoreUID"

struct restore_mark {
    struct ctl *ctl;
    const json_t *restore_json, *content_json;
    const char *ns, *vm_name;
    const char *last; /* "<restore name>-<uid>" */
    bool is_new;      /* the VM was made by this restore */
};

/* Names, labels and annotations of the restored claims.
 * 0; 1: one of them is not there yet; -1 */
int restore_mark_claims(const struct restore_mark *m, struct err *err)
    NODISCARD;
/* The VM: lastRestoreUID; a new one also its labels, annotations and run
 * strategy, patched. */
int restore_mark_vm(const struct restore_mark *m, struct err *err) NODISCARD;
/* The restore belongs to the VM. *restore is replaced by the new version. */
int restore_mark_owner(struct ctl *ctl, struct object **restore,
                       struct object *vm, struct err *err) NODISCARD;
