/* SPDX-License-Identifier: Apache-2.0 */
/* A look-up asks, in this order: the footers that were used last (a clone is
 * written in the order of its template, so that one footer answers for some
 * hundred chunks), then every segment whose range and filter let the id pass.
 * An entry of a segment leads to a footer, and only that is believed.
 *
 * Segments and footers are immutable and counted, so the lock is held only
 * while one is taken or put; two threads may read the same footer at once,
 * which costs time only. A segment that vanishes was merged: the list of
 * segments is read again.
 *
 * A sampled index knows of hooks only, ids that begin with SEGMENT_HOOK_BITS
 * zeros: as ids are uniform, that is the begin of each segment and a 128th of
 * it. A hook that is found brings the footer of its pack, and with it the
 * chunks that were stored before and after it. So that a clone need not wait
 * for a hook in every pack, the pack behind one in which something was found is
 * looked into too. What is missed is stored again.
 */
#include "repo/dedupindex.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "repo/repo-private.h"
#include "repo/segcache.h"

#define FOOTERS_MAX   256u
#define FOOTERS_FIRST 4u  /* asked before the segments, */
#define FOOTERS_NEAR  16u /* if the index is sampled */
/* More frames than that in a pack are tiny ones: not worth the memory. */
#define FOOTER_FRAMES ((uint32_t)1 << 17)

/* What a pack holds, sorted by id; empty if it must not be used. */
struct place {
    uint8_t id[HASH_SIZE];
    uint32_t off8, flen;
};

struct footer {
    struct segment_pack pack; /* [C] */
    struct place *places;     /* [C] */
    uint32_t count;           /* [C] */
    unsigned refs;            /* with the lock */
    uint64_t used;            /* with the lock: for the cache */
    bool is_read;             /* with the lock: a chunk of it was good */
    bool is_suspect;          /* with the lock: one was not */
};

struct set {
    struct segment **segments; /* [C] few entries first */
    size_t count;              /* [C] */
    bool is_sampled;           /* [C] */
    struct badset bad;         /* [C] frames that nobody may refer to */
    unsigned refs;             /* with the lock */
};

struct dedupindex {
    struct repo *repo;     /* [C] */
    pthread_mutex_t mutex; /* what dedupindex_lock stands for */
    pthread_cond_t loaded;
    struct set *set GUARDED_BY(dedupindex_lock); /* NULL: to be read */
    bool is_loading GUARDED_BY(dedupindex_lock);
    struct dedupindex_sums sums GUARDED_BY(dedupindex_lock);
    struct footer *footers[FOOTERS_MAX] GUARDED_BY(dedupindex_lock);
    unsigned footer_count GUARDED_BY(dedupindex_lock);
    size_t footer_bytes GUARDED_BY(dedupindex_lock);
    uint64_t clock GUARDED_BY(dedupindex_lock);
};

static void lock(struct dedupindex *d) ACQUIRE(dedupindex_lock);
static void unlock(struct dedupindex *d) RELEASE(dedupindex_lock);

static void NO_TSA
lock(struct dedupindex *d)
{
    pthread_mutex_lock(&d->mutex);
}

static void NO_TSA
unlock(struct dedupindex *d)
{
    pthread_mutex_unlock(&d->mutex);
}

struct dedupindex *NO_TSA
dedupindex_new(struct repo *repo)
{
    struct dedupindex *d = xcalloc(1, sizeof *d);

    d->repo = repo;
    pthread_mutex_init(&d->mutex, NULL);
    pthread_cond_init(&d->loaded, NULL);
    return d;
}

static void
set_unref_locked(struct set *s) REQUIRES(dedupindex_lock)
{
    if (s == NULL || --s->refs > 0)
        return;
    for (size_t i = 0; i < s->count; i++)
        segment_close(s->segments[i]);
    free(s->segments);
    badset_fini(&s->bad);
    free(s);
}

static void
footer_unref_locked(struct footer *f) REQUIRES(dedupindex_lock)
{
    if (f == NULL || --f->refs > 0)
        return;
    free(f->places);
    free(f);
}

void NO_TSA
dedupindex_free(struct dedupindex *d)
{
    if (d == NULL)
        return;
    set_unref_locked(d->set);
    for (unsigned i = 0; i < d->footer_count; i++)
        footer_unref_locked(d->footers[i]);
    pthread_cond_destroy(&d->loaded);
    pthread_mutex_destroy(&d->mutex);
    free(d);
}

