/* SPDX-License-Identifier: Apache-2.0 */
/* The table of packs that were rewritten is copied from the log, so that
 * nobody who reads a frame waits for somebody who reads the log. Maps never
 * change: they are counted and shared, and the least used ones are dropped.
 *
 * A chunk that is needed for years lies in packs that are rewritten again and
 * again, so there is no limit to how often a frame was moved. It never goes in
 * a circle: who rewrites a pack finds it in the log as the work of an earlier
 * REDIRECT.
 */
#include "repo/redirect.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "repo/logstate.h"
#include "repo/mend.h"
#include "repo/repo-private.h"

#define MAPS      512u               /* in memory; of mostly 160 KiB, */
#define MAP_BYTES ((size_t)32 << 20) /* at most 4 MiB each */

struct map_ref {
    uint32_t redirect;
    unsigned refs; /* with the lock */
    struct movemap map;
};

struct redirect {
    struct repo *repo;     /* [C] */
    pthread_mutex_t mutex; /* what redirect_lock stands for */
    atomic_size_t known;   /* redirects in `state`; 0 costs nothing */
    struct logstate state GUARDED_BY(redirect_lock); /* redirects and moved */
    struct map_ref *maps[MAPS] GUARDED_BY(redirect_lock); /* newest first */
    unsigned map_count GUARDED_BY(redirect_lock);
    size_t map_bytes GUARDED_BY(redirect_lock);
};

static void lock(struct redirect *r) ACQUIRE(redirect_lock);
static void unlock(struct redirect *r) RELEASE(redirect_lock);

static void NO_TSA
lock(struct redirect *r)
{
    pthread_mutex_lock(&r->mutex);
}

static void NO_TSA
unlock(struct redirect *r)
{
    pthread_mutex_unlock(&r->mutex);
}

struct redirect *NO_TSA
redirect_new(struct repo *repo)
{
    struct redirect *r = xcalloc(1, sizeof *r);

    r->repo = repo;
    pthread_mutex_init(&r->mutex, NULL);
    return r;
}

static void
unref_locked(struct map_ref *m) REQUIRES(redirect_lock)
{
    if (m == NULL || --m->refs > 0)
        return;
    movemap_fini(&m->map);
    free(m);
}

void NO_TSA
redirect_free(struct redirect *r)
{
    if (r == NULL)
        return;
    for (unsigned i = 0; i < r->map_count; i++)
        unref_locked(r->maps[i]);
    logstate_redirect_fini(&r->state);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

/* ---- the table ---- */

struct news {
    size_t known;          /* redirects that we have */
    struct logstate state; /* empty, or with more of them */
};

static int
take_news(void *arg, const struct logstate *s, struct err *err)
{
    struct news *n = arg;

    (void)err;
    if (s->redirect_count > n->known)
        logstate_redirect_copy(&n->state, s);
    return 0;
}

int
redirect_update(struct redirect *r, bool reads_log, struct err *err)
{
    struct news n = { .known = atomic_load(&r->known) };
    struct logstate old;

    if (commitlog_look(r->repo->log, reads_log, take_news, &n, err) < 0)
        return -1;
    if (n.state.redirect_count == 0)
        return 0;
    lock(r); /* somebody else may have been faster, and know even more */
    old = n.state;
    if (n.state.redirect_count > r->state.redirect_count) {
        old = r->state;
        r->state = n.state;
        atomic_store(&r->known, r->state.redirect_count);
    }
    unlock(r);
    logstate_redirect_fini(&old);
    return 0;
}

bool
redirect_is_source(struct redirect *r, const struct pack_id *pack)
{
    bool is;

    lock(r);
    is = logstate_moved_find(&r->state, pack) != NULL;
    unlock(r);
    return is;
}

/* ---- maps ---- */

static struct map_ref *
find_map_locked(struct redirect *r, uint32_t redirect) REQUIRES(redirect_lock)
{
    for (unsigned i = 0; i < r->map_count; i++) {
        struct map_ref *m = r->maps[i];

        if (m->redirect != redirect)
            continue;
        memmove(&r->maps[1], &r->maps[0], i * sizeof r->maps[0]);
        r->maps[0] = m;
        m->refs++;
        return m;
    }
    return NULL;
}

static size_t
size_of(const struct map_ref *m)
{
    return sizeof *m + m->map.count * sizeof *m->map.moves;
}

static void
keep_map_locked(struct redirect *r, struct map_ref *m) REQUIRES(redirect_lock)
{
    while (r->map_count > 0 &&
           (r->map_count == MAPS || r->map_bytes + size_of(m) > MAP_BYTES)) {
        struct map_ref *last = r->maps[--r->map_count];

        r->map_bytes -= size_of(last);
        unref_locked(last);
    }
    memmove(&r->maps[1], &r->maps[0], r->map_count * sizeof r->maps[0]);
    r->maps[0] = m;
    r->map_count++;
    r->map_bytes += size_of(m);
    m->refs++;
}

static int
load_map(struct redirect *r, const struct movemap_entry *e, struct movemap *ret,
         struct err *err)
{
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, e->map.loc.ulen);
    CLEANUP(mend_free) struct mend *mend = mend_new(r->repo);
    struct frame_ctx *ctx = repo_private_ctx_take(r->repo);
    int rc = pack_reader_frame_at(r->repo->packs, ctx, FRAME_META, &e->map.loc,
                                  e->map.id, data, err);
    struct err why;

    if (rc < 0 && blob_is_lost(err)) {
        rc = mend_frame(mend, ctx, FRAME_META, &e->map.loc, e->map.id, data,
                        &why);
        if (rc < 0 && mend_may_come(&why))
            *err = why;
    }
    repo_private_ctx_put(r->repo, ctx);
    if (rc < 0 || movemap_decode(data, e->map.loc.ulen, ret, err) < 0)
        return err_wrap(err, "map of moved frames");
    if (ret->kind != e->kind || ret->sources != e->count) {
        movemap_fini(ret);
        return err_set(err, ERR_CORRUPT,
                       "map of moved frames: is that of another REDIRECT");
    }
    return 0;
}

