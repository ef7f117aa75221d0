/* SPDX-License-Identifier: Apache-2.0 */
/* virt/block.h: the disks of a running domain: cut, merge, and who has which
 * file open.
 *
 * Threads: any; at most one block operation per domain at a time (the
 * caller's VM lock sees to it).
 * source  spec guest.md 3, 7; libvirt 9.0
 */
#pragma once
#include "base/file-id.h"
#include "virt/virt.h"

struct virt_overlay {
    const char *target; /* "vda" */
    const char *path;   /* of a qcow2 that is there: empty, without bitmaps,
                         * of the disk's size, its header naming the disk's
                         * file as the one below */
};

/* What virt_overlay_switch() will ask of libvirt, made while nothing waits:
 * every disk of `live` that is named gets its overlay, the others are not
 * touched. The caller's.
 *
 *   errors  NOT_FOUND (no such disk, or no such file)
 */
int virt_overlay_request(const struct domxml *live,
                         const struct virt_overlay *overlays, size_t n,
                         char **ret_request, struct err *err) NODISCARD;
/* All disks of the request at one instant. One atomic call, no libvirt
 * metadata. CONFLICT: it is not running. */
int virt_overlay_switch(struct virt *v, const char *uuid, const char *request,
                        struct err *err) NODISCARD;

/* A merge of `top` (and all between) into `base` while the domain runs. */
struct virt_commit {
    const char *uuid, *target, *base, *top;
    uint64_t timeout_ms;         /* without progress: aborted, TIMEOUT */
    const volatile bool *cancel; /* looked at between polls; may be NULL */
    /* Called before the domain is told to pivot: from then on a crash of
     * libvirtd may leave a QEMU that writes to `base` and a libvirt that
     * believes in `top`. May be NULL; -1: no pivot, the job is aborted. */
    int (*before_pivot)(void *arg, struct err *err);
    void *arg;
};
/* Blocks until done. If top is the active layer the domain is pivoted onto
 * base. */
int virt_block_commit(struct virt *v, const struct virt_commit *c,
                      struct err *err) NODISCARD;
/* The same for a job that an earlier process began: it is waited for, and
 * pivoted. *ret_found false: there is none.
 *
 *   errors  BUSY (somebody else's job); TIMEOUT (it was aborted, unless
 *           libvirtd would die of that)
 */
int virt_block_commit_resume(struct virt *v, const struct virt_commit *c,
                             bool *ret_found, struct err *err) NODISCARD;

/* A job on this disk that is not ours, or is left over from a crash? */
int virt_block_job(struct virt *v, const char *uuid, const char *target,
                   bool *ret_is_active, bool *ret_is_ready, struct err *err)
    NODISCARD;
/* End a left-over job: pivot when it is ready, else abort. */
int virt_block_job_end(struct virt *v, const char *uuid, const char *target,
                       bool pivot, struct err *err) NODISCARD;
/* A domain job (backup, migration, save) in progress? Names it. */
int virt_domain_job(struct virt *v, const char *uuid, bool *ret_is_active,
                    char *ret_what, size_t what_size, struct err *err)
    NODISCARD;

/* A file that the domain's QEMU process has open, by /proc. */
struct virt_open_file {
    struct file_id id;
    char *path; /* as the kernel names it; a hint only */
    bool is_writable;
};
struct virt_open_files {
    struct virt_open_file *v;
    size_t n;
};
void virt_open_files_fini(struct virt_open_files *f);
static inline void
virt_open_files_fini_p(struct virt_open_files *f)
{
    virt_open_files_fini(f);
}

/* Regular files and block devices open in the QEMU of this domain. Asks
 * /proc, not QMP (which would taint the domain). NOT_FOUND: no process;
 * CONFLICT: two claim to be it. */
int virt_open_files(struct virt *v, const char *uuid,
                    struct virt_open_files *ret_files, struct err *err)
    NODISCARD;