bool
dedupindex_is_usable(struct repo *repo, const struct segment_pack *pack)
{
    struct pack_id id = { .kind = FRAME_DATA, .n = pack->n };

    memcpy(id.session, pack->session, 16);
    return commitlog_is_used(repo->log, pack->session) &&
           !commitlog_is_condemned(repo->log, &id) &&
           !redirect_is_source(repo->moves, &id);
}

/* ---- the segments ---- */

static int
compare_segments(const void *a, const void *b)
{
    struct segment *const *x = a, *const *y = b;
    const struct segment_head *p = segment_head_get(*x);
    const struct segment_head *q = segment_head_get(*y);

    if (p->entries != q->entries)
        return p->entries < q->entries ? -1 : 1;
    return memcmp(p->uuid, q->uuid, 16);
}

/* Does its owner's commit, or that it has none, make it count? */
static bool
is_visible(struct repo *repo, const struct segment_head *h)
{
    static const uint8_t none[16];

    return memcmp(h->owner, none, 16) == 0 ||
           commitlog_is_used(repo->log, h->owner);
}

/* NULL: it does not count, or cannot be read. */
static struct segment *
open_one(struct dedupindex *d, const char *name, bool is_sampled,
         struct dedupindex_sums *sums)
{
    CLEANUP(segment_close) struct segment *s = NULL;
    uint8_t uuid[16];
    struct err err;
    int rc;

    if (!segment_name_parse(name, uuid))
        return NULL;
    rc = is_sampled ? segment_open_hooks(d->repo->blob, d->repo->segcache, name,
                                         d->repo->uuid, &s, &err)
                    : segment_open(d->repo->blob, d->repo->segcache, name,
                                   d->repo->uuid, &s, &err);
    if (rc < 0) {
        sums->bad_segments += err.code != ERR_NOT_FOUND;
        return NULL;
    }
    return is_visible(d->repo, segment_head_get(s)) ? TAKE(s) : NULL;
}

/* False: it is too much to know all of it. */
static bool
open_all(struct dedupindex *d, const struct blob_names *names, struct set *set,
         struct dedupindex_sums *sums)
{
    *sums = (struct dedupindex_sums){ .is_sampled = set->is_sampled };
    for (size_t i = 0; i < names->count; i++) {
        struct segment *s = open_one(d, names->names[i], set->is_sampled, sums);

        if (s == NULL)
            continue;
        sums->bytes += segment_size(s);
        if (!set->is_sampled &&
            (sums->bytes > d->repo->index_budget ||
             sums->memory + segment_memory(s) > d->repo->index_memory)) {
            segment_close(s);
            return false;
        }
        if (segment_entry_pages(s) == 0 || /* it has no hooks */
            sums->memory + segment_memory(s) > d->repo->index_memory) {
            segment_close(s);
            continue;
        }
        sums->memory += segment_memory(s);
        sums->entries += segment_head_get(s)->entries;
        set->segments[set->count++] = s;
    }
    sums->segments = set->count;
    return true;
}

/* All of the index, or its hooks. */
static void
open_set(struct dedupindex *d, const struct blob_names *names, struct set *set,
         struct dedupindex_sums *sums)
{
    set->segments = xcalloc(names->count + 1, sizeof *set->segments);
    if (open_all(d, names, set, sums))
        return;
    for (size_t i = 0; i < set->count; i++)
        segment_close(set->segments[i]);
    set->count = 0;
    set->is_sampled = true;
    (void)open_all(d, names, set, sums);
}

/* The smallest first: they are the ones that every look-up would read. */
static void
load_filters(const struct dedupindex *d, struct set *set,
             struct dedupindex_sums *sums)
{
    size_t bytes = 0;

    for (size_t i = 0; i < set->count && !set->is_sampled; i++) {
        size_t size = segment_filter_size(set->segments[i]);

        if (bytes + size > DEDUPINDEX_FILTERS ||
            sums->memory + size > d->repo->index_memory)
            break;
        segment_load_filter(set->segments[i]);
        bytes += size;
        sums->memory += size;
    }
}

