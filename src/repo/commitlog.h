/* SPDX-License-Identifier: Apache-2.0 */
/* repo/commitlog.h: the hash-chained log that says which backups exist.
 *
 * Bytes and rules: docs/formats/log.md. A log is read once from its begin;
 * later calls look for newer entries only.
 * Threads: any; one at a time is inside, I/O included: a second one would
 * read the same entries.
 */
#pragma once
#include "base/buf.h"
#include "blob/blob.h"
#include "codec/keys.h"
#include "repo/badset.h"
#include "repo/packset.h"
#include "repo/repo.h"
#include "repo/tree.h"

#define COMMITLOG_BODY_MAX 65536u
#define COMMITLOG_HEAD     96u
#define COMMITLOG_SIZE_MAX                                                     \
    (COMMITLOG_HEAD + COMMITLOG_BODY_MAX + KEYS_SIGN_SIZE + HASH_SIZE)
#define COMMITLOG_DELETES  1024u
#define COMMITLOG_DROPS    1024u /* of one CONDEMN, and its packs */
#define COMMITLOG_CONDEMNS 2000u

enum commitlog_type {
    COMMITLOG_OPEN = 1,
    COMMITLOG_COMMIT = 2,
    COMMITLOG_ABORT = 3,
    COMMITLOG_DELETE = 4,
    COMMITLOG_KILL = 5,
    COMMITLOG_REDIRECT = 6,
    COMMITLOG_CONDEMN = 7,
    COMMITLOG_CKPT = 8,
    COMMITLOG_KEY = 9,
    COMMITLOG_HOLD = 10,
    COMMITLOG_UNDELETE = 11,
    COMMITLOG_PIN = 12,
    COMMITLOG_BAD = 13,
};

/* ---- one entry -------------------------------------------------------- */

struct commitlog_entry {
    unsigned type;
    bool is_critical;
    bool is_signed; /* as commitlog_needs_sign() says */
    uint64_t seq;
    uint8_t prev[HASH_SIZE];
    uint8_t nonce[16];
    int64_t time_unix_s; /* the writer's clock: decides nothing */
    const uint8_t *body; /* borrowed */
    size_t body_len;
};

/* Entries that take something away are signed with a key that hosts which only
 * add backups do not have. */
bool commitlog_needs_sign(unsigned type);

/* Signed if e->is_signed: then `keys` must be able to delete. */
void commitlog_encode(const struct commitlog_entry *e,
                      const uint8_t repo_uuid[16], const struct keys *keys,
                      struct buf *out);
/* `keys` NULL: neither MAC nor signature is checked (no key). */
int commitlog_decode(const uint8_t *data, size_t len,
                     const uint8_t repo_uuid[16], const struct keys *keys,
                     struct commitlog_entry *ret, struct err *err) NODISCARD;

/* What a COMMIT says. */
struct commitlog_commit {
    uint8_t id[16];
    uint8_t parent[16];
    int64_t created_unix_s;
    uint64_t logical_bytes;
    uint64_t stored_bytes;
    /* No pack of it is condemned up to this entry. */
    uint64_t checked_seq;
    struct tree_entry root;
    char object_uid[REPO_UID_MAX + 1];
};

void commitlog_commit_encode(const struct commitlog_commit *c, struct buf *out);
int commitlog_commit_decode(const uint8_t *data, size_t len,
                            struct commitlog_commit *ret, struct err *err)
    NODISCARD;

/* What a CONDEMN says. */
struct commitlog_condemn {
    uint64_t base_seq;    /* the last entry that its writer had seen */
    uint8_t (*drops)[16]; /* backups that cannot be undeleted any more */
    size_t drop_count;
    struct pack_id *packs; /* those of a session and kind side by side */
    size_t pack_count;
};

void commitlog_condemn_fini(struct commitlog_condemn *c);
static inline void
commitlog_condemn_fini_p(struct commitlog_condemn *c)
{
    commitlog_condemn_fini(c);
}
void commitlog_condemn_encode(const struct commitlog_condemn *c,
                              struct buf *out);
