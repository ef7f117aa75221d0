/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/space.h"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <endian.h>
#include <errno.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <string.h>

#include "base/mem.h"
#include "disk/extents.h"

/* Two sources for btrfs:
 *   FIEMAP                whether a piece is shared: the kernel looks for other
 *                         owners of the extent as a whole, which is what counts
 *   the file's own items  which extent that piece is of, and how large it is on
 *                         the device (BTRFS_IOC_TREE_SEARCH_V2, root only)
 * They are joined by the offset in the file. A file that is written to
 * meanwhile gives numbers of two moments; nothing is decided by them.
 *
 * Elsewhere a piece is what FIEMAP says. */

enum {
    BATCH = 64 << 10, /* bytes of items at once */
};

/* ---- FIEMAP ---- */

struct pieces {
    struct extent *v;
    size_t n, size;
};

static void
pieces_fini_p(struct pieces *p)
{
    free(p->v);
}

static int
keep(void *arg, const struct extent *e, struct err *err)
{
    struct pieces *p = arg;

    (void)err;
    if (p->n == p->size) {
        p->size = p->size == 0 ? 256 : p->size * 2;
        p->v = xrealloc(p->v, p->size, sizeof *p->v);
    }
    p->v[p->n++] = *e;
    return 0;
}

/* Is the byte at `off` in a piece that has another owner? `*i` goes up. */
static bool
is_shared_at(const struct pieces *p, size_t *i, uint64_t off)
{
    while (*i < p->n && p->v[*i].off + p->v[*i].len <= off)
        (*i)++;
    return *i < p->n && p->v[*i].off <= off && p->v[*i].is_shared;
}

/* ---- btrfs ---- */

/* One batch of a file's items. */
struct search {
    struct btrfs_ioctl_search_args_v2 *args;
    uint64_t ino, from; /* the next offset in the file */
};

/* 0; -1 with errno. `args->key.nr_items` says how many were found. */
static int
search_next(int fd, struct search *s)
{
    struct btrfs_ioctl_search_key *k = &s->args->key;

    memset(k, 0, sizeof *k);
    /* tree_id 0: the subvolume that the file is in */
    k->min_objectid = k->max_objectid = s->ino;
    k->min_type = k->max_type = BTRFS_EXTENT_DATA_KEY;
    k->min_offset = s->from;
    k->max_offset = UINT64_MAX;
    k->max_transid = UINT64_MAX;
    k->nr_items = UINT32_MAX;
    s->args->buf_size = BATCH;
    return ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, s->args);
}

/* What an item keeps; false: nothing, a hole. */
static bool
decode(const uint8_t *item, size_t len, struct space *ret)
{
    struct btrfs_file_extent_item e = { .type = 0 };

    if (len < offsetof(struct btrfs_file_extent_item, disk_bytenr))
        return false;
    memcpy(&e, item, len < sizeof e ? len : sizeof e);
    if (e.type == BTRFS_FILE_EXTENT_INLINE)
        *ret =
            (struct space){ .len = len - offsetof(struct btrfs_file_extent_item,
                                                  disk_bytenr) };
    else if (len >= sizeof e && e.disk_bytenr != 0)
        *ret = (struct space){ .at = le64toh(e.disk_bytenr),
                               .len = le64toh(e.disk_num_bytes),
                               .is_placed = true };
    else
        return false;
    return true;
}

struct walk {
    int (*fn)(void *arg, const struct space *s, struct err *err);
    void *arg;
    struct pieces pieces;
    size_t at; /* in pieces */
};

/* Hand on the items of one batch. */
static int
hand_on(struct walk *w, struct search *s, struct err *err)
{
    const uint8_t *p = (const uint8_t *)s->args->buf;
    const uint8_t *end = p + BATCH;

    for (uint32_t i = 0; i < s->args->key.nr_items; i++) {
        struct btrfs_ioctl_search_header h;
        struct space piece;

        if ((size_t)(end - p) < sizeof h)
            break;
        memcpy(&h, p, sizeof h);
        p += sizeof h;
        if (h.len > (size_t)(end - p))
            break;
        s->from = h.offset + 1;
        if (h.objectid == s->ino && h.type == BTRFS_EXTENT_DATA_KEY &&
            decode(p, h.len, &piece)) {
            piece.is_shared =
                piece.is_placed && is_shared_at(&w->pieces, &w->at, h.offset);
            if (w->fn(w->arg, &piece, err) != 0)
                return -1;
        }
        p += h.len;
    }
    return 0;
}

/* 1: not for us, and nothing was handed on. */
static int
walk_btrfs(int fd, const char *what, struct walk *w, struct err *err)
{
    CLEANUP(mem_free)
    struct btrfs_ioctl_search_args_v2 *args = xcalloc(1, sizeof *args + BATCH);
    struct search s = { .args = args };
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s: stat", what);
    s.ino = st.st_ino;
    for (;;) {
        if (search_next(fd, &s) < 0)
            return s.from == 0 && (errno == EPERM || errno == ENOTTY)
                       ? 1
                       : err_sys(err, errno, "%s: its extents", what);
        if (args->key.nr_items == 0)
            return 0;
        if (hand_on(w, &s, err) < 0)
            return -1;
    }
}

static bool
is_btrfs(int fd)
{
    struct statfs s;

    return fstatfs(fd, &s) == 0 && s.f_type == BTRFS_SUPER_MAGIC;
}

int
space_walk(int fd, const char *what,
           int (*fn)(void *arg, const struct space *s, struct err *err),
           void *arg, struct err *err)
{
    struct walk w = { .fn = fn, .arg = arg };
    CLEANUP(pieces_fini) struct pieces pieces = { .n = 0 };

    if (extents_walk(fd, what, keep, &pieces, err) < 0)
        return -1;
    w.pieces = pieces;
    if (is_btrfs(fd)) {
        int rc = walk_btrfs(fd, what, &w, err);

        if (rc <= 0)
            return rc;
    }
    for (size_t i = 0; i < pieces.n; i++) {
        const struct extent *e = &pieces.v[i];
        const struct space piece = { e->at, e->len, e->is_shared,
                                     e->is_placed };

        if (fn(arg, &piece, err) != 0)
            return -1;
    }
    return 0;
}
