/* SPDX-License-Identifier: Apache-2.0 */
/* The packs lie in one order: the session that began first, then by number. A
 * window is the chunks of some packs that follow each other, as a hash table
 * made from their footers. It never changes but for marks of what was read;
 * one thread makes the next, the others go on with the present one, and wait
 * for what is not in it.
 *
 * A footer only claims. Whether the frame is what it claims is seen when it is
 * wanted: it is decoded and its digest compared, once. So neither a torn pack
 * nor a rotten one gets into a new backup.
 */
#include "repo/resume.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "repo/repo-id.h"
#include "repo/repo-private.h"

/* 2^18 slots of 48 bytes are 12 MiB, half of them in use: 32 GiB of chunks of
 * 256 KiB. Two of them while the window moves. */
#define WINDOW_SLOTS  ((size_t)1 << 18)
#define WINDOW_CHUNKS (WINDOW_SLOTS / 2)
#define CHAIN_MAX     64 /* sessions that resumed one another */

struct slot {
    uint8_t id[HASH_SIZE];
    uint32_t pack; /* in the order of packs */
    uint32_t off8;
    uint32_t flen; /* 0: empty */
    bool is_checked;
};

struct window {
    struct slot *slots;
    size_t count;
    size_t from, to; /* packs that are known whole; of `to` a part may be */
};

struct resume {
    struct repo *repo;     /* [C] */
    struct pack_id *packs; /* [C] in order */
    size_t pack_count;     /* [C] */
    pthread_mutex_t mutex; /* what resume_lock stands for */
    struct window window GUARDED_BY(resume_lock);
    pthread_cond_t moved;
    bool is_moving GUARDED_BY(resume_lock);
};

static size_t window_chunks = WINDOW_CHUNKS;

static void lock(struct resume *r) ACQUIRE(resume_lock);
static void unlock(struct resume *r) RELEASE(resume_lock);

static void NO_TSA
lock(struct resume *r)
{
    pthread_mutex_lock(&r->mutex);
}

static void NO_TSA
unlock(struct resume *r)
{
    pthread_mutex_unlock(&r->mutex);
}

/* ---- the packs ---- */

static int
compare(const void *a, const void *b)
{
    const struct pack_id *x = a, *y = b;

    return x->n < y->n ? -1 : x->n > y->n;
}

static int
add_session(struct resume *r, const uint8_t session[16], struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    char text[UUID_STR_SIZE], prefix[64];
    size_t first = r->pack_count;

    repo_id_format(session, text);
    (void)snprintf(prefix, sizeof prefix, "p/%s/", text);
    if (blob_sync_also(r->repo->blob, prefix, err) < 0 ||
        blob_list(r->repo->blob, prefix, &n, err) < 0)
        return -1;
    r->packs =
        xrealloc(r->packs, r->pack_count + n.count + 1, sizeof *r->packs);
    for (size_t i = 0; i < n.count; i++)
        if (pack_name_parse(n.names[i], &r->packs[r->pack_count]))
            r->pack_count++;
    qsort(r->packs + first, r->pack_count - first, sizeof *r->packs, compare);
    return 0;
}

static int
add_sessions(struct resume *r, const uint8_t session[16], struct err *err)
{
    uint8_t chain[CHAIN_MAX][16];
    size_t n = 1;

    memcpy(chain[0], session, 16);
    while (n < CHAIN_MAX &&
           commitlog_resumed(r->repo->log, chain[n - 1], chain[n]))
        n++;
    while (n > 0) /* the first that was begun has the first packs */
        if (add_session(r, chain[--n], err) < 0)
            return -1;
    return 0;
}

/* ---- a window ---- */

/* The slot with that id, or the empty one where it would be. */
static struct slot *
slot_of(const struct window *w, const uint8_t id[HASH_SIZE])
{
    uint64_t h;
    size_t i;

    memcpy(&h, id, sizeof h);
    for (i = h & (WINDOW_SLOTS - 1); w->slots[i].flen != 0;
         i = (i + 1) & (WINDOW_SLOTS - 1))
        if (memcmp(w->slots[i].id, id, HASH_SIZE) == 0)
            break;
    return &w->slots[i];
}

static void
add_chunks(struct window *w, size_t pack, const struct pack_footer_entry *e,
           uint32_t count, uint64_t end)
{
    for (uint32_t i = 0; i < count && w->count < window_chunks; i++) {
        uint64_t off = (uint64_t)e[i].off8 * 8;
        uint64_t next = i + 1 < count ? (uint64_t)e[i + 1].off8 * 8 : end;
        struct slot *s;

        if (next <= off + FRAME_HEADER_SIZE || next - off > FRAME_SIZE_MAX)
            continue; /* no frame can lie there */
        s = slot_of(w, e[i].id);
        if (s->flen != 0)
            continue;
        memcpy(s->id, e[i].id, HASH_SIZE);
        s->pack = (uint32_t)pack;
        s->off8 = e[i].off8;
        s->flen = (uint32_t)(next - off);
        w->count++;
    }
}

