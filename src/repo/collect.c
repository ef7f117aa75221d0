/* SPDX-License-Identifier: Apache-2.0 */
/* First what no backup has any more is condemned, so that the compactor does
 * not carry it along; what it rewrote is condemned right after it.
 */
#include "repo/collect.h"

#include "repo/repo-private.h"

static void
add(struct repo_gc_result *sum, const struct repo_gc_result *r)
{
    sum->killed_sessions += r->killed_sessions;
    sum->dropped_backups += r->dropped_backups;
    sum->condemned_packs += r->condemned_packs;
    sum->removed_packs += r->removed_packs;
    sum->removed_bytes += r->removed_bytes;
    sum->live_packs = r->live_packs; /* as it is in the end */
    sum->open_packs = r->open_packs;
    sum->waiting_packs = r->waiting_packs;
    if (r->wrong_summaries > sum->wrong_summaries)
        sum->wrong_summaries = r->wrong_summaries;
}

static int
run_gc(struct repo *repo, const struct repo_collect_options *options,
       const struct repo_gc_sink *sink, struct repo_collect_result *ret,
       struct err *err)
{
    struct repo_gc_sink once = *sink;
    struct repo_gc_result r;
    int rc;

    if (ret->gc.wrong_summaries > 0)
        once.doubt = NULL; /* told before */
    rc = repo_gc(repo, &options->gc, &once, &r, err);
    add(&ret->gc, &r);
    return rc;
}

/* 1: something was rewritten. */
static int
run_compact(struct repo *repo, const struct repo_collect_options *options,
            const struct repo_collect_sink *sink,
            struct repo_collect_result *ret, struct err *err)
{
    struct repo_compact_options o = options->compact;
    struct err ignored;

    if (options->keeps_packs)
        return 0;
    o.dry_run = options->gc.is_dry_run;
    if (o.dry_run && repo_private_need_delete(repo, &ignored) < 0)
        return 0;
    if (repo_compact(repo, &o, &sink->compact, &ret->compact, err) < 0)
        return -1;
    return ret->compact.packs_rewritten > 0 && !o.dry_run;
}

static void
tidy_index(struct repo *repo, const struct repo_collect_sink *sink,
           struct repo_collect_result *ret)
{
    struct err err;

    if (repo_index_maintain(repo, false, &ret->index, &err) < 0 &&
        sink->index_failed != NULL)
        sink->index_failed(sink->arg, &err);
}

int
repo_collect(struct repo *repo, const struct repo_collect_options *options,
             const struct repo_collect_sink *sink,
             struct repo_collect_result *ret, struct err *err)
{
    struct err compact_err;
    int moved;

    *ret = (struct repo_collect_result){ 0 };
    if (run_gc(repo, options, &sink->gc, ret, err) < 0)
        return -1;
    moved = run_compact(repo, options, sink, ret, &compact_err);
    if (moved != 0 && !options->gc.is_dry_run &&
        run_gc(repo, options, &sink->gc, ret, err) < 0)
        return -1;
    if (!options->gc.is_dry_run)
        tidy_index(repo, sink, ret);
    if (moved >= 0)
        return 0;
    *err = compact_err;
    return -1;
}
