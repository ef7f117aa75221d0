/* SPDX-License-Identifier: Apache-2.0 */
/* A restore goes in windows of 128 leaves (8 GiB of disk): the frames of the
 * window are sorted by pack and offset, neighbours joined to ranges of a few
 * MiB, and the workers take range after range: read, decrypt, decompress,
 * four digests at once, write. A frame that several chunks refer to is decoded
 * once. Zeros and patterns are written by the planner.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "repo/copies.h"
#include "repo/view.h"

#define WINDOW_LEAVES 128
#define RANGE_MAX     ((uint64_t)4 << 20) /* unless one frame is longer */
#define GAP_MAX       ((uint64_t)512 << 10)
#define WORKERS_MAX   16

extern struct role restore_lock;

/* One chunk to write. */
struct item {
    struct frame_loc loc;
    uint8_t id[HASH_SIZE];
    uint64_t off;  /* on the disk */
    uint32_t skip; /* bytes of the plaintext before it */
    uint32_t len;
};

struct range {
    size_t first, count; /* items */
    uint64_t off;        /* in the pack */
    size_t len;
};

struct restore {
    struct repo_view *v;          /* [C] */
    unsigned disk;                /* [C] */
    const struct root_disk *d;    /* [C] */
    const struct repo_sink *sink; /* [C] */
    uint64_t begin, end;          /* [C] of the disk */
    unsigned threads;             /* [C] */
    struct badset bad;            /* [C] frames that lie better elsewhere */

    struct item *items; /* [T:planner], then [C] for the workers */
    size_t item_count, item_cap;
    struct range *ranges;
    size_t range_count, range_cap;
    uint64_t zero_off, zero_len; /* [T:planner] a run not handed out yet */

    atomic_size_t next;
    atomic_bool has_failed;
    pthread_mutex_t mutex; /* what restore_lock stands for */
    uint64_t done GUARDED_BY(restore_lock);
    struct err err GUARDED_BY(restore_lock);
};

static void lock(struct restore *r) ACQUIRE(restore_lock);
static void unlock(struct restore *r) RELEASE(restore_lock);

static void NO_TSA
lock(struct restore *r)
{
    pthread_mutex_lock(&r->mutex);
}

static void NO_TSA
unlock(struct restore *r)
{
    pthread_mutex_unlock(&r->mutex);
}

static void
fail(struct restore *r, const struct err *err)
{
    lock(r);
    if (!atomic_exchange(&r->has_failed, true))
        r->err = *err;
    unlock(r);
}

/* Counts bytes; the sink may cancel. */
static int
note_done(struct restore *r, uint64_t bytes, struct err *err)
{
    uint64_t done;

    lock(r);
    done = r->done += bytes;
    unlock(r);
    if (r->sink->progress != NULL && r->sink->progress(r->sink->arg, done) != 0)
        return err_set(err, ERR_CANCELLED, "the restore was cancelled");
    return 0;
}

/* ---- planning ---- */

static int
flush_zero(struct restore *r, struct err *err)
{
    uint64_t len = r->zero_len;

    r->zero_len = 0;
    if (len == 0)
        return 0;
    if (r->sink->zero != NULL &&
        r->sink->zero(r->sink->arg, r->zero_off, len, err) < 0)
        return -1;
    return note_done(r, len, err);
}

static int
plan_zero(struct restore *r, uint64_t off, uint64_t len, struct err *err)
{
    if (len == 0)
        return 0;
    if (r->zero_len > 0 && r->zero_off + r->zero_len == off) {
        r->zero_len += len;
        return 0;
    }
    if (flush_zero(r, err) < 0)
        return -1;
    r->zero_off = off;
    r->zero_len = len;
    return 0;
}

static int
write_pattern(struct restore *r, const struct tree_entry *e, uint64_t off,
              uint32_t skip, uint32_t len, struct err *err)
{
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, len);

    for (uint32_t i = 0; i < len; i++)
        data[i] = e->pattern[(skip + i) % sizeof e->pattern];
    if (r->sink->write(r->sink->arg, off, data, len, err) < 0)
        return -1;
    return note_done(r, len, err);
}

static int
plan_item(struct restore *r, const struct tree_entry *e, uint64_t off,
          uint32_t skip, uint32_t len, struct err *err)
{
    struct item *it;
    bool moved;

    if (r->item_count == r->item_cap) {
        r->item_cap = r->item_cap == 0 ? 1024 : 2 * r->item_cap;
        r->items = xrealloc(r->items, r->item_cap, sizeof *r->items);
    }
    it = &r->items[r->item_count++];
    *it = (struct item){ .loc = e->loc, .off = off, .skip = skip, .len = len };
    memcpy(it->id, e->id, HASH_SIZE);
    if (redirect_resolve(r->v->repo->moves, FRAME_DATA, &it->loc, &moved, err) <
        0)
        return -1;
    if (!badset_copy_of(&r->bad, FRAME_DATA, &it->loc, &it->loc))
        return 0;
    return redirect_resolve(r->v->repo->moves, FRAME_DATA, &it->loc, &moved,
                            err);
}

