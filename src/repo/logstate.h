/* SPDX-License-Identifier: Apache-2.0 */
/* repo/logstate.h: what the log says, as a pure function of its entries.
 *
 * No I/O, no lock, no clock: entries are folded in by their order, and whoever
 * folds the same entries comes to the same state. Everything that is decided
 * by the log (which backup exists, which pack may be used or removed) is
 * decided here; commitlog.c reads and appends, and asks this.
 *
 * A type of entry has a line in the table of logstate.c and functions in a
 * file logstate-X.c. Rules and their reasons: docs/formats/log.md.
 * Threads: none; the owner locks.
 */
#pragma once
#include "repo/commitlog.h"
#include "repo/movemap.h"
#include "repo/packset.h"

enum logstate_end {
    LOGSTATE_OPEN,      /* also of a session that is only named by others */
    LOGSTATE_COMMITTED, /* or its REDIRECT was folded in */
    LOGSTATE_ENDED,     /* ABORT, KILL: never commits */
    LOGSTATE_DISCARDED, /* the same, and its writer removes its packs */
};

struct logstate_session {
    uint8_t id[16];
    uint64_t open_seq; /* of its last OPEN; 0: none was seen */
    enum logstate_end end;
    bool has_parent;
    uint8_t parent[16];
    bool has_resumes;
    uint8_t resumes[16];
    bool is_void;      /* it began on what was gone: its COMMIT is ignored */
    bool is_used;      /* one that resumed it did commit */
    bool is_condemned; /* a pack of it is */
    unsigned epoch;    /* of the last KEY before it was begun */
};

struct logstate_pin {
    uint8_t id[16];
    uint8_t backup[16];
    uint64_t seq;
};

/* Rules that a test leaves out, to see that they are needed. */
enum logstate_rule {
    LOGSTATE_RULE_ENDED = 1 << 0,     /* I1: a killed session never commits */
    LOGSTATE_RULE_CHECKED = 1 << 1,   /* I1: nor one whose check is stale */
    LOGSTATE_RULE_GROWN = 1 << 2,     /* I2: a CONDEMN knows every COMMIT */
    LOGSTATE_RULE_PROTECTED = 1 << 3, /* I2: open sessions keep their packs */
    LOGSTATE_RULE_RESUMED = 1 << 4,   /* I2: and those of what they resume */
    LOGSTATE_RULE_PARENT = 1 << 5,    /* I2: and their parent */
    LOGSTATE_RULE_PINNED = 1 << 6,    /* I2: a pinned backup stays */
    LOGSTATE_RULE_DROPPED = 1 << 7,   /* I2: only deleted backups are dropped */
    LOGSTATE_RULE_VOID = 1 << 8,      /* OPEN on what is gone */
    LOGSTATE_RULE_COVERED = 1 << 9,   /* I4: a REDIRECT knows every COMMIT */
    LOGSTATE_RULE_DISCARD = 1 << 10,  /* what committed is not discarded */
    LOGSTATE_RULE_TAKEN = 1 << 11,    /* nor what somebody else ended */
    LOGSTATE_RULE_MOVER = 1 << 12,    /* I4: a killed compactor moves nothing */
    LOGSTATE_RULE_HELD = 1 << 13,     /* what is on hold is not deleted */
};

/* A pack that was rewritten. */
struct logstate_moved {
    struct pack_id pack;
    uint32_t redirect; /* place in `redirects` */
    uint32_t source;   /* place among that one's sources */
};

struct logstate {
    unsigned without;                 /* logstate_rule: of tests */
    struct commitlog_backup *backups; /* in order of COMMIT */
    size_t backup_count;
    struct commitlog_deleted *deleted; /* not dropped; by their DELETE */
    size_t deleted_count;
    struct logstate_session *sessions; /* as they were first named */
    size_t session_count;
    uint32_t *session_slots; /* a hash table of places + 1 */
    size_t session_cap;
    struct logstate_pin *pins;
    size_t pin_count;
    struct movemap_entry *redirects; /* that count */
    size_t redirect_count;
    struct logstate_moved *moved; /* their sources, sorted */
    size_t moved_count;
    uint64_t commit_seq;      /* of the last COMMIT that counts */
    struct packset condemned; /* pack -> seq of its CONDEMN; for ever */
    /* The last entry that may have brought a pack back into use, and the last
     * that took one away: COMMIT or REDIRECT; CONDEMN or REDIRECT. */
    uint64_t growth_seq;
    uint64_t shrink_seq;
    uint64_t last_seq;
    int64_t *times; /* of entry i + 1, by the clock of its writer */
    size_t time_count;
    struct commitlog_damage *damages;
    size_t damage_count;
    struct commitlog_hold *holds;
    size_t hold_count;
    struct badset bad;
    struct commitlog_epoch epoch; /* of the last KEY */
};

void logstate_fini(struct logstate *s);

