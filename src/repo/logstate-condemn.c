/* SPDX-License-Identifier: Apache-2.0 */
/* CONDEMN: backups that can no longer be undeleted, packs that may be removed.
 *
 * A collector looks at the log up to some entry, its base, and names packs that
 * nothing present needs. What could make that wrong by the time its entry
 * stands in the log is seen from the log alone, so everybody comes to the same
 * answer without reading a pack:
 *   - a COMMIT behind the base may need them: then the entry is ignored;
 *   - a session that may commit, or that such a one resumes, owns them: the
 *     pack's name says whose it is;
 *   - a backup to drop was undeleted, is pinned, or the parent of an open
 *     session: such a backup is not dropped, and so are its packs not named.
 */
#include <string.h>

#include "base/mem.h"
#include "repo/logstate.h"

static int
check_sessions(const struct logstate *s, const struct commitlog_condemn *c,
               struct err *err)
{
    for (size_t i = 0; i < c->pack_count; i++) {
        const uint8_t *session = c->packs[i].session;

        if (i > 0 && memcmp(session, c->packs[i - 1].session, 16) == 0)
            continue;
        if (logstate_is_protected(s, session))
            return err_set(err, ERR_CONFLICT,
                           "a session whose packs were to go is at work");
    }
    return 0;
}

/* I2, as far as the log says. */
static int
check(const struct logstate *s, const struct commitlog_condemn *c,
      struct err *err)
{
    if (c->base_seq < s->growth_seq &&
        logstate_has_rule(s, LOGSTATE_RULE_GROWN))
        return err_set(err, ERR_CONFLICT,
                       "backups were committed since the collector looked");
    for (size_t i = 0; i < c->drop_count; i++) {
        size_t at = logstate_find_deleted(s, c->drops[i]);

        if ((at == s->deleted_count &&
             logstate_has_rule(s, LOGSTATE_RULE_DROPPED)) ||
            logstate_is_kept(s, c->drops[i]))
            return err_set(err, ERR_CONFLICT,
                           "a backup that was to go is needed again");
    }
    return check_sessions(s, c, err);
}

int
logstate_fold_condemn(struct logstate *s, const struct commitlog_entry *e,
                      struct err *err)
{
    CLEANUP(commitlog_condemn_fini) struct commitlog_condemn c = { 0 };
    struct err ignored;

    if (commitlog_condemn_decode(e->body, e->body_len, &c, err) < 0)
        return -1;
    /* With a damaged log it counts: what it names may be gone. */
    if (s->damage_count == 0 && check(s, &c, &ignored) < 0)
        return 0;
    for (size_t i = 0; i < c.drop_count; i++)
        (void)logstate_drop_deleted(s, c.drops[i]);
    for (size_t i = 0; i < c.pack_count; i++) {
        logstate_session_make(s, c.packs[i].session)->is_condemned = true;
        if (packset_get(&s->condemned, &c.packs[i]) == 0)
            packset_set(&s->condemned, &c.packs[i], e->seq);
    }
    if (c.pack_count > 0)
        s->shrink_seq = e->seq;
    return 0;
}

int
logstate_check_condemn(const struct logstate *s,
                       const struct commitlog_entry *e, struct err *err)
{
    CLEANUP(commitlog_condemn_fini) struct commitlog_condemn c = { 0 };

    if (s->damage_count > 0)
        return err_set(err, ERR_CONFLICT, "the log is damaged");
    if (commitlog_condemn_decode(e->body, e->body_len, &c, err) < 0)
        return -1;
    return check(s, &c, err);
}
