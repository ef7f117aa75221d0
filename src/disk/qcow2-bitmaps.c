/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "disk/qcow2-priv.h"
#include "disk/qcow2.h"

enum {
    ENTRY = 24, /* fixed part of an entry */
    TYPE_DIRTY = 1,
    GRANULARITY_MIN = 9,
    GRANULARITY_MAX = 31,
};

#define FLAG_IN_USE 0x1u
#define FLAG_AUTO   0x2u

void
qcow2_bitmaps_fini(struct qcow2_bitmaps *b)
{
    for (size_t i = 0; i < b->n; i++)
        free(b->v[i].name);
    free(b->v);
    *b = (struct qcow2_bitmaps){ .n = 0 };
}

static int
decode_entry(const uint8_t *d, size_t len, struct qcow2_bitmap *ret,
             size_t *ret_size, struct err *err)
{
    uint32_t flags, name_len, bits;
    uint64_t size;

    if (len < ENTRY)
        return err_set(err, ERR_CORRUPT, "directory of bitmaps: cut off");
    flags = qcow2_be32(d + 12);
    bits = d[17];
    name_len = (uint32_t)d[18] << 8 | d[19];
    size = (uint64_t)ENTRY + qcow2_be32(d + 20) + name_len;
    if (d[16] != TYPE_DIRTY || bits < GRANULARITY_MIN ||
        bits > GRANULARITY_MAX || name_len == 0 ||
        name_len > QCOW2_BITMAP_NAME_MAX || size > len ||
        ((size + 7) & ~(uint64_t)7) > len)
        return err_set(err, ERR_CORRUPT,
                       "directory of bitmaps: an entry is not sane");
    d += size - name_len;
    if (memchr(d, 0, name_len) != NULL)
        return err_set(err, ERR_CORRUPT, "directory of bitmaps: a name");
    *ret = (struct qcow2_bitmap){
        .name = xstrndup((const char *)d, name_len),
        .in_use = (flags & FLAG_IN_USE) != 0,
        .is_auto = (flags & FLAG_AUTO) != 0,
        .granularity = (uint64_t)1 << bits,
    };
    *ret_size = (size_t)((size + 7) & ~(uint64_t)7);
    return 0;
}

int
qcow2_bitmaps_decode(const uint8_t *data, size_t len, uint32_t n,
                     struct qcow2_bitmaps *ret, struct err *err)
{
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps b = { .n = 0 };
    size_t at = 0;

    if (n > QCOW2_BITMAPS_MAX || len > QCOW2_BITMAPS_SIZE_MAX)
        return err_set(err, ERR_CORRUPT, "directory of bitmaps: too large");
    if (n > 0)
        b.v = xcalloc(n, sizeof *b.v);
    while (b.n < n) {
        size_t size = 0;

        if (decode_entry(data + at, len - at, &b.v[b.n], &size, err) < 0)
            return -1;
        b.n++;
        at += size;
        if (qcow2_bitmaps_find(&(struct qcow2_bitmaps){ b.v, b.n - 1 },
                               b.v[b.n - 1].name) != NULL)
            return err_set(err, ERR_CORRUPT,
                           "directory of bitmaps: a name is there twice");
    }
    if (at != len)
        return err_set(err, ERR_CORRUPT,
                       "directory of bitmaps: more than its entries");
    *ret = b;
    b = (struct qcow2_bitmaps){ .n = 0 };
    return 0;
}

int
qcow2_bitmaps_read(int fd, const char *what, const struct qcow2_info *info,
                   struct qcow2_bitmaps *ret, struct err *err)
{
    CLEANUP(mem_free) uint8_t *data = NULL;
    size_t got;

    if (info->n_bitmaps == 0) {
        *ret = (struct qcow2_bitmaps){ .n = 0 };
        return 0;
    }
    data = mem_try((size_t)info->bitmaps_size, what, err);
    if (data == NULL ||
        qcow2_read_at(fd, what, info->bitmaps_offset, data,
                      (size_t)info->bitmaps_size, &got, err) < 0)
        return -1;
    if (qcow2_bitmaps_decode(data, got, info->n_bitmaps, ret, err) < 0)
        return err_wrap(err, "%s", what);
    return 0;
}

const struct qcow2_bitmap *
qcow2_bitmaps_find(const struct qcow2_bitmaps *b, const char *name)
{
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->v[i].name, name) == 0)
            return &b->v[i];
    return NULL;
}
