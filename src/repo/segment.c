/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of 4 KiB, each with its checksum: a look-up is a binary search in the
 * fences, which are in memory, and one page read. The numbers of pages follow
 * from the numbers of entries and packs, so a header cannot contradict itself.
 */
#include "repo/segment.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/format.h"
#include "codec/le.h"
#include "repo/frame.h"
#include "repo/pack.h"
#include "repo/repo-id.h"
#include "repo/segcache.h"

#define PAYLOAD          (SEGMENT_PAGE - 4u)
#define ENTRY            28u
#define PACK             20u
#define PACKS_PER_PAGE   204u
#define FENCES_PER_PAGE  1023u
#define BLOCK            32u /* of the filter */
#define BLOCKS_PER_PAGE  127u
#define BITS_PER_ENTRY   10u
#define WORDS            8u
#define NAME_PREFIX      "x/"
#define FENCE_PAGES_READ 16u
#define CHECK_PAGES      256u                              /* read at once */
#define LAST_HOOK        (UINT32_MAX >> SEGMENT_HOOK_BITS) /* prefix of one */

static_assert(SEGMENT_PER_PAGE * ENTRY <= PAYLOAD, "entries fit");
static_assert(PACKS_PER_PAGE * PACK <= PAYLOAD, "packs fit");
static_assert(FENCES_PER_PAGE * 4 <= PAYLOAD, "fences fit");
static_assert(BLOCKS_PER_PAGE * BLOCK <= PAYLOAD, "blocks fit");

static const char magic[8] = "VMKSEGM";

/* source  Apache Parquet, BloomFilter.md: split block Bloom filter */
static const uint32_t salts[WORDS] = { 0x47b6137b, 0x44974d91, 0x8824ad5b,
                                       0xa2b7289d, 0x705495c7, 0x2df1424b,
                                       0x9efc4947, 0x5c6bfb31 };

/* Where the parts of a segment begin, in pages. */
struct layout {
    uint32_t entry_pages, pack_pages, fence_pages, filter_pages;
    uint32_t entries, packs, fences, filter; /* first page of each */
    uint32_t blocks;
    uint32_t pages;
};

struct segment {
    struct blob *blob;      /* borrowed */
    struct segcache *cache; /* borrowed, or NULL */
    char name[SEGMENT_NAME_SIZE];
    struct segment_head head;
    struct layout at;
    uint32_t *fences;
    uint32_t pages;   /* of entries that are looked at: they have fences */
    uint32_t *filter; /* WORDS for each block; NULL: everything passes */
};

static uint32_t
div_up(uint32_t n, uint32_t by)
{
    return (n + by - 1) / by;
}

static struct layout
lay_out(uint32_t entries, uint32_t packs)
{
    struct layout l = { .entries = 1 };

    l.blocks = div_up(entries * BITS_PER_ENTRY, BLOCK * 8);
    l.entry_pages = div_up(entries, SEGMENT_PER_PAGE);
    l.pack_pages = div_up(packs, PACKS_PER_PAGE);
    l.fence_pages = div_up(l.entry_pages, FENCES_PER_PAGE);
    l.filter_pages = div_up(l.blocks, BLOCKS_PER_PAGE);
    l.packs = l.entries + l.entry_pages;
    l.fences = l.packs + l.pack_pages;
    l.filter = l.fences + l.fence_pages;
    l.pages = l.filter + l.filter_pages;
    return l;
}

void
segment_name(const uint8_t uuid[16], char out[SEGMENT_NAME_SIZE])
{
    memcpy(out, NAME_PREFIX, strlen(NAME_PREFIX));
    repo_id_format(uuid, out + strlen(NAME_PREFIX));
}

bool
segment_name_parse(const char *name, uint8_t ret_uuid[16])
{
    return strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0 &&
           repo_id_parse(name + strlen(NAME_PREFIX), ret_uuid);
}

