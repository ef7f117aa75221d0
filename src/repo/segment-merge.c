/* SPDX-License-Identifier: Apache-2.0 */
/* A run is read as one stream: its segments in order of their ids, each page by
 * page. The smallest id of all streams is the next of the result.
 */
#include "repo/segment-merge.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/hash.h"
#include "repo/dedupindex.h"
#include "repo/repo-id.h"
#include "repo/repo-private.h"
#include "repo/segment-writer.h"

enum {
    PACK_UNKNOWN,
    PACK_USABLE,
    PACK_USELESS
};

struct stream {
    struct segment *const *segments; /* of one run, in order of ids */
    size_t count;
    size_t at;     /* the segment that is read */
    uint32_t page; /* the next of its pages */
    struct segment_pack *packs;
    uint8_t *states; /* of the packs */
    struct segment_entry entries[SEGMENT_PER_PAGE];
    unsigned have, pos;
};

static void
close_segment(struct stream *s)
{
    free(s->packs);
    free(s->states);
    s->packs = NULL;
    s->states = NULL;
    s->page = 0;
}

static int
next_page(struct stream *s, const struct segment *seg, struct err *err)
{
    if (s->packs == NULL) {
        if (segment_read_packs(seg, &s->packs, err) < 0)
            return -1;
        s->states = xcalloc(segment_head_get(seg)->packs, 1);
    }
    s->pos = 0;
    return segment_read_entries(seg, s->page++, s->entries, &s->have, err);
}

/* So that an entry is at `pos`, or the stream is at its end. */
static int
fill(struct stream *s, struct segment_merge_result *ret, struct err *err)
{
    while (s->pos == s->have && s->at < s->count) {
        const struct segment *seg = s->segments[s->at];

        if (s->page == segment_entry_pages(seg)) {
            close_segment(s);
            s->at++;
        } else if (next_page(s, seg, err) < 0) {
            ret->bad = seg;
            return -1;
        }
    }
    return 0;
}

static bool
is_usable(struct repo *repo, struct stream *s, const struct segment_entry *e)
{
    uint8_t *state = &s->states[e->pack];

    if (*state == PACK_UNKNOWN)
        *state = dedupindex_is_usable(repo, &s->packs[e->pack]) ? PACK_USABLE
                                                                : PACK_USELESS;
    return *state == PACK_USABLE;
}

static struct stream *
smallest(struct stream *streams, unsigned count)
{
    struct stream *best = NULL;

    for (unsigned i = 0; i < count; i++) {
        struct stream *s = &streams[i];

        if (s->pos < s->have &&
            (best == NULL ||
             memcmp(s->entries[s->pos].id, best->entries[best->pos].id,
                    SEGMENT_ID) < 0))
            best = s;
    }
    return best;
}

static int
merge_streams(struct repo *repo, struct stream *streams, unsigned count,
              struct segment_writer *w, struct segment_merge_result *ret,
              struct err *err)
{
    struct stream *s;

