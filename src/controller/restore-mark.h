/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-mark.h: the marks that a restore leaves on the VM, its
 * claims and itself once the domain is defined.
 *
 * Threads: any. Blocks on the store.
 * source  spec kubevirt 1.3 (owner), 1.4, 3.5
 */
#pragma once
#include "controller/ctl.h"

#define RESTORE_MARK_NOTE      "restore.kubevirt.io/lastRestoreUID"
#define RESTORE_MARK_NAME_NOTE "restore.kubevirt.io/name"

/* Harvester's words. */
#define RESTORE_MARK_HARVESTER      "restore.harvesterhci.io/last-restore-uid"
#define RESTORE_MARK_HARVESTER_NAME "restore.harvesterhci.io/name"

struct restore_mark {
    struct ctl *ctl;
    const json_t *restore_json;
    const json_t *source_vm; /* the definition that was kept */
    const json_t *disks;     /* of the try: [{volume, path, claim}] */
    const char *ns, *vm_name;
    const char *note; /* the annotation that says `last`: RESTORE_MARK_... */
    const char *name_note; /* of claims: the restore's name */
    const char *last;      /* "<restore name>-<uid>" */
    bool is_new;           /* the VM was made by this restore */
    bool is_bare;          /* of the source's labels, annotations and run
                         strategy it gets nothing */
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
