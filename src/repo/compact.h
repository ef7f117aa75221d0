/* SPDX-License-Identifier: Apache-2.0 */
/* repo/compact.h: rewrites packs of which little is needed.
 *
 * What backups need of them is copied into new packs, as it is stored, and a
 * REDIRECT of the log says where it went. The old packs can then be collected
 * as garbage (repo/gc.h); nothing is removed here.
 * Rules: docs/formats/log.md, "REDIRECT". Threads: any; any number of hosts at
 * once, beside writers and collectors: who is late gives up.
 */
#pragma once
#include "repo/repo.h"

struct repo_compact_options {
    /* Rewrite packs of which at least this share is not needed; 0: 25. */
    unsigned dead_percent;
    /* And, the worst first, until at most this share of all is not needed;
     * 0: 1. 100: only as dead_percent says. */
    unsigned rest_percent;
    bool dry_run; /* only count */
    /* Also rewrite packs that keys of older epochs open, and encrypt what is
     * copied anew; the maps of earlier REDIRECTs, which hold places and no
     * content, stay as they are. Needs a key that reads everything. */
    bool rewrites_keys;
};

struct repo_compact_result {
    uint64_t packs_seen; /* that could be rewritten, and their bytes */
    uint64_t bytes_seen;
    uint64_t dead_bytes; /* of these not needed */
    uint64_t packs_rewritten;
    uint64_t bytes_rewritten; /* of those packs: what can be collected now */
    uint64_t bytes_written;   /* of the new packs */
    uint64_t packs_skipped;   /* damaged, or somebody else was faster */
    /* Writers at work that began before the last rotation: what they store has
     * the older keys. */
    unsigned old_sessions;
};

struct repo_compact_sink {
    /* May be NULL. A value other than 0 cancels. */
    int (*progress)(void *arg, uint64_t done_bytes, uint64_t all_bytes);
    void *arg;
};

/* Needs the key. A backup that is damaged keeps us from knowing what it needs:
 * then nothing is rewritten.
 *   errors  DENIED; CORRUPT, NOT_FOUND (a backup cannot be read, or the log is
 *           damaged); CANCELLED
 *   blocks  on the store; memory is bounded: below 256 MiB */
int repo_compact(struct repo *repo, const struct repo_compact_options *options,
                 const struct repo_compact_sink *sink,
                 struct repo_compact_result *ret, struct err *err)
    NODISCARD NONNULL(1, 2, 3, 4, 5);
