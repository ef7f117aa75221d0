/* SPDX-License-Identifier: Apache-2.0 */
/* A page of a segment that is damaged says nothing, and nobody else would look
 * at those of large segments again. The segment goes, and what it listed is
 * listed anew from the footers of its packs. Whatever fails here only costs
 * space until the next pass. */
#include <stdio.h>

#include "repo/repo-index.h"
#include "repo/repo-private.h"
#include "repo/scrub-private.h"
#include "repo/segment.h"

/* Read it. *ret_bytes: how much; false: it is damaged, `err` says where. */
static bool
is_whole(struct repo *repo, const char *name, uint64_t *ret_bytes,
         struct err *err)
{
    CLEANUP(segment_close) struct segment *s = NULL;

    *ret_bytes = 0;
    if (segment_open(repo->blob, NULL, name, repo->uuid, &s, err) < 0)
        return err->code != ERR_CORRUPT;
    *ret_bytes = segment_size(s);
    return segment_check(s, err) == 0 || err->code != ERR_CORRUPT;
}

int
scrub_index(struct repo *repo, const struct scrub_index_hooks *hooks,
            struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct repo_index_result result;
    bool is_changed = false;
    struct err cause;

    if (repo_private_need_delete(repo, &cause) < 0 ||
        repo_private_need_read(repo, &cause) < 0 ||
        blob_list(repo->blob, "x/", &n, &cause) < 0)
        return 0;
    for (size_t i = 0; i < n.count; i++) {
        char text[SCRUB_TEXT];
        uint8_t uuid[16];
        uint64_t bytes;

        if (!segment_name_parse(n.names[i], uuid))
            continue;
        if (!is_whole(repo, n.names[i], &bytes, &cause)) {
            struct err ignored;

            if (blob_remove(repo->blob, n.names[i], &ignored) < 0)
                continue;
            is_changed = true;
            (void)snprintf(text, sizeof text,
                           "%.200s; what it listed is listed anew", cause.msg);
            hooks->repaired(hooks->arg, n.names[i], text);
        }
        if (hooks->read(hooks->arg, bytes, err) < 0)
            return -1;
    }
    if (is_changed)
        (void)!repo_index_maintain(repo, false, &result, &cause);
    return 0;
}