int commitlog_condemn_decode(const uint8_t *data, size_t len,
                             struct commitlog_condemn *ret, struct err *err)
    NODISCARD;

/* ---- the log ----------------------------------------------------------- */

struct commitlog;

/* All borrowed for its life; `keys` NULL as above. */
struct commitlog *commitlog_new(struct blob *blob, const uint8_t *repo_uuid,
                                const struct keys *keys) NODISCARD;
void commitlog_free(struct commitlog *l); /* NULL is fine */

/* Which key epoch the log says is the present one. */
struct commitlog_epoch {
    unsigned epoch;
    uint8_t rotation[16];
};

int commitlog_epoch(struct commitlog *l, struct commitlog_epoch *ret,
                    struct err *err) NODISCARD;
/* What this process writes with: an OPEN is refused (UNAVAILABLE) when the log
 * has gone on to another epoch. */
void commitlog_set_epoch(struct commitlog *l, const struct commitlog_epoch *e);

/* Append an entry of any type with a line in logstate.c, as docs/formats/log.md
 * says under "Writing": `body` is written if the type's check allows it, as the
 * log is then. Durable and folded in on return.
 *   errors  those of the check; DENIED (it must be signed, and our role has no
 *           key for that) */
int commitlog_append(struct commitlog *l, enum commitlog_type type,
                     const struct buf *body, struct err *err) NODISCARD;

/* Append, as docs/formats/log.md says under "Writing". Durable on return.
 *   errors  CONFLICT (the session has ended already); NOT_FOUND (a backup to
 *           delete that is not there); UNSUPPORTED */
/* `resumes` NULL, or the session whose packs are used. */
int commitlog_append_open(struct commitlog *l, const uint8_t session[16],
                          const uint8_t parent[16], int64_t created_unix_s,
                          const uint8_t *resumes, struct err *err) NODISCARD;
/* `needed`: the packs that its trees name; `fresh`: those of them, but for its
 * own, that its parent does not name. Sets c->checked_seq.
 *   errors  CONFLICT also if one of these is condemned, or a fresh one was
 *           rewritten: see repo/rescue.h */
int commitlog_append_commit(struct commitlog *l, struct commitlog_commit *c,
                            const struct packset *needed,
                            const struct packset *fresh, struct err *err)
    NODISCARD;
/* Nothing is written when it was aborted before.
 *   errors  CONFLICT (it committed) */
int commitlog_append_abort(struct commitlog *l, const uint8_t session[16],
                           struct err *err) NODISCARD;
/* The same, and its packs will be removed: nobody may use them.
 *   errors  CONFLICT (it has ended: its packs may be in use) */
int commitlog_append_discard(struct commitlog *l, const uint8_t session[16],
                             struct err *err) NODISCARD;
int commitlog_append_delete(struct commitlog *l, const uint8_t (*ids)[16],
                            unsigned count, struct err *err) NODISCARD;
/* errors  NOT_FOUND (one of them cannot be taken back) */
int commitlog_append_undelete(struct commitlog *l, const uint8_t (*ids)[16],
                              unsigned count, struct err *err) NODISCARD;

/* End a session that is believed dead.
 *   errors  CONFLICT (it has ended) */
int commitlog_append_kill(struct commitlog *l, const uint8_t session[16],
                          struct err *err) NODISCARD;
/* At most COMMITLOG_DROPS and COMMITLOG_CONDEMNS.
 *   errors  CONFLICT: look again, from a later entry on */
int commitlog_append_condemn(struct commitlog *l,
                             const struct commitlog_condemn *c, struct err *err)
    NODISCARD;
/* A reader begins, or says again that it reads; and ends (`backup` NULL).
 *   errors  NOT_FOUND (there is no such backup) */
int commitlog_append_pin(struct commitlog *l, const uint8_t pin[16],
                         const uint8_t *backup, struct err *err) NODISCARD;

