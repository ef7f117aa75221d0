/* controller/project.h: libvirt's domains as objects.
 *
 * The only writer of projected kinds: VirtualMachine, VirtualMachineInstance,
 * PersistentVolumeClaim, and the Namespaces they live in.
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
 * A VM that is gone is success. */
int project_mark(struct ctl *ctl, const char *ns, const char *vm,
                 const char *field, const char *value, const char *only_if,
                 struct err *err) NODISCARD;