/* The prefix by which fences order. */
static uint32_t
prefix_of(const uint8_t id[SEGMENT_ID])
{
    return (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 |
           (uint32_t)id[2] << 8 | id[3];
}

bool
segment_is_hook(const uint8_t id[SEGMENT_ID])
{
    return prefix_of(id) >> (32 - SEGMENT_HOOK_BITS) == 0;
}

uint32_t
segment_page_crc(const uint8_t uuid[16], uint32_t no,
                 const uint8_t page[SEGMENT_PAGE])
{
    uint8_t number[4];

    le_put32(number, no);
    return crc_32c(crc_32c(crc_32c(0, uuid, 16), number, 4), page, PAYLOAD);
}

/* ---- filter ---- */

static uint32_t
block_of(const uint8_t id[SEGMENT_ID], uint32_t blocks)
{
    return (uint32_t)((le_get64(id + 8) >> 32) * blocks >> 32);
}

static uint32_t
bit_of(const uint8_t id[SEGMENT_ID], unsigned word)
{
    return (uint32_t)1 << (le_get32(id + 8) * salts[word] >> 27);
}

bool
segment_may_hold(const struct segment *s, const uint8_t id[SEGMENT_ID])
{
    const uint32_t *words;

    if (memcmp(id, s->head.first, SEGMENT_ID) < 0 ||
        memcmp(id, s->head.last, SEGMENT_ID) > 0)
        return false;
    if (s->filter == NULL)
        return true;
    words = s->filter + (size_t)block_of(id, s->at.blocks) * WORDS;
    for (unsigned i = 0; i < WORDS; i++)
        if ((words[i] & bit_of(id, i)) == 0)
            return false;
    return true;
}

size_t
segment_filter_size(const struct segment *s)
{
    return (size_t)s->at.blocks * BLOCK;
}

/* ---- writing ---- */

static int
compare(const void *a, const void *b)
{
    const struct segment_entry *x = a, *y = b;
    int c = memcmp(x->id, y->id, SEGMENT_ID);

    if (c != 0)
        return c;
    if (x->pack != y->pack)
        return x->pack < y->pack ? -1 : 1;
    return x->off8 < y->off8 ? -1 : x->off8 > y->off8;
}

void
segment_sort(struct segment_entry *entries, size_t count)
{
    qsort(entries, count, sizeof *entries, compare);
}

static void
encode_head(const struct segment_head *h, uint8_t *page)
{
    memcpy(page, magic, sizeof magic);
    le_put16(page + 8, FORMAT_VERSION);
    page[10] = (uint8_t)h->level;
    le_put32(page + 12, h->entries);
    le_put32(page + 16, h->packs);
    memcpy(page + 32, h->repo_uuid, 16);
    memcpy(page + 48, h->uuid, 16);
    memcpy(page + 64, h->run, 16);
    memcpy(page + 80, h->owner, 16);
    memcpy(page + 96, h->first, SEGMENT_ID);
    memcpy(page + 112, h->last, SEGMENT_ID);
}

/* Item `i` of a part that begins at page `first`. */
static uint8_t *
item(uint8_t *image, uint32_t first, uint32_t per_page, uint32_t size,
     uint32_t i)
{
    return image + (size_t)(first + i / per_page) * SEGMENT_PAGE +
           (size_t)(i % per_page) * size;
}

static void
encode_entries(const struct layout *at, const struct segment_entry *e,
               uint32_t count, uint8_t *image)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *p = item(image, at->entries, SEGMENT_PER_PAGE, ENTRY, i);
        uint32_t block = block_of(e[i].id, at->blocks);
        uint8_t *words = item(image, at->filter, BLOCKS_PER_PAGE, BLOCK, block);

        memcpy(p, e[i].id, SEGMENT_ID);
        le_put32(p + 16, e[i].pack);
        le_put32(p + 20, e[i].off8);
        le_put32(p + 24, e[i].flen);
        for (unsigned w = 0; w < WORDS; w++)
            le_put32(words + (size_t)4 * w,
                     le_get32(words + (size_t)4 * w) | bit_of(e[i].id, w));
        if (i % SEGMENT_PER_PAGE == 0)
            le_put32(item(image, at->fences, FENCES_PER_PAGE, 4,
                          i / SEGMENT_PER_PAGE),
                     prefix_of(e[i].id));
    }
}