/* A committed backup that is not deleted. */
struct commitlog_backup {
    struct commitlog_commit commit;
    uint64_t seq;
};

/* Every call that looks for newer entries fails with UNAVAILABLE when the last
 * one that was read is not there any more (an older copy of the repository was
 * put in its place). This says whether that is so. */
int commitlog_went_back(struct commitlog *l, bool *ret, struct err *err)
    NODISCARD;

/* The backups, oldest first, after looking for newer entries. */
int commitlog_list(struct commitlog *l, struct commitlog_backup **ret,
                   size_t *ret_count, size_t *ret_damage, struct err *err)
    NODISCARD;
int commitlog_find(struct commitlog *l, const uint8_t id[16],
                   struct commitlog_backup *ret, struct err *err) NODISCARD;

/* Did this session commit (deleted or not), or one that used its packs, as far
 * as was read? */
bool commitlog_is_used(struct commitlog *l, const uint8_t session[16]);
/* Did this session commit, or was it ended otherwise? */
bool commitlog_has_ended(struct commitlog *l, const uint8_t session[16]);
/* Are its packs being removed, or gone? */
bool commitlog_is_discarded(struct commitlog *l, const uint8_t session[16]);
/* The session that this one resumed; false: none. */
bool commitlog_resumed(struct commitlog *l, const uint8_t session[16],
                       uint8_t ret[16]);

/* What the log says now, after looking for newer entries; nobody else gets in
 * before it is given back. The pointer is good until then. */
struct logstate;
int commitlog_state_take(struct commitlog *l, const struct logstate **ret,
                         struct err *err) NODISCARD;
void commitlog_state_give(struct commitlog *l);
/* Is this pack condemned, as far as was read? */
bool commitlog_is_condemned(struct commitlog *l, const struct pack_id *pack);

/* Something to do with what the log says, while it cannot change: no I/O. */
typedef int (*commitlog_look_fn)(void *arg, const struct logstate *s,
                                 struct err *err);

/* `reads_log`: after looking for newer entries. */
int commitlog_look(struct commitlog *l, bool reads_log, commitlog_look_fn look,
                   void *arg, struct err *err) NODISCARD;

/* ---- commitlog-hold.c: HOLD, BAD, what is deleted ------------------------ */

struct commitlog_hold {
    uint8_t id[16];
    uint64_t since_seq;
    char reason[REPO_HOLD_REASON_MAX + 1];
};

/* A deleted backup that can be taken back. */
struct commitlog_deleted {
    struct commitlog_backup backup;
    uint64_t seq; /* of its DELETE */
};

/* `reason` NULL: end it.
 *   errors  NOT_FOUND (no such backup; not on hold) */
int commitlog_append_hold(struct commitlog *l, const uint8_t id[16],
                          const char *reason, struct err *err) NODISCARD;
/* As many entries as it takes; none for none. */
int commitlog_append_bad(struct commitlog *l, bool is_bad,
                         const struct badset_frame *frames, size_t count,
                         struct err *err) NODISCARD;
/* As the log is now; arrays are the caller's. */
int commitlog_holds(struct commitlog *l, struct commitlog_hold **ret,
                    size_t *ret_count, struct err *err) NODISCARD;
int commitlog_deleted(struct commitlog *l, struct commitlog_deleted **ret,
                      size_t *ret_count, struct err *err) NODISCARD;
int commitlog_bad(struct commitlog *l, struct badset *ret, struct err *err)
    NODISCARD;

struct commitlog_damage {
    uint64_t seq;
    char cause[200];
};

/* What could not be read so far; the caller frees. */
size_t commitlog_damages(struct commitlog *l, struct commitlog_damage **ret);
/* Bytes of all entries that were read. */
uint64_t commitlog_bytes(struct commitlog *l);
void commitlog_name(uint64_t seq, char out[32]); /* "log/000...1" */
