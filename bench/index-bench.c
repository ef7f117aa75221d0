/* SPDX-License-Identifier: Apache-2.0 */
/* index-bench: an index of very many chunks, for bench/peers. Each command
 * prints one line.
 *
 *   make REPO KEY-FILE BACKUP MILLIONS   chunks listed
 *       segments as merges leave them, and enough young ones that a merge is
 *       due. They list made-up chunks in made-up packs of that backup
 *   find REPO KEY-FILE MILLIONS LOOKUPS  segments, chunks listed, bytes of
 *       memory, microseconds for a chunk that is listed, and for one that is
 * not (MILLIONS as it was made); fails if a listed one is not found
 *   sampled REPO KEY-FILE MILLIONS LOOKUPS  the same, if the index is too large
 *       to know all of it; of the listed ones hooks are to be found
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "blob/blob-dir.h"
#include "codec/le.h"
#include "repo/dedupindex.h"
#include "repo/repo-id.h"
#include "repo/repo-index.h"
#include "repo/repo-private.h"

#define FULL     ((uint32_t)1 << 20) /* entries of a merged segment */
#define YOUNG    ((uint32_t)1 << 18) /* of one that a backup wrote */
#define PER_PACK 512u

/* Runs of one level, and the segments of each. */
struct shape {
    unsigned level, runs, segments;
    uint32_t entries;
};

struct place {
    unsigned level, run, segment, segments;
};

static _Noreturn void
die(const struct err *err)
{
    fprintf(stderr, "index-bench: %s\n", err->msg);
    exit(1);
}

static unsigned
at_least_1(unsigned n)
{
    return n > 0 ? n : 1;
}

/* 100: 102 million chunks in 103 segments. Eight young ones are due for a
 * merge, and what becomes of them and the seven of level 1 is due then. */
static void
shapes_of(unsigned millions, struct shape out[4])
{
    out[0] = (struct shape){ 3, 1, at_least_1(millions * 64 / 100), FULL };
    out[1] = (struct shape){ 2, 3, at_least_1(millions * 8 / 100), FULL };
    out[2] = (struct shape){ 1, 7, 1, FULL };
    out[3] = (struct shape){ 0, 8, 1, YOUNG };
}

/* splitmix64 */
static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t
seed_of(const struct place *p)
{
    return (uint64_t)p->level << 40 | (uint64_t)p->run << 20 | p->segment;
}

/* The next id of that segment: those of a run do not overlap. */
static void
next_id(const struct place *p, uint64_t *state, uint8_t id[SEGMENT_ID])
{
    uint64_t width = ((uint64_t)1 << 32) / p->segments;
    uint64_t head = width * p->segment + next_random(state) % width;

    for (unsigned i = 0; i < 4; i++)
        id[i] = (uint8_t)(head >> (24 - 8 * i));
    le_put32(id + 4, (uint32_t)next_random(state));
    le_put64(id + 8, next_random(state));
}

static struct repo *
open_repo(const char *dir, const char *key_file)
{
    struct repo_secret secret = { .key_file = key_file };
    struct blob *blob = NULL;
    struct repo *repo = NULL;
    struct err err = { 0 };

    if (blob_dir_open(dir, &blob, &err) < 0 ||
        repo_open(blob, &secret, &repo, &err) < 0)
        die(&err);
    return repo;
}

/* ---- make ---- */

static void
put_segment(struct repo *repo, const struct segment_pack *packs,
            uint32_t pack_count, const struct place *at, const uint8_t run[16],
            uint32_t count)
{
    CLEANUP(mem_free) struct segment_entry *e = xcalloc(count, sizeof *e);
    CLEANUP(mem_free) uint8_t *bytes = NULL;
    struct segment_head head = { .level = at->level };
    uint64_t state = seed_of(at);
    char name[SEGMENT_NAME_SIZE];
    bool existed = false;
    struct err err = { 0 };
    size_t len = 0;

    for (uint32_t i = 0; i < count; i++) {
        next_id(at, &state, e[i].id);
        e[i].pack = (uint32_t)(next_random(&state) % pack_count);
        e[i].off8 = 64 + (uint32_t)(next_random(&state) % 8000000);
        e[i].flen = 131072;
    }
    segment_sort(e, count);
    memcpy(head.repo_uuid, repo->uuid, 16);
    repo_id_random(head.uuid);
    memcpy(head.run, run != NULL ? run : head.uuid, 16);
    segment_name(head.uuid, name);
    if (segment_encode(&head, e, count, packs, pack_count, &bytes, &len, &err) <
            0 ||
        blob_put(repo->blob, name, bytes, len, &existed, &err) < 0)
        die(&err);
}