int
segment_encode(struct segment_head *head, const struct segment_entry *entries,
               uint32_t entry_count, const struct segment_pack *packs,
               uint32_t pack_count, uint8_t **ret, size_t *ret_len,
               struct err *err)
{
    struct layout at = lay_out(entry_count, pack_count);
    size_t len = (size_t)at.pages * SEGMENT_PAGE;
    uint8_t *image;

    assert(entry_count > 0 && entry_count <= SEGMENT_ENTRIES_MAX &&
           pack_count > 0 && pack_count <= entry_count);
    image = mem_try(len, "a segment of the index", err);
    if (image == NULL)
        return -1;
    head->entries = entry_count;
    head->packs = pack_count;
    memcpy(head->first, entries[0].id, SEGMENT_ID);
    memcpy(head->last, entries[entry_count - 1].id, SEGMENT_ID);
    encode_head(head, image);
    encode_entries(&at, entries, entry_count, image);
    for (uint32_t i = 0; i < pack_count; i++) {
        uint8_t *p = item(image, at.packs, PACKS_PER_PAGE, PACK, i);

        memcpy(p, packs[i].session, 16);
        le_put32(p + 16, packs[i].n);
    }
    for (uint32_t i = 0; i < at.pages; i++) {
        uint8_t *page = image + (size_t)i * SEGMENT_PAGE;

        le_put32(page + PAYLOAD, segment_page_crc(head->uuid, i, page));
    }
    *ret = image;
    *ret_len = len;
    return 0;
}

/* ---- open ---- */

/* How many of them, from the first on, have the right checksum. */
static uint32_t
good_pages(const struct segment *s, uint32_t no, uint32_t count,
           const uint8_t *pages)
{
    uint32_t i = 0;

    while (i < count) {
        const uint8_t *page = pages + (size_t)i * SEGMENT_PAGE;

        if (le_get32(page + PAYLOAD) !=
            segment_page_crc(s->head.uuid, no + i, page))
            break;
        i++;
    }
    return i;
}

static bool
read_cached(const struct segment *s, uint32_t no, uint32_t count, uint8_t *out)
{
    return s->cache != NULL &&
           segcache_read(s->cache, s->head.uuid, (uint64_t)no * SEGMENT_PAGE,
                         out, (size_t)count * SEGMENT_PAGE) &&
           good_pages(s, no, count, out) == count;
}

static int
read_pages(const struct segment *s, uint32_t no, uint32_t count, uint8_t *out,
           struct err *err)
{
    size_t len = (size_t)count * SEGMENT_PAGE, got = 0;
    uint32_t good;

    if (read_cached(s, no, count, out))
        return 0;
    if (blob_get(s->blob, s->name, (uint64_t)no * SEGMENT_PAGE, out, len, &got,
                 err) < 0)
        return -1;
    if (got != len)
        return err_set(err, ERR_CORRUPT, "%s: is cut short", s->name);
    good = good_pages(s, no, count, out);
    if (good < count)
        return err_set(err, ERR_CORRUPT, "%s: page %u: wrong checksum", s->name,
                       no + good);
    if (s->cache != NULL)
        segcache_write(s->cache, s->head.uuid, (uint64_t)no * SEGMENT_PAGE, out,
                       len);
    return 0;
}

