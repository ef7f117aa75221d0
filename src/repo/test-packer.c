/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for whom: a slow store makes chunks worth more time, and what more
 * time buys. */
#include <stdatomic.h>
#include <unistd.h>

#include "base/mem.h"
#include "repo/packer.h"
#include "test.h"

#define PACK ((size_t)1 << 20)
#define LEN  (128u << 10)

/* A store that forgets, and takes its time. */
struct slow {
    struct blob blob;
    atomic_uint put_ms;
};

static int
put(struct blob *b, const char *name, const void *data, size_t len,
    bool *ret_existed, struct err *err)
{
    (void)usleep(atomic_load(&container_of(b, struct slow, blob)->put_ms) *
                 1000);
    *ret_existed = false;
    return 0;
}

static const struct blob_ops ops = { .put = put };

/* `packs` packs, with a pause before each frame; the effort then. */
static unsigned
effort_after(struct packer *p, struct frame_ctx *ctx, const uint8_t *data,
             unsigned packs, unsigned pause_ms)
{
    static const uint8_t id[HASH_SIZE];
    struct frame_loc loc;
    struct err err = { 0 };

    for (unsigned i = 0; i < packs * (PACK / LEN); i++) {
        (void)usleep(pause_ms * 1000);
        CHECK_OK(packer_add(p, ctx, data, LEN, id, &loc, &err), &err);
    }
    return packer_effort(p);
}

static void
effort_follows_the_store(void)
{
    static const uint8_t session[16];
    struct slow s = { .blob = { .ops = &ops, .what = xstrdup("slow store") } };
    struct packer_config c = { .blob = &s.blob,
                               .session = session,
                               .pack_size = PACK };
    CLEANUP(packer_free) struct packer *p = packer_new(&c);
    CLEANUP(frame_ctx_free) struct frame_ctx *ctx = frame_ctx_new(1);
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, LEN);
    uint64_t r = 88172645463325252u;
    struct err err = { 0 };

    for (size_t i = 0; i < LEN; i += 8) { /* random: stored as it is */
        r ^= r << 13;
        r ^= r >> 7;
        r ^= r << 17;
        memcpy(data + i, &r, 8);
    }
    CHECK_INT(packer_effort(p), ==, 0);
    CHECK_INT(effort_after(p, ctx, data, 3, 5), ==, 0);
    atomic_store(&s.put_ms, 200);
    CHECK_INT(effort_after(p, ctx, data, 7, 0), ==, PACKER_EFFORT_MAX);
    CHECK_OK(packer_finish(p, &err), &err);
    atomic_store(&s.put_ms, 0);
    CHECK_INT(effort_after(p, ctx, data, 6, 20), ==, 0);
    CHECK_OK(packer_finish(p, &err), &err);
    free(s.blob.what);
}

static size_t
packed_size(struct compress *c, int level, const uint8_t *data, size_t len)
{
    CLEANUP(mem_free) uint8_t *out = xcalloc(1, compress_bound(len));
    CLEANUP(mem_free) uint8_t *back = xcalloc(1, len);
    size_t n = 0;

    compress_set_level(c, level);
    CHECK_INT(compress_pack(c, data, len, out, &n), ==, COMPRESS_ZSTD);
    CHECK(compress_unpack(c, COMPRESS_ZSTD, out, n, back, len));
    CHECK(memcmp(back, data, len) == 0);
    return n;
}

/* Words of three to nine letters from a list of 500, at random. */
static void
make_text(uint8_t *out, size_t len)
{
    uint64_t r = 88172645463325252u;

    for (size_t i = 0; i < len;) {
        uint64_t word;

        r = r * 6364136223846793005u + 1442695040888963407u;
        word = (r >> 33) % 500 * 2654435761u;
        for (unsigned k = 0; k < 3 + word % 7 && i < len; k++)
            out[i++] = (uint8_t)('a' + (word >> (3 * k + 7)) % 26);
        if (i < len)
            out[i++] = ' ';
    }
}

/* One context through all levels and back. */
static void
effort_buys_space(void)
{
    CLEANUP(compress_free) struct compress *c = compress_new(COMPRESS_FAST);
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, 1 << 18);
    size_t fast, one, three;

    make_text(data, 1 << 18);
    fast = packed_size(c, COMPRESS_FAST, data, 1 << 18);
    one = packed_size(c, 1, data, 1 << 18);
    three = packed_size(c, 3, data, 1 << 18);
    printf("# %zu %zu %zu\n", fast, one, three);
    CHECK_INT(one, <, fast);
    CHECK_INT(three, <, one);
    CHECK_INT(packed_size(c, COMPRESS_FAST, data, 1 << 18), ==, fast);
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "effort follows the store", effort_follows_the_store },
        { "effort buys space", effort_buys_space },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