/* Where a pack's frames are said to be. */
struct target {
    uint32_t redirect, source;
    struct movemap_entry entry; /* without its sources */
    struct map_ref *map;        /* referenced, or NULL */
};

static bool
find_target_locked(struct redirect *r, const struct pack_id *pack,
                   struct target *t) REQUIRES(redirect_lock)
{
    const struct logstate_moved *m = logstate_moved_find(&r->state, pack);

    if (m == NULL)
        return false;
    t->redirect = m->redirect;
    t->source = m->source;
    t->entry = r->state.redirects[m->redirect];
    t->entry.sources = NULL;
    t->map = find_map_locked(r, m->redirect);
    return true;
}

static int
have_map(struct redirect *r, struct target *t, struct err *err)
{
    struct map_ref *m;

    if (t->map != NULL)
        return 0;
    m = xcalloc(1, sizeof *m);
    m->redirect = t->redirect;
    m->refs = 1; /* ours */
    if (load_map(r, &t->entry, &m->map, err) < 0) {
        free(m);
        return -1;
    }
    lock(r); /* two threads may load the same one; one ages out */
    keep_map_locked(r, m);
    unlock(r);
    t->map = m;
    return 0;
}

/* *first: the first REDIRECT that may have moved it; then the one behind that
 * which did. */
static int
resolve_once(struct redirect *r, enum frame_kind kind, uint32_t *first,
             struct frame_loc *loc, bool *ret_moved, struct err *err)
{
    struct pack_id pack = { .kind = kind, .n = loc->n };
    const struct movemap_move *m;
    struct target t = { 0 };
    bool is_moved;

    *ret_moved = false;
    memcpy(pack.session, loc->session, 16);
    lock(r);
    is_moved = find_target_locked(r, &pack, &t);
    unlock(r);
    if (!is_moved)
        return 0;
    if (t.redirect < *first) {
        lock(r);
        unref_locked(t.map);
        unlock(r);
        return err_set(err, ERR_CORRUPT, "a frame was moved in a circle");
    }
    *first = t.redirect + 1;
    if (have_map(r, &t, err) < 0)
        return -1;
    m = movemap_find(&t.map->map, t.source, loc->off8);
    if (m != NULL) {
        memcpy(loc->session, t.entry.session, 16);
        loc->n = m->n;
        loc->off8 = m->to8;
        loc->flen = m->flen;
        *ret_moved = true;
    }
    lock(r);
    unref_locked(t.map);
    unlock(r);
    return 0;
}

int
redirect_resolve(struct redirect *r, enum frame_kind kind,
                 struct frame_loc *loc, bool *ret_moved, struct err *err)
{
    uint32_t first = 0;
    bool moved = true;

    *ret_moved = false;
    if (atomic_load(&r->known) == 0)
        return 0;
    while (moved) {
        if (resolve_once(r, kind, &first, loc, &moved, err) < 0)
            return -1;
        *ret_moved = *ret_moved || moved;
    }
    return 0;
}

int
redirect_look(void *arg, enum frame_kind kind, struct frame_loc *loc,
              bool is_missing, bool *ret_moved, struct err *err)
{
    struct redirect *r = arg;

    /* Somebody may have rewritten the pack since we looked. */
    if (is_missing && redirect_update(r, true, err) < 0)
        return -1;
    return redirect_resolve(r, kind, loc, ret_moved, err);
}