static int
decode_head(const struct segment *s, const uint8_t repo_uuid[16],
            const uint8_t *page, struct segment_head *h, struct err *err)
{
    if (memcmp(page, magic, sizeof magic) != 0)
        return err_set(err, ERR_CORRUPT, "%s: is no segment", s->name);
    if (le_get16(page + 8) != FORMAT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "%s: is of version %u", s->name,
                       le_get16(page + 8));
    h->level = page[10];
    h->entries = le_get32(page + 12);
    h->packs = le_get32(page + 16);
    memcpy(h->repo_uuid, page + 32, 16);
    memcpy(h->run, page + 64, 16);
    memcpy(h->owner, page + 80, 16);
    memcpy(h->first, page + 96, SEGMENT_ID);
    memcpy(h->last, page + 112, SEGMENT_ID);
    if (memcmp(h->repo_uuid, repo_uuid, 16) != 0 ||
        memcmp(h->uuid, page + 48, 16) != 0)
        return err_set(err, ERR_CORRUPT, "%s: is of another repository or name",
                       s->name);
    if (h->level > SEGMENT_LEVEL_MAX || page[11] != 0 || h->entries == 0 ||
        h->entries > SEGMENT_ENTRIES_MAX || h->packs == 0 ||
        h->packs > h->entries || !le_is_zero(page + 20, 12) ||
        !le_is_zero(page + 128, PAYLOAD - 128) ||
        memcmp(h->first, h->last, SEGMENT_ID) > 0)
        return err_set(err, ERR_CORRUPT, "%s: malformed header", s->name);
    return 0;
}

/* Up to the first that is above `last`; `at_once` pages of them are read with
 * one call. */
static int
read_fences(struct segment *s, uint32_t last, uint32_t at_once, struct err *err)
{
    CLEANUP(mem_free) uint8_t *raw = xcalloc(at_once, SEGMENT_PAGE);
    uint32_t count = s->at.entry_pages, before = prefix_of(s->head.first);

    s->fences = xcalloc(count, sizeof *s->fences);
    for (uint32_t i = 0; i < count && before <= last; i++) {
        uint32_t page = i / FENCES_PER_PAGE, left = s->at.fence_pages - page;
        uint32_t step = left < at_once ? left : at_once;

        if (i % (FENCES_PER_PAGE * at_once) == 0 &&
            read_pages(s, s->at.fences + page, step, raw, err) < 0)
            return -1;
        s->fences[i] = le_get32(
            item(raw, 0, FENCES_PER_PAGE, 4, i % (FENCES_PER_PAGE * at_once)));
        if (i == 0 ? s->fences[0] != before : s->fences[i] < before)
            return err_set(err, ERR_CORRUPT, "%s: its fences do not ascend",
                           s->name);
        before = s->fences[i];
        s->pages += before <= last;
    }
    s->fences = xrealloc(s->fences, s->pages + (size_t)1, sizeof *s->fences);
    return 0;
}

static int
start(struct segment *s, const uint8_t repo_uuid[16], bool has_all,
      struct err *err)
{
    uint8_t page[SEGMENT_PAGE];
    uint64_t size = 0;
    bool is_known;

    if (!segment_name_parse(s->name, s->head.uuid))
        return err_set(err, ERR_INVALID, "%s: is no name of a segment",
                       s->name);
    is_known = read_cached(s, 0, 1, page);
    if ((!is_known && (blob_size(s->blob, s->name, &size, err) < 0 ||
                       read_pages(s, 0, 1, page, err) < 0)) ||
        decode_head(s, repo_uuid, page, &s->head, err) < 0)
        return -1;
    s->at = lay_out(s->head.entries, s->head.packs);
    if (!is_known && size != (uint64_t)s->at.pages * SEGMENT_PAGE)
        return err_set(err, ERR_CORRUPT, "%s: has a wrong length", s->name);
    return has_all ? read_fences(s, UINT32_MAX, FENCE_PAGES_READ, err)
                   : read_fences(s, LAST_HOOK, 1, err);
}

static int
open_it(struct blob *blob, struct segcache *cache, const char *name,
        const uint8_t repo_uuid[16], bool has_all, struct segment **ret,
        struct err *err)
{
    CLEANUP(segment_close) struct segment *s = xcalloc(1, sizeof *s);

