/* SPDX-License-Identifier: Apache-2.0 */
/* REDIRECT: packs whose live frames are elsewhere now.
 *
 * It counts only if its map knows every backup that is present: a COMMIT
 * between the entry that it covers and itself may need a frame that was left
 * behind. And only the first that names a pack counts: two compactors may have
 * had the same idea.
 */
#include <string.h>

#include "base/mem.h"
#include "repo/logstate.h"

static int
compare(const void *a, const void *b)
{
    const struct logstate_moved *x = a, *y = b;
    int c = memcmp(x->pack.session, y->pack.session, 16);

    if (c != 0)
        return c;
    if (x->pack.kind != y->pack.kind)
        return x->pack.kind < y->pack.kind ? -1 : 1;
    return x->pack.n < y->pack.n ? -1 : x->pack.n > y->pack.n;
}

const struct logstate_moved *
logstate_moved_find(const struct logstate *s, const struct pack_id *pack)
{
    struct logstate_moved key = { .pack = *pack };

    if (s->moved_count == 0)
        return NULL;
    return bsearch(&key, s->moved, s->moved_count, sizeof *s->moved, compare);
}

void
logstate_redirect_copy(struct logstate *to, const struct logstate *from)
{
    to->redirects = xcalloc(from->redirect_count + 1, sizeof *to->redirects);
    to->redirect_count = from->redirect_count;
    for (size_t i = 0; i < from->redirect_count; i++) {
        const struct movemap_entry *e = &from->redirects[i];
        struct pack_id *sources = xcalloc(e->count, sizeof *sources);

        memcpy(sources, e->sources, e->count * sizeof *sources);
        to->redirects[i] = *e;
        to->redirects[i].sources = sources;
    }
    to->moved = xcalloc(from->moved_count + 1, sizeof *to->moved);
    to->moved_count = from->moved_count;
    if (from->moved_count > 0)
        memcpy(to->moved, from->moved, from->moved_count * sizeof *to->moved);
}

void
logstate_redirect_fini(struct logstate *s)
{
    for (size_t i = 0; i < s->redirect_count; i++)
        movemap_entry_fini(&s->redirects[i]);
    free(s->redirects);
    free(s->moved);
}

/* Does it count, as the log is now? */
static int
judge(const struct logstate *s, const struct movemap_entry *m, struct err *err)
{
    const struct logstate_session *x = logstate_session_of(s, m->session);

    if (x != NULL && x->end != LOGSTATE_OPEN &&
        (x->end == LOGSTATE_COMMITTED ||
         logstate_has_rule(s, LOGSTATE_RULE_MOVER)))
        return err_set(err, ERR_CONFLICT, "this session has ended");
    for (unsigned i = 0; i < m->count; i++)
        if (logstate_moved_find(s, &m->sources[i]) != NULL)
            return err_set(err, ERR_CONFLICT,
                           "one of the packs was rewritten by somebody else");
    if (s->damage_count > 0)
        return 0; /* the only copy may be the new one */
    if (x == NULL || x->open_seq == 0)
        return err_set(err, ERR_CONFLICT, "this session was never begun");
    if (s->commit_seq > m->covers &&
        logstate_has_rule(s, LOGSTATE_RULE_COVERED))
        return err_set(err, ERR_CONFLICT,
                       "a backup was committed since the frames were chosen");
    return 0;
}

static void
note_moved(struct logstate *s, const struct movemap_entry *m)
{
    s->moved = xrealloc(s->moved, s->moved_count + m->count, sizeof *s->moved);
    for (unsigned i = 0; i < m->count; i++)
        s->moved[s->moved_count++] =
            (struct logstate_moved){ .pack = m->sources[i],
                                     .redirect = (uint32_t)s->redirect_count,
                                     .source = i };
    qsort(s->moved, s->moved_count, sizeof *s->moved, compare);
}

int
logstate_fold_redirect(struct logstate *s, const struct commitlog_entry *e,
                       struct err *err)
{
    struct movemap_entry m;
    struct err ignored;

    if (movemap_entry_decode(e->body, e->body_len, &m, err) < 0)
        return -1;
    if (judge(s, &m, &ignored) < 0) {
        movemap_entry_fini(&m);
        return 0; /* ignored by everybody */
    }
    logstate_session_make(s, m.session)->end = LOGSTATE_COMMITTED;
    note_moved(s, &m);
    s->growth_seq = e->seq;
    s->shrink_seq = e->seq;
    s->redirects =
        logstate_grow(s->redirects, s->redirect_count, sizeof *s->redirects);
    s->redirects[s->redirect_count++] = m;
    return 0;
}

int
logstate_check_redirect(const struct logstate *s,
                        const struct commitlog_entry *e, struct err *err)
{
    CLEANUP(movemap_entry_fini) struct movemap_entry m = { 0 };

    if (movemap_entry_decode(e->body, e->body_len, &m, err) < 0)
        return -1;
    if (s->damage_count > 0)
        return err_set(err, ERR_CONFLICT, "the log is damaged");
    return judge(s, &m, err);
}
