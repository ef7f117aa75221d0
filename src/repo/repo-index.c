/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing here can harm a backup: the worst is a chunk that is stored twice.
 *
 * On crash: a segment that was written and whose sources were not removed lists
 * the same again; the next merge makes one of them.
 */
#include "repo/repo-index.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "repo/dedupindex.h"
#include "repo/repo-private.h"
#include "repo/segcache.h"
#include "repo/segment-merge.h"
#include "repo/segment-writer.h"

/* What a writer merges after its commit takes a second and 32 MiB at most. */
#define TIDY_ENTRIES ((uint64_t)1 << 19)
#define TIDY_NAMES   256u
#define MAX_ROUNDS   64u

/* The segments that count. */
struct list {
    struct segment **segments;
    size_t count;
};

static void
list_fini(struct list *l)
{
    for (size_t i = 0; i < l->count; i++)
        segment_close(l->segments[i]);
    free(l->segments);
    *l = (struct list){ 0 };
}

static void
list_fini_p(struct list *l)
{
    list_fini(l);
}

static int
remove_segment(struct repo *repo, const char *name,
               struct repo_index_result *ret, struct err *err)
{
    ret->removed++;
    return blob_remove(repo->blob, name, err);
}

/* One object below x/: into the list, or away, or left alone. */
static int
take(struct repo *repo, const char *name, bool removes, struct list *l,
     struct repo_index_result *ret, struct err *err)
{
    static const uint8_t none[16];
    CLEANUP(segment_close) struct segment *s = NULL;
    const struct segment_head *h;
    uint8_t uuid[16];

    if (!segment_name_parse(name, uuid))
        return 0;
    if (segment_open(repo->blob, NULL, name, repo->uuid, &s, err) < 0) {
        if (err->code == ERR_CORRUPT)
            return removes ? remove_segment(repo, name, ret, err) : 0;
        return err->code == ERR_NOT_FOUND || err->code == ERR_UNSUPPORTED ? 0
                                                                          : -1;
    }
    h = segment_head_get(s);
    if (memcmp(h->owner, none, 16) != 0 &&
        !commitlog_is_used(repo->log, h->owner))
        return removes && commitlog_has_ended(repo->log, h->owner)
                   ? remove_segment(repo, name, ret, err)
                   : 0;
    l->segments[l->count++] = TAKE(s);
    return 0;
}

static int
list_open(struct repo *repo, bool removes, struct list *l,
          struct repo_index_result *ret, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    list_fini(l);
    if (blob_list(repo->blob, "x/", &n, err) < 0)
        return -1;
    l->segments = xcalloc(n.count + 1, sizeof *l->segments);
    for (size_t i = 0; i < n.count; i++)
        if (take(repo, n.names[i], removes, l, ret, err) < 0)
            return -1;
    return 0;
}

/* ---- packs that no segment lists ---- */

static int
compare_packs(const void *a, const void *b)
{
    const struct segment_pack *x = a, *y = b;
    int c = memcmp(x->session, y->session, 16);

    if (c != 0)
        return c;
    return x->n < y->n ? -1 : x->n > y->n;
}

struct packs {
    struct segment_pack *packs; /* sorted */
    size_t count;
    size_t once; /* of them: the first so many differ */
};

static void
packs_fini_p(struct packs *p)
{
    free(p->packs);
}

static void
sort_packs(struct packs *p)
{
    size_t n = 0;

    if (p->count > 0)
        qsort(p->packs, p->count, sizeof *p->packs, compare_packs);
    for (size_t i = 0; i < p->count; i++)
        if (n == 0 || compare_packs(&p->packs[n - 1], &p->packs[i]) != 0)
            p->packs[n++] = p->packs[i];
    p->count = n;
    p->once = n;
}

/* The segments of a run name the same packs, each nearly all of them: what is
 * there twice goes as soon as it is as much as the rest. */
