/* SPDX-License-Identifier: Apache-2.0 */
/* Tree nodes and roots: what decodes encodes to the same bytes. The first
 * byte says the level, or 255 for a root. */
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "repo/root.h"

static void
root(const uint8_t *data, size_t len)
{
    CLEANUP(root_fini) struct root r = { 0 };
    CLEANUP(buf_fini) struct buf again = BUF_INIT;
    struct err err;

    if (root_decode(data, len, &r, &err) < 0)
        return;
    root_encode(&r, &again);
    FUZZ_CHECK(again.len == len && memcmp(again.data, data, len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct tree_node node;
    uint8_t again[TREE_NODE_MAX];
    struct err err;

    if (len == 0)
        return 0;
    if (data[0] == 255) {
        root(data + 1, len - 1);
        return 0;
    }
    if (tree_decode(data + 1, len - 1, data[0] % 7u, &node, &err) < 0)
        return 0;
    FUZZ_CHECK(tree_encode(&node, again) == len - 1);
    FUZZ_CHECK(memcmp(again, data + 1, len - 1) == 0);
    return 0;
}
