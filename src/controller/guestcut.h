/* SPDX-License-Identifier: Apache-2.0 */
/* controller/guestcut.h: one cut of a guest: its disks and its firmware at one
 * instant, with its definition. What snapshots and backups have in common.
 *
 * Threads: any; the caller holds the VM's lock as CUT for all of it.
 * source  DESIGN 5; spec kubevirt 2.4 to 2.6
 */
#pragma once
#include "controller/capture.h"
#include "controller/ctl.h"
#include "controller/freeze.h"
#include "controller/pull.h"

struct guestcut;

/* Borrowed until guestcut_fini(). */
struct guestcut_job {
    const char *uid; /* of the object that wants it: names the cut */
    const char *vm_uuid;
    const char *exclude;       /* capture_choose() */
    enum volume_cut_kind kind; /* copies, or layers only */
    bool may_pull;             /* disks that cannot be cut (pull.h) */
    bool never_freezes;
    uint64_t hold_ms; /* freeze_begin(); 0: the rule */
    /* Called just before the freeze, when nothing is left but that: what must
     * be there when the disks are cut. Undone by the caller if the cut fails.
     * NULL: none. */
    int (*before)(void *arg, struct err *err);
    void *arg;
};

struct guestcut {
    struct ctl *ctl;
    struct guestcut_job job;
    struct virt_vm *vm;
    char *xml_secure, *xml_redacted; /* the inactive definition */
    struct capture_disks disks;
    struct volume_cut_disk *cut_disks; /* disks.n_targets of them */
    struct capture_cut record;         /* how it went */
    bool is_freeze_failure;            /* the agent was the reason */
    struct volume_cut *cut;            /* its own; NULL: no disk to cut */
    struct pull *pull;                 /* its own; NULL: none to pull */
    struct freeze_hold hold;           /* its own */
};
void guestcut_fini(struct guestcut *g); /* undoes nothing */
static inline void
guestcut_fini_p(struct guestcut *g)
{
    guestcut_fini(g);
}

/* Read the VM: which disks, which definition. Changes nothing.
 * `g`: guestcut_fini(), in any case. */
int guestcut_look(struct ctl *ctl, const struct guestcut_job *job,
                  struct guestcut *g, struct err *err) NODISCARD;
/* The cut itself. On an error the disks are as they were (or will be before
 * the VM is touched again), but for what `before` did. */
int guestcut_make(struct guestcut *g, struct err *err) NODISCARD;
/* Make durable what is kept beside the disks: definition, firmware. */
int guestcut_seal(struct guestcut *g, struct err *err) NODISCARD;

/* Remove whatever cuts of this object left: references (layers go with
 * controller/tidy.c), sealed XML, firmware. Idempotent; the caller holds the
 * VM's lock as CUT or MERGE. `vm_uuid` NULL: no VM was ever locked. */
int guestcut_undo(struct ctl *ctl, const char *vm_uuid, const char *uid,
                  struct err *err) NODISCARD;
/* The same for a finished cut whose object is being deleted; copies go at
 * once. The lock is held as MERGE. `ret_is_gone`: there is nothing left that
 * tracking_collect() would remove. */
int guestcut_drop(struct ctl *ctl, const char *vm_uuid, const char *uid,
                  bool *ret_is_gone, struct err *err) NODISCARD;

/* What the VM's and the object's annotation leave out; the caller's. */
char *guestcut_exclusions(const json_t *vm, const json_t *object) NODISCARD;
/* {name: PersistentVolumeClaim} of the disks that are in; the caller's. */
json_t *guestcut_claims(const struct guestcut *g, const json_t *vm) NODISCARD;
