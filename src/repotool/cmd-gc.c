/* SPDX-License-Identifier: Apache-2.0 */
/* gc. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "repo/repo-index.h"
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
say(const struct repotool *t, const struct repo_gc_result *r)
{
    const char *would = t->is_dry_run ? "would be " : "";

    if (r->killed_sessions > 0)
        printf("%u writers that were believed dead %sended\n",
               r->killed_sessions, would);
    printf("%u deleted backups %sgone for good\n", r->dropped_backups, would);
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
say_json(const struct repo_gc_result *r)
{
    printf("{\"killedSessions\": %u, \"droppedBackups\": %u, "
           "\"livePacks\": %llu, \"openPacks\": %llu, "
           "\"condemnedPacks\": %llu, \"waitingPacks\": %llu, "
           "\"removedPacks\": %llu, \"removedBytes\": %llu}\n",
           r->killed_sessions, r->dropped_backups,
           (unsigned long long)r->live_packs, (unsigned long long)r->open_packs,
           (unsigned long long)r->condemned_packs,
           (unsigned long long)r->waiting_packs,
           (unsigned long long)r->removed_packs,
           (unsigned long long)r->removed_bytes);
}

/* Segments of the index that list only what has gone go too. */
static void
tidy_index(struct repo *repo)
{
    struct repo_index_result r;
    struct err err;

    if (repo_index_maintain(repo, false, &r, &err) < 0)
        (void)fprintf(stderr, "vmkeep repo: warning: the index: %s\n", err.msg);
}

int
cmd_gc(const struct repotool *t, struct err *err)
{
    struct repotool arg = *t;
    struct repo_gc_sink sink = { .removed = on_removed, .arg = &arg };
    struct repo_gc_options o = t->gc;
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_gc_result r;

    o.is_dry_run = t->is_dry_run;
    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_gc(repo, &o, &sink, &r, err) < 0)
        return -1;
    if (!t->is_dry_run)
        tidy_index(repo);
    if (t->is_json)
        say_json(&r);
    else
        say(t, &r);
    return 0;
}