    s->blob = blob;
    s->cache = cache;
    memcpy(s->name, name, strnlen(name, sizeof s->name - 1));
    if (start(s, repo_uuid, has_all, err) < 0)
        return -1;
    *ret = TAKE(s);
    return 0;
}

int
segment_open(struct blob *blob, struct segcache *cache, const char *name,
             const uint8_t repo_uuid[16], struct segment **ret, struct err *err)
{
    return open_it(blob, cache, name, repo_uuid, true, ret, err);
}

int
segment_open_hooks(struct blob *blob, struct segcache *cache, const char *name,
                   const uint8_t repo_uuid[16], struct segment **ret,
                   struct err *err)
{
    return open_it(blob, cache, name, repo_uuid, false, ret, err);
}

void
segment_close(struct segment *s)
{
    if (s == NULL)
        return;
    free(s->fences);
    free(s->filter);
    free(s);
}

const struct segment_head *
segment_head_get(const struct segment *s)
{
    return &s->head;
}

const char *
segment_name_get(const struct segment *s)
{
    return s->name;
}

uint64_t
segment_size(const struct segment *s)
{
    return (uint64_t)s->at.pages * SEGMENT_PAGE;
}

size_t
segment_memory(const struct segment *s)
{
    return sizeof *s + s->pages * sizeof *s->fences +
           (s->filter != NULL ? segment_filter_size(s) : 0);
}

void
segment_load_filter(struct segment *s)
{
    CLEANUP(mem_free) uint32_t *filter = NULL;
    uint8_t page[SEGMENT_PAGE];
    struct err ignored;

    if (s->filter != NULL)
        return;
    filter = mem_try(segment_filter_size(s), "a filter", &ignored);
    if (filter == NULL)
        return;
    for (uint32_t i = 0; i < s->at.blocks; i++) {
        if (i % BLOCKS_PER_PAGE == 0 &&
            read_pages(s, s->at.filter + i / BLOCKS_PER_PAGE, 1, page,
                       &ignored) < 0)
            return;
        for (uint32_t w = 0; w < WORDS; w++)
            filter[(size_t)i * WORDS + w] = le_get32(
                item(page, 0, BLOCKS_PER_PAGE, BLOCK, i % BLOCKS_PER_PAGE) +
                (size_t)4 * w);
    }
    s->filter = TAKE(filter);
}

/* ---- reading ---- */

uint32_t
segment_entry_pages(const struct segment *s)
{
    return s->pages;
}

static unsigned
entries_in(const struct segment *s, uint32_t no)
{
    uint32_t left = s->head.entries - no * SEGMENT_PER_PAGE;

    return left < SEGMENT_PER_PAGE ? left : SEGMENT_PER_PAGE;
}

static void
decode_entry(const uint8_t *p, struct segment_entry *e)
{
    memcpy(e->id, p, SEGMENT_ID);
    e->pack = le_get32(p + 16);
    e->off8 = le_get32(p + 20);
    e->flen = le_get32(p + 24);
}

/* An entry that cannot be true is skipped by who reads it. */
static bool
is_possible(const struct segment *s, const struct segment_entry *e)
{
    return e->pack < s->head.packs && e->off8 >= PACK_HEADER_SIZE / 8 &&
           e->off8 < PACK_SIZE_MAX / 8 && e->flen > FRAME_HEADER_SIZE &&
           e->flen <= FRAME_SIZE_MAX && e->flen % 8 == 0;
}

int
segment_read_entries(const struct segment *s, uint32_t no,
                     struct segment_entry out[SEGMENT_PER_PAGE],
                     unsigned *ret_count, struct err *err)
{
    uint8_t page[SEGMENT_PAGE];
    unsigned count = 0;

    assert(no < s->pages);
    if (read_pages(s, s->at.entries + no, 1, page, err) < 0)
        return -1;
    for (unsigned i = 0; i < entries_in(s, no); i++) {
        decode_entry(page + (size_t)i * ENTRY, &out[count]);
        if (is_possible(s, &out[count]))
            count++;
    }
    *ret_count = count;
    return 0;
}

