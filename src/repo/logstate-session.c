/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: who began, on what, and how it ended. A session's packs bear its
 * id, so what a CONDEMN may name is seen from the pack's name.
 *
 * With a damaged log some rules cannot be checked: what they need may stand in
 * the entry that is lost. Then a COMMIT counts; nothing is collected anyway.
 */
#include <string.h>

#include "base/mem.h"
#include "repo/logstate.h"

#define DISCARD_SIZE 17u /* of an ABORT that says so */
#define OPEN_SIZE    40u /* without a session that is resumed */

static bool
is_none(const uint8_t id[16])
{
    static const uint8_t none[16];

    return memcmp(id, none, 16) == 0;
}

/* ---- the table ---- */

static uint32_t *
slot_of(const struct logstate *s, const uint8_t id[16])
{
    uint64_t h;
    size_t i;

    memcpy(&h, id, sizeof h);
    for (i = h & (s->session_cap - 1); s->session_slots[i] != 0;
         i = (i + 1) & (s->session_cap - 1))
        if (memcmp(s->sessions[s->session_slots[i] - 1].id, id, 16) == 0)
            break;
    return &s->session_slots[i];
}

static void
make_room(struct logstate *s)
{
    if (2 * (s->session_count + 1) <= s->session_cap)
        return;
    s->session_cap = s->session_cap == 0 ? 16 : 2 * s->session_cap;
    free(s->session_slots);
    s->session_slots = xcalloc(s->session_cap, sizeof *s->session_slots);
    for (size_t i = 0; i < s->session_count; i++)
        *slot_of(s, s->sessions[i].id) = (uint32_t)i + 1;
}

struct logstate_session *
logstate_session_of(const struct logstate *s, const uint8_t session[16])
{
    uint32_t at = s->session_cap == 0 ? 0 : *slot_of(s, session);

    return at == 0 ? NULL : &s->sessions[at - 1];
}

struct logstate_session *
logstate_session_make(struct logstate *s, const uint8_t session[16])
{
    struct logstate_session *x = logstate_session_of(s, session);

    if (x != NULL)
        return x;
    make_room(s);
    s->sessions =
        logstate_grow(s->sessions, s->session_count, sizeof *s->sessions);
    x = &s->sessions[s->session_count++];
    memset(x, 0, sizeof *x);
    memcpy(x->id, session, 16);
    *slot_of(s, session) = (uint32_t)s->session_count;
    return x;
}

enum logstate_end
logstate_end_of(const struct logstate *s, const uint8_t session[16])
{
    const struct logstate_session *x = logstate_session_of(s, session);

    return x == NULL ? LOGSTATE_OPEN : x->end;
}

bool
logstate_is_used(const struct logstate *s, const uint8_t session[16])
{
    const struct logstate_session *x = logstate_session_of(s, session);

    return x != NULL && (x->end == LOGSTATE_COMMITTED || x->is_used);
}

/* Does x use what that session left? The chain is no longer than the table. */
static bool
resumes(const struct logstate *s, const struct logstate_session *x,
        const uint8_t session[16])
{
    for (size_t i = 0; i < s->session_count && x != NULL && x->has_resumes;
         i++) {
        if (memcmp(x->resumes, session, 16) == 0)
            return true;
        x = logstate_session_of(s, x->resumes);
    }
    return false;
}

bool
logstate_is_protected(const struct logstate *s, const uint8_t session[16])
{
    const struct logstate_session *x = logstate_session_of(s, session);

    if (logstate_has_rule(s, LOGSTATE_RULE_PROTECTED) &&
        (x == NULL || x->end == LOGSTATE_OPEN))
        return true;
    for (size_t i = 0; i < s->session_count; i++)
        if (s->sessions[i].end == LOGSTATE_OPEN && !s->sessions[i].is_void &&
            logstate_has_rule(s, LOGSTATE_RULE_RESUMED) &&
            resumes(s, &s->sessions[i], session))
            return true;
    return false;
}

/* ---- OPEN ---- */

/* Is what it begins on still there? */
static int
check_begin(const struct logstate *s, const struct commitlog_entry *e,
            struct err *err)
{
    const struct logstate_session *r;

    if (!is_none(e->body + 16) && !logstate_is_present(s, e->body + 16))
        return err_set(err, ERR_NOT_FOUND,
                       "the parent was deleted and collected");
    if (e->body_len == OPEN_SIZE)
        return 0;
    r = logstate_session_of(s, e->body + OPEN_SIZE);
    if (r != NULL && (r->is_condemned || r->end == LOGSTATE_DISCARDED))
        return err_set(err, ERR_CONFLICT,
                       "the packs of the session to resume are removed");
    return 0;
}

int
logstate_fold_open(struct logstate *s, const struct commitlog_entry *e,
                   struct err *err)
{
    struct logstate_session *x;
    struct err ignored;

    if (e->body_len != OPEN_SIZE && e->body_len != OPEN_SIZE + 16)
        return err_set(err, ERR_CORRUPT, "OPEN: wrong length");
    x = logstate_session_make(s, e->body);
    if (x->open_seq != 0) { /* again: it is still at work */
        x->open_seq = e->seq;
        return 0;
    }
    x->open_seq = e->seq;
    x->epoch = s->epoch.epoch;
    x->has_parent = !is_none(e->body + 16);
    memcpy(x->parent, e->body + 16, 16);
    x->is_void = s->damage_count == 0 &&
                 logstate_has_rule(s, LOGSTATE_RULE_VOID) &&
                 check_begin(s, e, &ignored) < 0;
    if (e->body_len > OPEN_SIZE) {
        x->has_resumes = true;
        memcpy(x->resumes, e->body + OPEN_SIZE, 16);
    }
    return 0;
}

