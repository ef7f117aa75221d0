/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-source.h: what a restore restores from.
 *
 * A cut of a snapshot, or a backup in a repository: the definition of the VM,
 * its domain XML, and a way to make its disks again. The path of a restore
 * (restore-define.h, restore-apply.h) sees nothing else of them.
 * Threads: a struct restore_source is one thread's at a time.
 * source  DESIGN 7
 */
#pragma once
#include "base/uuid.h"
#include "controller/ctl.h"

struct restore_source;

/* What the source is asked for. */
struct restore_request {
    const char *restore_uid;   /* the key of volume/'s journal */
    const char *owner_uuid;    /* whose the disks will be */
    const struct virt_vm *old; /* in place: the domain as it is; else NULL */
};

struct restore_source {
    char vm_uuid[UUID_STR_SIZE]; /* of the VM that was kept */
    char id[UUID_STR_SIZE];      /* the name of its firmware files */
    char *firmware_dir; /* what controller/firmware.h calls state_dir */
    json_t *vm;         /* its definition: {metadata, spec} */
    char *xml;          /* secure: wiped when freed */
    bool is_xml_ours;   /* it was sealed by this host: nobody edited it */
    bool has_nvram, has_tpm;
    char **targets; /* "vda": the disks that are in it */
    size_t n_targets;
    json_t *notes; /* lines about the source, for the user */
    /* Make new disks with the bytes of `targets`, fsynced. The source may also
     * put its firmware files in place now. At least one target.
     *   errors  as volume_restore_prepare(); CANCELLED */
    int (*make_disks)(struct ctl *ctl, struct restore_source *source,
                      const struct restore_request *rq,
                      struct volume_restore **ret_volume, struct err *err);
    void *arg; /* of make_disks; borrowed */
};

/* The cut of a snapshot that is ready.
 * errors  CORRUPT (no definition in it) */
int restore_source_snapshot(struct ctl *ctl, const json_t *snapshot,
                            const json_t *content,
                            struct restore_source *ret_source, struct err *err)
    NODISCARD;
void restore_source_fini(struct restore_source *source);
static inline void
restore_source_fini_p(struct restore_source *source)
{
    restore_source_fini(source);
}

/* Add a line to source->notes. */
void restore_source_note(struct restore_source *source, const char *line);
