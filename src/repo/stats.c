/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/stats.h"

#include <string.h>

#include "base/mem.h"
#include "repo/copies.h"
#include "repo/dedupindex.h"
#include "repo/parity.h"

static int
count_packs(struct repo *repo, const char *prefix, struct repo_stats *s,
            struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (blob_list(repo->blob, prefix, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++) {
        struct pack_id id;
        bool is_parity = parity_name_parse(n.names[i], &id);
        uint64_t size = 0;

        if (!is_parity && !pack_name_parse(n.names[i], &id))
            continue;
        if (blob_size(repo->blob, n.names[i], &size, err) < 0) {
            if (err->code == ERR_NOT_FOUND)
                continue; /* removed meanwhile */
            return -1;
        }
        if (is_parity) {
            s->parities++;
            s->parity_bytes += size;
            continue;
        }
        s->packs++;
        s->pack_bytes += size;
        if (!commitlog_is_used(repo->log, id.session) ||
            commitlog_is_condemned(repo->log, &id)) {
            s->dead_packs++;
            s->dead_bytes += size;
        }
    }
    return 0;
}

static int
count_index(struct repo *repo, struct repo_stats *s, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct dedupindex_sums sums;

    if (blob_list(repo->blob, "x/", &n, err) < 0 ||
        dedupindex_look(repo, &sums, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++) {
        uint64_t size = 0;

        if (blob_size(repo->blob, n.names[i], &size, err) < 0 &&
            err->code != ERR_NOT_FOUND)
            return -1;
        s->index_bytes += size;
    }
    s->index_is_sampled = sums.is_sampled;
    return 0;
}

int
repo_stats_get(struct repo *repo, struct repo_stats *ret, struct err *err)
{
    CLEANUP(mem_free) struct repo_entry *entries = NULL;
    CLEANUP(mem_free) struct commitlog_hold *holds = NULL;
    CLEANUP(mem_free) struct commitlog_deleted *deleted = NULL;
    CLEANUP(badset_fini) struct badset bad = { 0 };
    struct repo_stats s = { 0 };
    size_t damage = 0;

    if (repo_list(repo, &entries, &s.backups, &damage, err) < 0 ||
        commitlog_holds(repo->log, &holds, &s.holds, err) < 0 ||
        commitlog_deleted(repo->log, &deleted, &s.deleted, err) < 0 ||
        copies_bad(repo, &bad, err) < 0 ||
        count_packs(repo, "p/", &s, err) < 0 ||
        count_packs(repo, "m/", &s, err) < 0 || count_index(repo, &s, err) < 0)
        return -1;
    for (size_t i = 0; i < s.backups; i++)
        s.logical_bytes += entries[i].logical_bytes;
    s.bad_frames = bad.count;
    for (size_t i = 0; i < bad.count; i++)
        s.bad_frames_healed += bad.frames[i].has_copy;
    *ret = s;
    return 0;
}
