/* SPDX-License-Identifier: Apache-2.0 */
/* volume/volume.h: snapshots of a VM's disks.
 *
 * Snapshots make trees of layers. The layer table (volume/layer.h) knows each
 * file, its parent and who refers to it; a driver (volume/driver.h: overlay,
 * fault) makes and removes the files; the functions here are the only way to
 * both, check the rules once, and leave a journal from which a crash at any
 * step is completed or undone.
 *
 * A cut is made in four steps, so that only one libvirt call lies between
 * freeze and thaw:   prepare -> [freeze] commit [thaw] -> finish   (or abort)
 * A restore:         prepare -> (the caller redefines the domain) -> finish
 *                    (or abort)
 *
 * The caller holds the VM's lock for all calls on that VM.
 * Threads: any, for different VMs. Everything blocks on disks or libvirt.
 * source  DESIGN 5, 7; docs/formats/layer-table.md
 */
#pragma once
#include "virt/block.h"
#include "virt/virt.h"

struct volume;

/* `dir` holds the layer tables (one file per VM). */
struct volume *volume_open(const char *dir, struct virt *virt, struct err *err)
    NODISCARD;
/* The same with a driver of the caller's choice (volume/driver.h), which is
 * taken; for tests. */
struct driver;
struct volume *volume_open_with(const char *dir, struct virt *virt,
                                struct driver *driver, struct err *err)
    NODISCARD;
void volume_close(struct volume *v);
DEFINE_CLEANUP(volume_close, struct volume *)

/* Can this disk be snapshotted? NULL: yes; else the reason, static text.
 * `inactive`: the same disk in the persistent XML, NULL if it is not there. */
const char *volume_disk_refusal(const struct domxml_disk *disk,
                                const struct domxml_disk *inactive);

/* ---- cut ---- */
struct volume_cut;
struct volume_cut_disk {
    char target[32];
    char layer_id[UUID_STR_SIZE]; /* the layer sealed by the cut */
    uint64_t virtual_size;        /* bytes */
};

/* Check (chain against open files, depth <= 32, free space >= max(10 %, 4 GiB)
 * per disk, or min_free bytes per file system if that is not 0, no foreign job)
 * and write the intent.
 *
 *   cut_id   the snapshot's UID: names the cut for ever
 *   targets  which disks; all must be snapshottable
 *   errors   CONFLICT (split brain); NO_SPACE; BUSY (job); UNSUPPORTED
 */
int volume_cut_prepare(struct volume *v, const struct virt_vm *vm,
                       const char *cut_id, const char *const *targets,
                       size_t n_targets, uint64_t min_free,
                       struct volume_cut **ret_cut, struct err *err) NODISCARD;
/* The same, where copies that share blocks (XFS, btrfs) may be made instead of
 * layers: the VM then has to stand still for the commit. VOLUME_CUT_LAYERS is
 * what volume_cut_prepare() makes. */
enum volume_cut_kind {
    VOLUME_CUT_LAYERS,
    VOLUME_CUT_ANY, /* copies where all disks can be copied soon enough */
};
int volume_cut_prepare_as(struct volume *v, enum volume_cut_kind kind,
                          const struct virt_vm *vm, const char *cut_id,
                          const char *const *targets, size_t n_targets,
                          uint64_t min_free, struct volume_cut **ret_cut,
                          struct err *err) NODISCARD;
/* Must a running VM be suspended (under an armed guard) for the commit? */
bool volume_cut_needs_pause(const struct volume_cut *cut);
/* "overlay" or "reflink". */
const char *volume_cut_driver(const struct volume_cut *cut);
/* The instant. Nothing else between freeze and thaw. */
int volume_cut_commit(struct volume_cut *cut, struct err *err) NODISCARD;
/* Record it; the references now hold. Idempotent after a crash by
 * volume_recover(). `ret_disks`: n_targets entries. */
int volume_cut_finish(struct volume_cut *cut, struct volume_cut_disk *ret_disks,
                      struct err *err) NODISCARD;
/* Undo, whatever was done: merge the new layers back or remove them. */
int volume_cut_abort(struct volume_cut *cut, struct err *err) NODISCARD;
void volume_cut_free(struct volume_cut *cut);
DEFINE_CLEANUP(volume_cut_free, struct volume_cut *)

/* ---- the files behind a cut; change tracking ---- */
struct volume_file {
    char id[UUID_STR_SIZE]; /* of the layer: of its content, kept over merges */
    char *path, *format;    /* absolute; "qcow2" or "raw" */
    uint64_t size;          /* bytes, virtual, as the header says it now */
    struct file_id file;    /* as recorded and as it is: they agree */
};
void volume_files_free(struct volume_file *files, size_t n);

/* The chain of one disk of a cut: the sealed layer first, down to the root.
 * All are there, and are the recorded files.
 *
 *   ret_files  volume_files_free()
 *   errors     NOT_FOUND (cut, target or a file); CORRUPT (another file)
 */
