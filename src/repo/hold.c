/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/hold.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "repo/repo-id.h"
#include "repo/repo-private.h"

static int
parse_id(const char *text, uint8_t ret[16], struct err *err)
{
    if (!repo_id_parse(text, ret))
        return err_set(err, ERR_NOT_FOUND, "backup %.60s: no such backup",
                       text);
    return 0;
}

int
repo_hold_list(struct repo *repo, struct repo_hold **ret, size_t *ret_count,
               struct err *err)
{
    CLEANUP(mem_free) struct commitlog_hold *h = NULL;
    size_t n = 0;

    if (repo_private_need_key(repo, err) < 0 ||
        commitlog_holds(repo->log, &h, &n, err) < 0)
        return -1;
    *ret = xcalloc(n + 1, sizeof **ret);
    *ret_count = n;
    for (size_t i = 0; i < n; i++) {
        repo_id_format(h[i].id, (*ret)[i].id);
        (void)snprintf((*ret)[i].reason, sizeof(*ret)[i].reason, "%s",
                       h[i].reason);
        text_clean((*ret)[i].reason, false); /* any program may have set it */
    }
    return 0;
}

/* Would a list show it as it is? */
static bool
is_printable(const char *reason)
{
    CLEANUP(mem_free) char *clean = xstrdup(reason);

    text_clean(clean, false);
    return strcmp(clean, reason) == 0;
}

int
repo_hold_set(struct repo *repo, const char *id, const char *reason,
              struct err *err)
{
    uint8_t bytes[16];

    if (repo_private_need_write(repo, err) < 0 || parse_id(id, bytes, err) < 0)
        return -1;
    if (!is_printable(reason))
        return err_set(err, ERR_INVALID,
                       "a reason is one line of printable text");
    return commitlog_append_hold(repo->log, bytes, reason, err);
}

int
repo_hold_clear(struct repo *repo, const char *id, struct err *err)
{
    uint8_t bytes[16];

    if (repo_private_need_write(repo, err) < 0 || parse_id(id, bytes, err) < 0)
        return -1;
    return commitlog_append_hold(repo->log, bytes, NULL, err);
}

int
repo_hold_deleted(struct repo *repo, struct repo_entry **ret_entries,
                  size_t *ret_count, struct err *err)
{
    CLEANUP(mem_free) struct commitlog_deleted *d = NULL;
    size_t n = 0;

    if (repo_private_need_key(repo, err) < 0 ||
        commitlog_deleted(repo->log, &d, &n, err) < 0)
        return -1;
    *ret_entries = xcalloc(n + 1, sizeof **ret_entries);
    *ret_count = n;
    for (size_t i = 0; i < n; i++)
        repo_private_entry(&d[i].backup, &(*ret_entries)[i]);
    return 0;
}

int
repo_hold_undelete(struct repo *repo, const char *const *ids, size_t count,
                   struct err *err)
{
    CLEANUP(mem_free) uint8_t(*bytes)[16] = NULL;

    if (repo_private_need_write(repo, err) < 0)
        return -1;
    bytes = xcalloc(count + 1, sizeof *bytes);
    for (size_t i = 0; i < count; i++)
        if (parse_id(ids[i], bytes[i], err) < 0)
            return -1;
    return commitlog_append_undelete(repo->log, bytes, (unsigned)count, err);
}