static void
add_packs(struct packs *p, const struct segment_pack *more, uint32_t n)
{
    p->packs = xrealloc(p->packs, p->count + n, sizeof *p->packs);
    memcpy(p->packs + p->count, more, n * sizeof *more);
    p->count += n;
    if (p->count / 2 > p->once)
        sort_packs(p);
}

/* The packs that the segments list. One whose list cannot be read is removed,
 * and what it listed is listed anew. */
static int
packs_of(struct repo *repo, const struct list *l, struct packs *p,
         struct repo_index_result *ret, struct err *err)
{
    for (size_t i = 0; i < l->count; i++) {
        CLEANUP(mem_free) struct segment_pack *more = NULL;
        uint32_t n = segment_head_get(l->segments[i])->packs;

        if (segment_read_packs(l->segments[i], &more, err) < 0) {
            if (err->code != ERR_CORRUPT ||
                remove_segment(repo, segment_name_get(l->segments[i]), ret,
                               err) < 0)
                return -1;
            continue;
        }
        add_packs(p, more, n);
    }
    sort_packs(p);
    return 0;
}

static void
list_pack(struct repo *repo, struct frame_ctx *ctx, const struct pack_id *id,
          struct segment_writer *w, struct repo_index_result *ret)
{
    CLEANUP(mem_free) struct pack_footer_entry *e = NULL;
    struct segment_hit place = { .pack.n = id->n };
    struct pack_trailer t;
    uint32_t count = 0;
    struct err ignored;

    memcpy(place.pack.session, id->session, 16);
    if (pack_reader_footer(repo->packs, ctx, id, &t, &e, &count, &ignored) <
        0) {
        ret->unread++;
        return;
    }
    ret->packs++;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end =
            i + 1 < count ? (uint64_t)e[i + 1].off8 * 8 : t.footer_off;

        place.off8 = e[i].off8;
        place.flen = (uint32_t)(end - (uint64_t)e[i].off8 * 8);
        segment_writer_add(w, e[i].id, &place);
    }
}

static int
complete(struct repo *repo, const struct packs *known,
         struct repo_index_result *ret, struct err *err)
{
    CLEANUP(segment_writer_free)
    struct segment_writer *w = segment_writer_new(repo->blob, repo->uuid, NULL,
                                                  SEGMENT_WRITER_ENTRIES);
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct frame_ctx *ctx;
    unsigned failed = 0;
    struct err ignored;

    /* A maintainer's key opens no footer. */
    if (repo_private_need_read(repo, &ignored) < 0)
        return 0;
    if (blob_list(repo->blob, "p/", &n, err) < 0)
        return -1;
    ctx = repo_private_ctx_take(repo);
    for (size_t i = 0; i < n.count; i++) {
        struct segment_pack pack;
        struct pack_id id;

        if (!pack_name_parse(n.names[i], &id))
            continue;
        memcpy(pack.session, id.session, 16);
        pack.n = id.n;
        if ((known->count == 0 ||
             bsearch(&pack, known->packs, known->count, sizeof pack,
                     compare_packs) == NULL) &&
            dedupindex_is_usable(repo, &pack))
            list_pack(repo, ctx, &id, w, ret);
    }
    repo_private_ctx_put(repo, ctx);
    segment_writer_finish(w, &failed, err);
    return failed > 0 ? -1 : 0;
}

/* ---- all of it ---- */

/* Merge until nothing is due. *ret_again: a segment was removed because it
 * cannot be read. */
static int
merge_all(struct repo *repo, struct list *l, uint64_t max_entries,
          struct repo_index_result *ret, bool *ret_again, struct err *err)
{
    for (unsigned i = 0; i < MAX_ROUNDS; i++) {
        struct segment_merge_result r;

        if (segment_merge(repo, l->segments, l->count, max_entries, &r, err) <
            0) {
            if (r.bad == NULL ||
                (err->code != ERR_CORRUPT && err->code != ERR_NOT_FOUND))
                return -1;
            *ret_again = true;
            return remove_segment(repo, segment_name_get(r.bad), ret, err);
        }
        ret->merged += r.merged;
        if (r.merged == 0)
            return 0;
        if (list_open(repo, false, l, ret, err) < 0)
            return -1;
    }
    return 0;
}

