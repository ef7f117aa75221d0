/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/clonediff.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "disk/extents.h"
#include "disk/qcow2-priv.h"
#include "disk/qcow2.h"

/* raw: the bytes of the file are the bytes of the disk.
 *
 * qcow2: a cluster of the guest is the same if both files map it alike and what
 * they map it to is at the same place on the device:
 *
 *   guest cluster -> L2 entry -> bytes of the file -> blocks of the device
 *                    equal?                           equal?
 *
 * The tables are read from both files, 8 bytes for a cluster (128 MiB for a
 * TiB in clusters of 64 KiB). The COPIED flag of an entry says nothing about
 * content. A cluster that neither has comes from below. */

#define ENTRY_COPIED     (UINT64_C(1) << 63)
#define ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define ENTRY_ZERO       UINT64_C(1)
#define ENTRY_OFFSET     UINT64_C(0x00fffffffffffe00)

struct side {
    const char *path;
    int fd;
    uint64_t bytes; /* length of the file */
    struct qcow2_info info;
    uint8_t *l1, *l2;
};

static void
side_fini_p(struct side *s)
{
    qcow2_info_fini(&s->info);
    free(s->l1);
    free(s->l2);
    if (s->fd >= 0)
        (void)close(s->fd);
}

static int
side_open(struct side *s, const char *path, struct err *err)
{
    struct stat st;

    s->path = path;
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (s->fd < 0 || fstat(s->fd, &st) < 0)
        return err_sys(err, errno, "%s: open", path);
    s->bytes = (uint64_t)st.st_size;
    return 0;
}

static int
read_exactly(const struct side *s, uint64_t at, uint8_t *data, size_t len,
             struct err *err)
{
    size_t got = 0;

    if (qcow2_read_at(s->fd, s->path, at, data, len, &got, err) < 0)
        return -1;
    return got == len
               ? 0
               : err_set(err, ERR_CORRUPT, "%s: qcow2 table: cut off", s->path);
}

static int
side_read(struct side *s, struct err *err)
{
    const struct qcow2_info *i = &s->info;
    size_t len;

    if (qcow2_read(s->fd, s->path, &s->info, err) < 0)
        return -1;
    if (i->is_encrypted || i->has_data_file || i->has_unknown_feature ||
        i->has_subclusters || i->is_corrupt)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: a kind of qcow2 whose tables are not read",
                       s->path);
    len = (size_t)i->l1_entries * 8; /* at most 32 MiB */
    s->l1 = mem_try(len + 1, s->path, err);
    s->l2 = mem_try((size_t)1 << i->cluster_bits, s->path, err);
    if (s->l1 == NULL || s->l2 == NULL)
        return -1;
    return read_exactly(s, i->l1_offset, s->l1, len, err);
}

/* Each table is a cluster of its own: more of them than the file has room for
 * are a trap that would have us read for ever. */
static int
check_tables(const struct side *s, struct err *err)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < s->info.l1_entries; i++)
        n += (qcow2_be64(s->l1 + (size_t)i * 8) & ENTRY_OFFSET) != 0;
    return n > s->bytes >> s->info.cluster_bits
               ? err_set(err, ERR_CORRUPT, "%s: qcow2 table: too many", s->path)
               : 0;
}

/* The L2 table of that number into s->l2; all zero: there is none. */
static int
read_l2(struct side *s, uint32_t i, bool *ret_is_there, struct err *err)
{
    size_t len = (size_t)1 << s->info.cluster_bits;
    uint64_t at = 0;

    if (i < s->info.l1_entries)
        at = qcow2_be64(s->l1 + (size_t)i * 8) & ENTRY_OFFSET;
    *ret_is_there = at != 0;
    if (at == 0) {
        memset(s->l2, 0, len);
        return 0;
    }
    return read_exactly(s, at, s->l2, len, err);
}

/* Is what this entry names at the same place in both files? */
static bool
is_moved(const struct qcow2_info *info, uint64_t entry,
         const struct ranges *differ)
{
    unsigned x = 62 - (info->cluster_bits - 8);
    uint64_t off, len;

    if ((entry & ENTRY_COMPRESSED) != 0) {
        off = entry & ((UINT64_C(1) << x) - 1);
        len = ((entry & (ENTRY_COMPRESSED - 1)) >> x) + 1;
        len = len * 512 - (off & 511);
    } else {
        off = entry & ENTRY_OFFSET;
        len = UINT64_C(1) << info->cluster_bits;
        if (off == 0 || (info->version >= 3 && (entry & ENTRY_ZERO) != 0))
            return false; /* nothing, or zeros */
    }
    return ranges_overlaps(differ, off, len);
}

static int
compare_tables(struct side *a, struct side *b, const struct ranges *differ,
               struct ranges *add_to, struct err *err)
{
    const unsigned bits = a->info.cluster_bits;
    const uint64_t per_table = (UINT64_C(1) << bits) / 8;
    uint32_t n = a->info.l1_entries > b->info.l1_entries ? a->info.l1_entries
                                                         : b->info.l1_entries;

    for (uint32_t i = 0; i < n; i++) {
        bool has_a, has_b;

        if (read_l2(a, i, &has_a, err) < 0 || read_l2(b, i, &has_b, err) < 0)
            return -1;
        if (!has_a && !has_b)
            continue;
        for (uint64_t k = 0; k < per_table; k++) {
            uint64_t x = qcow2_be64(a->l2 + k * 8) & ~ENTRY_COPIED;
            uint64_t y = qcow2_be64(b->l2 + k * 8) & ~ENTRY_COPIED;
            uint64_t cluster = i * per_table + k;

            if ((x != y || is_moved(&b->info, y, differ)) &&
                cluster <= UINT64_MAX >> bits)
                ranges_add(add_to, cluster << bits, UINT64_C(1) << bits);
        }
    }
    return 0;
}

static int
compare_qcow2(struct side *a, struct side *b, const struct ranges *differ,
              struct ranges *add_to, struct err *err)
{
    if (side_read(a, err) < 0 || side_read(b, err) < 0 ||
        check_tables(a, err) < 0 || check_tables(b, err) < 0)
        return -1;
    if (a->info.cluster_bits != b->info.cluster_bits ||
        a->info.version != b->info.version)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: another kind of qcow2 than its copy", b->path);
    if (compare_tables(a, b, differ, add_to, err) < 0)
        return -1;
    ranges_clip(add_to, b->info.size);
    return 0;
}

int
disk_clonediff(const struct disk_layer *old, const struct disk_layer *new,
               struct ranges *add_to, struct err *err)
{
    CLEANUP(side_fini) struct side a = { .fd = -1 };
    CLEANUP(side_fini) struct side b = { .fd = -1 };
    CLEANUP(ranges_fini) struct ranges differ = RANGES_INIT;
    CLEANUP(ranges_fini) struct ranges found = RANGES_INIT;

    if (strcmp(old->format, new->format) != 0)
        return err_set(err, ERR_UNSUPPORTED, "%s: another format than its copy",
                       new->path);
    if (side_open(&a, old->path, err) < 0 ||
        side_open(&b, new->path, err) < 0 ||
        extents_differ(a.fd, b.fd, new->path, &differ, err) < 0)
        return -1;
    if (strcmp(new->format, "raw") == 0) {
        ranges_clip(&differ, b.bytes);
        ranges_union(add_to, &differ);
        return 0;
    }
    if (compare_qcow2(&a, &b, &differ, &found, err) < 0)
        return -1;
    ranges_union(add_to, &found);
    return 0;
}