int volume_cut_files(struct volume *v, const char *vm_uuid, const char *cut_id,
                     const char *target, struct volume_file **ret_files,
                     size_t *ret_n, struct err *err) NODISCARD;
/* The same from the layer that the VM writes to. NOT_FOUND: vmkeep knows no
 * such disk (no cut was made of it yet). */
int volume_active_files(struct volume *v, const char *vm_uuid,
                        const char *target, struct volume_file **ret_files,
                        size_t *ret_n, struct err *err) NODISCARD;
/* Why the changes of this disk cannot be recorded in a bitmap: raw, an old
 * qcow2, internal snapshots in any file of its chain (a revert would fail with
 * bitmaps there). Static text; *ret_why NULL: they can.
 *
 *   ret_has_snapshots  it is because of internal snapshots: then no disk of
 *                      the VM should have bitmaps of ours
 */
int volume_tracking_refusal(struct volume *v, const struct virt_vm *vm,
                            const char *target, const char **ret_why,
                            bool *ret_has_snapshots, struct err *err) NODISCARD;
/* Names of the bitmaps that begin with `prefix`, in any file of the VM that
 * the layer table or the domain knows; each once. Caller frees each and the
 * array. Bitmaps made since a running QEMU opened its files are not seen. */
int volume_bitmap_list(struct volume *v, const char *vm_uuid,
                       const char *prefix, char ***ret_names, size_t *ret_n,
                       struct err *err) NODISCARD;
/* Remove this bitmap from all those files, through libvirt from those that a
 * running domain has open. Not there: success. May be repeated.
 *
 *   ret_left  files that still have it, because it is broken and QEMU has them
 *             open: again when the VM is off
 */
int volume_bitmap_remove(struct volume *v, const char *vm_uuid,
                         const char *name, size_t *ret_left, struct err *err)
    NODISCARD;

/* ---- what is kept ---- */
/* The ids of all cuts of the VM. Caller frees each and the array. */
int volume_cut_list(struct volume *v, const char *vm_uuid, char ***ret_ids,
                    size_t *ret_n, struct err *err) NODISCARD;
/* Drop the references of a cut. Space comes back by volume_collect(). A cut
 * that is not there is success. */
int volume_cut_delete(struct volume *v, const char *vm_uuid, const char *cut_id,
                      struct err *err) NODISCARD;
/* The same, and the copies (of a cut by reflink) that nobody else needs go at
 * once, in the same write of the table.
 *
 * The caller has it written down that the cut goes: after a crash the table
 * may still name it while files of it are gone, and this is called again.
 *
 *   ret_is_gone  true: volume_collect() would do nothing
 */
int volume_cut_drop(struct volume *v, const char *vm_uuid, const char *cut_id,
                    bool *ret_is_gone, struct err *err) NODISCARD;
/* Unlink and merge what nothing refers to, as far as the domain's state lets;
 * `ret_left` says how many layers stay hidden (two children, foreign child,
 * trash). Never touches what a domain, header, reference or journal names. */
int volume_collect(struct volume *v, const char *vm_uuid, size_t *ret_left,
                   struct err *err) NODISCARD;
/* Are all layers of the cut there, unchanged in identity, with sane headers?
 * NOT_FOUND names the missing file; CORRUPT. */
int volume_cut_check(struct volume *v, const char *vm_uuid, const char *cut_id,
                     struct err *err) NODISCARD;
/* While a cut is read the guest's writes lie above it, and are merged back
 * afterwards. Is there room for that, and `reserve` bytes more?
 *
 *   errors  NO_SPACE: not any more, says where; the cut should go while the
 *           merge still fits
 */
int volume_cut_room(struct volume *v, const char *vm_uuid, const char *cut_id,
                    uint64_t reserve, struct err *err) NODISCARD;
/* Bytes on disk that go when this cut is deleted (at most; none if others need
 * its layers), and that all layers of the VM take. */
int volume_cut_usage(struct volume *v, const char *vm_uuid, const char *cut_id,
                     uint64_t *ret_own, uint64_t *ret_total, struct err *err)
    NODISCARD;

/* ---- restore ---- */
enum volume_restore_mode {
    VOLUME_IN_PLACE, /* a new overlay on the sealed layer */
    VOLUME_CLONE,    /* a full copy, independent of the VM */
    VOLUME_FILL,     /* an empty file that the caller fills */
};
enum volume_old_disk {
    VOLUME_OLD_TRASH,  /* beside them, for trash_s seconds */
    VOLUME_OLD_RETAIN, /* stays as a detached file, listed as ours */
};
struct volume_new_disk {
    char target[32];
    char *path; /* absolute; of the new file, fsynced */
    char *format;
    uint64_t virtual_size;
};
struct volume_restore;

