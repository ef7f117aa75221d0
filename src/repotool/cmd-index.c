/* SPDX-License-Identifier: Apache-2.0 */
/* index: what says where chunks lie, completed or made again. */
#include <stdio.h>
#include <string.h>

#include "repo/repo-index.h"
#include "repotool/progress.h"
#include "repotool/repotool.h"

int
cmd_index(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_index_result r;
    bool rebuilds = t->arg_count > 1;
    char size[PROGRESS_SIZE];

    if (rebuilds && strcmp(t->args[1], "rebuild") != 0)
        return err_set(err, ERR_INVALID,
                       "\"%.40s\": the only thing to say here is rebuild",
                       t->args[1]);
    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_index_maintain(repo, rebuilds, &r, err) < 0)
        return -1;
    progress_format(r.bytes, size);
    printf("Index: %llu chunks in %llu segments, %s\n",
           (unsigned long long)r.chunks, (unsigned long long)r.segments, size);
    if (r.is_sampled)
        printf(
            "Sampled: it is larger than --index-budget or memory allows; one chunk in 128 is looked up at first\n");
    if (r.packs > 0)
        printf("Listed anew: %llu packs\n", (unsigned long long)r.packs);
    if (r.merged > 0)
        printf("Merged: %llu segments\n", (unsigned long long)r.merged);
    if (r.removed > 0)
        printf("Removed: %llu segments\n", (unsigned long long)r.removed);
    if (r.unread > 0)
        (void)fprintf(
            stderr,
            "vmkeep repo: warning: the footers of %llu packs cannot be read; run vmkeep repo verify\n",
            (unsigned long long)r.unread);
    return 0;
}
