/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/segment-writer.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "codec/hash.h"
#include "codec/le.h"
#include "repo/repo-id.h"

#define ENTRIES_FIRST 256u
#define PLACES_FIRST  16u

/* What becomes one segment. */
struct part {
    struct segment_entry *entries;
    uint32_t count, cap;
    struct segment_pack *packs;
    uint32_t pack_count;
    uint32_t *places;   /* hash table: place in packs + 1, or 0 */
    uint32_t place_cap; /* a power of two; half of it for packs */
};

struct segment_writer {
    struct blob *blob;         /* [C] */
    const uint8_t *repo_uuid;  /* [C] 16 bytes */
    struct segment_head shape; /* [C] owner, and level and run of a merge */
    bool is_run;               /* [C] */
    uint32_t max;              /* [C] */
    pthread_mutex_t mutex;     /* what segment_writer_lock stands for */
    struct part part GUARDED_BY(segment_writer_lock);
    uint32_t next GUARDED_BY(segment_writer_lock); /* number in the run */
    uint8_t (*written)[16] GUARDED_BY(segment_writer_lock);
    struct segment_writer_sums sums GUARDED_BY(segment_writer_lock);
    unsigned failed GUARDED_BY(segment_writer_lock);
    struct err err GUARDED_BY(segment_writer_lock);
};

static void lock(struct segment_writer *w) ACQUIRE(segment_writer_lock);
static void unlock(struct segment_writer *w) RELEASE(segment_writer_lock);

static void NO_TSA
lock(struct segment_writer *w)
{
    pthread_mutex_lock(&w->mutex);
}

static void NO_TSA
unlock(struct segment_writer *w)
{
    pthread_mutex_unlock(&w->mutex);
}

static void
part_fini(struct part *p)
{
    free(p->entries);
    free(p->packs);
    free(p->places);
    *p = (struct part){ 0 };
}

struct segment_writer *NO_TSA
segment_writer_new(struct blob *blob, const uint8_t *repo_uuid,
                   const uint8_t *owner, uint32_t max)
{
    struct segment_writer *w = xcalloc(1, sizeof *w);

    w->blob = blob;
    w->repo_uuid = repo_uuid;
    w->max = max;
    memcpy(w->shape.repo_uuid, repo_uuid, 16);
    if (owner != NULL)
        memcpy(w->shape.owner, owner, 16);
    pthread_mutex_init(&w->mutex, NULL);
    return w;
}

