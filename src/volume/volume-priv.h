/* SPDX-License-Identifier: Apache-2.0 */
/* volume/volume-priv.h: what the volume-*.c files share. For them only. */
#pragma once
#include "volume/driver.h"
#include "volume/imglock.h"
#include "volume/layer.h"
#include "volume/plan.h"
#include "volume/volume.h"

struct volume {
    char *dir;             /* [C] of the layer tables */
    int dirfd;             /* [C] */
    struct virt *virt;     /* [C] borrowed */
    struct driver *driver; /* [C] */
};

/* ---- volume.c: tables and files ---- */
/* The table of a VM; one without rows when there is no file. */
struct layer_table *volume_load(struct volume *v, const char *vm_uuid,
                                struct err *err) NODISCARD;
/* Durable when it returns; a table that says nothing becomes no file. */
int volume_save(struct volume *v, const struct layer_table *t, struct err *err)
    NODISCARD;
/* Lower-case UUID, or INVALID. */
int volume_check_id(const char *id, const char *what, struct err *err)
    NODISCARD;
/* "<dir>/<stem of like>.vmkeep-<id>.qcow2"; UNSUPPORTED if it gets too long. */
char *volume_overlay_path(const char *like, const char *id, struct err *err)
    NODISCARD;
/* The same with the suffix of `format`. */
char *volume_path_like(const char *like, const char *id, const char *format,
                       struct err *err) NODISCARD;
/* The domain, NULL if there is none: *ret_vm is NULL then, and 0 returned. */
int volume_domain(struct volume *v, const char *vm_uuid,
                  struct virt_vm **ret_vm, struct err *err) NODISCARD;
/* Redefine the domain with other disk files: invariant 7: they are synced. */
int volume_retarget(struct volume *v, const char *vm_uuid,
                    const struct domxml_source *sources, size_t n,
                    struct err *err) NODISCARD;
/* Before a running VM is cut: where its definition says "volume" it says
 * "file" from now on. libvirt 9.0 takes a disk of the running VM and that of
 * its definition for the same one only if both are files; else the cut would
 * leave the definition at the sealed file, and the next start would lose every
 * write since. */
int volume_name_files(struct volume *v, const struct virt_vm *vm,
                      const char *const *targets, size_t n_targets,
                      struct err *err) NODISCARD;

/* ---- volume-facts.c: what is so now ---- */
/* What a header says, or a raw file's length. `dir` of `path` resolves a
 * relative name. Nothing is probed: `format` decides.
 *   ret_backing_path  NULL: none, or one that is no file (*ret_odd then) */
struct volume_image {
    struct file_id file;
    uint64_t size, blocks; /* bytes: virtual, allocated */
    char *backing, *backing_format;
    bool has_backing;
    bool has_data;        /* qcow2: any cluster of its own */
    unsigned version;     /* of qcow2; 0: raw */
    unsigned n_snapshots; /* internal ones */
    const char *refusal;  /* why it cannot be snapshotted, static; or NULL */
};
void volume_image_fini(struct volume_image *i);
static inline void
volume_image_fini_p(struct volume_image *i)
{
    volume_image_fini(i);
}
/* errors  NOT_FOUND; CORRUPT; INVALID (not of that format); UNSUPPORTED (not
 *         a regular file) */
int volume_image_read(const char *path, const char *format,
                      struct volume_image *ret, struct err *err) NODISCARD;
int volume_facts_read(struct volume *v, const struct layer_table *t,
                      struct plan_facts *ret, struct err *err) NODISCARD;

enum {
    VOLUME_CHAIN_MAX = 256 /* headers followed from one disk; loops end here */
};
/* ---- volume-files.c ---- */
/* Each file of a chain by what the headers say, the top first; ends at one
 * that names no file below, or no format for it. fn's failure ends it. */
int volume_files_walk(const char *path, const char *format,
                      int (*fn)(void *arg, const char *path, const char *format,
                                const struct volume_image *i, struct err *err),
                      void *arg, struct err *err) NODISCARD;

/* ---- volume-bitmap.c ---- */
/* The overlay `to`, new and empty, records from now on in all bitmaps in which
 * `from`, the file below it, does. `locks`: held on `to`; NULL: none. */
int volume_bitmap_carry(const struct qimg_file *from, const char *to,
                        const struct imglock *locks, struct err *err) NODISCARD;
/* Let the commit of `top` into `base` keep what bitmaps say. Both closed, the
 * locks on them the caller's, in `locks`. */
int volume_bitmap_before_merge(const struct qimg_file *base,
                               const struct qimg_file *top,
                               const struct imglock *locks, struct err *err)
    NODISCARD;

/* Which of two files does the domain name as this disk? */
enum volume_names {
    VOLUME_NAMES_NEITHER,
    VOLUME_NAMES_A,
    VOLUME_NAMES_B,
};
enum volume_names volume_names(const struct domxml *d, const char *target,
                               const struct layer *a, const struct layer *b);
bool volume_chain_has(const struct domxml *d, const char *target,
                      const struct layer *l);

