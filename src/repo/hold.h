/* SPDX-License-Identifier: Apache-2.0 */
/* repo/hold.h: backups that must stay, and deleted ones that can come back.
 *
 * A backup on hold cannot be deleted, by nobody, until the hold is cleared. A
 * deleted backup can be taken back until its data is collected as garbage.
 * Bytes: docs/formats/log.md. Threads: any. Blocks on the store.
 */
#pragma once
#include "repo/repo.h"

struct repo_hold {
    char id[REPO_ID_SIZE];
    char reason[REPO_HOLD_REASON_MAX + 1];
};

/* The holds, in no order; *ret is the caller's to free(). A reason is printable
 * UTF-8, whatever the log has. */
int repo_hold_list(struct repo *repo, struct repo_hold **ret, size_t *ret_count,
                   struct err *err) NODISCARD;
/* Put a backup on hold, or say another reason ("" is one).
 *   errors  NOT_FOUND; INVALID (the reason: printable UTF-8, not too long) */
int repo_hold_set(struct repo *repo, const char *id, const char *reason,
                  struct err *err) NODISCARD;
/* errors  NOT_FOUND (no such backup, or it is not on hold) */
int repo_hold_clear(struct repo *repo, const char *id, struct err *err)
    NODISCARD;

/* The deleted backups that can be taken back, oldest deletion first. */
int repo_hold_deleted(struct repo *repo, struct repo_entry **ret_entries,
                      size_t *ret_count, struct err *err) NODISCARD;
/* Take them back: one entry of the log. NOT_FOUND names the first that cannot
 * be taken back, and then none is. */
int repo_hold_undelete(struct repo *repo, const char *const *ids, size_t count,
                       struct err *err) NODISCARD;
