/* SPDX-License-Identifier: Apache-2.0 */
/* controller/capture.h: what a snapshot keeps of a VM besides its bytes: which
 * disks, and the definition, as the VirtualMachineSnapshotContent holds them.
 *
 * Threads: pure functions.
 * source  spec kubevirt 1.1 (included, excluded), 1.2, 2.4; DESIGN 4 (Disks)
 */
#pragma once
#include "codec/jsonx.h"
#include "controller/snapshot-plan.h"
#include "virt/virt.h"
#include "volume/volume.h"

#define CAPTURE_EXCLUDE_ANNOTATION "vmkeep.io/exclude-volumes"
#define CAPTURE_XML_ANNOTATION     "vmkeep.io/domain-xml"
#define CAPTURE_FINALIZER          "snapshot.kubevirt.io/vmsnapshotcontent-protection"

struct capture_disk {
    const char *target; /* of the domain that was looked at */
    const char *reason; /* why it is left out; NULL: it is in */
    bool is_data;       /* a disk that the guest can write */
    bool is_pulled;     /* in, but it cannot be cut: controller/pull.h */
};
struct capture_disks {
    struct capture_disk *v; /* as in the domain */
    size_t n;
    const char **targets; /* those that are in */
    size_t n_targets;     /* that are cut */
    const char **pulled;  /* that are in and are not cut */
    size_t n_pulled;
    bool is_partial; /* a data disk is left out */
};

/* Which disks of the VM go into a snapshot, or a backup? `exclude`: names of
 * volumes to leave out, separated by commas or blanks; NULL: none. `may_pull`:
 * those too that can only be pulled. Everything is borrowed from `vm`. */
void capture_choose(const struct virt_vm *vm, const char *exclude,
                    bool may_pull, struct capture_disks *ret_disks);
void capture_disks_fini(struct capture_disks *d);
static inline void
capture_disks_fini_p(struct capture_disks *d)
{
    capture_disks_fini(d);
}

/* How the cut went: kept in the content (spec.vmkeep.cut), so that every
 * status can be made from it again. */
struct capture_cut {
    int64_t time_s; /* the instant */
    struct snapshot_moment moment;
    uint64_t frozen_ms, paused_ms;
    unsigned attempts;
    bool has_nvram, has_tpm;
    const char *driver; /* volume_cut_driver(); static. NULL: no disk */
};

struct capture_input {
    const json_t *snapshot; /* VirtualMachineSnapshot */
    const json_t *vm;       /* VirtualMachine */
    const json_t *vmi;      /* VirtualMachineInstance; NULL: not running */
    const json_t *claims;   /* {claim name: PersistentVolumeClaim} */
    const char *domain_xml; /* redacted */
    const struct capture_disks *disks;
    const struct volume_cut_disk *cut_disks; /* disks->n_targets entries */
    const struct capture_cut *cut;
};

/* The VirtualMachineSnapshotContent to create. The caller's. */
json_t *capture_content(const struct capture_input *in) NODISCARD;

/* "vmsnapshot-content-<uid>", "vmsnapshot-<uid>-volume-<volume>" */
char *capture_content_name(const char *snapshot_uid) NODISCARD;
char *capture_volume_snapshot_name(const char *snapshot_uid, const char *volume)
    NODISCARD;