/* ---- volume-writer.c: when libvirt cannot be believed ---- */
/* Which of two files does the guest write to? `top` lies on `base`. */
enum volume_writer {
    VOLUME_WRITER_NONE, /* nobody has one open; or it does not matter */
    VOLUME_WRITER_TOP,
    VOLUME_WRITER_BASE,
    VOLUME_WRITER_UNKNOWN, /* both are open for writing, or too little is
                              written to see it */
};
/* By the files that QEMU has open; does not ask libvirt. */
int volume_writer(struct volume *v, const char *vm_uuid,
                  const struct layer *top, const struct layer *base,
                  enum volume_writer *ret, struct err *err) NODISCARD;
/* UNKNOWN, and libvirt knows of no job: watch them for some seconds. */
int volume_writer_watch(const struct layer *top, const struct layer *base,
                        enum volume_writer *ret, struct err *err) NODISCARD;
/* No QEMU: which was written to last, by the guest, after a commit that was
 * ready? NONE: both hold the same. The image locks of both are the caller's. */
int volume_writer_last(const struct layer *top, const struct layer *base,
                       const struct imglock *locks, enum volume_writer *ret,
                       struct err *err) NODISCARD;

/* ---- volume-merge.c ---- */
/* Commit C (its row's id) into its parent; the plan has allowed it. */
int volume_merge(struct volume *v, struct layer_table *t, const char *l_id,
                 const char *c_id, struct err *err) NODISCARD;
/* Go on with the merge in t's journal; *ret_is_open: it has to wait. */
int volume_merge_resume(struct volume *v, struct layer_table *t,
                        bool *ret_is_open, struct err *err) NODISCARD;

/* ---- volume-recover.c ---- */
/* Complete or undo the job in the journal. It may stay open without an error
 * (t->job.kind) when the domain is not there. */
int volume_settle(struct volume *v, struct layer_table *t, struct err *err)
    NODISCARD;

/* ---- volume-collect.c ---- */
int volume_collect_table(struct volume *v, struct layer_table *t,
                         size_t *ret_left, struct err *err) NODISCARD;

/* ---- volume-cut.c, volume-cut-undo.c ---- */
/* The domain names the new file of this disk: the rows say so too. */
int volume_cut_switch(struct layer_table *t, const struct layer_job_disk *d,
                      struct err *err) NODISCARD;
/* Undo the cut in t's journal; the merges are left to a collect. */
int volume_cut_undo(struct volume *v, struct layer_table *t, bool *ret_is_open,
                    struct err *err) NODISCARD;

/* ---- volume-register.c ---- */
/* The row of the disk that the domain `now` names, made if it is not there; it
 * has the target, with a path and a format. */
int volume_cut_register(struct layer_table *t, const char *target,
                        const struct domxml *now, struct layer **ret,
                        struct err *err) NODISCARD;

/* ---- volume-copy.c ---- */
/* Can these disks (rows' ids) be cut by copies, and soon enough? */
bool volume_copy_fits(struct volume *v, const struct layer_table *t,
                      char (*ids)[UUID_STR_SIZE], size_t n);
/* Rows and job lines for one disk (the id of its active row). */
int volume_copy_plan(struct layer_table *t, const char *id, struct err *err)
    NODISCARD;
/* After the journal is written: the empty files, and what need not wait for
 * the instant. */
int volume_copy_prepare(struct volume *v, struct layer_table *t,
                        struct err *err) NODISCARD;
/* The instant. The VM is off and locked, or stands still. */
int volume_copy_commit(struct volume *v, const struct layer_table *t,
                       struct err *err) NODISCARD;
/* Durable; the rows are kept, the references of the cut are there. */
int volume_copy_finish(struct volume *v, struct layer_table *t, struct err *err)
    NODISCARD;
/* Remove what the copy in t's journal made, and end it. */
int volume_copy_undo(struct volume *v, struct layer_table *t, struct err *err)
    NODISCARD;

/* ---- volume-restore.c, volume-restore-end.c, volume-fill.c ---- */
struct volume_restore {
    struct volume *v;
    struct layer_table *t;
    char id[UUID_STR_SIZE];
    struct volume_new_disk *disks;
    size_t n;
    struct imglock *locks; /* NULL: released, or not in place */
    bool is_done;          /* by an earlier process, or by finish */
};
/* One more disk of the result. */
void volume_restore_add(struct volume_restore *r, const char *target,
                        const char *path, const char *format, uint64_t size);
/* How every restore begins: load and settle the table. r->is_done: it is over
 * already, and `r` holds its result. errors  BUSY (another job is open) */
int volume_restore_open(struct volume *v, const char *vm_uuid,
                        const char *restore_id, const char *owner_uuid,
                        size_t n_disks, struct volume_restore *r,
                        struct err *err) NODISCARD;
int volume_restore_check_off(const struct virt_vm *vm, struct err *err)
    NODISCARD;
/* Remove the new files of t's journal and end it. */
int volume_restore_undo(struct volume *v, struct layer_table *t,
                        struct err *err) NODISCARD;
int volume_restore_settle(struct volume *v, struct layer_table *t,
                          bool *ret_is_open, struct err *err) NODISCARD;
