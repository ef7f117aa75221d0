/* SPDX-License-Identifier: Apache-2.0 */
/* repo/gc.h: collects garbage: the packs that no backup needs.
 *
 * Any number of collectors and writers may be at work at once, on any hosts;
 * nobody waits and nothing is locked. Source: docs/formats/log.md, "Rules".
 * What a backup needs its pack summary says; before anything is condemned each
 * summary is compared with the trees, once.
 * Threads: any. Blocks on the store.
 */
#pragma once
#include "repo/repo.h"

#define REPO_GC_UNDELETE_S 172800 /* two days */
#define REPO_GC_GRACE_S    172800
#define REPO_GC_KILL_S     604800 /* a week */

/* Times are how long somebody may be slow without harm to his own work; no
 * value of theirs, and no clock, endangers a backup. */
struct repo_gc_options {
    int64_t undelete_s; /* a deleted backup can be taken back so long */
    /* Then its packs are condemned, and so long after that removed: who reads
     * without saying so (a store that is read-only for him) may go on. */
    int64_t grace_s;
    int64_t
        kill_s; /* a writer, or a reader, that said nothing so long is dead */
    int64_t now_unix_s; /* 0: now. For tests */
    bool is_dry_run;    /* change nothing, count what would be done */
};

struct repo_gc_result {
    unsigned killed_sessions;
    unsigned dropped_backups; /* that cannot be taken back any more */
    unsigned wrong_summaries; /* backups that say less than they need */
    uint64_t live_packs;      /* that exist and are needed, */
    uint64_t open_packs;      /* or belong to somebody at work, */
    uint64_t condemned_packs; /* or were condemned by this run, */
    uint64_t waiting_packs;   /* or are, and stay until the grace is over, */
    uint64_t removed_packs;   /* or were removed by this run: */
    uint64_t removed_bytes;   /* so much */
};

struct repo_gc_sink {
    /* A pack was removed, or would be; other than 0 cancels. */
    int (*removed)(void *arg, const char *object, uint64_t bytes);
    /* The pack summary of that backup is wrong. What it lacks is kept. */
    void (*doubt)(void *arg, const char *backup, const char *what);
    void *arg;
};

/* The default times. */
struct repo_gc_options repo_gc_defaults(void);

/* One run. What it leaves half done, the next one does.
 *   sink    NULL: nobody listens
 *   errors  CORRUPT (the log is damaged: a lost entry may name what is
 *           needed); those of reading roots and pack summaries: nothing is
 *           condemned then; CANCELLED */
int repo_gc(struct repo *repo, const struct repo_gc_options *options,
            const struct repo_gc_sink *sink, struct repo_gc_result *ret,
            struct err *err) NODISCARD NONNULL(1, 2, 4, 5);