/* Make the new files for `targets` of the cut; hold QEMU's image locks on all
 * old and new ones (in place) until finish or abort.
 *
 *   restore_id  the restore's UID: the journal's key, repeatable
 *   owner_uuid  whose the new disks are: vm_uuid in place, else the new VM's
 *   errors      BUSY (a disk is in use: QEMU holds its lock); NO_SPACE;
 *               NOT_FOUND (a layer is gone)
 */
int volume_restore_prepare(struct volume *v, const char *vm_uuid,
                           const char *cut_id, const char *restore_id,
                           enum volume_restore_mode mode,
                           const char *owner_uuid, const char *const *targets,
                           size_t n_targets, struct volume_restore **ret_r,
                           struct err *err) NODISCARD;
/* One disk of a restore whose content comes from elsewhere. */
struct volume_fill_disk {
    const char *target;
    const char *format; /* "qcow2" or "raw" */
    uint64_t size;      /* bytes, virtual */
    /* Absolute: a directory, or the disk that this one stands in for: the new
     * file gets its directory, owner and mode and a name made from its name. */
    const char *beside;
};
/* Make empty files, 0600, and leave them to the caller to fill. After this the
 * same functions as for other restores, with volume_restore_filled() before
 * the domain is redefined.
 *
 *   vm_uuid     whose table has the journal: the VM's itself in place, else any
 *               VM's that the caller has locked (the new one's own will do)
 *   in_place    `vm_uuid` is redefined with the new disks: it is off, its disks
 *               are locked until finish or abort, its old ones go by
 *               volume_restore_finish(). Else owner_uuid's are the new files.
 *   errors      as volume_restore_prepare(); NO_SPACE is the caller's to check
 */
int volume_fill_prepare(struct volume *v, const char *vm_uuid,
                        const char *restore_id, const char *owner_uuid,
                        bool in_place, const struct volume_fill_disk *disks,
                        size_t n, struct volume_restore **ret_r,
                        struct err *err) NODISCARD;
/* The caller has written all it wants and closed the files: sync them, and say
 * so in the journal. Only now may the domain name them, and finish succeed. A
 * crash before the domain names them undoes the restore in any case. */
int volume_restore_filled(struct volume_restore *r, struct err *err) NODISCARD;
/* An earlier process (or recovery) completed this very restore: the disks are
 * its result, the domain must not be redefined again; finish applies `old`. */
bool volume_restore_is_finished(const struct volume_restore *r);
const struct volume_new_disk *volume_restore_disks(struct volume_restore *r,
                                                   size_t *ret_n);
/* Write down what finish will do with the old disks: what recovery does if
 * finish is never called after the redefinition. Without it they are retained.
 * Call it before the redefinition. */
int volume_restore_policy(struct volume_restore *r, enum volume_old_disk old,
                          uint64_t trash_s, struct err *err) NODISCARD;
/* Release the image locks: just before virt_define's effect is visible to
 * `virsh start` nothing else may come between. */
void volume_restore_unlock(struct volume_restore *r);
/* The domain names the new files: old ones go where `old` says, only if they
 * are the recorded files and nothing names them; else they are retained and
 * `ret_kept` (caller frees, NULL: none) says which and why. */
int volume_restore_finish(struct volume_restore *r, enum volume_old_disk old,
                          uint64_t trash_s, char **ret_kept, struct err *err)
    NODISCARD;
/* The domain still names the old files: remove the new ones. */
int volume_restore_abort(struct volume_restore *r, struct err *err) NODISCARD;
void volume_restore_free(struct volume_restore *r);
DEFINE_CLEANUP(volume_restore_free, struct volume_restore *)

/* ---- after a crash, and in time ---- */
/* What a job left in the journal of this VM. Call it before anything else on
 * the VM: unfinished cuts are undone, merges completed, restores completed if
 * the domain names their files and undone if not. */
int volume_recover(struct volume *v, const char *vm_uuid, struct err *err)
    NODISCARD;
/* VMs that have a layer table. Caller frees each and the array. */
int volume_list_vms(struct volume *v, char ***ret_uuids, size_t *ret_n,
                    struct err *err) NODISCARD;
/* Empty what is due in the trash. now_s: wall clock. Nothing goes while libvirt
 * does not show the domain, or while anybody names the file. */
int volume_trash_empty(struct volume *v, const char *vm_uuid, int64_t now_s,
                       struct err *err) NODISCARD;
/* Detached files of ours (retained, restored): for claims. */
struct volume_detached {
    char *path, *format, *target;
    uint64_t virtual_size;
};
int volume_list_detached(struct volume *v, const char *vm_uuid,
                         struct volume_detached **ret_v, size_t *ret_n,
                         struct err *err) NODISCARD;
int volume_detached_delete(struct volume *v, const char *vm_uuid,
                           const char *path, struct err *err) NODISCARD;
/* Forget the VM: no reference, no trash left (unless the domain is gone: then
 * those files stay too); its disks stay as they are.
 * `vmkeep vm release`. */
int volume_release(struct volume *v, const char *vm_uuid, struct err *err)
    NODISCARD;
