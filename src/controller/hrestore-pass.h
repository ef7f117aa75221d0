/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-pass.h: one look at a Harvester restore and all that it
 * refers to. For hrestore*.c.
 *
 * Threads: one thread's at a time.
 */
#pragma once
#include "controller/hrestore-plan.h"
#include "controller/loop.h"
#include "controller/restore-apply.h"

#define HRESTORE_FINALIZER   "vmkeep.io/restore-protection"
#define HRESTORE_NOTE_DRY    "vmkeep.io/dry-run"
#define HRESTORE_NOTE_TARGET "vmkeep.io/replace-uid"

struct hrestore_pass {
    struct loop *loop;
    struct ctl *ctl;
    const char *key;
    struct object *restore, *vm, *backup; /* NULL: not there */
    json_t *json, *vm_json, *backup_json;
    const json_t *state; /* status.vmkeep.state; borrowed */
    char last[600];      /* our mark: "<name>-<uid>" */
    struct hrestore_seen seen;
};

/* *ret_is_there false: no such restore. */
int hrestore_pass_look(struct hrestore_pass *p, bool *ret_is_there,
                       struct err *err) NODISCARD;
void hrestore_pass_clear(struct hrestore_pass *p);
static inline void
hrestore_pass_clear_p(struct hrestore_pass *p)
{
    hrestore_pass_clear(p);
}

/* The key of its job. Caller frees. */
char *hrestore_pass_job_key(const struct hrestore_pass *p) NODISCARD;
