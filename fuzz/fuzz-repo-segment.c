/* SPDX-License-Identifier: Apache-2.0 */
/* A segment of the index, from a store in memory: whatever it says, each call
 * ends, and says something or CORRUPT. The checksums of the pages are made
 * right, so that what is behind them is reached. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "blob/blob.h"
#include "codec/le.h"
#include "fuzz.h"
#include "repo/segment.h"

static struct fuzz_bytes object;

static int
get(struct blob *b, const char *name, uint64_t off, void *data, size_t len,
    size_t *ret_len, struct err *err)
{
    *ret_len = fuzz_read(&object, off, data, len);
    return 0;
}

static int
get_size(struct blob *b, const char *name, uint64_t *ret_size, struct err *err)
{
    *ret_size = object.size;
    return 0;
}

static const struct blob_ops ops = { .get = get, .size = get_size };

static void
make_sums_right(const uint8_t uuid[16])
{
    for (uint32_t no = 0; ((size_t)no + 1) * SEGMENT_PAGE <= object.size;
         no++) {
        uint8_t *page = object.data + (size_t)no * SEGMENT_PAGE;

        le_put32(page + SEGMENT_PAGE - 4, segment_page_crc(uuid, no, page));
    }
}

static void
read_all(const struct segment *s)
{
    static struct segment_entry entries[SEGMENT_PER_PAGE];
    CLEANUP(mem_free) struct segment_pack *packs = NULL;
    struct segment_hit hits[SEGMENT_HITS];
    const struct segment_head *head = segment_head_get(s);
    unsigned n = 0, found = 0;
    struct err err;

    for (uint32_t no = 0; no < segment_entry_pages(s); no++) {
        if (segment_read_entries(s, no, entries, &n, &err) < 0)
            continue;
        FUZZ_CHECK(n <= SEGMENT_PER_PAGE);
        for (unsigned i = 0; i < n; i++) {
            FUZZ_CHECK(entries[i].pack < head->packs);
            (void)segment_may_hold(s, entries[i].id);
            if (segment_find(s, entries[i].id, hits, &found, &err) == 0)
                FUZZ_CHECK(found <= SEGMENT_HITS);
        }
    }
    if (segment_read_packs(s, &packs, &err) == 0)
        FUZZ_CHECK(packs != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char text[] = "fuzz";
    struct blob blob = { .ops = &ops, .what = (char *)(uintptr_t)text };
    CLEANUP(segment_close) struct segment *s = NULL;
    char name[SEGMENT_NAME_SIZE];
    struct err err;

    if (len < SEGMENT_PAGE)
        return 0;
    object.size = len;
    object.data = xcalloc(1, len);
    memcpy(object.data, data, len);
    segment_name(object.data + 48, name);
    make_sums_right(object.data + 48);
    if (segment_open(&blob, NULL, name, object.data + 32, &s, &err) == 0) {
        segment_load_filter(s);
        read_all(s);
    }
    free(object.data);
    return 0;
}
