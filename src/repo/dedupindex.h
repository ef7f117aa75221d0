/* SPDX-License-Identifier: Apache-2.0 */
/* repo/dedupindex.h: which chunk do committed backups have, and where.
 *
 * One for each backup that is written. It reads the segments (segment.h) when
 * it is asked for the first time, and believes none of them: what they say is
 * used only after docs/formats/index.md, "It is only a hint".
 * Memory: DEDUPINDEX_MEMORY (repo->index_memory) for fences and filters,
 * DEDUPINDEX_FOOTERS for footers of packs, however large the repository. An
 * index that is larger than that allows, or than repo_index_set_budget() said,
 * is sampled: one chunk in 128 is looked up, the others in the footers to which
 * these lead. Threads: any, but dedupindex_free().
 */
#pragma once
#include "base/mutex.h"
#include "repo/frame.h"
#include "repo/segment.h"

#define DEDUPINDEX_MEMORY  ((size_t)48 << 20)
#define DEDUPINDEX_FILTERS ((size_t)32 << 20) /* of that */
#define DEDUPINDEX_FOOTERS ((size_t)8 << 20)

struct dedupindex;
struct repo;
extern struct role dedupindex_lock;

/* `repo` is borrowed. No I/O. */
struct dedupindex *dedupindex_new(struct repo *repo) NODISCARD;
void dedupindex_free(struct dedupindex *d); /* NULL is fine */
DEFINE_CLEANUP(dedupindex_free, struct dedupindex *)

/* Does a committed backup have the chunk of `len` bytes with that id? Then the
 * footer of the pack says so too. What cannot be read is not there.
 *   blocks  on the store */
bool dedupindex_find(struct dedupindex *d, struct frame_ctx *ctx,
                     const uint8_t id[HASH_SIZE], uint32_t len,
                     struct frame_loc *ret_loc) EXCLUDES(dedupindex_lock);

/* How many of these ids some segment lists, true or not: if it is sampled, of
 * the hooks. Sorts them. */
size_t dedupindex_count(struct dedupindex *d, uint8_t (*ids)[SEGMENT_ID],
                        size_t count) EXCLUDES(dedupindex_lock);

struct dedupindex_sums {
    size_t segments;     /* in use */
    size_t bad_segments; /* could not be read */
    uint64_t entries;
    uint64_t bytes;  /* of the segments */
    size_t memory;   /* of fences and filters */
    bool is_sampled; /* then the first three are of those with hooks */
};

/* Reads the segments, if that was not done yet. */
struct dedupindex_sums dedupindex_sums_get(struct dedupindex *d)
    EXCLUDES(dedupindex_lock);

/* What a backup that begins now would know, without the filters. Whoever may
 * read no footer knows nothing; this tells what the others would.
 *   errors  those of listing the segments; one that is bad is counted */
int dedupindex_look(struct repo *repo, struct dedupindex_sums *ret,
                    struct err *err) NODISCARD;

/* May packs of this session be referred to, as the log says? */
bool dedupindex_is_usable(struct repo *repo, const struct segment_pack *pack);
