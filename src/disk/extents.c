/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/extents.h"

#include <sys/ioctl.h>
#include <sys/stat.h>

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>

#include "base/mem.h"

/* FIEMAP is walked in batches. For the comparison the older file is walked
 * twice, before and after the newer one: btrfs moves blocks of files that
 * nobody writes to (balance), and a block could come to where another one was
 * a moment ago. What is equal both times was there in between. */

enum {
    EXTENTS_AT_ONCE = 512
};

static int
refuse(const char *what, int error, struct err *err)
{
    if (error == EOPNOTSUPP || error == ENOTTY || error == EINVAL)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: this file system does not say where a file is",
                       what);
    return err_sys(err, error, "%s: extents", what);
}

static struct extent
decode(const struct fiemap_extent *e)
{
    const uint32_t nowhere = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
                             FIEMAP_EXTENT_DATA_INLINE;
    const uint32_t other = FIEMAP_EXTENT_ENCODED |
                           FIEMAP_EXTENT_DATA_ENCRYPTED |
                           FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_TAIL;

    return (struct extent){
        .off = e->fe_logical,
        .len = e->fe_length,
        .at = e->fe_physical,
        .is_shared = (e->fe_flags & FIEMAP_EXTENT_SHARED) != 0,
        .is_placed = (e->fe_flags & nowhere) == 0,
        .is_exact = (e->fe_flags & (nowhere | other)) == 0,
        .is_unwritten = (e->fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0,
    };
}

int
extents_walk(int fd, const char *what,
             int (*fn)(void *arg, const struct extent *e, struct err *err),
             void *arg, struct err *err)
{
    size_t size =
        sizeof(struct fiemap) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent);
    CLEANUP(mem_free) struct fiemap *map = xcalloc(1, size);
    uint64_t at = 0;

    for (;;) {
        const struct fiemap_extent *last = NULL;

        memset(map, 0, sizeof *map);
        map->fm_start = at;
        map->fm_length = FIEMAP_MAX_OFFSET - at;
        map->fm_flags = FIEMAP_FLAG_SYNC;
        map->fm_extent_count = EXTENTS_AT_ONCE;
        if (ioctl(fd, FS_IOC_FIEMAP, map) < 0)
            return refuse(what, errno, err);
        for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
            last = &map->fm_extents[i];

            const struct extent e = decode(last);

            if (fn(arg, &e, err) != 0)
                return -1;
            at = e.off + e.len;
        }
        if (last == NULL || (last->fe_flags & FIEMAP_EXTENT_LAST) != 0)
            return 0;
    }
}

int
extents_count(int fd, const char *what, uint64_t *ret_n, struct err *err)
{
    /* Without extents wanted, the kernel only counts them. */
    struct fiemap map = { .fm_length = FIEMAP_MAX_OFFSET };

    if (ioctl(fd, FS_IOC_FIEMAP, &map) < 0)
        return refuse(what, errno, err);
    *ret_n = map.fm_mapped_extents;
    return 0;
}

/* ---- two files ---- */

struct map {
    struct extent *v;
    size_t n, size;
};

static void
map_fini_p(struct map *m)
{
    free(m->v);
}

static int
keep(void *arg, const struct extent *e, struct err *err)
{
    struct map *m = arg;

    (void)err;
    if (e->is_unwritten && e->is_exact)
        return 0; /* reads like a hole */
    if (m->n == m->size) {
        m->size = m->size == 0 ? 256 : m->size * 2;
        m->v = xrealloc(m->v, m->size, sizeof *m->v);
    }
    m->v[m->n++] = *e;
    return 0;
}

static uint64_t
end_of(const struct extent *e)
{
    return e->off + e->len;
}

/* From `pos` on: is it in an extent (returned), and up to where is that so? */
static const struct extent *
piece(const struct map *m, size_t *i, uint64_t pos, uint64_t *ret_end)
{
    while (*i < m->n && end_of(&m->v[*i]) <= pos)
        (*i)++;
    if (*i == m->n) {
        *ret_end = UINT64_MAX;
        return NULL;
    }
    if (m->v[*i].off > pos) {
        *ret_end = m->v[*i].off;
        return NULL;
    }
    *ret_end = end_of(&m->v[*i]);
    return &m->v[*i];
}

static bool
is_same_place(const struct extent *a, const struct extent *b, uint64_t pos)
{
    if (a == NULL || b == NULL)
        return a == b; /* two holes */
    return a->is_exact && b->is_exact &&
           a->at + (pos - a->off) == b->at + (pos - b->off);
}

static void
compare(const struct map *a, const struct map *b, struct ranges *add_to)
{
    size_t i = 0, k = 0;
    uint64_t pos = 0;

    while (pos != UINT64_MAX) {
        uint64_t end_a, end_b, end;
        const struct extent *ea = piece(a, &i, pos, &end_a);
        const struct extent *eb = piece(b, &k, pos, &end_b);

        end = end_a < end_b ? end_a : end_b;
        if (!is_same_place(ea, eb, pos))
            ranges_add(add_to, pos, end - pos);
        pos = end;
    }
}

static int
check_pair(int old_fd, int new_fd, const char *what, struct err *err)
{
    struct stat a, b;

    if (fstat(old_fd, &a) < 0 || fstat(new_fd, &b) < 0)
        return err_sys(err, errno, "%s: stat", what);
    if (!S_ISREG(a.st_mode) || !S_ISREG(b.st_mode) || a.st_dev != b.st_dev)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: not a file in the file system of its copy", what);
    return 0;
}

int
extents_differ(int old_fd, int new_fd, const char *what, struct ranges *add_to,
               struct err *err)
{
    CLEANUP(map_fini) struct map before = { .n = 0 };
    CLEANUP(map_fini) struct map now = { .n = 0 };
    CLEANUP(map_fini) struct map after = { .n = 0 };

    if (check_pair(old_fd, new_fd, what, err) < 0 ||
        extents_walk(old_fd, what, keep, &before, err) < 0 ||
        extents_walk(new_fd, what, keep, &now, err) < 0 ||
        extents_walk(old_fd, what, keep, &after, err) < 0)
        return -1;
    compare(&before, &now, add_to);
    compare(&after, &now, add_to);
    return 0;
}
