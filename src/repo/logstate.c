/* SPDX-License-Identifier: Apache-2.0 */
/* The fold of the log.
 *
 *   check   would this entry count if it were the next one? Asked before it is
 *           written, and the answer says why not
 *   fold    it is the next one: does it count, and what changes?
 *
 * Both look at what the entries before it left and at nothing else: a reader
 * that begins today, a writer in the midst of a backup and a collector on
 * another host come to the same state, and need no lock. Between a check and
 * the write others may have written; then the number is taken, their entries
 * are folded in, and the check is made again (commitlog-append.c). An entry
 * that breaks a rule is skipped, by everybody. Only a type that nobody here
 * knows and that is marked critical ends the fold: a newer version wrote it.
 *
 * No pack goes that a present backup needs, in whatever order things happen:
 *
 *   COMMIT then CONDEMN   the CONDEMN's base is older than the COMMIT: skipped;
 *                         its writer looks again, and sees the new backup
 *   CONDEMN then COMMIT   the COMMIT checked before the CONDEMN: skipped; its
 *                         writer looks which packs are gone, and stores those
 *                         chunks again (rescue.c)
 *   a writer at work      packs of sessions that may still commit, of what they
 *                         resume and of their parents are never condemned; who
 *                         is silent for too long is ended by KILL, and then
 *                         cannot commit
 *   REDIRECT              the same against COMMIT, with the map's `covers`
 *
 * Clocks say when somebody tries a KILL or a CONDEMN, never whether it counts.
 * The rules with their proof are in docs/formats/log.md; test-gc-model.c goes
 * through all orders of a few events, and loses a chunk for each rule left out.
 */
#include "repo/logstate.h"

#include <stdio.h>

#include "base/mem.h"

/* Hosts whose clocks differ by less are not told apart. */
#define CLOCK_SLACK_S 3600
#define DOUBTFUL      INT64_MIN

/* By type; a line each. */
static const struct logstate_type types[] = {
    [COMMITLOG_OPEN] = { "OPEN", false, logstate_fold_open,
                         logstate_check_open },
    [COMMITLOG_COMMIT] = { "COMMIT", true, logstate_fold_commit,
                           logstate_check_commit },
    [COMMITLOG_ABORT] = { "ABORT", false, logstate_fold_abort,
                          logstate_check_abort },
    [COMMITLOG_DELETE] = { "DELETE", true, logstate_fold_delete,
                           logstate_check_delete },
    [COMMITLOG_KILL] = { "KILL", true, logstate_fold_kill,
                         logstate_check_abort },
    [COMMITLOG_REDIRECT] = { "REDIRECT", true, logstate_fold_redirect,
                             logstate_check_redirect },
    [COMMITLOG_CONDEMN] = { "CONDEMN", true, logstate_fold_condemn,
                            logstate_check_condemn },
    [COMMITLOG_HOLD] = { "HOLD", true, logstate_fold_hold,
                         logstate_check_hold },
    [COMMITLOG_UNDELETE] = { "UNDELETE", true, logstate_fold_undelete,
                             logstate_check_undelete },
    [COMMITLOG_PIN] = { "PIN", false, logstate_fold_pin, logstate_check_pin },
    [COMMITLOG_BAD] = { "BAD", false, logstate_fold_bad, NULL },
    [COMMITLOG_KEY] = { "KEY", false, logstate_fold_key, logstate_check_key },
};

const struct logstate_type *
logstate_type_of(unsigned type)
{
    if (type >= sizeof types / sizeof types[0] || types[type].name == NULL)
        return NULL;
    return &types[type];
}

void
logstate_fini(struct logstate *s)
{
    free(s->backups);
    free(s->deleted);
    free(s->sessions);
    free(s->session_slots);
    free(s->pins);
    free(s->times);
    logstate_redirect_fini(s);
    free(s->damages);
    free(s->holds);
    badset_fini(&s->bad);
    packset_fini(&s->condemned);
    *s = (struct logstate){ 0 };
}

bool
logstate_has_rule(const struct logstate *s, enum logstate_rule rule)
{
    return (s->without & (unsigned)rule) == 0;
}

void *
logstate_grow(void *array, size_t count, size_t size)
{
    if ((count & (count - 1)) == 0)
        array = xrealloc(array, count == 0 ? 1 : 2 * count, size);
    return array;
}

void
logstate_note_damage(struct logstate *s, uint64_t seq, const char *cause)
{
    struct commitlog_damage *d;

    s->damages = logstate_grow(s->damages, s->damage_count, sizeof *s->damages);
    d = &s->damages[s->damage_count++];
    d->seq = seq;
    (void)snprintf(d->cause, sizeof d->cause, "%.199s", cause);
}

/* Numbers that are missing have the time of the one before. */
static void
note_time(struct logstate *s, uint64_t seq, int64_t time)
{
    int64_t before = s->time_count > 0 ? s->times[s->time_count - 1] : 0;

    while (s->time_count < seq) {
        s->times = logstate_grow(s->times, s->time_count, sizeof *s->times);
        s->times[s->time_count++] = before;
    }
    s->times[seq - 1] = time;
    s->last_seq = seq;
}

/* Forward: what is believed. An entry that is not gets the time of the next one
 * by which time went on: it was written before that. */
int64_t *
logstate_times(const struct logstate *s, int64_t now)
{
    int64_t *times = xcalloc(s->time_count + 1, sizeof *times);
    int64_t latest = -1, next = now;

    for (size_t i = 0; i < s->time_count; i++) {
        int64_t t = s->times[i];

        times[i] = DOUBTFUL;
        if (t > now || t < latest - CLOCK_SLACK_S || t < 0)
            continue;
        latest = t > latest ? t : latest;
        times[i] = latest;
    }
    for (size_t i = s->time_count; i-- > 0;) {
        if (times[i] == DOUBTFUL)
            times[i] = next;
        else if (times[i] == s->times[i])
            next = times[i];
    }
    return times;
}

int
logstate_fold(struct logstate *s, const struct commitlog_entry *e,
              struct err *err)
{
    const struct logstate_type *t = logstate_type_of(e->type);

    if (t == NULL && e->is_critical)
        return err_set(
            err, ERR_UNSUPPORTED,
            "log entry %llu is of type %u, which this version does not know",
            (unsigned long long)e->seq, e->type);
    note_time(s, e->seq, e->time_unix_s);
    return t == NULL ? 0 : t->fold(s, e, err);
}

int
logstate_check(const struct logstate *s, const struct commitlog_entry *e,
               struct err *err)
{
    const struct logstate_type *t = logstate_type_of(e->type);

    return t == NULL || t->check == NULL ? 0 : t->check(s, e, err);
}