/* An index that cannot be listed is empty. */
static struct set *
read_set(struct dedupindex *d, struct dedupindex_sums *sums)
{
    CLEANUP(blob_names_fini) struct blob_names names = { 0 };
    struct set *set = xcalloc(1, sizeof *set);
    struct err ignored;

    set->refs = 1;
    if (repo_private_need_read(d->repo, &ignored) < 0 || /* no footers */
        commitlog_bad(d->repo->log, &set->bad, &ignored) < 0 ||
        redirect_update(d->repo->moves, false, &ignored) < 0 ||
        blob_list(d->repo->blob, "x/", &names, &ignored) < 0)
        return set;
    if (d->repo->segcache != NULL)
        segcache_keep(d->repo->segcache, &names);
    open_set(d, &names, set, sums);
    qsort(set->segments, set->count, sizeof(struct segment *),
          compare_segments);
    load_filters(d, set, sums);
    return set;
}

/* The set, counted; or NULL: it has to be read, by the caller. */
static struct set *
try_set_locked(struct dedupindex *d) REQUIRES(dedupindex_lock)
{
    while (d->is_loading)
        pthread_cond_wait(&d->loaded, &d->mutex);
    if (d->set == NULL)
        d->is_loading = true;
    else
        d->set->refs++;
    return d->set;
}

static struct set *
set_ref(struct dedupindex *d)
{
    struct dedupindex_sums sums = { 0 };
    struct set *set;

    lock(d);
    set = try_set_locked(d);
    unlock(d);
    if (set != NULL)
        return set;
    set = read_set(d, &sums);
    lock(d);
    set->refs++;
    d->set = set;
    d->sums = sums;
    d->is_loading = false;
    pthread_cond_broadcast(&d->loaded);
    unlock(d);
    return set;
}

static void
set_unref(struct dedupindex *d, struct set *set)
{
    lock(d);
    set_unref_locked(set);
    unlock(d);
}

/* A segment of this set is gone: who asks next reads the list again. */
static void
set_drop(struct dedupindex *d, struct set *set)
{
    lock(d);
    if (d->set == set) {
        d->set = NULL;
        set_unref_locked(set);
    }
    unlock(d);
}

struct dedupindex_sums
dedupindex_sums_get(struct dedupindex *d)
{
    struct set *set = set_ref(d);
    struct dedupindex_sums sums;

    lock(d);
    sums = d->sums;
    set_unref_locked(set);
    unlock(d);
    return sums;
}

int
dedupindex_look(struct repo *repo, struct dedupindex_sums *ret, struct err *err)
{
    CLEANUP(dedupindex_free) struct dedupindex *d = dedupindex_new(repo);
    CLEANUP(blob_names_fini) struct blob_names names = { 0 };
    struct set *set;

    if (blob_list(repo->blob, "x/", &names, err) < 0)
        return -1;
    set = xcalloc(1, sizeof *set);
    set->refs = 1;
    open_set(d, &names, set, ret);
    set_unref(d, set);
    return 0;
}

/* ---- footers ---- */

static int
compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return memcmp(x->id, y->id, HASH_SIZE);
}

static const struct place *
place_of(const struct footer *f, const uint8_t id[HASH_SIZE])
{
    struct place key;

    if (f->count == 0)
        return NULL;
    memcpy(key.id, id, HASH_SIZE);
    return bsearch(&key, f->places, f->count, sizeof *f->places,
                   compare_places);
}

static void
take_places(struct footer *f, const struct pack_footer_entry *e, uint32_t count,
            uint64_t end)
{
    f->places = xcalloc(count + (size_t)1, sizeof *f->places);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t off = (uint64_t)e[i].off8 * 8;
        uint64_t next = i + 1 < count ? (uint64_t)e[i + 1].off8 * 8 : end;
        struct place *p = &f->places[f->count];

        if (next <= off + FRAME_HEADER_SIZE || next - off > FRAME_SIZE_MAX)
            continue; /* no frame can lie there */
        memcpy(p->id, e[i].id, HASH_SIZE);
        p->off8 = e[i].off8;
        p->flen = (uint32_t)(next - off);
        f->count++;
    }
    qsort(f->places, f->count, sizeof *f->places, compare_places);
}

/* Counted once. Of a pack that must not be used, or cannot be read: without
 * places, so that nobody reads it again. */
static struct footer *
read_footer(struct dedupindex *d, struct frame_ctx *ctx,
            const struct segment_pack *pack)
{
    CLEANUP(mem_free) struct pack_footer_entry *e = NULL;
    struct pack_id id = { .kind = FRAME_DATA, .n = pack->n };
    struct footer *f = xcalloc(1, sizeof *f);
    struct pack_trailer t;
    uint32_t count = 0;
    struct err ignored;

    f->pack = *pack;
    f->refs = 1;
    memcpy(id.session, pack->session, 16);
    if (dedupindex_is_usable(d->repo, pack) &&
        pack_reader_footer(d->repo->packs, ctx, &id, &t, &e, &count,
                           &ignored) == 0 &&
        count <= FOOTER_FRAMES)
        take_places(f, e, count, t.footer_off);
    return f;
}