/* One chunk, as far as it lies within begin..end. */
static int
plan_chunk(struct restore *r, uint64_t chunk, const struct tree_entry *e,
           struct err *err)
{
    uint64_t at = chunk << r->d->chunk_log2, from, to;
    uint32_t skip, len, have = 0;

    from = at > r->begin ? at : r->begin;
    to = at + view_span(r->d, chunk);
    to = to < r->end ? to : r->end;
    if (from >= to)
        return 0;
    skip = (uint32_t)(from - at);
    len = (uint32_t)(to - from);
    if (e->type == TREE_PATTERN)
        return write_pattern(r, e, from, skip, len, err);
    if (e->type == TREE_REF && skip < e->loc.ulen) {
        have = e->loc.ulen - skip < len ? e->loc.ulen - skip : len;
        if (plan_item(r, e, from, skip, have, err) < 0)
            return -1;
    }
    return plan_zero(r, from + have, len - have, err);
}

/* Chunks from `chunk` on that are zero for sure, found above the leaves. */
static int
zero_run(struct restore *r, uint64_t chunk, uint64_t *ret, struct err *err)
{
    uint64_t span = TREE_FANOUT;

    for (unsigned i = 0; i < r->d->top_level; i++)
        span *= TREE_FANOUT;
    *ret = 0;
    for (unsigned level = r->d->top_level;; level--, span /= TREE_FANOUT) {
        struct tree_entry e;

        if (view_entry(r->v, r->disk, level, chunk / span, &e, err) < 0)
            return -1;
        if (e.type == TREE_ZERO) {
            *ret = span - chunk % span;
            return 0;
        }
        if (level == 0)
            return 0;
    }
}

static int
plan_leaf(struct restore *r, uint64_t chunk, struct err *err)
{
    CLEANUP(mem_free) struct tree_node *leaf = xcalloc(1, sizeof *leaf);
    uint64_t base = chunk / TREE_FANOUT * TREE_FANOUT;
    bool found = false;

    if (view_node(r->v, r->disk, 0, chunk / TREE_FANOUT, leaf, &found, err) < 0)
        return -1;
    for (unsigned i = chunk % TREE_FANOUT; i < TREE_FANOUT; i++)
        if (base + i < view_chunks(r->d) &&
            plan_chunk(r, base + i, &leaf->entries[i], err) < 0)
            return -1;
    return 0;
}

static uint64_t
min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Plan one window from chunk *chunk on. */
static int
plan_window(struct restore *r, uint64_t *chunk, struct err *err)
{
    uint64_t last =
        (r->end + ((uint64_t)1 << r->d->chunk_log2) - 1) >> r->d->chunk_log2;

    r->item_count = 0;
    for (unsigned n = 0; n < WINDOW_LEAVES && *chunk < last;) {
        uint64_t run = 0;

        if (zero_run(r, *chunk, &run, err) < 0)
            return -1;
        if (run > 0) {
            uint64_t off = *chunk << r->d->chunk_log2;

            *chunk = min_u64(*chunk + run, last);
            off = off > r->begin ? off : r->begin;
            if (plan_zero(r, off,
                          min_u64(*chunk << r->d->chunk_log2, r->end) - off,
                          err) < 0)
                return -1;
            continue;
        }
        if (plan_leaf(r, *chunk, err) < 0)
            return -1;
        *chunk = (*chunk / TREE_FANOUT + 1) * TREE_FANOUT;
        n++;
    }
    return flush_zero(r, err);
}

static int
compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int c = memcmp(x->loc.session, y->loc.session, 16);

    if (c != 0)
        return c;
    if (x->loc.n != y->loc.n)
        return x->loc.n < y->loc.n ? -1 : 1;
    if (x->loc.off8 != y->loc.off8)
        return x->loc.off8 < y->loc.off8 ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

static bool
joins(const struct range *range, const struct item *first,
      const struct item *it)
{
    uint64_t off = (uint64_t)it->loc.off8 * 8, end = range->off + range->len;

    return memcmp(first->loc.session, it->loc.session, 16) == 0 &&
           first->loc.n == it->loc.n && off <= end + GAP_MAX &&
           off + it->loc.flen - range->off <= RANGE_MAX;
}

