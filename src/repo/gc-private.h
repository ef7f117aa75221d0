/* SPDX-License-Identifier: Apache-2.0 */
/* repo/gc-private.h: one run of the collector, for gc*.c only.
 *
 * gc.c is the order of work, gc-mark.c finds out what is needed, gc-check.c
 * whether that is all.
 */
#pragma once
#include "repo/gc.h"
#include "repo/logstate.h"
#include "repo/repo-private.h"

struct gc {
    struct repo *repo;
    const struct repo_gc_options *options;
    const struct repo_gc_sink *sink; /* or NULL */
    struct repo_gc_result *result;
    int64_t now;
    /* What backups need; it only grows in a run. Their trees name `named`;
     * what of that was moved elsewhere needs the sessions that moved it. */
    struct packset named;
    uint8_t (*marked)[16]; /* the backups that are in it */
    size_t marked_count;
    struct badset bad;             /* damaged frames, and whole copies */
    struct gc_checked *checked;    /* gc-check.c; NULL before it is needed */
    struct commitlog_condemn next; /* what is to be condemned */
    struct pack_id *packs;         /* that exist: sorted */
    size_t pack_count;
    struct pack_id *parities; /* objects of parity that exist: of which packs */
    size_t parity_count;
};

/* Take a backup's packs into gc->named, once. */
int gc_mark(struct gc *gc, const struct commitlog_commit *c, struct err *err)
    NODISCARD;
/* Of what exists, find what to condemn: sets gc->next.packs and the counts. */
void gc_choose(struct gc *gc, const struct logstate *s);

/* Compare the pack summaries of these backups, that were marked, with their
 * trees, each once; what they lack is taken into gc->named: *ret_grew. What was
 * found right is kept in a hint, so that only new backups are looked at. */
int gc_check(struct gc *gc, const struct commitlog_commit *backups,
             size_t count, bool *ret_grew, struct err *err) NODISCARD;
/* Note for the next run which are right. */
void gc_check_end(struct gc *gc);
void gc_check_free(struct gc *gc);