static size_t
footer_size(const struct footer *f)
{
    return sizeof *f + f->count * sizeof *f->places;
}

/* Make room for `size`. */
static void
evict_locked(struct dedupindex *d, size_t size) REQUIRES(dedupindex_lock)
{
    while (d->footer_count > 0 &&
           (d->footer_count == FOOTERS_MAX ||
            d->footer_bytes + size > DEDUPINDEX_FOOTERS)) {
        unsigned oldest = 0;

        for (unsigned i = 1; i < d->footer_count; i++)
            if (d->footers[i]->used < d->footers[oldest]->used)
                oldest = i;
        d->footer_bytes -= footer_size(d->footers[oldest]);
        footer_unref_locked(d->footers[oldest]);
        d->footers[oldest] = d->footers[--d->footer_count];
    }
}

static struct footer *
cached_locked(struct dedupindex *d, const struct segment_pack *pack)
    REQUIRES(dedupindex_lock)
{
    for (unsigned i = 0; i < d->footer_count; i++) {
        struct footer *f = d->footers[i];

        if (f->pack.n == pack->n &&
            memcmp(f->pack.session, pack->session, 16) == 0) {
            f->refs++;
            f->used = ++d->clock;
            return f;
        }
    }
    return NULL;
}

static struct footer *
footer_ref(struct dedupindex *d, struct frame_ctx *ctx,
           const struct segment_pack *pack)
{
    struct footer *f, *other;

    lock(d);
    f = cached_locked(d, pack);
    unlock(d);
    if (f != NULL)
        return f;
    f = read_footer(d, ctx, pack);
    lock(d);
    other = cached_locked(d, pack); /* another thread was faster */
    if (other != NULL) {
        footer_unref_locked(f);
        f = other;
    } else {
        evict_locked(d, footer_size(f));
        d->footers[d->footer_count++] = f;
        d->footer_bytes += footer_size(f);
        f->refs++;
        f->used = ++d->clock;
    }
    unlock(d);
    return f;
}

static void
footer_unref(struct dedupindex *d, struct footer *f)
{
    lock(d);
    footer_unref_locked(f);
    unlock(d);
}

/* Up to `max` footers that were used last, counted; how many. `is_proven`:
 * of those in which something was found. */
static unsigned
recent(struct dedupindex *d, unsigned max, bool is_proven, struct footer **out)
{
    unsigned n = 0;

    lock(d);
    for (unsigned i = 0; i < d->footer_count; i++) {
        struct footer *f = d->footers[i];
        unsigned at;

        if (f->count == 0 || (is_proven && !f->is_read))
            continue;
        for (at = n; at > 0 && out[at - 1]->used < f->used; at--)
            if (at < max)
                out[at] = out[at - 1];
        if (at < max)
            out[at] = f;
        if (n < max)
            n++;
    }
    for (unsigned i = 0; i < n; i++)
        out[i]->refs++;
    unlock(d);
    return n;
}

/* ---- a look-up ---- */

struct want {
    struct frame_ctx *ctx;
    const uint8_t *id; /* HASH_SIZE */
    uint32_t len;
    const struct badset *bad;
};

/* The first chunk that is used of a pack is read, so that one that is rotten as
 * a whole is not built upon; if it was bad, every other one is read as well. */
static bool
is_good(struct dedupindex *d, struct footer *f, const struct frame_loc *loc,
        const struct want *w)
{
    struct err ignored;
    bool is_known;

    lock(d);
    is_known = f->is_read && !f->is_suspect;
    f->used = ++d->clock;
    unlock(d);
    if (is_known)
        return true;
    is_known = pack_reader_frame(d->repo->packs, w->ctx, FRAME_DATA, loc, w->id,
                                 frame_ctx_plain(w->ctx), &ignored) == 0;
    lock(d);
    if (is_known)
        f->is_read = true;
    else
        f->is_suspect = true;
    unlock(d);
    return is_known;
}

