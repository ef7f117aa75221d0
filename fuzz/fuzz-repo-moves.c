/* SPDX-License-Identifier: Apache-2.0 */
/* What decodes encodes to the same bytes. The first byte says what it is: a
 * REDIRECT's body, a map of moves, a part of a pack summary. */
#include <string.h>

#include "base/buf.h"
#include "fuzz.h"
#include "repo/movemap.h"
#include "repo/summary.h"

#define DISKS 4u

static void
redirect(const uint8_t *data, size_t len)
{
    CLEANUP(movemap_entry_fini) struct movemap_entry e = { 0 };
    CLEANUP(buf_fini) struct buf again = BUF_INIT;
    struct err err;

    if (movemap_entry_decode(data, len, &e, &err) < 0)
        return;
    movemap_entry_encode(&e, &again);
    FUZZ_CHECK(again.len == len && memcmp(again.data, data, len) == 0);
}

static void
map(const uint8_t *data, size_t len)
{
    CLEANUP(movemap_fini) struct movemap m = { 0 };
    CLEANUP(buf_fini) struct buf again = BUF_INIT;
    struct err err;

    if (movemap_decode(data, len, &m, &err) < 0)
        return;
    for (size_t i = 0; i < m.count; i++)
        FUZZ_CHECK(movemap_find(&m, m.moves[i].source, m.moves[i].from8) ==
                   &m.moves[i]);
    movemap_encode(&m, &again);
    FUZZ_CHECK(again.len == len && memcmp(again.data, data, len) == 0);
}

static void
summary(const uint8_t *data, size_t len)
{
    struct packset sets[DISKS] = { 0 };
    struct err err;

    (void)!summary_decode(data, len, DISKS, sets, &err);
    for (unsigned i = 0; i < DISKS; i++)
        packset_fini(&sets[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    switch (data[0] % 3) {
    case 0:
        redirect(data + 1, len - 1);
        break;
    case 1:
        map(data + 1, len - 1);
        break;
    default:
        summary(data + 1, len - 1);
        break;
    }
    return 0;
}