/* The chunks of packs from `from` on, as many as there is room for. A pack
 * that is not whole has none. */
static struct window
make_window(const struct resume *r, size_t from)
{
    struct window w = { .from = from, .to = from };
    struct frame_ctx *ctx = repo_private_ctx_take(r->repo);

    w.slots = xcalloc(WINDOW_SLOTS, sizeof *w.slots);
    for (size_t i = from; i < r->pack_count && w.count < window_chunks; i++) {
        CLEANUP(mem_free) struct pack_footer_entry *e = NULL;
        struct pack_trailer t;
        uint32_t count = 0;
        struct err ignored;

        if (pack_reader_footer(r->repo->packs, ctx, &r->packs[i], &t, &e,
                               &count, &ignored) == 0)
            add_chunks(&w, i, e, count, t.footer_off);
        if (w.count < window_chunks)
            w.to = i + 1;
    }
    repo_private_ctx_put(r->repo, ctx);
    return w;
}

/* A chunk of pack `at` was wanted: in the last quarter the window moves, so
 * that what was wanted lately stays in its first eighth. */
static void
move_on(struct resume *r, size_t at)
{
    struct window w;
    size_t from = 0;
    bool moves;

    lock(r);
    moves = !r->is_moving && r->window.to < r->pack_count &&
            at + 1 + (r->window.to - r->window.from) / 4 >= r->window.to;
    if (moves) {
        size_t keep = (r->window.to - r->window.from) / 8;

        from = at > keep ? at - keep : 0;
        moves = from > r->window.from;
        r->is_moving = moves;
    }
    unlock(r);
    if (!moves)
        return;
    w = make_window(r, from);
    lock(r);
    free(r->window.slots);
    r->window = w;
    r->is_moving = false;
    pthread_cond_broadcast(&r->moved);
    unlock(r);
}

void
resume_set_window(size_t chunks)
{
    window_chunks = chunks == 0 ? WINDOW_CHUNKS : chunks;
}

/* ---- the functions of the header ---- */

int NO_TSA
resume_new(struct repo *repo, const uint8_t session[16], struct resume **ret,
           struct err *err)
{
    struct resume *r = xcalloc(1, sizeof *r);

    r->repo = repo;
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->moved, NULL);
    if (add_sessions(r, session, err) < 0) {
        resume_free(r);
        return -1;
    }
    r->window = make_window(r, 0);
    *ret = r;
    return 0;
}

void NO_TSA
resume_free(struct resume *r)
{
    if (r == NULL)
        return;
    free(r->window.slots);
    free(r->packs);
    pthread_cond_destroy(&r->moved);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

/* What is not in this window may be in the one that is being made. */
static bool
look_up_locked(struct resume *r, const uint8_t id[HASH_SIZE], struct slot *ret)
    REQUIRES(resume_lock)
{
    *ret = *slot_of(&r->window, id);
    if (ret->flen == 0 && r->is_moving) {
        while (r->is_moving)
            pthread_cond_wait(&r->moved, &r->mutex);
        *ret = *slot_of(&r->window, id);
    }
    return ret->flen != 0;
}

static bool
look_up(struct resume *r, const uint8_t id[HASH_SIZE], struct slot *ret)
{
    bool is_there;

    lock(r);
    is_there = look_up_locked(r, id, ret);
    unlock(r);
    return is_there;
}

/* The window may have moved on meanwhile. */
static void
note(struct resume *r, const uint8_t id[HASH_SIZE], bool is_good)
{
    struct slot *s;

    lock(r);
    s = slot_of(&r->window, id);
    if (s->flen != 0 && is_good)
        s->is_checked = true;
    else if (s->flen != 0)
        s->id[HASH_SIZE - 1] ^= 1; /* matches nothing any more */
    unlock(r);
}

bool
resume_find(struct resume *r, struct frame_ctx *ctx,
            const uint8_t id[HASH_SIZE], uint32_t len,
            struct frame_loc *ret_loc)
{
    const struct pack_id *pack;
    struct frame_loc loc;
    struct err ignored;
    struct slot s;

    if (!look_up(r, id, &s))
        return false;
    pack = &r->packs[s.pack];
    memcpy(loc.session, pack->session, 16);
    loc.n = pack->n;
    loc.off8 = s.off8;
    loc.flen = s.flen;
    loc.ulen = len;
    if (!s.is_checked) {
        bool is_good =
            pack_reader_frame(r->repo->packs, ctx, FRAME_DATA, &loc, id,
                              frame_ctx_plain(ctx), &ignored) == 0;

        note(r, id, is_good);
        if (!is_good)
            return false;
    }
    move_on(r, s.pack);
    *ret_loc = loc;
    return true;
}
