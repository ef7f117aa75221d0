/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tracking.h: what a VM's bitmaps mean: which backup each belongs
 * to, and what the disks were when it was made.
 *
 * One file per VM. A backup's bitmap is *pending* from before its checkpoint
 * is made until its backup is committed; then it takes the place of the
 * *committed* one, which is removed. A VM never has more than these two; what
 * could not be removed yet is remembered as *stale* and no new bitmap is made
 * before it is gone.
 *
 *     tracking_begin     the file says "pending"          (before the freeze)
 *     virt_checkpoint_create(tracking_name())              before it, too
 *     volume_cut_commit, _finish
 *     tracking_cut       what was recorded; libvirt's note is forgotten
 *     tracking_judge     per disk: full, dirty, rescan
 *     tracking_commit    after the repository's commit;    or tracking_abort
 *
 * Where the cut copies the disks (XFS, btrfs), there are no bitmaps: the
 * committed backup's copies are kept until the next one has been committed, and
 * are compared with that one's (disk/clonediff.h):
 *
 *     tracking_begin
 *     tracking_begin_clone  once the cut is known to make copies
 *     volume_cut_commit, _finish; tracking_cut, _judge, _commit as above
 *     tracking_keeps        the cut's references stay
 *
 * The caller holds the VM's lock (begin to cut: CUT; commit, abort, drop: a
 * lock that keeps cuts, starts and stops away). All may be repeated.
 * Threads: any, for different VMs. Everything blocks on disks or libvirt.
 * source  docs/formats/tracking.md, docs/decisions/0022-checkpoints.md
 */
#pragma once
#include "controller/ctl.h"
#include "controller/trust.h"

/* Of the bitmap of the backup object with this uid: "vmkeep-<uid>". */
#define TRACKING_PREFIX    "vmkeep-"
#define TRACKING_NAME_SIZE (sizeof TRACKING_PREFIX - 1 + UUID_STR_SIZE)
void tracking_name(const char *backup_uid, char ret_name[TRACKING_NAME_SIZE]);

/* ---- the file; tracking-code.c is pure ---- */
struct tracking_disk {
    char target[32];
    char layer[UUID_STR_SIZE]; /* the layer that the cut sealed */
    char *path, *format;
    struct file_id file;
    uint64_t size;
};
struct tracking_point {
    char backup[UUID_STR_SIZE]; /* the VirtualMachineBackup's uid */
    char repo[UUID_STR_SIZE];   /* the repository's UUID */
    char *entry;                /* the backup's id there; NULL while pending */
    int64_t time_s;
    bool is_clone; /* copies, kept by the cut of this backup; no bitmaps */
    struct tracking_disk *disks; /* those with a bitmap or a copy; pending: none
                                  * before tracking_cut() */
    size_t n;
};
struct tracking {
    char vm[UUID_STR_SIZE];
    struct tracking_point *pending, *committed; /* NULL: none */
    char (*stale)[UUID_STR_SIZE]; /* uids whose bitmaps have to go */
    size_t n_stale;
    char (*released)[UUID_STR_SIZE]; /* uids whose kept copies have to go */
    size_t n_released;
};
void tracking_free(struct tracking *t);
DEFINE_CLEANUP(tracking_free, struct tracking *)
void tracking_code_encode(const struct tracking *t, struct buf *out);
/* errors  CORRUPT; UNSUPPORTED (version) */
struct tracking *tracking_code_decode(const char *text, size_t len,
                                      struct err *err) NODISCARD;

/* The VM's file; one that says nothing when there is none or it is damaged
 * (then nothing is believed, and the next backup compares). */
struct tracking *tracking_load(struct ctl *ctl, const char *vm_uuid,
                               struct err *err) NODISCARD;

/* ---- a backup's way ---- */

/* Which disks get a bitmap. */
struct tracking_choice {
    const char **targets; /* pointers into the cut's */
    size_t n;             /* 0: no checkpoint is to be made */
    /* Then why, a sentence for the status, static: VM off, raw disks, internal
     * snapshots (then the old bitmaps go as well), a stale bitmap that cannot
     * be removed now. Else NULL. */
    const char *why;
};

/* Which of the cut's disks get a bitmap, and write them down as pending. An
 * earlier pending one of another backup is removed first, stale ones too.
 *
 *   targets  the cut's
 *   choice   ->targets is an array of n entries, which the caller has set
 */