int
logstate_check_open(const struct logstate *s, const struct commitlog_entry *e,
                    struct err *err)
{
    const struct logstate_session *x = logstate_session_of(s, e->body);

    if (x != NULL && x->open_seq != 0)
        return x->end == LOGSTATE_OPEN
                   ? 0
                   : err_set(err, ERR_CONFLICT, "this session has ended");
    if (!logstate_has_rule(s, LOGSTATE_RULE_VOID))
        return 0;
    return check_begin(s, e, err);
}

/* ---- COMMIT ---- */

/* The packs of the sessions that this one resumed are part of its backup. */
static void
use(struct logstate *s, const struct logstate_session *x)
{
    while (x->has_resumes) {
        struct logstate_session *r = logstate_session_of(s, x->resumes);

        if (r == NULL || r->is_used)
            return;
        r->is_used = true;
        x = r;
    }
}

/* I1. */
static int
check_commit(const struct logstate *s, const struct commitlog_commit *c,
             struct err *err)
{
    const struct logstate_session *x = logstate_session_of(s, c->id);

    if (x != NULL && x->end != LOGSTATE_OPEN &&
        (x->end == LOGSTATE_COMMITTED ||
         logstate_has_rule(s, LOGSTATE_RULE_ENDED)))
        return err_set(err, ERR_CONFLICT,
                       "this session was ended by somebody else");
    if (s->damage_count > 0)
        return 0;
    if (x == NULL || x->open_seq == 0)
        return err_set(err, ERR_CONFLICT, "this session was never begun");
    if (x->is_void)
        return err_set(err, ERR_CONFLICT,
                       "this session began on what was removed");
    if (c->checked_seq < s->shrink_seq &&
        logstate_has_rule(s, LOGSTATE_RULE_CHECKED))
        return err_set(err, ERR_CONFLICT,
                       "packs were condemned since this backup looked");
    return 0;
}

int
logstate_fold_commit(struct logstate *s, const struct commitlog_entry *e,
                     struct err *err)
{
    struct commitlog_backup b = { .seq = e->seq };
    struct logstate_session *x;
    struct err ignored;

    if (commitlog_commit_decode(e->body, e->body_len, &b.commit, err) < 0)
        return -1;
    if (check_commit(s, &b.commit, &ignored) < 0)
        return 0; /* ignored by everybody */
    x = logstate_session_make(s, b.commit.id);
    x->end = LOGSTATE_COMMITTED;
    use(s, x);
    s->growth_seq = e->seq;
    s->commit_seq = e->seq;
    s->backups = logstate_grow(s->backups, s->backup_count, sizeof *s->backups);
    s->backups[s->backup_count++] = b;
    return 0;
}

int
logstate_check_commit(const struct logstate *s, const struct commitlog_entry *e,
                      struct err *err)
{
    struct commitlog_commit c;

    if (commitlog_commit_decode(e->body, e->body_len, &c, err) < 0)
        return -1;
    return check_commit(s, &c, err);
}

/* ---- ABORT, KILL ---- */

int
logstate_fold_abort(struct logstate *s, const struct commitlog_entry *e,
                    struct err *err)
{
    bool is_discarded = e->body_len == DISCARD_SIZE;
    struct logstate_session *x;

    if (e->body_len != 16 && (!is_discarded || e->body[16] != 1))
        return err_set(err, ERR_CORRUPT, "ABORT: wrong length");
    x = logstate_session_make(s, e->body);
    if (x->end == LOGSTATE_OPEN)
        x->end = is_discarded ? LOGSTATE_DISCARDED : LOGSTATE_ENDED;
    return 0;
}

int
logstate_fold_kill(struct logstate *s, const struct commitlog_entry *e,
                   struct err *err)
{
    struct logstate_session *x;

    if (e->body_len != 16)
        return err_set(err, ERR_CORRUPT, "KILL: wrong length");
    x = logstate_session_make(s, e->body);
    if (x->end == LOGSTATE_OPEN)
        x->end = LOGSTATE_ENDED;
    return 0;
}

int
logstate_check_abort(const struct logstate *s, const struct commitlog_entry *e,
                     struct err *err)
{
    enum logstate_end end = logstate_end_of(s, e->body);

    if (end == LOGSTATE_COMMITTED &&
        logstate_has_rule(s, LOGSTATE_RULE_DISCARD))
        return err_set(err, ERR_CONFLICT, "this session did commit");
    if (e->type == COMMITLOG_KILL && end != LOGSTATE_OPEN)
        return err_set(err, ERR_CONFLICT, "this session has ended");
    if (e->body_len == DISCARD_SIZE) {
        if ((end == LOGSTATE_ENDED || end == LOGSTATE_DISCARDED) &&
            logstate_has_rule(s, LOGSTATE_RULE_TAKEN))
            return err_set(err, ERR_CONFLICT, "this session has ended");
        if (s->damage_count > 0) /* what ended it may be among that */
            return err_set(err, ERR_CONFLICT, "the log is damaged");
    }
    return 0;
}
