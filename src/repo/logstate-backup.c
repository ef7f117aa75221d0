/* SPDX-License-Identifier: Apache-2.0 */
/* Backups: which exist, which are deleted and still there, which are read. */
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/uuid.h"
#include "codec/le.h"
#include "repo/logstate.h"
#include "repo/repo-id.h"

#define PIN_SIZE   33u
#define UNPIN_SIZE 17u

size_t
logstate_find(const struct logstate *s, const uint8_t id[16])
{
    size_t i = 0;

    while (i < s->backup_count && memcmp(s->backups[i].commit.id, id, 16) != 0)
        i++;
    return i;
}

bool
logstate_is_present(const struct logstate *s, const uint8_t id[16])
{
    return logstate_find(s, id) < s->backup_count ||
           logstate_find_deleted(s, id) < s->deleted_count;
}

bool
logstate_is_kept(const struct logstate *s, const uint8_t id[16])
{
    for (size_t i = 0; i < s->session_count; i++) {
        const struct logstate_session *x = &s->sessions[i];

        if (x->end == LOGSTATE_OPEN && x->has_parent && !x->is_void &&
            memcmp(x->parent, id, 16) == 0 &&
            logstate_has_rule(s, LOGSTATE_RULE_PARENT))
            return true;
    }
    for (size_t i = 0; i < s->pin_count; i++)
        if (memcmp(s->pins[i].backup, id, 16) == 0 &&
            logstate_has_rule(s, LOGSTATE_RULE_PINNED))
            return true;
    return false;
}

/* ---- DELETE ---- */

static bool
is_held(const struct logstate *s, const uint8_t id[16])
{
    return logstate_hold_of(s, id) != NULL &&
           logstate_has_rule(s, LOGSTATE_RULE_HELD);
}

int
logstate_fold_delete(struct logstate *s, const struct commitlog_entry *e,
                     struct err *err)
{
    if (e->body_len < 18 || e->body_len != 2 + 16u * le_get16(e->body))
        return err_set(err, ERR_CORRUPT, "DELETE: wrong length");
    for (size_t at = 2; at + 16 <= e->body_len; at += 16) {
        size_t i = logstate_find(s, e->body + at);

        if (i == s->backup_count || is_held(s, e->body + at))
            continue; /* ignored by everybody */
        logstate_note_deleted(s, &s->backups[i], e->seq);
        memmove(&s->backups[i], &s->backups[i + 1],
                (s->backup_count - i - 1) * sizeof *s->backups);
        s->backup_count--;
    }
    return 0;
}

static int
refuse_held(const struct commitlog_hold *h, const char *id, struct err *err)
{
    return err_set(err, ERR_CONFLICT,
                   "backup %s is on hold (%.*s): release it first", id,
                   (int)text_fit(h->reason, 80), h->reason);
}

int
logstate_check_delete(const struct logstate *s, const struct commitlog_entry *e,
                      struct err *err)
{
    for (size_t at = 2; at < e->body_len; at += 16) {
        char id[UUID_STR_SIZE];

        repo_id_format(e->body + at, id);
        if (is_held(s, e->body + at))
            return refuse_held(logstate_hold_of(s, e->body + at), id, err);
        if (logstate_find(s, e->body + at) == s->backup_count)
            return err_set(err, ERR_NOT_FOUND, "backup %s: no such backup", id);
    }
    return 0;
}

/* ---- PIN ---- */

static void
unpin(struct logstate *s, const uint8_t id[16])
{
    size_t n = 0;

    for (size_t i = 0; i < s->pin_count; i++)
        if (memcmp(s->pins[i].id, id, 16) != 0)
            s->pins[n++] = s->pins[i];
    s->pin_count = n;
}

int
logstate_fold_pin(struct logstate *s, const struct commitlog_entry *e,
                  struct err *err)
{
    bool pins = e->body_len == PIN_SIZE && e->body[0] == 1;
    struct logstate_pin *p;

    if (!pins && (e->body_len != UNPIN_SIZE || e->body[0] != 0))
        return err_set(err, ERR_CORRUPT, "PIN: wrong length");
    unpin(s, e->body + 1); /* once more: it is still read */
    if (!pins || !logstate_is_present(s, e->body + 17))
        return 0;
    /* Not logstate_grow(): the count goes down too. */
    s->pins = xrealloc(s->pins, s->pin_count + 1, sizeof *s->pins);
    p = &s->pins[s->pin_count++];
    memcpy(p->id, e->body + 1, 16);
    memcpy(p->backup, e->body + 17, 16);
    p->seq = e->seq;
    return 0;
}

int
logstate_check_pin(const struct logstate *s, const struct commitlog_entry *e,
                   struct err *err)
{
    if (e->body_len == PIN_SIZE && !logstate_is_present(s, e->body + 17))
        return err_set(err, ERR_NOT_FOUND,
                       "the backup was deleted and collected");
    return 0;
}
