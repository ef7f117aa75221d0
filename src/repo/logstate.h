/* SPDX-License-Identifier: Apache-2.0 */
/* repo/logstate.h: what the log says, as a pure function of its entries.
 *
 * No I/O, no lock, no clock: entries are folded in by their order, and whoever
 * folds the same entries comes to the same state. Everything that is decided
 * by the log (which backup exists, which pack may be used) is decided here;
 * commitlog.c reads and appends, and asks this.
 *
 * A type of entry has a line in the table of logstate.c and functions in a
 * file logstate-X.c.
 * Threads: none; the owner locks.
 */
#pragma once
#include "repo/commitlog.h"

struct logstate_end {
    uint8_t id[16];
    bool is_commit;
    bool is_discarded;
};

/* An OPEN that names another session. */
struct logstate_link {
    uint8_t id[16];
    uint8_t resumes[16];
    bool is_used; /* the first of the two committed, or was used in turn */
};

struct logstate {
    struct commitlog_backup *backups; /* oldest first */
    size_t backup_count;
    struct logstate_end *ends;
    size_t end_count;
    struct logstate_link *links;
    size_t link_count;
    struct commitlog_damage *damages;
    size_t damage_count;
    struct commitlog_hold *holds;
    size_t hold_count;
    struct commitlog_deleted *deleted; /* by the seq of their DELETE */
    size_t deleted_count;
    struct badset bad;
};

void logstate_fini(struct logstate *s);

/* A type of entry. */
struct logstate_type {
    const char *name;
    bool is_critical; /* who does not know it must not go on */
    /* Fold an entry in. Errors are damage. */
    int (*fold)(struct logstate *s, const struct commitlog_entry *e,
                struct err *err);
    /* May this entry be written, as the log is now? NULL: always. */
    int (*check)(const struct logstate *s, const struct commitlog_entry *e,
                 struct err *err);
};

/* NULL: unknown. */
const struct logstate_type *logstate_type_of(unsigned type);

/* Fold entry e in: the one after the last.
 *   errors  UNSUPPORTED (a critical type that is not known: go no further);
 *           others are damage, which the caller notes */
int logstate_fold(struct logstate *s, const struct commitlog_entry *e,
                  struct err *err) NODISCARD;
/* May it be written now? e->seq is not looked at. */
int logstate_check(const struct logstate *s, const struct commitlog_entry *e,
                   struct err *err) NODISCARD;
void logstate_note_damage(struct logstate *s, uint64_t seq, const char *cause);

/* Room for one more in an array that doubles at powers of two. */
void *logstate_grow(void *array, size_t count, size_t size) NODISCARD;

/* ---- logstate-session.c: OPEN, COMMIT, ABORT, DELETE -------------------- */

/* NULL: it has not ended. */
struct logstate_end *logstate_end_of(const struct logstate *s,
                                     const uint8_t session[16]);
/* NULL: it resumed none. */
struct logstate_link *logstate_link_of(const struct logstate *s,
                                       const uint8_t session[16]);
/* Its place in `backups`; backup_count: there is none. */
size_t logstate_find(const struct logstate *s, const uint8_t id[16]);
/* Did this session commit (deleted or not), or one that used its packs? */
bool logstate_is_used(const struct logstate *s, const uint8_t session[16]);

int logstate_fold_open(struct logstate *s, const struct commitlog_entry *e,
                       struct err *err) NODISCARD;
int logstate_fold_commit(struct logstate *s, const struct commitlog_entry *e,
                         struct err *err) NODISCARD;
int logstate_fold_abort(struct logstate *s, const struct commitlog_entry *e,
                        struct err *err) NODISCARD;
int logstate_fold_delete(struct logstate *s, const struct commitlog_entry *e,
                         struct err *err) NODISCARD;
int logstate_check_commit(const struct logstate *s,
                          const struct commitlog_entry *e, struct err *err)
    NODISCARD;
int logstate_check_abort(const struct logstate *s,
                         const struct commitlog_entry *e, struct err *err)
    NODISCARD;
int logstate_check_delete(const struct logstate *s,
                          const struct commitlog_entry *e, struct err *err)
    NODISCARD;

/* ---- logstate-hold.c: HOLD, UNDELETE, BAD -------------------------------- */

/* NULL: it is not on hold. */
const struct commitlog_hold *logstate_hold_of(const struct logstate *s,
                                              const uint8_t id[16]);
void logstate_note_deleted(struct logstate *s, const struct commitlog_backup *b,
                           uint64_t seq);
/* Its data may be gone: it cannot be taken back. false: it could not before. */
bool logstate_drop_deleted(struct logstate *s, const uint8_t id[16]);

int logstate_fold_hold(struct logstate *s, const struct commitlog_entry *e,
                       struct err *err) NODISCARD;
int logstate_fold_undelete(struct logstate *s, const struct commitlog_entry *e,
                           struct err *err) NODISCARD;
int logstate_fold_bad(struct logstate *s, const struct commitlog_entry *e,
                      struct err *err) NODISCARD;
int logstate_check_hold(const struct logstate *s,
                        const struct commitlog_entry *e, struct err *err)
    NODISCARD;
int logstate_check_undelete(const struct logstate *s,
                            const struct commitlog_entry *e, struct err *err)
    NODISCARD;
