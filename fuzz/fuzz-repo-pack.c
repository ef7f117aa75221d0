/* SPDX-License-Identifier: Apache-2.0 */
/* What surrounds frames, and frames. The first byte says which: 0 header and
 * key table, 1 footer, 2 trailer, 3 frame in clear, 4 frame encrypted. */
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "repo/pack.h"

static void
header(const uint8_t *data, size_t len)
{
    static struct keys keys;
    static const uint8_t root[KEYS_SIZE], uuid[16];
    struct pack_wrap wrap = { .repo_uuid = uuid };
    struct frame_origin *origins;
    struct pack_id id = { 0 };
    unsigned n;
    struct err err;

    if (len < PACK_HEADER_SIZE)
        return;
    keys_init(&keys, root);
    wrap.keys = data[11] != 0 ? &keys : NULL;
    id.kind = data[10] != 0 ? FRAME_META : FRAME_DATA;
    memcpy(id.session, data + 24, 16);
    memcpy(&id.n, data + 40, 4);
    if (pack_header_decode(&wrap, &id, data, len, &origins, &n, &err) == 0)
        pack_origins_free(origins, n);
}

static void
footer(const uint8_t *data, size_t len)
{
    struct pack_footer_entry *e;
    uint32_t n;
    struct err err;

    if (pack_footer_decode(data, len, &e, &n, &err) < 0)
        return;
    FUZZ_CHECK((size_t)n * PACK_FOOTER_ENTRY == len);
    free(e);
}

static void
trailer(const uint8_t *data, size_t len)
{
    struct pack_id id = { 0 };
    struct pack_trailer t;
    uint64_t size;
    struct err err;

    if (len < PACK_TRAILER_SIZE + 8)
        return;
    memcpy(&size, data, 8);
    data += 8;
    memcpy(id.session, data + 32, 16);
    memcpy(&id.n, data + 48, 4);
    id.kind = data[52] != 0 ? FRAME_META : FRAME_DATA;
    if (pack_trailer_decode(&id, data, size, &t, &err) == 0)
        FUZZ_CHECK(t.footer_off + t.footer_len == t.body_len &&
                   t.body_len + pack_tail_size(t.body_len) == size &&
                   size <= PACK_SIZE_MAX);
    (void)!pack_tail_check(data, len - 8, &err);
}

static void
frame(const uint8_t *data, size_t len, bool is_encrypted)
{
    static struct frame_ctx *ctx;
    struct frame_origin o = { .is_encrypted = is_encrypted, .serial = 1 };
    struct frame_header h;
    struct err err;

    if (ctx == NULL)
        ctx = frame_ctx_new(1);
    if (frame_header_decode(data, len, is_encrypted, &h, &err) < 0 ||
        h.flen > len || h.ulen > (1u << 20))
        return;
    CLEANUP(mem_free) uint8_t *out = xcalloc(1, (size_t)h.ulen + 1);

    (void)!frame_open(ctx, &o, 1, data, h.flen, out, h.ulen, &err);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    switch (data[0] % 5) {
    case 0:
        header(data + 1, len - 1);
        break;
    case 1:
        footer(data + 1, len - 1);
        break;
    case 2:
        trailer(data + 1, len - 1);
        break;
    default:
        frame(data + 1, len - 1, data[0] % 5 == 4);
        break;
    }
    return 0;
}
