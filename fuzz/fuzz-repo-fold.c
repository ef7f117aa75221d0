/* SPDX-License-Identifier: Apache-2.0 */
/* A log of hostile entries, folded: whatever they say and in whatever order,
 * the state stays sound. Anybody who may add a backup can write such a log.
 *
 * An input is entries: type, time and the critical flag in a byte, the length
 * of the body in another, the body.
 */
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "repo/logstate.h"

#define ENTRIES_MAX 64

static void
check_backups(const struct logstate *s)
{
    for (size_t i = 0; i < s->backup_count; i++) {
        const uint8_t *id = s->backups[i].commit.id;

        FUZZ_CHECK(i == 0 || s->backups[i].seq > s->backups[i - 1].seq);
        FUZZ_CHECK(logstate_find(s, id) == i);
        FUZZ_CHECK(logstate_find_deleted(s, id) == s->deleted_count);
        FUZZ_CHECK(logstate_is_present(s, id) && logstate_is_used(s, id));
    }
    for (size_t i = 0; i < s->deleted_count; i++)
        FUZZ_CHECK(logstate_find_deleted(s, s->deleted[i].backup.commit.id) ==
                   i);
    for (size_t i = 0; i < s->hold_count; i++)
        FUZZ_CHECK(logstate_hold_of(s, s->holds[i].id) == &s->holds[i]);
}

static void
check_rest(const struct logstate *s, uint64_t last)
{
    int64_t *times = logstate_times(s, INT64_MAX);
    int64_t latest = 0; /* of the stamps, which are all within the slack */

    FUZZ_CHECK(s->last_seq <= last && s->time_count <= last);
    for (size_t i = 0; i < s->time_count; i++) {
        latest = s->times[i] > latest ? s->times[i] : latest;
        FUZZ_CHECK(times[i] >= latest);
    }
    free(times);
    for (size_t i = 0; i < s->session_count; i++) {
        const struct logstate_session *x = &s->sessions[i];

        FUZZ_CHECK(logstate_session_of(s, x->id) == x);
        (void)logstate_is_protected(s, x->id);
        (void)logstate_is_kept(s, x->parent);
    }
    for (size_t i = 0; i < s->moved_count; i++) {
        const struct logstate_moved *m = &s->moved[i];

        FUZZ_CHECK(logstate_moved_find(s, &m->pack) != NULL);
        FUZZ_CHECK(m->redirect < s->redirect_count &&
                   m->source < s->redirects[m->redirect].count);
    }
    for (size_t i = 0; i < s->bad.count; i++)
        (void)badset_has_id(&s->bad, s->bad.frames[i].id);
}

/* Takes one entry from the input; false: there is no more. */
static bool
next(const uint8_t **data, size_t *len, uint8_t *body,
     struct commitlog_entry *ret)
{
    size_t n;

    if (*len < 2)
        return false;
    ret->type = (*data)[0] & 15u;
    ret->is_critical = (*data)[0] >> 7 != 0;
    ret->time_unix_s = (int64_t)((*data)[0] >> 4 & 7) - 1;
    n = (*data)[1];
    *data += 2;
    *len -= 2;
    if (n > *len)
        n = *len;
    memcpy(body, *data, n);
    *data += n;
    *len -= n;
    ret->body = body;
    ret->body_len = n;
    return true;
}

static void
fold(struct logstate *s, const struct commitlog_entry *e)
{
    const struct logstate_type *t = logstate_type_of(e->type);
    struct err err = { 0 };

    if (logstate_fold(s, e, &err) < 0) {
        FUZZ_CHECK(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED);
        FUZZ_CHECK(err.code == ERR_CORRUPT || t == NULL);
        if (err.code == ERR_CORRUPT)
            logstate_note_damage(s, e->seq, err.msg);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t body[256];
    struct logstate s = { 0 };
    struct commitlog_entry e = { 0 };

    for (e.seq = 1; e.seq <= ENTRIES_MAX && next(&data, &len, body, &e);
         e.seq++) {
        fold(&s, &e);
        check_backups(&s);
        check_rest(&s, e.seq);
    }
    logstate_fini(&s);
    return 0;
}
