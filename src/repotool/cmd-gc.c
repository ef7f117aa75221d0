/* SPDX-License-Identifier: Apache-2.0 */
/* gc. */
#include <stdio.h>
#include <string.h>

#include "repo/collect.h"
#include "repotool/repotool.h"

int
cmd_gc_option(struct repotool *t, int which, const char *text, struct err *err)
{
    uint64_t seconds;

    if (strcmp(text, "0") == 0)
        seconds = 0;
    else if (retain_parse_within(text, &seconds, err) < 0)
        return -1;
    if (which == 0)
        t->gc.grace_s = (int64_t)seconds;
    else if (which == 1)
        t->gc.undelete_s = (int64_t)seconds;
    else
        t->gc.kill_s = (int64_t)seconds;
    return 0;
}

static int
on_removed(void *arg, const char *object, uint64_t bytes)
{
    const struct repotool *t = arg;

    if (!t->is_quiet && !t->is_json)
        printf("%s %s, %llu bytes\n",
               t->is_dry_run ? "would remove" : "removed", object,
               (unsigned long long)bytes);
    return 0;
}

static void
on_doubt(void *arg, const char *backup, const char *what)
{
    (void)arg;
    (void)fprintf(
        stderr,
        "vmkeep repo: warning: backup %s: %s. What it lacks is kept; make a new backup and delete this one.\n",
        backup, what);
}

static void
on_index_failed(void *arg, const struct err *why)
{
    (void)arg;
    (void)fprintf(stderr, "vmkeep repo: warning: the index: %s\n", why->msg);
}

static void
say(const struct repotool *t, const struct repo_collect_result *result)
{
    const char *would = t->is_dry_run ? "would be " : "";
    const struct repo_compact_result *c = &result->compact;
    const struct repo_gc_result *r = &result->gc;

    if (r->killed_sessions > 0)
        printf("%u writers that were believed dead %sended\n",
               r->killed_sessions, would);
    printf("%u deleted backups %sgone for good\n", r->dropped_backups, would);
    if (c->packs_rewritten > 0)
        printf("%llu packs of %llu bytes %swritten anew as %llu bytes\n",
               (unsigned long long)c->packs_rewritten,
               (unsigned long long)c->bytes_rewritten, would,
               (unsigned long long)c->bytes_written);
    printf("%llu packs are needed, %llu belong to writers at work\n",
           (unsigned long long)r->live_packs,
           (unsigned long long)r->open_packs);
    printf("%llu packs %scondemned, %llu wait until the grace is over\n",
           (unsigned long long)r->condemned_packs, would,
           (unsigned long long)r->waiting_packs);
    printf("%llu packs of %llu bytes %sremoved\n",
           (unsigned long long)r->removed_packs,
           (unsigned long long)r->removed_bytes, would);
}

static void
say_json(const struct repo_collect_result *result)
{
    const struct repo_compact_result *c = &result->compact;
    const struct repo_gc_result *r = &result->gc;

    printf("{\"killedSessions\": %u, \"droppedBackups\": %u, "
           "\"livePacks\": %llu, \"openPacks\": %llu, "
           "\"condemnedPacks\": %llu, \"waitingPacks\": %llu, "
           "\"removedPacks\": %llu, \"removedBytes\": %llu, "
           "\"rewrittenPacks\": %llu, \"rewrittenBytes\": %llu, "
           "\"writtenBytes\": %llu, \"wrongSummaries\": %u}\n",
           r->killed_sessions, r->dropped_backups,
           (unsigned long long)r->live_packs, (unsigned long long)r->open_packs,
           (unsigned long long)r->condemned_packs,
           (unsigned long long)r->waiting_packs,
           (unsigned long long)r->removed_packs,
           (unsigned long long)r->removed_bytes,
           (unsigned long long)c->packs_rewritten,
           (unsigned long long)c->bytes_rewritten,
           (unsigned long long)c->bytes_written, r->wrong_summaries);
}

int
cmd_gc(const struct repotool *t, struct err *err)
{
    struct repotool arg = *t;
    struct repo_collect_sink sink = {
        .gc = { .removed = on_removed, .doubt = on_doubt, .arg = &arg },
        .index_failed = on_index_failed,
    };
    struct repo_collect_options o = {
        .gc = t->gc,
        .keeps_packs = t->keeps_packs,
        .compact = { .dead_percent = t->dead_percent },
    };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_collect_result r;
    int rc;

    o.gc.is_dry_run = t->is_dry_run;
    if (repotool_open(t, false, &repo, err) < 0)
        return -1;
    rc = repo_collect(repo, &o, &sink, &r, err);
    if (t->is_json)
        say_json(&r);
    else
        say(t, &r);
    return rc;
}
