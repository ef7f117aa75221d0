/* SPDX-License-Identifier: Apache-2.0 */
/* A frame that is damaged, and of which there is no whole copy, is read from
 * its pack as it was written, which the pack's parity says. Nothing is written:
 * a scrub repairs the pack. One made pack a view is kept, until the next or the
 * view's end, for what is read next most likely lies in it; that a pack cannot
 * be made again is kept likewise.
 *
 * What comes of it is decrypted, and its id compared, as anything that is read.
 */
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "repo/parity.h"
#include "repo/view.h"

/* Of all views: a pack takes 64 MiB while it is made. Held over that. */
static pthread_mutex_t mend_mutex = PTHREAD_MUTEX_INITIALIZER;

struct view_mend {
    struct pack_id id;
    uint8_t *pack; /* NULL: it cannot be made */
    size_t len;
    struct frame_origin *origins;
    unsigned origin_count;
};

static void
forget(struct view_mend *m)
{
    pack_origins_free(m->origins, m->origin_count);
    free(m->pack);
    *m = (struct view_mend){ 0 };
}

void
view_mend_free(struct repo_view *v)
{
    if (v->mend == NULL)
        return;
    forget(v->mend);
    free(TAKE(v->mend));
}

static bool
is_same(const struct pack_id *a, const struct pack_id *b)
{
    return a->kind == b->kind && a->n == b->n &&
           memcmp(a->session, b->session, 16) == 0;
}

/* The pack as it was written; NULL: nobody knows. */
static const struct view_mend *
make(struct repo_view *v, const struct pack_id *id)
{
    struct repo *repo = v->repo;
    struct parity_repair ignored;
    struct view_mend *m;
    struct err err;

    if (v->mend == NULL)
        v->mend = xcalloc(1, sizeof *v->mend);
    m = v->mend;
    if (is_same(&m->id, id))
        return m->pack != NULL ? m : NULL;
    forget(m);
    m->id = *id;
    if (parity_rebuild(repo->blob, id, &m->pack, &m->len, &ignored, &err) < 0)
        return NULL;
    if (pack_header_decode(&repo->wrap, id, m->pack, m->len, &m->origins,
                           &m->origin_count, &err) < 0) {
        free(TAKE(m->pack));
        return NULL;
    }
    v->mended++;
    return m;
}

static bool
read_made(struct repo_view *v, struct frame_ctx *ctx, enum frame_kind kind,
          const struct frame_loc *loc, const uint8_t id[HASH_SIZE],
          uint8_t *out)
{
    struct pack_id pack = { .kind = kind, .n = loc->n };
    uint64_t off = (uint64_t)loc->off8 * 8;
    const struct view_mend *m;
    uint8_t actual[HASH_SIZE];
    struct err err;

    memcpy(pack.session, loc->session, 16);
    m = make(v, &pack);
    if (m == NULL || off > m->len || loc->flen > m->len - off ||
        frame_open(ctx, m->origins, m->origin_count, m->pack + off, loc->flen,
                   out, loc->ulen, &err) < 0)
        return false;
    hash_hmac(&v->repo->keys.id, out, loc->ulen, actual);
    return hash_is_equal(actual, id);
}

int
view_mend_frame(struct repo_view *v, struct frame_ctx *ctx,
                enum frame_kind kind, const struct frame_loc *loc,
                const uint8_t id[HASH_SIZE], uint8_t *out, struct err *err)
{
    struct frame_loc at = *loc;
    bool moved = false, is_read;
    struct err ignored;

    if (pack_reader_frame(v->repo->packs, ctx, kind, loc, id, out, err) == 0)
        return 0;
    if (!blob_is_lost(err) ||
        redirect_resolve(v->repo->moves, kind, &at, &moved, &ignored) < 0)
        return -1;
    pthread_mutex_lock(&mend_mutex);
    is_read = read_made(v, ctx, kind, &at, id, out);
    pthread_mutex_unlock(&mend_mutex);
    return is_read ? 0 : -1;
}

unsigned
repo_view_mended(struct repo_view *v)
{
    unsigned n;

    pthread_mutex_lock(&mend_mutex);
    n = v->mended;
    pthread_mutex_unlock(&mend_mutex);
    return n;
}
