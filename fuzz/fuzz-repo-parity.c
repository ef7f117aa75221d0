/* SPDX-License-Identifier: Apache-2.0 */
/* Parity and a pack from a store in memory: the input is the parity's object,
 * then the pack. Whatever they say, what a repair hands out has all digests. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "fuzz.h"
#include "repo/parity.h"

static struct fuzz_bytes parity, pack;

static const struct fuzz_bytes *
part_of(const char *name)
{
    struct pack_id id;

    return parity_name_parse(name, &id) ? &parity : &pack;
}

static int
get(struct blob *b, const char *name, uint64_t off, void *data, size_t len,
    size_t *ret_len, struct err *err)
{
    *ret_len = fuzz_read(part_of(name), off, data, len);
    return 0;
}

static int
get_size(struct blob *b, const char *name, uint64_t *ret_size, struct err *err)
{
    *ret_size = part_of(name)->size;
    return 0;
}

static const struct blob_ops ops = { .get = get, .size = get_size };

static void
copy(struct fuzz_bytes *p, const uint8_t *data, size_t len)
{
    p->data = xcalloc(1, len + 1);
    p->size = len;
    memcpy(p->data, data, len);
}

/* What the checksum would be: no search finds it. */
static void
make_sum_right(void)
{
    uint32_t count;
    size_t n;

    if (parity.size < PARITY_HEAD)
        return;
    count = le_get32(parity.data + 12);
    n = (size_t)HASH_SIZE * (count % 64 + 1 + ERASURE_PARITY);
    if (count >= 1 && count <= ERASURE_DATA_MAX)
        n = (size_t)HASH_SIZE * (count + ERASURE_PARITY);
    if (parity.size >= PARITY_HEAD + n)
        le_put32(parity.data + 60, crc_32c(crc_32c(0, parity.data, 60),
                                           parity.data + PARITY_HEAD, n));
}

static void
check(const struct pack_id *id, const uint8_t *made, size_t len)
{
    uint8_t digests[ERASURE_STRIPES_MAX][HASH_SIZE];
    const uint8_t *stripes[ERASURE_STRIPES_MAX];
    struct parity_head h;
    struct err err;

    FUZZ_CHECK(parity_head_decode(id, parity.data, parity.size, parity.size, &h,
                                  &err) == 0);
    FUZZ_CHECK(len == h.pack_len);
    for (unsigned i = 0; i < h.count; i++)
        stripes[i] = made + (size_t)i * h.stripe;
    parity_digest(&h, stripes, 0, h.count, digests);
    for (unsigned i = 0; i < h.count; i++)
        FUZZ_CHECK(hash_is_equal(digests[i], h.digests[i]));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char text[] = "fuzz";
    struct blob blob = { .ops = &ops, .what = (char *)(uintptr_t)text };
    CLEANUP(mem_free) uint8_t *made = NULL;
    struct pack_id id = { .kind = FRAME_DATA };
    struct parity_repair r;
    struct err err;
    uint64_t bytes;
    size_t n = 0, at;

    if (len < 4)
        return 0;
    at = le_get32(data) % (len - 3);
    copy(&parity, data + 4, at);
    copy(&pack, data + 4 + at, len - 4 - at);
    if (at >= PARITY_HEAD) {
        id.kind = parity.data[10] == 1 ? FRAME_META : FRAME_DATA;
        memcpy(id.session, parity.data + 24, 16);
        id.n = le_get32(parity.data + 40);
    }
    make_sum_right();
    if (parity_rebuild(&blob, &id, &made, &n, &r, &err) == 0)
        check(&id, made, n);
    (void)!parity_check(&blob, &id, &bytes, &err);
    free(parity.data);
    free(pack.data);
    return 0;
}