static int
read_pack(const struct segment *s, uint32_t i, struct segment_pack *ret,
          struct err *err)
{
    uint8_t page[SEGMENT_PAGE];
    const uint8_t *p = item(page, 0, PACKS_PER_PAGE, PACK, i % PACKS_PER_PAGE);

    if (read_pages(s, s->at.packs + i / PACKS_PER_PAGE, 1, page, err) < 0)
        return -1;
    memcpy(ret->session, p, 16);
    ret->n = le_get32(p + 16);
    return 0;
}

int
segment_check(const struct segment *s, struct err *err)
{
    CLEANUP(mem_free)
    uint8_t *pages = xcalloc(CHECK_PAGES, SEGMENT_PAGE);

    for (uint32_t no = 0; no < s->at.pages; no += CHECK_PAGES) {
        uint32_t left = s->at.pages - no;

        if (read_pages(s, no, left < CHECK_PAGES ? left : CHECK_PAGES, pages,
                       err) < 0)
            return -1;
    }
    return 0;
}

int
segment_read_packs(const struct segment *s, struct segment_pack **ret,
                   struct err *err)
{
    CLEANUP(mem_free) struct segment_pack *packs = NULL;
    uint8_t page[SEGMENT_PAGE];

    packs = mem_try(s->head.packs * sizeof *packs, s->name, err);
    if (packs == NULL)
        return -1;
    for (uint32_t i = 0; i < s->head.packs; i++) {
        const uint8_t *p =
            item(page, 0, PACKS_PER_PAGE, PACK, i % PACKS_PER_PAGE);

        if (i % PACKS_PER_PAGE == 0 &&
            read_pages(s, s->at.packs + i / PACKS_PER_PAGE, 1, page, err) < 0)
            return -1;
        memcpy(packs[i].session, p, 16);
        packs[i].n = le_get32(p + 16);
    }
    *ret = TAKE(packs);
    return 0;
}

/* The first page whose fence is not below `prefix`. */
static uint32_t
lower_bound(const struct segment *s, uint32_t prefix)
{
    uint32_t low = 0, high = s->pages;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (s->fences[middle] < prefix)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Where the id would be in a page of `count` entries. */
static unsigned
place_in(const uint8_t *page, unsigned count, const uint8_t id[SEGMENT_ID])
{
    unsigned low = 0, high = count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (memcmp(page + (size_t)middle * ENTRY, id, SEGMENT_ID) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int
segment_find(const struct segment *s, const uint8_t id[SEGMENT_ID],
             struct segment_hit hits[SEGMENT_HITS], unsigned *ret_count,
             struct err *err)
{
    uint32_t prefix = prefix_of(id), no = lower_bound(s, prefix);
    uint8_t page[SEGMENT_PAGE];
    unsigned found = 0;

    /* The page before may end with the same prefix. */
    if (no > 0)
        no--;
    for (; no < s->pages && s->fences[no] <= prefix; no++) {
        unsigned n = entries_in(s, no);

        if (read_pages(s, s->at.entries + no, 1, page, err) < 0)
            return -1;
        for (unsigned i = place_in(page, n, id); i < n; i++) {
            struct segment_entry e;

            decode_entry(page + (size_t)i * ENTRY, &e);
            if (memcmp(e.id, id, SEGMENT_ID) != 0)
                break;
            if (!is_possible(s, &e))
                continue;
            if (read_pack(s, e.pack, &hits[found].pack, err) < 0)
                return -1;
            hits[found].off8 = e.off8;
            hits[found].flen = e.flen;
            if (++found == SEGMENT_HITS) {
                *ret_count = found;
                return 0;
            }
        }
    }
    *ret_count = found;
    return 0;
}