static uint64_t
put_run(struct repo *repo, const struct shape *s, unsigned n,
        const uint8_t session[16], uint32_t *next_pack)
{
    uint32_t count = s->entries / PER_PACK * s->segments;
    CLEANUP(mem_free)
    struct segment_pack *packs = xcalloc(count, sizeof *packs);
    uint8_t run[16];

    for (uint32_t i = 0; i < count; i++) {
        memcpy(packs[i].session, session, 16);
        packs[i].n = (*next_pack)++;
    }
    repo_id_random(run);
    for (unsigned i = 0; i < s->segments; i++) {
        struct place at = { s->level, n, i, s->segments };

        put_segment(repo, packs, count, &at, s->level > 0 ? run : NULL,
                    s->entries);
    }
    return (uint64_t)s->entries * s->segments;
}

static void
make(char *const argv[])
{
    CLEANUP(repo_close) struct repo *repo = open_repo(argv[0], argv[1]);
    uint32_t next_pack = 1000;
    struct shape shapes[4];
    uint8_t session[16];
    uint64_t chunks = 0;

    if (!repo_id_parse(argv[2], session))
        exit(2);
    shapes_of((unsigned)atoi(argv[3]), shapes);
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++)
        for (unsigned n = 0; n < shapes[i].runs; n++)
            chunks += put_run(repo, &shapes[i], n, session, &next_pack);
    printf("%llu\n", (unsigned long long)chunks);
}

/* ---- find ---- */

/* Ids of segments that were made, of all levels. */
static void
pick_listed(unsigned millions, uint8_t (*ids)[SEGMENT_ID], size_t count)
{
    uint64_t state = 7, of_segment = 0;
    struct place at = { 0 };
    struct shape shapes[4];

    shapes_of(millions, shapes);
    for (size_t i = 0; i < count; i++) {
        if (i % 100 == 0) { /* the next segment */
            const struct shape *s = &shapes[next_random(&state) % 4];

            at = (struct place){ s->level,
                                 (unsigned)(next_random(&state) % s->runs),
                                 (unsigned)(next_random(&state) % s->segments),
                                 s->segments };
            of_segment = seed_of(&at);
        }
        next_id(&at, &of_segment, ids[i]);
        (void)next_random(&of_segment);
        (void)next_random(&of_segment);
    }
}

static double
each_us(uint64_t begin_ns, size_t count)
{
    return (double)(clock_mono_ns() - begin_ns) / 1e3 / (double)count;
}

/* Of `ids`, or of these only hooks. */
static size_t
count_wanted(uint8_t (*ids)[SEGMENT_ID], size_t count, bool is_sampled)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        n += !is_sampled || segment_is_hook(ids[i]);
    return n;
}

static void
find(char *const argv[], bool is_sampled)
{
    CLEANUP(repo_close) struct repo *repo = open_repo(argv[0], argv[1]);
    CLEANUP(dedupindex_free) struct dedupindex *d = dedupindex_new(repo);
    struct frame_ctx *ctx = repo_private_ctx_take(repo);
    size_t count = (size_t)atoll(argv[3]), found, wanted;
    CLEANUP(mem_free) uint8_t(*ids)[SEGMENT_ID] = xcalloc(count, SEGMENT_ID);
    struct dedupindex_sums sums;
    double listed_us, others_us;
    uint64_t begin_ns, state = 1;

    /* The log says which sessions count. */
    {
        CLEANUP(mem_free) struct repo_entry *entries = NULL;
        struct err err = { 0 };
        size_t n, damage;

        if (repo_list(repo, &entries, &n, &damage, &err) < 0)
            die(&err);
    }
    if (is_sampled)
        repo_index_set_budget(repo, 1);
    sums = dedupindex_sums_get(d);
    pick_listed((unsigned)atoi(argv[2]), ids, count);
    wanted = count_wanted(ids, count, is_sampled);
    begin_ns = clock_mono_ns();
    found = dedupindex_count(d, ids, count);
    listed_us = each_us(begin_ns, count);
    begin_ns = clock_mono_ns();
    for (size_t i = 0; i < count; i++) {
        struct frame_loc loc;
        uint8_t id[HASH_SIZE];

        for (unsigned k = 0; k < HASH_SIZE; k += 8)
            le_put64(id + k, next_random(&state));
        found += dedupindex_find(d, ctx, id, 262144, &loc);
    }
    others_us = each_us(begin_ns, count);
    repo_private_ctx_put(repo, ctx);
    printf("%zu %llu %zu %.1f %.1f\n", sums.segments,
           (unsigned long long)sums.entries, sums.memory, listed_us, others_us);
    if (found != wanted) {
        fprintf(stderr, "index-bench: %zu of %zu chunks found\n", found,
                wanted);
        exit(1);
    }
}

int
main(int argc, char *argv[])
{
    if (argc == 6 && strcmp(argv[1], "make") == 0)
        make(argv + 2);
    else if (argc == 6 && strcmp(argv[1], "find") == 0)
        find(argv + 2, false);
    else if (argc == 6 && strcmp(argv[1], "sampled") == 0)
        find(argv + 2, true);
    else
        return 2;
    return 0;
}
