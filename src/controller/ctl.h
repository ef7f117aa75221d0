/* SPDX-License-Identifier: Apache-2.0 */
/* controller/ctl.h: what every controller works with.
 *
 * One struct ctl per process, made by the daemon, constant while controllers
 * run. A controller is a `struct ctl_part`: a loop (controller/loop.h) that
 * turns changed objects into keys and works on each key in small, repeatable
 * steps. Controllers meet each other and the API only in the store.
 * Threads: any; nothing here changes after ctl_start().
 * source  DESIGN 2, 5, 10
 */
#pragma once
#include <stdint.h>

#include "controller/eventrec.h"
#include "controller/vmlock.h"
#include "store/cache.h"
#include "store/obj.h"
#include "types/kind.h"
#include "virt/virt.h"
#include "volume/volume.h"

/* Borrowed strings; they live as long as the process. */
struct ctl_config {
    const char *state_dir; /* "/var/lib/vmkeep" */
    const char *run_dir;   /* "/run/vmkeep" */
    const char *node;      /* this host's name: status.nodeName */
    const char *guard;     /* path of vmkeep-guard */
    const char *libvirt_uri;
    const char *restore_dir;         /* where restored disks go; NULL: see
                                        controller/hrestore-place.h */
    const char *scratch_dir;         /* controller/pull.h; NULL: not set */
    const char *const *target_roots; /* absolute, NULL at the end */
    uint64_t trash_s;                /* how long replaced disks are kept */
    uint64_t min_free;               /* bytes; 0: the rule max(10 %, 4 GiB) */
    uint64_t agent_timeout_ms;
};

#define CTL_MAX_PARTS 24

/* All [C]: set before ctl_start(), borrowed. */
struct jobs;
struct loop_spec;
struct recover;
struct targets;
struct ctl {
    struct store *store;
    struct cache *cache;
    struct virt *virt;
    struct volume *volume;
    struct vmlock *locks;
    struct eventrec *events;
    struct recover *recover; /* recover_open(); borrowed as the others */
    struct jobs *jobs;       /* job_pool_new(); borrowed; NULL in small tests */
    struct jobs *asks;       /* the same, for job_ask() */
    struct targets *targets; /* the target part's own */
    struct ctl_config config;
    /* ctl_start()'s and ctl_stop()'s own. */
    const struct ctl_part *const *parts;
    void *states[CTL_MAX_PARTS];
    size_t n_started;
};

/* One controller. */
struct ctl_part {
    const char *name;
    /* All of it, if it has no state but its loop; start and stop are NULL. */
    const struct loop_spec *loop;
    /* Returns its state, NULL with err. The store is filled, recovery of
     * freezes and volumes is done. */
    void *(*start)(struct ctl *ctl, struct err *err);
    void (*stop)(void *state); /* waits for the steps that run */
};

extern const struct ctl_part project_part;   /* libvirt -> objects */
extern const struct ctl_part namespace_part; /* contents, then itself */
extern const struct ctl_part ownergc_part;   /* owner references, old events */
extern const struct ctl_part action_part;    /* power, runStrategy */
extern const struct ctl_part snapshot_part;  /* VirtualMachineSnapshot */
extern const struct ctl_part content_part;   /* ...SnapshotContent */
extern const struct ctl_part restore_part;   /* VirtualMachineRestore */
extern const struct ctl_part hrestore_part;  /* Harvester's restores */
extern const struct ctl_part tidy_part;      /* layers nobody needs, trash */
extern const struct ctl_part target_part;    /* BackupTarget */
extern const struct ctl_part vmbackup_part;  /* VirtualMachineBackup */
extern const struct ctl_part target_maintain_part; /* retention, scrub, gc */

/* Start `parts` (NULL at the end; kept) in order; on an error those that run
 * are stopped again. */
int ctl_start(struct ctl *ctl, const struct ctl_part *const *parts,
              struct err *err) NODISCARD;
/* In reverse order. */
void ctl_stop(struct ctl *ctl);

/* The VM object (caller unrefs) from the cache; NOT_FOUND. Its uid is the
 * domain's UUID. */
struct object *ctl_vm(struct ctl *ctl, const char *ns, const char *name,
                      struct err *err) NODISCARD;
/* The VM object with this uid; NULL: none. */
struct object *ctl_vm_by_uid(struct ctl *ctl, const char *uid) NODISCARD;

/* Set the condition `type` in `object`.status.conditions: status "True",
 * "False" or "Unknown"; lastTransitionTime moves only when status does;
 * observedGeneration 0: left out. True if anything changed. */
bool ctl_condition_set(json_t *object, const char *type, const char *status,
                       const char *reason, const char *message,
                       int64_t observed_generation);
/* Take it out; absent is fine. */
void ctl_condition_remove(json_t *object, const char *type);
/* "True", "False", "Unknown", or NULL: not there. Borrowed. */
const char *ctl_condition_get(const json_t *object, const char *type);
/* Its message, or "": not there, or without one. Borrowed. */
const char *ctl_condition_message(const json_t *object, const char *type);