static bool
find_in(struct dedupindex *d, struct footer *f, const struct want *w,
        struct frame_loc *ret)
{
    const struct place *p = place_of(f, w->id);
    struct frame_loc loc = { .n = f->pack.n, .ulen = w->len };

    if (p == NULL)
        return false;
    memcpy(loc.session, f->pack.session, 16);
    loc.off8 = p->off8;
    loc.flen = p->flen;
    if (badset_has(w->bad, FRAME_DATA, &loc) || !is_good(d, f, &loc, w))
        return false;
    *ret = loc;
    return true;
}

static bool
find_recent(struct dedupindex *d, unsigned max, const struct want *w,
            struct frame_loc *ret)
{
    struct footer *f[FOOTERS_NEAR];
    unsigned n = recent(d, max, false, f);
    bool is_found = false;

    for (unsigned i = 0; i < n; i++) {
        is_found = is_found || find_in(d, f[i], w, ret);
        footer_unref(d, f[i]);
    }
    return is_found;
}

/* In the pack that was written after one in which something was found. */
static bool
find_next(struct dedupindex *d, const struct want *w, struct frame_loc *ret)
{
    struct footer *f[FOOTERS_FIRST];
    unsigned n = recent(d, FOOTERS_FIRST, true, f);
    bool is_found = false;

    for (unsigned i = 0; i < n; i++) {
        struct segment_pack pack = f[i]->pack;
        struct footer *next;

        footer_unref(d, f[i]);
        if (is_found || pack.n == UINT32_MAX)
            continue;
        pack.n++;
        next = footer_ref(d, w->ctx, &pack);
        is_found = find_in(d, next, w, ret);
        footer_unref(d, next);
    }
    return is_found;
}

/* What one segment says; *ret_gone: it was removed. */
static bool
find_by(struct dedupindex *d, const struct segment *s, const struct want *w,
        struct frame_loc *ret, bool *ret_gone)
{
    struct segment_hit hits[SEGMENT_HITS];
    unsigned n = 0;
    struct err err;

    if (!segment_may_hold(s, w->id))
        return false;
    if (segment_find(s, w->id, hits, &n, &err) < 0) {
        *ret_gone = *ret_gone || err.code == ERR_NOT_FOUND;
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        struct footer *f = footer_ref(d, w->ctx, &hits[i].pack);
        bool is_found = find_in(d, f, w, ret);

        footer_unref(d, f);
        if (is_found)
            return true;
    }
    return false;
}

bool
dedupindex_find(struct dedupindex *d, struct frame_ctx *ctx,
                const uint8_t id[HASH_SIZE], uint32_t len,
                struct frame_loc *ret_loc)
{
    struct set *set = set_ref(d);
    struct want w = { .ctx = ctx, .id = id, .len = len, .bad = &set->bad };
    bool is_found =
        set->count > 0 &&
        find_recent(d, set->is_sampled ? FOOTERS_NEAR : FOOTERS_FIRST, &w,
                    ret_loc);
    bool is_gone = true;

    if (set->is_sampled && !is_found) {
        is_found = find_next(d, &w, ret_loc);
        is_gone = segment_is_hook(id); /* else no segment is asked */
    }

    for (unsigned tries = 0; tries < 2 && is_gone && !is_found; tries++) {
        is_gone = false;
        for (size_t i = 0; i < set->count && !is_found; i++)
            is_found = find_by(d, set->segments[i], &w, ret_loc, &is_gone);
        if (is_gone) {
            set_drop(d, set);
            set_unref(d, set);
            set = set_ref(d);
            w.bad = &set->bad;
        }
    }
    set_unref(d, set);
    return is_found;
}

static int
compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, SEGMENT_ID);
}

size_t
dedupindex_count(struct dedupindex *d, uint8_t (*ids)[SEGMENT_ID], size_t count)
{
    struct segment_hit hits[SEGMENT_HITS];
    struct set *set = set_ref(d);
    size_t found = 0;
    unsigned n;
    struct err ignored;

    qsort(ids, count, SEGMENT_ID, compare_ids);
    for (size_t i = 0; i < count; i++) {
        n = 0;
        if (set->is_sampled && !segment_is_hook(ids[i]))
            continue;
        for (size_t k = 0; k < set->count && n == 0; k++)
            if (segment_may_hold(set->segments[k], ids[i]) &&
                segment_find(set->segments[k], ids[i], hits, &n, &ignored) < 0)
                n = 0;
        found += n > 0;
    }
    set_unref(d, set);
    return found;
}
