/* SPDX-License-Identifier: Apache-2.0 */
/* repo/collect.h: gives back all space that no backup needs.
 *
 * In one run: what nobody needs is condemned; packs of which little is needed
 * are rewritten, and condemned too; what was condemned a grace ago is removed;
 * the index forgets what has gone. This is what users mean by collecting:
 * repo/gc.h and repo/compact.h are its parts.
 * Threads: any; any number at once, on any hosts. Blocks on the store.
 */
#pragma once
#include "repo/compact.h"
#include "repo/gc.h"
#include "repo/repo-index.h"

struct repo_collect_options {
    struct repo_gc_options gc; /* is_dry_run is of all of it */
    bool keeps_packs;          /* rewrite none */
    struct repo_compact_options compact;
};

struct repo_collect_result {
    struct repo_gc_result gc; /* in all */
    struct repo_compact_result compact;
    struct repo_index_result index;
};

struct repo_collect_sink {
    struct repo_gc_sink gc;
    struct repo_compact_sink compact;
    /* The index could not be tidied: no harm to backups. */
    void (*index_failed)(void *arg, const struct err *why);
    void *arg;
};

/* *ret says what was done in any case.
 *   errors  those of repo_gc() and repo_compact(); when only the latter failed,
 *           all the rest was done */
int repo_collect(struct repo *repo, const struct repo_collect_options *options,
                 const struct repo_collect_sink *sink,
                 struct repo_collect_result *ret, struct err *err)
    NODISCARD NONNULL(1, 2, 3, 4, 5);