void NO_TSA
segment_writer_free(struct segment_writer *w)
{
    if (w == NULL)
        return;
    part_fini(&w->part);
    free(w->written);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

void
segment_writer_set_run(struct segment_writer *w, unsigned level,
                       const uint8_t run[16])
{
    w->is_run = true;
    w->shape.level = level;
    memcpy(w->shape.run, run, 16);
}

/* The n-th segment of a run. */
static void
run_uuid(const uint8_t run[16], uint32_t n, uint8_t out[16])
{
    uint8_t bytes[20], digest[HASH_SIZE];

    memcpy(bytes, run, 16);
    le_put32(bytes + 16, n);
    hash_sha256(bytes, sizeof bytes, digest);
    repo_id_of_digest(digest, out);
}

/* ---- a segment ---- */

static int
put(struct segment_writer *w, struct part *p, uint32_t number, uint8_t uuid[16],
    struct err *err)
{
    CLEANUP(mem_free) uint8_t *bytes = NULL;
    struct segment_head head = w->shape;
    char name[SEGMENT_NAME_SIZE];
    bool existed = false;
    size_t len = 0;

    if (w->is_run) {
        run_uuid(head.run, number, head.uuid);
    } else {
        repo_id_random(head.uuid);
        memcpy(head.run, head.uuid, 16);
    }
    memcpy(uuid, head.uuid, 16);
    segment_sort(p->entries, p->count);
    segment_name(head.uuid, name);
    if (segment_encode(&head, p->entries, p->count, p->packs, p->pack_count,
                       &bytes, &len, err) < 0)
        return -1;
    /* If it existed somebody did the same merge. */
    return blob_put_spare(w->blob, name, bytes, len, &existed, err);
}

/* Write and free what was taken out. */
static void
write_part(struct segment_writer *w, struct part *p, uint32_t number)
{
    struct err err = { 0 };
    uint8_t uuid[16];
    int rc = put(w, p, number, uuid, &err);

    lock(w);
    if (rc == 0) {
        w->written = xrealloc(w->written, w->sums.segments + 1, 16);
        memcpy(w->written[w->sums.segments++], uuid, 16);
        w->sums.entries += p->count;
    } else {
        w->failed++;
        w->err = err;
    }
    unlock(w);
    part_fini(p);
}

static struct part
take_locked(struct segment_writer *w, uint32_t *ret_number)
    REQUIRES(segment_writer_lock)
{
    struct part p = w->part;

    w->part = (struct part){ 0 };
    *ret_number = w->next++;
    return p;
}

static bool
is_same(const struct segment_pack *a, const struct segment_pack *b)
{
    return a->n == b->n && memcmp(a->session, b->session, 16) == 0;
}

/* Where the pack stands in the table, or would. */
static uint32_t *
place_of(const struct part *p, const struct segment_pack *pack)
{
    uint64_t h = (le_get64(pack->session) ^ pack->n) * 0x9e3779b97f4a7c15u;
    uint32_t i = (uint32_t)(h >> 32) & (p->place_cap - 1);

    while (p->places[i] != 0 && !is_same(&p->packs[p->places[i] - 1], pack))
        i = (i + 1) & (p->place_cap - 1);
    return &p->places[i];
}

static void
grow_places(struct part *p)
{
    free(p->places);
    p->place_cap = p->place_cap == 0 ? PLACES_FIRST : 2 * p->place_cap;
    p->places = xcalloc(p->place_cap, sizeof *p->places);
    p->packs = xrealloc(p->packs, p->place_cap / 2, sizeof *p->packs);
    for (uint32_t i = 0; i < p->pack_count; i++)
        *place_of(p, &p->packs[i]) = i + 1;
}

/* Mostly it is the last one. */
static uint32_t
list_pack(struct part *p, const struct segment_pack *pack)
{
    uint32_t *at;

    if (p->pack_count > 0 && is_same(&p->packs[p->pack_count - 1], pack))
        return p->pack_count - 1;
    if (p->pack_count == p->place_cap / 2)
        grow_places(p);
    at = place_of(p, pack);
    if (*at == 0) {
        p->packs[p->pack_count++] = *pack;
        *at = p->pack_count;
    }
    return *at - 1;
}

static void
add_locked(struct segment_writer *w, const uint8_t *id,
           const struct segment_hit *place) REQUIRES(segment_writer_lock)
{
    struct part *p = &w->part;
    uint32_t pack = list_pack(p, &place->pack);
    struct segment_entry *e;

    if (p->count == p->cap) {
        p->cap = p->cap == 0 ? ENTRIES_FIRST : 2 * p->cap;
        p->entries = xrealloc(p->entries, p->cap, sizeof *p->entries);
    }
    e = &p->entries[p->count++];
    memcpy(e->id, id, SEGMENT_ID);
    e->pack = pack;
    e->off8 = place->off8;
    e->flen = place->flen;
}

void
segment_writer_add(struct segment_writer *w, const uint8_t *id,
                   const struct segment_hit *place)
{
    struct part full = { 0 };
    uint32_t number = 0;

    lock(w);
    add_locked(w, id, place);
    if (w->part.count == w->max)
        full = take_locked(w, &number);
    unlock(w);
    if (full.count > 0)
        write_part(w, &full, number);
}

void
segment_writer_finish(struct segment_writer *w, unsigned *ret_failed,
                      struct err *err)
{
    struct part last = { 0 };
    uint32_t number = 0;

    lock(w);
    if (w->part.count > 0)
        last = take_locked(w, &number);
    unlock(w);
    if (last.count > 0)
        write_part(w, &last, number);
    lock(w);
    *ret_failed = w->failed;
    if (w->failed > 0)
        *err = w->err;
    unlock(w);
}

void
segment_writer_discard(struct segment_writer *w)
{
    CLEANUP(mem_free) uint8_t(*gone)[16] = NULL;
    uint64_t count;
    struct err ignored;

    lock(w);
    gone = TAKE(w->written);
    count = w->sums.segments;
    w->sums = (struct segment_writer_sums){ 0 };
    unlock(w);
    for (uint64_t i = 0; i < count; i++) {
        char name[SEGMENT_NAME_SIZE];

        segment_name(gone[i], name);
        (void)!blob_remove(w->blob, name, &ignored);
    }
}

struct segment_writer_sums
segment_writer_sums_get(struct segment_writer *w)
{
    struct segment_writer_sums sums;

    lock(w);
    sums = w->sums;
    unlock(w);
    return sums;
}