static void
plan_ranges(struct restore *r)
{
    struct range *last = NULL;

    r->range_count = 0;
    if (r->item_count > 0)
        qsort(r->items, r->item_count, sizeof *r->items, compare_items);
    for (size_t i = 0; i < r->item_count; i++) {
        const struct item *it = &r->items[i];
        uint64_t off = (uint64_t)it->loc.off8 * 8;

        if (last == NULL || !joins(last, &r->items[last->first], it)) {
            if (r->range_count == r->range_cap) {
                r->range_cap = r->range_cap == 0 ? 64 : 2 * r->range_cap;
                r->ranges =
                    xrealloc(r->ranges, r->range_cap, sizeof *r->ranges);
            }
            last = &r->ranges[r->range_count++];
            *last = (struct range){ .first = i, .off = off };
        }
        last->count++;
        if (off + it->loc.flen > last->off + last->len)
            last->len = (size_t)(off + it->loc.flen - last->off);
    }
}

/* ---- a worker ---- */

struct work {
    struct restore *r;
    struct frame_ctx *ctx;
    struct pack_head *head;
    char name[PACK_NAME_SIZE]; /* of the pack, for messages */
    uint8_t *raw;              /* RANGE_MAX, or one frame */
    uint8_t *plain[HASH_LANES];
    const struct item *items[HASH_LANES]; /* the first of each frame */
    size_t counts[HASH_LANES];
    unsigned n;
    size_t done; /* items of the range that are written */
};

/* Check the digests of what is decoded, and write it. */
static int
write_out(struct work *w, struct err *err)
{
    const uint8_t *data[HASH_LANES];
    uint8_t ids[HASH_LANES][HASH_SIZE];
    unsigned n = w->n;

    w->n = 0;
    if (n == 0)
        return 0;
    for (unsigned i = 0; i < n; i++)
        data[i] = w->plain[i];
    hash_hmac_lanes(&w->r->v->repo->keys.id, data, n, w->items[0]->loc.ulen,
                    ids);
    for (unsigned i = 0; i < n; i++) {
        const struct item *it = w->items[i];

        if (!hash_is_equal(ids[i], it->id))
            return err_set(err, ERR_CORRUPT,
                           "%s: frame at %llu: digest mismatch", w->name,
                           (unsigned long long)it->loc.off8 * 8);
        for (size_t k = 0; k < w->counts[i]; k++) {
            /* Equal places with unequal ids: a tree made to deceive. */
            if (memcmp(it[k].id, it->id, HASH_SIZE) != 0)
                return err_set(err, ERR_CORRUPT,
                               "%s: frame at %llu: two ids for one place",
                               w->name, (unsigned long long)it->loc.off8 * 8);
            if (w->r->sink->write(w->r->sink->arg, it[k].off,
                                  w->plain[i] + it[k].skip, it[k].len,
                                  err) < 0 ||
                note_done(w->r, it[k].len, err) < 0)
                return -1;
        }
        w->done += w->counts[i];
    }
    return 0;
}

static int
decode(struct work *w, const struct range *range, const struct item *it,
       size_t count, struct err *err)
{
    const uint8_t *raw = w->raw + ((uint64_t)it->loc.off8 * 8 - range->off);

    if (w->n == hash_lanes(it->loc.ulen) ||
        (w->n > 0 && w->items[0]->loc.ulen != it->loc.ulen))
        if (write_out(w, err) < 0)
            return -1;
    if (w->plain[w->n] == NULL)
        w->plain[w->n] = xcalloc(1, FRAME_PLAIN_MAX);
    if (frame_open(w->ctx, w->head->origins, w->head->origin_count, raw,
                   it->loc.flen, w->plain[w->n], it->loc.ulen, err) < 0)
        return err_wrap(err, "%s: frame at %llu", w->name,
                        (unsigned long long)it->loc.off8 * 8);
    w->items[w->n] = it;
    w->counts[w->n++] = count;
    return 0;
}

static int
do_items(struct work *w, const struct range *range, struct err *err)
{
    const struct item *it = &w->r->items[range->first];

    for (size_t i = 0; i < range->count;) {
        size_t n = 1;

        while (i + n < range->count && it[i + n].loc.off8 == it[i].loc.off8 &&
               it[i + n].loc.flen == it[i].loc.flen &&
               it[i + n].loc.ulen == it[i].loc.ulen)
            n++;
        if (decode(w, range, &it[i], n, err) < 0)
            return -1;
        i += n;
    }
    return write_out(w, err);
}

static int
do_range(struct work *w, const struct range *range, bool *ret_missing,
         struct err *err)
{
    const struct frame_loc *loc = &w->r->items[range->first].loc;
    struct repo *repo = w->r->v->repo;
    struct pack_id id = { .kind = FRAME_DATA, .n = loc->n };
    size_t len = 0;
    int rc;

