/* SPDX-License-Identifier: Apache-2.0 */
/* One made pack is kept, until the next, for what is read next most likely lies
 * in it; that a pack cannot be made again is kept likewise, but not that the
 * store did not answer.
 *
 * What comes of it is decrypted, and its id compared, as anything that is read.
 */
#include "repo/mend.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "repo/packset.h"
#include "repo/parity.h"

/* Of all: a pack takes 64 MiB while it is made. Held over that. */
static pthread_mutex_t mend_mutex = PTHREAD_MUTEX_INITIALIZER;

/* All but the repository with the mutex. */
struct mend {
    struct repo *repo; /* [C] */
    struct pack_id id;
    bool is_known; /* what is said of `id` */
    uint8_t *pack; /* NULL: it cannot be made */
    size_t len;
    struct frame_origin *origins;
    unsigned origin_count;
    unsigned packs;
};

struct mend *
mend_new(struct repo *repo)
{
    struct mend *m = xcalloc(1, sizeof *m);

    m->repo = repo;
    return m;
}

static void
forget(struct mend *m)
{
    pack_origins_free(TAKE(m->origins), m->origin_count);
    free(TAKE(m->pack));
    m->is_known = false;
}

void
mend_free(struct mend *m)
{
    if (m == NULL)
        return;
    forget(m);
    free(m);
}

bool
mend_may_come(const struct err *err)
{
    return blob_is_away(err) || err->code == ERR_NO_MEMORY;
}

static int
cannot(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "its parity does not repair the pack");
}

static int
make(struct mend *m, const struct pack_id *id, struct err *err)
{
    struct parity_repair ignored;

    if (m->is_known && packset_compare(&m->id, id) == 0)
        return m->pack != NULL ? 0 : cannot(err);
    forget(m);
    m->id = *id;
    if (parity_rebuild(m->repo->blob, id, &m->pack, &m->len, &ignored, err) <
        0) {
        m->is_known = !mend_may_come(err);
        return m->is_known ? cannot(err) : -1;
    }
    m->is_known = true;
    if (pack_header_decode(&m->repo->wrap, id, m->pack, m->len, &m->origins,
                           &m->origin_count, err) < 0) {
        free(TAKE(m->pack));
        return cannot(err);
    }
    m->packs++;
    return 0;
}

static int
read_made(struct mend *m, struct frame_ctx *ctx, enum frame_kind kind,
          const struct frame_loc *loc, const uint8_t id[HASH_SIZE],
          uint8_t *out, struct err *err)
{
    struct pack_id pack = packset_id_of(loc, kind);
    uint64_t off = (uint64_t)loc->off8 * 8;
    uint8_t actual[HASH_SIZE];

    if (make(m, &pack, err) < 0)
        return -1;
    if (off > m->len || loc->flen > m->len - off ||
        frame_open(ctx, m->origins, m->origin_count, m->pack + off, loc->flen,
                   out, loc->ulen, err) < 0)
        return cannot(err);
    hash_hmac(&m->repo->keys.id, out, loc->ulen, actual);
    return hash_is_equal(actual, id) ? 0 : cannot(err);
}

int
mend_frame(struct mend *m, struct frame_ctx *ctx, enum frame_kind kind,
           const struct frame_loc *loc, const uint8_t id[HASH_SIZE],
           uint8_t *out, struct err *err)
{
    int rc;

    pthread_mutex_lock(&mend_mutex);
    rc = read_made(m, ctx, kind, loc, id, out, err);
    pthread_mutex_unlock(&mend_mutex);
    return rc;
}

unsigned
mend_packs(struct mend *m)
{
    unsigned n;

    pthread_mutex_lock(&mend_mutex);
    n = m->packs;
    pthread_mutex_unlock(&mend_mutex);
    return n;
}
