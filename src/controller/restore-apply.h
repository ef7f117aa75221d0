/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-apply.h: one try to restore: preflight, new disks, the
 * definition, the old disks.
 *
 * Until the domain is defined the VM is as it was, and an error leaves it so.
 * Both kinds of restores go this way; what they restore from is a struct
 * restore_source, what they say about it in their status a struct
 * restore_words.
 * Threads: any; the caller holds the lock of `table_uuid` as RESTORE. Others
 * may merge their own members into the restore's status meanwhile.
 * source  DESIGN 7; spec kubevirt 3
 */
#pragma once
#include "controller/ctl.h"
#include "controller/restore-source.h"

struct restore_job;

struct restore_words {
    /* Where in the status the state of the try is kept: "vmkeep.state". Its
     * members: step (creating, defining, defined), target {uid, isNew}, disks
     * [{volume, path, claim}]. */
    const char *state;
    /* The name of a new disk's claim. Caller frees. */
    char *(*claim)(const struct restore_job *job, const char *volume);
    /* Its entry in status.restores. */
    json_t *(*row)(const struct restore_job *job,
                   const struct volume_new_disk *disk, const char *claim);
};

struct restore_job {
    const json_t *restore_json;
    const json_t *vm_json; /* the target's object; NULL: a new VM */
    struct restore_source *source;
    const struct restore_words *words;
    const void *arg;          /* the words' own */
    const char *table_uuid;   /* the VM whose layer table the disks go to */
    bool is_keeping_macs;     /* of a new VM */
    bool is_replacing;        /* the target, even if it is another VM */
    enum volume_old_disk old; /* what becomes of replaced disks */
};

/* On success the domain names the new disks. *restore is replaced by newer
 * versions: the plan of the try is written to its status before anything that
 * a crash must be able to tell (words->state, status.vmkeep.dropped).
 * errors  INVALID, UNSUPPORTED, CORRUPT, DENIED: trying again is of no use */
int restore_apply(struct ctl *ctl, const struct restore_job *job,
                  struct object **restore, struct err *err) NODISCARD;

/* Does the domain name the new disks of the try that `state` describes (what
 * the status has at words->state; NULL: no try)?
 * errors  UNAVAILABLE (libvirt does not say) */
int restore_apply_is_done(struct ctl *ctl, const json_t *state, bool *ret_is,
                          struct err *err) NODISCARD;

/* Remove what a try left on the VM `table_uuid` and put replaced firmware
 * back. The caller holds the VM's lock.
 * errors  BUSY, UNAVAILABLE: later */
int restore_apply_undo(struct ctl *ctl, const char *table_uuid,
                       const char *restore_uid, struct err *err) NODISCARD;
/* Trying again is of no use. */
bool restore_apply_is_final(enum err_code code);