    w->done = 0;
    memcpy(id.session, loc->session, 16);
    pack_name(&id, w->name);
    if (blob_get(repo->blob, w->name, range->off, w->raw, range->len, &len,
                 err) < 0 ||
        pack_reader_head(repo->packs, &id, &w->head, err) < 0) {
        *ret_missing = blob_is_lost(err);
        return -1;
    }
    if (len < range->len) {
        pack_reader_unref(repo->packs, TAKE(w->head));
        *ret_missing = true;
        return err_set(err, ERR_CORRUPT, "%s: the pack is cut short", w->name);
    }
    rc = do_items(w, range, err);
    w->n = 0;
    *ret_missing = rc < 0 && err->code == ERR_CORRUPT;
    pack_reader_unref(repo->packs, TAKE(w->head));
    return rc;
}

/* The pack is gone, or a part of it cannot be read, which may be one between
 * the frames: each is looked for where it is by now. */
static int
do_moved(struct work *w, const struct range *range, struct err *err)
{
    if (w->plain[0] == NULL)
        w->plain[0] = xcalloc(1, FRAME_PLAIN_MAX);
    for (size_t i = w->done; i < range->count; i++) {
        const struct item *it = &w->r->items[range->first + i];

        if (view_mend_frame(w->r->v, w->ctx, FRAME_DATA, &it->loc, it->id,
                            w->plain[0], err) < 0 ||
            w->r->sink->write(w->r->sink->arg, it->off, w->plain[0] + it->skip,
                              it->len, err) < 0 ||
            note_done(w->r, it->len, err) < 0)
            return -1;
    }
    return 0;
}

/* A pack that was rewritten may go while it is read; a disk may have places
 * that cannot be read, and others that changed. */
static int
do_range_anywhere(struct work *w, const struct range *range, struct err *err)
{
    bool is_missing = false;
    int rc = do_range(w, range, &is_missing, err);

    return is_missing ? do_moved(w, range, err) : rc;
}

static void *
worker(void *arg)
{
    struct restore *r = arg;
    struct work w = { .r = r, .ctx = repo_private_ctx_take(r->v->repo) };
    size_t i;

    w.raw = xcalloc(1, RANGE_MAX + FRAME_SIZE_MAX);
    while ((i = atomic_fetch_add(&r->next, 1)) < r->range_count &&
           !atomic_load(&r->has_failed)) {
        struct err err = { 0 };

        if (do_range_anywhere(&w, &r->ranges[i], &err) < 0)
            fail(r, &err);
    }
    for (unsigned k = 0; k < HASH_LANES; k++)
        free(w.plain[k]);
    free(w.raw);
    repo_private_ctx_put(r->v->repo, w.ctx);
    return NULL;
}

static int
run_workers(struct restore *r, struct err *err)
{
    pthread_t threads[WORKERS_MAX];
    int rc = 0;

    atomic_store(&r->next, 0);
    for (unsigned i = 0; i < r->threads; i++)
        if (pthread_create(&threads[i], NULL, worker, r) != 0)
            abort();
    for (unsigned i = 0; i < r->threads; i++)
        pthread_join(threads[i], NULL);
    lock(r);
    if (atomic_load(&r->has_failed)) {
        *err = r->err;
        rc = -1;
    }
    unlock(r);
    return rc;
}

static int
run(struct restore *r, struct err *err)
{
    uint64_t chunk = r->begin >> r->d->chunk_log2;

    while (chunk << r->d->chunk_log2 < r->end) {
        if (plan_window(r, &chunk, err) < 0)
            return -1;
        plan_ranges(r);
        if (r->range_count > 0 && run_workers(r, err) < 0)
            return -1;
    }
    return 0;
}

int NO_TSA
repo_view_restore(struct repo_view *v, unsigned disk, uint64_t off,
                  uint64_t len, unsigned threads, const struct repo_sink *sink,
                  struct err *err)
{
    struct restore r = { .v = v, .disk = disk, .sink = sink };
    int rc;

    if (repo_private_need_read(v->repo, err) < 0)
        return -1;
    if (disk >= v->root.disk_count)
        return err_set(err, ERR_INVALID, "backup %s: no disk number %u", v->id,
                       disk);
    r.d = &v->root.disks[disk];
    if (off > r.d->size || len > r.d->size - off)
        return err_set(err, ERR_INVALID,
                       "backup %s: disk %s: range beyond its end", v->id,
                       r.d->name);
    r.begin = off;
    r.end = off + len;
    r.threads = repo_private_threads(threads);
    if (copies_bad(v->repo, &r.bad, err) < 0)
        return -1;
    pthread_mutex_init(&r.mutex, NULL);
    rc = run(&r, err);
    badset_fini(&r.bad);
    free(r.items);
    free(r.ranges);
    pthread_mutex_destroy(&r.mutex);
    return rc < 0 ? err_wrap(err, "backup %s: disk %s", v->id, r.d->name) : 0;
}
