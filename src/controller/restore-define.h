/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-define.h: which domain a restore defines.
 *
 * Two cases. The VM itself, in place, from XML that we sealed: what libvirt
 * gave us, with other disk files, nothing dropped. Everything else (a new VM,
 * a VM that is gone, XML that is only known from an API object): rebuilt from
 * an allow-list, and what is dropped is listed.
 * Threads: any. Reads libvirt, changes nothing.
 * source  DESIGN 7
 */
#pragma once
#include "controller/restore-apply.h"

struct restore_target {
    char uuid[UUID_STR_SIZE];
    const char *name;  /* of the domain and of the object; borrowed */
    bool is_in_place;  /* the domain is there and stays the same VM */
    bool is_same_uuid; /* the VM that was kept, or its return */
    bool has_tpm;      /* it gets the TPM state of the source */
    const struct restore_source *source; /* borrowed */
    struct domxml *dom;                  /* of the source's XML */
    char (*macs)[18];                    /* one per NIC; "" : as in the XML */
    uint64_t memory_kib;
    unsigned vcpus;
    const char *serial;    /* borrowed from manifest; NULL: as it is */
    char *nvram;           /* the file it will have; NULL: none */
    json_t *manifest;      /* the patched definition; NULL: in place */
    struct virt_vm *old;   /* in place: the domain as preflight saw it */
    const char *domain_ns; /* for the metadata; NULL: default */
    json_t *notes;         /* lines for status.vmkeep.dropped */
};

/* Look at everything that could refuse the restore, and decide who the target
 * is. Nothing is changed.
 *
 *   chosen_uuid  of an earlier try, kept; NULL: choose
 *   errors       EXISTS (name, UUID or MAC taken); CONFLICT (managed save);
 *                BUSY (still running); INVALID (a patch)
 */
int restore_define_preflight(struct ctl *ctl, const struct restore_job *job,
                             const char *chosen_uuid,
                             struct restore_target *ret_target, struct err *err)
    NODISCARD;
/* The definition of a new VM: `vm` as the source has it, with the restore's
 * name and patches. The caller's. errors  INVALID (a patch) */
json_t *restore_define_manifest(const json_t *restore, const json_t *vm,
                                struct err *err) NODISCARD;
/* The XML to define, with the new disks. Lines about what was dropped go to
 * target->notes. */
int restore_define_xml(struct restore_target *target,
                       const struct volume_new_disk *disks, size_t n_disks,
                       char **ret_xml, struct err *err) NODISCARD;
void restore_define_fini(struct restore_target *target);
static inline void
restore_define_fini_p(struct restore_target *target)
{
    restore_define_fini(target);
}