int tracking_begin(struct ctl *ctl, const struct virt_vm *vm,
                   const char *backup_uid, const char *repo_uuid,
                   const char *const *targets, size_t n,
                   struct tracking_choice *choice, struct err *err) NODISCARD;
/* The cut copies the disks: what is pending are those copies, and no bitmap was
 * made since tracking_begin(). */
int tracking_begin_clone(struct ctl *ctl, const char *vm_uuid,
                         const char *backup_uid, const char *repo_uuid,
                         struct err *err) NODISCARD;
/* After volume_cut_finish(): the generation record of the disks, `targets` as
 * tracking_begin() returned them. libvirt's note of the checkpoint goes. */
int tracking_cut(struct ctl *ctl, const char *vm_uuid, const char *backup_uid,
                 const char *const *targets, size_t n, struct err *err)
    NODISCARD;

/* What to read of one disk of the cut `backup_uid`. */
struct tracking_verdict {
    struct trust_verdict trust;
    char bitmap[TRACKING_NAME_SIZE]; /* for disk_dirty_read() on each of */
    struct volume_file *files;       /* the chain: sealed first */
    size_t n_files;                  /* trust.n_layers of them have it */
    struct volume_file *before;      /* trust.by_clone: their copies, n_files */
    size_t n_before;
};
void tracking_verdict_fini(struct tracking_verdict *v);
static inline void
tracking_verdict_fini_p(struct tracking_verdict *v)
{
    tracking_verdict_fini(v);
}
/* The parent that the repository would store this backup against. */
struct tracking_parent {
    const char *repo;  /* the repository's UUID */
    const char *entry; /* the parent's id there; NULL: there is none */
    bool has_disk;     /* it has a disk of this target */
    uint64_t size;     /* of that disk */
};
/* The id of the backup that the VM's bitmaps start from, if it was made for
 * this repository: the parent to choose, if the repository still has it. A
 * stopped VM's backup does not change it. NULL: none. Caller frees. */
char *tracking_parent_entry(struct ctl *ctl, const char *vm_uuid,
                            const char *repo_uuid);
int tracking_judge(struct ctl *ctl, const char *vm_uuid, const char *cut_id,
                   const char *target, const struct tracking_parent *parent,
                   struct tracking_verdict *ret, struct err *err) NODISCARD;

/* The repository has committed it as `entry`: pending becomes committed, the
 * bitmap before it is removed (or stale). No pending of this backup: nothing
 * changes. */
int tracking_commit(struct ctl *ctl, const char *vm_uuid,
                    const char *backup_uid, const char *entry, struct err *err)
    NODISCARD;
/* Are the copies of this backup what the next one is compared with? Then the
 * references of its cut stay. */
bool tracking_keeps(struct ctl *ctl, const char *vm_uuid,
                    const char *backup_uid) NODISCARD;
/* The backup will not be: its bitmap is removed (or stale). */
int tracking_abort(struct ctl *ctl, const char *vm_uuid, const char *backup_uid,
                   struct err *err) NODISCARD;
/* volume_collect(), and the committed record goes with the layers: a merge may
 * leave neither the id nor the file of the layer that was recorded, and then
 * the next backup would have to compare the disk. Whoever merges calls this. */
int tracking_collect(struct ctl *ctl, const char *vm_uuid, size_t *ret_left,
                     struct err *err) NODISCARD;
/* A bitmap lied (audit): nothing committed is believed any more. */
int tracking_distrust(struct ctl *ctl, const char *vm_uuid, struct err *err)
    NODISCARD;
/* Every trace of bitmaps and checkpoints of ours goes, the file last.
 * CONFLICT: broken ones in files that QEMU has open; again when it is off. */
int tracking_drop(struct ctl *ctl, const char *vm_uuid, struct err *err)
    NODISCARD;

/* After a start, and in time: a pending one whose VirtualMachineBackup is gone
 * or has failed is aborted, stale ones are removed. A pending one whose object
 * is still at work is left to its controller. Copies that are kept for a backup
 * that is gone or not ready go. A VM that cannot be touched now is no error. */
int tracking_recover(struct ctl *ctl, const char *vm_uuid, struct err *err)
    NODISCARD;