static int
one_round(struct repo *repo, struct list *l, struct repo_index_result *ret,
          bool *ret_again, struct err *err)
{
    CLEANUP(packs_fini) struct packs known = { 0 };

    if (list_open(repo, true, l, ret, err) < 0 ||
        packs_of(repo, l, &known, ret, err) < 0 ||
        complete(repo, &known, ret, err) < 0 ||
        list_open(repo, false, l, ret, err) < 0)
        return -1;
    return merge_all(repo, l, UINT64_MAX, ret, ret_again, err);
}

/* All that counts and all that is damaged goes; what belongs to sessions that
 * are open stays. */
static int
remove_all(struct repo *repo, struct repo_index_result *ret, struct err *err)
{
    CLEANUP(list_fini) struct list l = { 0 };

    if (list_open(repo, true, &l, ret, err) < 0)
        return -1;
    for (size_t i = 0; i < l.count; i++)
        if (remove_segment(repo, segment_name_get(l.segments[i]), ret, err) < 0)
            return -1;
    return 0;
}

static int
read_log(struct repo *repo, struct err *err)
{
    CLEANUP(mem_free) struct commitlog_backup *backups = NULL;
    size_t count = 0, damage = 0;

    if (commitlog_list(repo->log, &backups, &count, &damage, err) < 0)
        return -1;
    return redirect_update(repo->moves, false, err);
}

int
repo_index_maintain(struct repo *repo, bool rebuilds,
                    struct repo_index_result *ret, struct err *err)
{
    CLEANUP(list_fini) struct list l = { 0 };
    struct dedupindex_sums sums;
    bool is_again = true;

    *ret = (struct repo_index_result){ 0 };
    if (repo_private_need_delete(repo, err) < 0 ||
        (rebuilds && repo_private_need_read(repo, err) < 0) ||
        read_log(repo, err) < 0)
        return -1;
    if (rebuilds && remove_all(repo, ret, err) < 0)
        return -1;
    for (unsigned i = 0; i < MAX_ROUNDS && is_again; i++) {
        is_again = false;
        if (one_round(repo, &l, ret, &is_again, err) < 0)
            return -1;
    }
    if (blob_sync(repo->blob, err) < 0 || dedupindex_look(repo, &sums, err) < 0)
        return -1;
    for (size_t i = 0; i < l.count; i++) {
        ret->segments++;
        ret->chunks += segment_head_get(l.segments[i])->entries;
        ret->bytes += segment_size(l.segments[i]);
    }
    ret->is_sampled = sums.is_sampled;
    return 0;
}

void
repo_index_set_budget(struct repo *repo, uint64_t bytes)
{
    repo->index_budget = bytes;
}

int
repo_index_cache(struct repo *repo, const char *dir, uint64_t max_bytes,
                 struct err *err)
{
    if (repo->segcache != NULL)
        return err_set(err, ERR_EXISTS, "the index is kept already");
    return segcache_open(dir, max_bytes, &repo->segcache, err);
}

void
repo_index_tidy(struct repo *repo)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    CLEANUP(list_fini) struct list l = { 0 };
    struct repo_index_result result = { 0 };
    bool is_again = false;
    struct err ignored;

    if (repo_private_need_delete(repo, &ignored) < 0 ||
        blob_list(repo->blob, "x/", &n, &ignored) < 0 ||
        n.count < SEGMENT_MERGE_WAYS || n.count > TIDY_NAMES ||
        list_open(repo, false, &l, &result, &ignored) < 0)
        return;
    (void)!merge_all(repo, &l, TIDY_ENTRIES, &result, &is_again, &ignored);
}
