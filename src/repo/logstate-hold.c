/* SPDX-License-Identifier: Apache-2.0 */
/* What stays although it was to go: backups on hold, deleted ones that can be
 * taken back; and what is there but no good: BAD. */
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "codec/le.h"
#include "repo/logstate.h"
#include "repo/repo-id.h"

enum {
    HOLD_CLEAR = 0,
    HOLD_SET = 1,
    HOLD_SIZE = 18, /* without the reason */
    BAD_CLEAR = 0,
    BAD_SET = 1,
    BAD_HEAD = 3, /* op, count */
};

static int
no_backup(const uint8_t id[16], const char *what, struct err *err)
{
    char text[UUID_STR_SIZE];

    repo_id_format(id, text);
    return err_set(err, ERR_NOT_FOUND, "backup %s: %s", text, what);
}

/* ---- HOLD: op, backup, length of the reason, the reason ---- */

const struct commitlog_hold *
logstate_hold_of(const struct logstate *s, const uint8_t id[16])
{
    for (size_t i = 0; i < s->hold_count; i++)
        if (memcmp(s->holds[i].id, id, 16) == 0)
            return &s->holds[i];
    return NULL;
}

static void
drop_hold(struct logstate *s, const uint8_t id[16])
{
    for (size_t i = 0; i < s->hold_count; i++)
        if (memcmp(s->holds[i].id, id, 16) == 0) {
            s->holds[i] = s->holds[s->hold_count - 1];
            s->hold_count--;
            return;
        }
}

int
logstate_fold_hold(struct logstate *s, const struct commitlog_entry *e,
                   struct err *err)
{
    struct commitlog_hold *h;

    if (e->body_len < HOLD_SIZE || e->body[0] > HOLD_SET ||
        e->body[17] > REPO_HOLD_REASON_MAX ||
        e->body_len != HOLD_SIZE + (size_t)e->body[17])
        return err_set(err, ERR_CORRUPT, "HOLD: wrong length");
    drop_hold(s, e->body + 1);
    if (e->body[0] == HOLD_CLEAR ||
        logstate_find(s, e->body + 1) == s->backup_count)
        return 0;
    s->holds = xrealloc(s->holds, s->hold_count + 1, sizeof *s->holds);
    h = &s->holds[s->hold_count++];
    *h = (struct commitlog_hold){ .since_seq = e->seq };
    memcpy(h->id, e->body + 1, 16);
    memcpy(h->reason, e->body + HOLD_SIZE, e->body[17]);
    return 0;
}

int
logstate_check_hold(const struct logstate *s, const struct commitlog_entry *e,
                    struct err *err)
{
    if (logstate_find(s, e->body + 1) == s->backup_count)
        return no_backup(e->body + 1, "no such backup", err);
    if (e->body[0] == HOLD_CLEAR && logstate_hold_of(s, e->body + 1) == NULL)
        return no_backup(e->body + 1, "is not on hold", err);
    return 0;
}

/* ---- UNDELETE: as DELETE ---- */

void
logstate_note_deleted(struct logstate *s, const struct commitlog_backup *b,
                      uint64_t seq)
{
    struct commitlog_deleted *d;

    s->deleted =
        logstate_grow(s->deleted, s->deleted_count, sizeof *s->deleted);
    d = &s->deleted[s->deleted_count++];
    d->backup = *b;
    d->seq = seq;
}

size_t
logstate_find_deleted(const struct logstate *s, const uint8_t id[16])
{
    size_t i = 0;

    while (i < s->deleted_count &&
           memcmp(s->deleted[i].backup.commit.id, id, 16) != 0)
        i++;
    return i;
}

bool
logstate_drop_deleted(struct logstate *s, const uint8_t id[16])
{
    size_t i = logstate_find_deleted(s, id);

    if (i == s->deleted_count)
        return false;
    memmove(&s->deleted[i], &s->deleted[i + 1],
            (s->deleted_count - i - 1) * sizeof *s->deleted);
    s->deleted_count--;
    s->deleted =
        xrealloc(s->deleted, 2 * s->deleted_count + 1, sizeof *s->deleted);
    return true;
}

static void
undelete(struct logstate *s, const uint8_t id[16])
{
    size_t i = logstate_find_deleted(s, id), at = s->backup_count;
    struct commitlog_backup b;

    if (i == s->deleted_count)
        return;
    b = s->deleted[i].backup;
    (void)logstate_drop_deleted(s, id);
    s->backups =
        xrealloc(s->backups, 2 * s->backup_count + 1, sizeof *s->backups);
    while (at > 0 && s->backups[at - 1].seq > b.seq)
        at--;
    memmove(&s->backups[at + 1], &s->backups[at],
            (s->backup_count - at) * sizeof *s->backups);
    s->backups[at] = b;
    s->backup_count++;
}

int
logstate_fold_undelete(struct logstate *s, const struct commitlog_entry *e,
                       struct err *err)
{
    if (e->body_len < 18 || e->body_len != 2 + 16u * le_get16(e->body))
        return err_set(err, ERR_CORRUPT, "UNDELETE: wrong length");
    for (size_t at = 2; at < e->body_len; at += 16)
        undelete(s, e->body + at);
    return 0;
}

int
logstate_check_undelete(const struct logstate *s,
                        const struct commitlog_entry *e, struct err *err)
{
    for (size_t at = 2; at < e->body_len; at += 16)
        if (logstate_find_deleted(s, e->body + at) == s->deleted_count)
            return no_backup(
                e->body + at,
                "is not among the deleted ones that can be taken back", err);
    return 0;
}

/* ---- BAD: op, count, frames ---- */

int
logstate_fold_bad(struct logstate *s, const struct commitlog_entry *e,
                  struct err *err)
{
    if (e->body_len < BAD_HEAD || e->body[0] > BAD_SET ||
        e->body_len != BAD_HEAD + (size_t)BADSET_SIZE * le_get16(e->body + 1))
        return err_set(err, ERR_CORRUPT, "BAD: wrong length");
    for (size_t at = BAD_HEAD; at < e->body_len; at += BADSET_SIZE) {
        struct badset_frame f;

        if (badset_decode(e->body + at, &f, err) < 0)
            return -1;
        if (e->body[0] == BAD_SET)
            badset_add(&s->bad, &f);
        else
            badset_remove(&s->bad, &f);
    }
    return 0;
}
