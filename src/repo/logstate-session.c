/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and backups: who began, who ended how, what exists. */
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "codec/le.h"
#include "repo/logstate.h"
#include "repo/repo-id.h"

#define DISCARD_SIZE 17u /* of an ABORT that says so */
#define OPEN_SIZE    40u /* without a session that is resumed */

struct logstate_end *
logstate_end_of(const struct logstate *s, const uint8_t session[16])
{
    for (size_t i = 0; i < s->end_count; i++)
        if (memcmp(s->ends[i].id, session, 16) == 0)
            return &s->ends[i];
    return NULL;
}

struct logstate_link *
logstate_link_of(const struct logstate *s, const uint8_t session[16])
{
    for (size_t i = 0; i < s->link_count; i++)
        if (memcmp(s->links[i].id, session, 16) == 0)
            return &s->links[i];
    return NULL;
}

size_t
logstate_find(const struct logstate *s, const uint8_t id[16])
{
    size_t i = 0;

    while (i < s->backup_count && memcmp(s->backups[i].commit.id, id, 16) != 0)
        i++;
    return i;
}

bool
logstate_is_used(const struct logstate *s, const uint8_t session[16])
{
    const struct logstate_end *end = logstate_end_of(s, session);
    bool is = end != NULL && end->is_commit;

    for (size_t i = 0; i < s->link_count && !is; i++)
        is = s->links[i].is_used &&
             memcmp(s->links[i].resumes, session, 16) == 0;
    return is;
}

static struct logstate_end *
add_end(struct logstate *s, const uint8_t session[16], bool is_commit)
{
    struct logstate_end *end;

    s->ends = logstate_grow(s->ends, s->end_count, sizeof *s->ends);
    end = &s->ends[s->end_count++];
    *end = (struct logstate_end){ .is_commit = is_commit };
    memcpy(end->id, session, 16);
    return end;
}

/* ---- OPEN -----------------------------------------------------------------
 */

int
logstate_fold_open(struct logstate *s, const struct commitlog_entry *e,
                   struct err *err)
{
    struct logstate_link *k;

    if (e->body_len != OPEN_SIZE && e->body_len != OPEN_SIZE + 16)
        return err_set(err, ERR_CORRUPT, "OPEN: wrong length");
    if (e->body_len == OPEN_SIZE || logstate_link_of(s, e->body) != NULL)
        return 0;
    s->links = logstate_grow(s->links, s->link_count, sizeof *s->links);
    k = &s->links[s->link_count++];
    memcpy(k->id, e->body, 16);
    memcpy(k->resumes, e->body + OPEN_SIZE, 16);
    k->is_used = false;
    return 0;
}

/* ---- COMMIT ---------------------------------------------------------------
 */

/* The packs of the sessions that this one resumed are part of its backup. */
static void
use(struct logstate *s, const uint8_t session[16])
{
    struct logstate_link *k = logstate_link_of(s, session);

    for (; k != NULL && !k->is_used; k = logstate_link_of(s, k->resumes))
        k->is_used = true;
}

int
logstate_fold_commit(struct logstate *s, const struct commitlog_entry *e,
                     struct err *err)
{
    struct commitlog_backup b = { .seq = e->seq };

    if (commitlog_commit_decode(e->body, e->body_len, &b.commit, err) < 0)
        return -1;
    if (logstate_end_of(s, b.commit.id) != NULL)
        return 0; /* ignored by everybody */
    (void)add_end(s, b.commit.id, true);
    use(s, b.commit.id);
    s->backups = logstate_grow(s->backups, s->backup_count, sizeof *s->backups);
    s->backups[s->backup_count++] = b;
    return 0;
}

int
logstate_check_commit(const struct logstate *s, const struct commitlog_entry *e,
                      struct err *err)
{
    if (logstate_end_of(s, e->body) != NULL)
        return err_set(err, ERR_CONFLICT,
                       "this session was ended by somebody else");
    return 0;
}

/* ---- ABORT ----------------------------------------------------------------
 */

int
logstate_fold_abort(struct logstate *s, const struct commitlog_entry *e,
                    struct err *err)
{
    bool is_discarded = e->body_len == DISCARD_SIZE;

    if (e->body_len != 16 && (!is_discarded || e->body[16] != 1))
        return err_set(err, ERR_CORRUPT, "ABORT: wrong length");
    if (logstate_end_of(s, e->body) == NULL)
        add_end(s, e->body, false)->is_discarded = is_discarded;
    return 0;
}

int
logstate_check_abort(const struct logstate *s, const struct commitlog_entry *e,
                     struct err *err)
{
    const struct logstate_end *end = logstate_end_of(s, e->body);

    if (end != NULL && end->is_commit)
        return err_set(err, ERR_CONFLICT, "this session did commit");
    if (e->body_len == DISCARD_SIZE) {
        if (end != NULL)
            return err_set(err, ERR_CONFLICT, "this session has ended");
        if (s->damage_count > 0) /* what ended it may be among that */
            return err_set(err, ERR_CONFLICT, "the log is damaged");
    }
    return 0;
}

/* ---- DELETE ---------------------------------------------------------------
 */

int
logstate_fold_delete(struct logstate *s, const struct commitlog_entry *e,
                     struct err *err)
{
    if (e->body_len < 18 || e->body_len != 2 + 16u * le_get16(e->body))
        return err_set(err, ERR_CORRUPT, "DELETE: wrong length");
    for (size_t at = 2; at + 16 <= e->body_len; at += 16) {
        size_t i = logstate_find(s, e->body + at);

        if (i == s->backup_count || logstate_hold_of(s, e->body + at) != NULL)
            continue; /* ignored by everybody */
        logstate_note_deleted(s, &s->backups[i], e->seq);
        memmove(&s->backups[i], &s->backups[i + 1],
                (s->backup_count - i - 1) * sizeof *s->backups);
        s->backup_count--;
    }
    return 0;
}

int
logstate_check_delete(const struct logstate *s, const struct commitlog_entry *e,
                      struct err *err)
{
    for (size_t at = 2; at < e->body_len; at += 16) {
        const struct commitlog_hold *h = logstate_hold_of(s, e->body + at);
        char id[UUID_STR_SIZE];

        repo_id_format(e->body + at, id);
        if (h != NULL)
            return err_set(err, ERR_CONFLICT,
                           "backup %s is on hold (%.80s): release it first", id,
                           h->reason);
        if (logstate_find(s, e->body + at) == s->backup_count)
            return err_set(err, ERR_NOT_FOUND, "backup %s: no such backup", id);
    }
    return 0;
}
