/* SPDX-License-Identifier: Apache-2.0 */
/* compact. */
#include <stdio.h>

#include "base/effect.h"
#include "repo/compact.h"
#include "repotool/progress.h"
#include "repotool/repotool.h"

static void
print_result(const struct repotool *t, const struct repo_compact_result *r)
{
    char seen[PROGRESS_SIZE], dead[PROGRESS_SIZE], old[PROGRESS_SIZE];
    char written[PROGRESS_SIZE];

    progress_format(r->bytes_seen, seen);
    progress_format(r->dead_bytes, dead);
    progress_format(r->bytes_rewritten, old);
    progress_format(r->bytes_written, written);
    printf("%s in %llu packs, of which %s in packs in use are not needed\n",
           seen, (unsigned long long)r->packs_seen, dead);
    printf("%llu packs (%s) %s as %s\n", (unsigned long long)r->packs_rewritten,
           old, t->is_dry_run ? "would be written anew" : "were written anew",
           written);
    if (r->packs_skipped > 0)
        printf(
            "%llu packs were left out: they are damaged, or somebody else was faster\n",
            (unsigned long long)r->packs_skipped);
    if (r->packs_rewritten > 0 && !t->is_dry_run)
        printf("`vmkeep repo gc` gives the space of the old ones back.\n");
}

int
cmd_compact(const struct repotool *t, struct err *err)
{
    struct repo_compact_options o = { .dead_percent = t->dead_percent,
                                      .dry_run = t->is_dry_run };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_compact_result r;
    struct progress p;
    int rc;

    if (repotool_open(t, false, &repo, err) < 0)
        return -1;
    effect_flow_set("compact");
    progress_init(&p, "compact", 0, t->is_quiet);
    rc = repo_compact(
        repo, &o,
        &(struct repo_compact_sink){ .progress = progress_on, .arg = &p }, &r,
        err);
    progress_end(&p);
    if (rc == 0)
        print_result(t, &r);
    return rc;
}