/* A type of entry. */
struct logstate_type {
    const char *name;
    bool is_critical; /* who does not know it must not go on */
    /* Fold an entry in. Errors are damage. What is well-formed but breaks a
     * rule is ignored by everybody: no error. */
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

/* When entry i + 1 was written, as far as clocks can be believed: never earlier
 * than a believed stamp before it. A stamp ahead of `now`, or an hour behind
 * one that stands before it, says nothing: its entry is taken for as young as
 * it may be, which is `now` until another one follows. So neither who wrote nor
 * who asks makes anything old by a clock that is wrong among right ones. Array
 * of last_seq, the caller's to free(). */
int64_t *logstate_times(const struct logstate *s, int64_t now) NODISCARD;

/* Does the rule count? */
bool logstate_has_rule(const struct logstate *s, enum logstate_rule rule);

/* ---- logstate-session.c: OPEN, COMMIT, ABORT, KILL ---------------------- */

/* NULL: not named so far. Borrowed until the next fold. */
struct logstate_session *logstate_session_of(const struct logstate *s,
                                             const uint8_t session[16]);
/* The same; made when it is new. */
struct logstate_session *logstate_session_make(struct logstate *s,
                                               const uint8_t session[16]);
/* Did it commit, end, ...? LOGSTATE_OPEN when nothing is known of it. */
enum logstate_end logstate_end_of(const struct logstate *s,
                                  const uint8_t session[16]);
/* Did this session commit (deleted or not), or one that used its packs? */
bool logstate_is_used(const struct logstate *s, const uint8_t session[16]);
/* May it still commit, or may one that resumed it? Then its packs stay. */
bool logstate_is_protected(const struct logstate *s, const uint8_t session[16]);

int logstate_fold_open(struct logstate *s, const struct commitlog_entry *e,
                       struct err *err) NODISCARD;
int logstate_fold_commit(struct logstate *s, const struct commitlog_entry *e,
                         struct err *err) NODISCARD;
int logstate_fold_abort(struct logstate *s, const struct commitlog_entry *e,
                        struct err *err) NODISCARD;
int logstate_fold_kill(struct logstate *s, const struct commitlog_entry *e,
                       struct err *err) NODISCARD;
int logstate_check_open(const struct logstate *s,
                        const struct commitlog_entry *e, struct err *err)
    NODISCARD;
int logstate_check_commit(const struct logstate *s,
                          const struct commitlog_entry *e, struct err *err)
    NODISCARD;
int logstate_check_abort(const struct logstate *s,
                         const struct commitlog_entry *e, struct err *err)
    NODISCARD;

/* ---- logstate-backup.c: DELETE, PIN ------------------------------------- */

/* Its place in `backups`; backup_count: there is none. */
size_t logstate_find(const struct logstate *s, const uint8_t id[16]);
/* The same in `deleted`. */
size_t logstate_find_deleted(const struct logstate *s, const uint8_t id[16]);
/* Is it there, deleted or not, so that its packs are? */
bool logstate_is_present(const struct logstate *s, const uint8_t id[16]);
/* Must it not be dropped: the parent of an open session, pinned? */
bool logstate_is_kept(const struct logstate *s, const uint8_t id[16]);

int logstate_fold_delete(struct logstate *s, const struct commitlog_entry *e,
                         struct err *err) NODISCARD;
int logstate_check_delete(const struct logstate *s,
                          const struct commitlog_entry *e, struct err *err)
    NODISCARD;
int logstate_fold_pin(struct logstate *s, const struct commitlog_entry *e,
                      struct err *err) NODISCARD;
int logstate_check_pin(const struct logstate *s,
                       const struct commitlog_entry *e, struct err *err)
    NODISCARD;

/* ---- logstate-condemn.c: CONDEMN ---------------------------------------- */

int logstate_fold_condemn(struct logstate *s, const struct commitlog_entry *e,
                          struct err *err) NODISCARD;
int logstate_check_condemn(const struct logstate *s,
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

/* ---- logstate-redirect.c: REDIRECT --------------------------------------- */

/* NULL: the pack was not rewritten. */
const struct logstate_moved *logstate_moved_find(const struct logstate *s,
                                                 const struct pack_id *pack);
/* `redirects` and `moved` only; `to` has none. */
void logstate_redirect_copy(struct logstate *to, const struct logstate *from);
void logstate_redirect_fini(struct logstate *s);

int logstate_fold_redirect(struct logstate *s, const struct commitlog_entry *e,
                           struct err *err) NODISCARD;
int logstate_check_redirect(const struct logstate *s,
                            const struct commitlog_entry *e, struct err *err)
    NODISCARD;

/* ---- logstate-key.c: KEY ------------------------------------------------- */

#define LOGSTATE_KEY_SIZE 18u

int logstate_fold_key(struct logstate *s, const struct commitlog_entry *e,
                      struct err *err) NODISCARD;
int logstate_check_key(const struct logstate *s,
                       const struct commitlog_entry *e, struct err *err)
    NODISCARD;
