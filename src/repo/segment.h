/* SPDX-License-Identifier: Apache-2.0 */
/* repo/segment.h: one sorted table of the index: which chunk lies where.
 *
 * Bytes: docs/formats/index.md. What a segment says is a hint: this file sees
 * to it that damage is noticed and that nothing in a segment can lead astray
 * who reads it; whether an entry is true is for dedupindex.c to find out.
 * Threads: an open segment may be shared, but for segment_load_filter() and
 * segment_close().
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "blob/blob.h"

#define SEGMENT_PAGE        4096u
#define SEGMENT_ID          16u /* the first bytes of a chunk's id */
#define SEGMENT_PER_PAGE    146u
#define SEGMENT_ENTRIES_MAX ((uint32_t)1 << 21)
#define SEGMENT_LEVEL_MAX   30u
#define SEGMENT_NAME_SIZE   40
#define SEGMENT_HITS        4u
#define SEGMENT_HOOK_BITS   7u /* zeros with which the id of a hook begins */

struct segment_pack {
    uint8_t session[16];
    uint32_t n;
};

struct segment_entry {
    uint8_t id[SEGMENT_ID];
    uint32_t pack; /* place in the list of packs */
    uint32_t off8;
    uint32_t flen;
};

struct segment_head {
    unsigned level;
    uint32_t entries;
    uint32_t packs;
    uint8_t repo_uuid[16];
    uint8_t uuid[16];
    uint8_t run[16];
    uint8_t owner[16]; /* a session, or zeros */
    uint8_t first[SEGMENT_ID];
    uint8_t last[SEGMENT_ID];
};

/* Hooks are one id in 128: who has no room for an index of all knows of these
 * only (docs/formats/index.md, "Sampled"). They stand first in a segment. */
bool segment_is_hook(const uint8_t id[SEGMENT_ID]);

void segment_name(const uint8_t uuid[16], char out[SEGMENT_NAME_SIZE]);
bool segment_name_parse(const char *name, uint8_t ret_uuid[16]);

/* ---- writing ------------------------------------------------------------ */

/* Sort them as a segment needs them. */
void segment_sort(struct segment_entry *entries, size_t count);
/* The bytes of a segment.
 *   head     entries, packs, first and last are set here
 *   entries  1 to SEGMENT_ENTRIES_MAX, sorted; each names one of the packs
 *   ret      the caller's to free() */
int segment_encode(struct segment_head *head,
                   const struct segment_entry *entries, uint32_t entry_count,
                   const struct segment_pack *packs, uint32_t pack_count,
                   uint8_t **ret, size_t *ret_len, struct err *err) NODISCARD;
/* The checksum of page `no`, as it must stand in its last 4 bytes. */
uint32_t segment_page_crc(const uint8_t uuid[16], uint32_t no,
                          const uint8_t page[SEGMENT_PAGE]);

/* ---- reading ------------------------------------------------------------ */

struct segcache;
struct segment;

/* Its header and fences are read and checked. `blob` is borrowed, as is
 * `cache`, or NULL: what that has is not read from the store.
 *   errors  NOT_FOUND; CORRUPT; UNSUPPORTED
 *   blocks  on the store */
int segment_open(struct blob *blob, struct segcache *cache, const char *name,
                 const uint8_t repo_uuid[16], struct segment **ret,
                 struct err *err) NODISCARD;
/* The same for who looks up hooks only, and no filter: a 128th of the memory.
 * The calls below that are about entries know of no others then. */
int segment_open_hooks(struct blob *blob, struct segcache *cache,
                       const char *name, const uint8_t repo_uuid[16],
                       struct segment **ret, struct err *err) NODISCARD;
void segment_close(struct segment *s); /* NULL is fine */
DEFINE_CLEANUP(segment_close, struct segment *)

const struct segment_head *segment_head_get(const struct segment *s);
const char *segment_name_get(const struct segment *s);
uint64_t segment_size(const struct segment *s); /* of the object */
size_t segment_memory(const struct segment *s); /* what it takes, open */

/* Keep its filter in memory, if it can be read. */
size_t segment_filter_size(const struct segment *s);
void segment_load_filter(struct segment *s);

/* False: the id is not in it, for sure. No I/O. */
bool segment_may_hold(const struct segment *s, const uint8_t id[SEGMENT_ID]);

struct segment_hit {
    struct segment_pack pack;
    uint32_t off8;
    uint32_t flen;
};

/* What it says of an id: *ret_count of at most SEGMENT_HITS places.
 *   errors  NOT_FOUND (it was removed); CORRUPT (that page) */
int segment_find(const struct segment *s, const uint8_t id[SEGMENT_ID],
                 struct segment_hit hits[SEGMENT_HITS], unsigned *ret_count,
                 struct err *err) NODISCARD;

/* Page `no` of its entries (from 0): as many as *ret_count says.
 *   errors  as segment_find() */
uint32_t segment_entry_pages(const struct segment *s);
int segment_read_entries(const struct segment *s, uint32_t no,
                         struct segment_entry out[SEGMENT_PER_PAGE],
                         unsigned *ret_count, struct err *err) NODISCARD;
/* Read every page of it. For who opened it without a cache.
 *   errors  as segment_find() */
int segment_check(const struct segment *s, struct err *err) NODISCARD;
/* All its packs; the caller frees. */
int segment_read_packs(const struct segment *s, struct segment_pack **ret,
                       struct err *err) NODISCARD;
