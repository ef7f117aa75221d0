/* SPDX-License-Identifier: Apache-2.0 */
/* repo/repo-index.h: the index as a whole: completed, merged, made again.
 *
 * Threads: any; two at once, here or on two hosts, do work twice, no harm.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

struct repo;

struct repo_index_result {
    uint64_t segments; /* there now */
    uint64_t chunks;   /* that they list; some twice */
    uint64_t bytes;    /* of them */
    uint64_t removed;  /* segments that were damaged, or that nobody needs */
    uint64_t merged;   /* that became part of others */
    uint64_t packs;    /* listed anew, from their footers */
    uint64_t unread;   /* packs whose footer cannot be read */
    bool is_sampled; /* by backups: more than repo_index_set_budget() or memory
                      */
};

/* An index that is larger than that is sampled by the backups of this host: it
 * is not read as a whole, and of what others have already some is stored again.
 * Before the first backup begins. */
#define REPO_INDEX_BUDGET ((uint64_t)32 << 30)
void repo_index_set_budget(struct repo *repo, uint64_t bytes);

/* Remove what is damaged or garbage, list the packs that no segment lists,
 * merge what is due. `rebuilds`: nothing of the old index is kept.
 *   errors  DENIED (the key must allow deleting, and to rebuild also reading);
 * those of the store blocks  on the store: two reads for each pack that is
 * listed */
int repo_index_maintain(struct repo *repo, bool rebuilds,
                        struct repo_index_result *ret, struct err *err)
    NODISCARD;

/* Keep what backups read of the index in that directory of this host, for the
 * next ones: for a store far away. Before the first backup begins.
 *   dir, max_bytes  see segcache_open() */
int repo_index_cache(struct repo *repo, const char *dir, uint64_t max_bytes,
                     struct err *err) NODISCARD;

/* After a backup: merge, if that is due and short. A courtesy. */
void repo_index_tidy(struct repo *repo);
