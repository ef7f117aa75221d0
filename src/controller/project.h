/* SPDX-License-Identifier: Apache-2.0 */
/* controller/project.h: libvirt's domains as objects.
 *
 * The only writer of projected kinds: VirtualMachine, VirtualMachineInstance,
 * PersistentVolumeClaim, the Namespaces they live in, Node, StorageClass.
 * Threads: any. source  DESIGN 4
 */
#pragma once
#include "controller/ctl.h"

/* Read this domain again soon: after a change that libvirt does not report
 * (a new overlay, a detached file). */
void project_poke(struct ctl *ctl, const char *vm_uuid);
/* What the daemon's virt_event_fn calls. Any thread; only enqueues. */
void project_event(struct ctl *ctl, enum virt_event event, const char *uuid);

/* status.snapshotInProgress / status.restoreInProgress of a VM: set to
 * `value`, or removed (NULL) if it is `only_if` (NULL: whatever it is).
 * A VM that is gone is success when removing.
 * errors  NOT_FOUND; CONFLICT (set, and another one is there) */
int project_mark(struct ctl *ctl, const char *ns, const char *vm,
                 const char *field, const char *value, const char *only_if,
                 struct err *err) NODISCARD;

/* Which claim the volume `volume` ("vda") of this VM uses from now on: a
 * restore gave it a new disk under another name. The claim object follows
 * with the next look at the domain; the old one becomes the detached file's,
 * if volume/ lists that. */
int project_set_claim(struct ctl *ctl, const char *ns, const char *vm,
                      const char *volume, const char *claim, struct err *err)
    NODISCARD;

/* Labels and annotations of claims. */
#define PROJECT_LABEL_VM       "vmkeep.io/vm"
#define PROJECT_LABEL_VOLUME   "vmkeep.io/volume"
#define PROJECT_LABEL_DETACHED "vmkeep.io/detached" /* "true" */
#define PROJECT_NOTE_PATH      "vmkeep.io/path"
#define PROJECT_NOTE_FORMAT    "vmkeep.io/format"
/* Annotations of VMs. */
#define PROJECT_NOTE_DOMAIN  "vmkeep.io/domain"
#define PROJECT_NOTE_EXCLUDE "vmkeep.io/exclude-volumes" /* "vdb,vdc" */