    for (unsigned i = 0; i < count; i++)
        if (fill(&streams[i], ret, err) < 0)
            return -1;
    while ((s = smallest(streams, count)) != NULL) {
        const struct segment_entry *e = &s->entries[s->pos++];

        if (is_usable(repo, s, e)) {
            struct segment_hit place = { .pack = s->packs[e->pack],
                                         .off8 = e->off8,
                                         .flen = e->flen };

            segment_writer_add(w, e->id, &place);
        }
        if (fill(s, ret, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- which ---- */

/* By level, run, first id. */
static int
compare(const void *a, const void *b)
{
    struct segment *const *x = a, *const *y = b;
    const struct segment_head *p = segment_head_get(*x);
    const struct segment_head *q = segment_head_get(*y);
    int c;

    if (p->level != q->level)
        return p->level < q->level ? -1 : 1;
    c = memcmp(p->run, q->run, 16);
    return c != 0 ? c : memcmp(p->first, q->first, SEGMENT_ID);
}

static bool
is_same_run(const struct segment *a, const struct segment *b)
{
    return segment_head_get(a)->level == segment_head_get(b)->level &&
           memcmp(segment_head_get(a)->run, segment_head_get(b)->run, 16) == 0;
}

/* The runs of the level that begins at `from` in the sorted list: their
 * streams, how many, where they end, and their entries. */
static unsigned
runs_of_level(struct segment *const *sorted, size_t count, size_t from,
              struct stream *streams, size_t *ret_end, uint64_t *ret_entries)
{
    unsigned level = segment_head_get(sorted[from])->level, runs = 0;
    size_t i = from;

    *ret_entries = 0;
    while (i < count && segment_head_get(sorted[i])->level == level &&
           runs < SEGMENT_MERGE_MAX) {
        struct stream *s = &streams[runs++];

        memset(s, 0, sizeof *s);
        s->segments = &sorted[i];
        do {
            *ret_entries += segment_head_get(sorted[i])->entries;
            s->count++;
            i++;
        } while (i < count && is_same_run(sorted[i], s->segments[0]));
    }
    *ret_end = i;
    return runs;
}

static int
compare_uuids(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

/* The run that comes of these segments. */
static void
name_run(struct segment *const *segments, size_t count, uint8_t run[16])
{
    CLEANUP(mem_free) uint8_t(*ids)[16] = xcalloc(count, 16);
    uint8_t digest[HASH_SIZE];

    for (size_t i = 0; i < count; i++)
        memcpy(ids[i], segment_head_get(segments[i])->uuid, 16);
    qsort(ids, count, 16, compare_uuids);
    hash_sha256(ids, count * 16, digest);
    repo_id_of_digest(digest, run);
}

static int
merge(struct repo *repo, struct segment *const *segments, size_t count,
      struct stream *streams, unsigned runs, struct segment_merge_result *ret,
      struct err *err)
{
    CLEANUP(segment_writer_free)
    struct segment_writer *w =
        segment_writer_new(repo->blob, repo->uuid, NULL, SEGMENT_MERGE_ENTRIES);
    unsigned level = segment_head_get(segments[0])->level + 1, failed = 0;
    uint8_t run[16];
    int rc;

    name_run(segments, count, run);
    segment_writer_set_run(w, level, run);
    rc = merge_streams(repo, streams, runs, w, ret, err);
    for (unsigned i = 0; i < runs; i++)
        close_segment(&streams[i]);
    if (rc < 0)
        return -1;
    segment_writer_finish(w, &failed, err);
    if (failed > 0)
        return -1;
    if (blob_sync(repo->blob, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (blob_remove(repo->blob, segment_name_get(segments[i]), err) < 0)
            return -1;
    ret->merged = count;
    ret->written = segment_writer_sums_get(w).segments;
    return 0;
}

int
segment_merge(struct repo *repo, struct segment *const *segments, size_t count,
              uint64_t max_entries, struct segment_merge_result *ret,
              struct err *err)
{
    CLEANUP(mem_free)
    struct segment **sorted = xcalloc(count + 1, sizeof *sorted);
    CLEANUP(mem_free)
    struct stream *streams = xcalloc(SEGMENT_MERGE_MAX, sizeof *streams);
    size_t end = 0;

    *ret = (struct segment_merge_result){ 0 };
    for (size_t i = 0; i < count; i++)
        sorted[i] = segments[i];
    qsort(sorted, count, sizeof *sorted, compare);
    for (size_t i = 0; i < count; i = end) {
        uint64_t entries = 0;
        unsigned runs =
            runs_of_level(sorted, count, i, streams, &end, &entries);

        if (runs >= SEGMENT_MERGE_WAYS && entries <= max_entries &&
            segment_head_get(sorted[i])->level < SEGMENT_LEVEL_MAX)
            return merge(repo, sorted + i, end - i, streams, runs, ret, err);
    }
    return 0;
}
