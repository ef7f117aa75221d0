/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/logstate.h"

#include <stdio.h>

#include "base/mem.h"

/* By type; a line each. */
static const struct logstate_type types[] = {
    [COMMITLOG_OPEN] = { .name = "OPEN", .fold = logstate_fold_open },
    [COMMITLOG_COMMIT] = { .name = "COMMIT",
                           .is_critical = true,
                           .fold = logstate_fold_commit,
                           .check = logstate_check_commit },
    [COMMITLOG_ABORT] = { .name = "ABORT",
                          .fold = logstate_fold_abort,
                          .check = logstate_check_abort },
    [COMMITLOG_DELETE] = { .name = "DELETE",
                           .is_critical = true,
                           .fold = logstate_fold_delete,
                           .check = logstate_check_delete },
    [COMMITLOG_HOLD] = { .name = "HOLD",
                         .is_critical = true,
                         .fold = logstate_fold_hold,
                         .check = logstate_check_hold },
    [COMMITLOG_UNDELETE] = { .name = "UNDELETE",
                             .is_critical = true,
                             .fold = logstate_fold_undelete,
                             .check = logstate_check_undelete },
    [COMMITLOG_BAD] = { .name = "BAD", .fold = logstate_fold_bad },
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
    free(s->ends);
    free(s->links);
    free(s->damages);
    free(s->holds);
    free(s->deleted);
    badset_fini(&s->bad);
    *s = (struct logstate){ 0 };
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

int
logstate_fold(struct logstate *s, const struct commitlog_entry *e,
              struct err *err)
{
    const struct logstate_type *t = logstate_type_of(e->type);

    if (t != NULL)
        return t->fold(s, e, err);
    if (e->is_critical)
        return err_set(
            err, ERR_UNSUPPORTED,
            "log entry %llu is of type %u, which this version does not know",
            (unsigned long long)e->seq, e->type);
    return 0;
}

int
logstate_check(const struct logstate *s, const struct commitlog_entry *e,
               struct err *err)
{
    const struct logstate_type *t = logstate_type_of(e->type);

    return t == NULL || t->check == NULL ? 0 : t->check(s, e, err);
}
