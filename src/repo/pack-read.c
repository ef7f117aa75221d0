/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/pack-read.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "repo/packset.h"

/* A restore in pack order uses one at a time, a random reader a few. */
#define CACHED 64

struct pack_reader {
    struct blob *blob;             /* [C] */
    const struct pack_wrap *wrap;  /* [C] */
    const struct hash_key *id_key; /* [C] */
    pack_reader_look_fn look;      /* [C] or NULL */
    void *look_arg;                /* [C] */
    pack_reader_copy_fn copy_of;   /* [C] NULL: nobody */
    void *copy_arg;                /* [C] */
    pthread_mutex_t mutex;         /* what pack_read_lock stands for */
    struct pack_head *cache[CACHED] GUARDED_BY(pack_read_lock);
    uint64_t clock GUARDED_BY(pack_read_lock);
};

static void lock(struct pack_reader *r) ACQUIRE(pack_read_lock);
static void unlock(struct pack_reader *r) RELEASE(pack_read_lock);

static void NO_TSA
lock(struct pack_reader *r)
{
    pthread_mutex_lock(&r->mutex);
}

static void NO_TSA
unlock(struct pack_reader *r)
{
    pthread_mutex_unlock(&r->mutex);
}

struct pack_reader *NO_TSA
pack_reader_new(struct blob *blob, const struct pack_wrap *wrap,
                const struct hash_key *id_key)
{
    struct pack_reader *r = xcalloc(1, sizeof *r);

    r->blob = blob;
    r->wrap = wrap;
    r->id_key = id_key;
    pthread_mutex_init(&r->mutex, NULL);
    return r;
}

void
pack_reader_set_moves(struct pack_reader *r, pack_reader_look_fn look,
                      void *arg)
{
    r->look = look;
    r->look_arg = arg;
}

void
pack_reader_set_copies(struct pack_reader *r, pack_reader_copy_fn fn, void *arg)
{
    r->copy_of = fn;
    r->copy_arg = arg;
}

static void
unref_locked(struct pack_head *h) REQUIRES(pack_read_lock)
{
    if (h == NULL || --h->refs > 0)
        return;
    pack_origins_free(h->origins, h->origin_count);
    free(h);
}

void NO_TSA
pack_reader_free(struct pack_reader *r)
{
    if (r == NULL)
        return;
    for (unsigned i = 0; i < CACHED; i++)
        unref_locked(r->cache[i]);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

void
pack_reader_unref(struct pack_reader *r, struct pack_head *head)
{
    lock(r);
    unref_locked(head);
    unlock(r);
}

static struct pack_head *
find_locked(struct pack_reader *r, const struct pack_id *id)
    REQUIRES(pack_read_lock)
{
    for (unsigned i = 0; i < CACHED; i++)
        if (r->cache[i] != NULL && packset_compare(&r->cache[i]->id, id) == 0) {
            r->cache[i]->used = ++r->clock;
            r->cache[i]->refs++;
            return r->cache[i];
        }
    return NULL;
}

static void
insert_locked(struct pack_reader *r, struct pack_head *h)
    REQUIRES(pack_read_lock)
{
    unsigned oldest = 0;

    for (unsigned i = 0; i < CACHED; i++) {
        if (r->cache[i] == NULL) {
            oldest = i;
            break;
        }
        if (r->cache[i]->used < r->cache[oldest]->used)
            oldest = i;
    }
    unref_locked(r->cache[oldest]);
    h->used = ++r->clock;
    h->refs = 2; /* the cache's and the caller's */
    r->cache[oldest] = h;
}

static int
load_head(struct pack_reader *r, const struct pack_id *id, const char *name,
          struct pack_head **ret, struct err *err)
{
    uint8_t data[PACK_HEADER_SIZE + PACK_KEY_SIZE];
    CLEANUP(mem_free) uint8_t *all = NULL;
    struct frame_origin *origins;
    unsigned keys = 0, count;
    size_t len = 0;

    if (blob_get(r->blob, name, 0, data, sizeof data, &len, err) < 0)
        return -1;
    if (pack_header_peek(data, len, &keys, err) < 0)
        return err_wrap(err, "%s", name);
    if (keys > 1) { /* rare: only compacted packs */
        all = xcalloc(1, pack_head_size(keys));
        if (blob_get(r->blob, name, 0, all, pack_head_size(keys), &len, err) <
            0)
            return -1;
    }
    if (pack_header_decode(r->wrap, id, all != NULL ? all : data, len, &origins,
                           &count, err) < 0)
        return err_wrap(err, "%s", name);
    *ret = xcalloc(1, sizeof **ret);
    (*ret)->id = *id;
    (*ret)->origins = origins;
    (*ret)->origin_count = count;
    return 0;
}

int
pack_reader_head(struct pack_reader *r, const struct pack_id *id,
                 struct pack_head **ret, struct err *err)
{
    char name[PACK_NAME_SIZE];
    struct pack_head *h;

    lock(r);
    h = find_locked(r, id);
    unlock(r);
    if (h == NULL) {
        pack_name(id, name);
        if (load_head(r, id, name, &h, err) < 0)
            return -1;
        /* Two threads may load the same one; the older copy ages out. */
        lock(r);
        insert_locked(r, h);
        unlock(r);
    }
    *ret = h;
    return 0;
}

static int
read_frame(struct pack_reader *r, struct frame_ctx *ctx,
           const struct pack_head *head, const char *name,
           const struct frame_loc *loc, const uint8_t id[HASH_SIZE],
           uint8_t *out, struct err *err)
{
    uint64_t off = (uint64_t)loc->off8 * 8;
    uint8_t *raw = frame_ctx_raw(ctx), actual[HASH_SIZE];
    size_t len = 0;

    if (blob_get(r->blob, name, off, raw, loc->flen, &len, err) < 0)
        return -1;
    if (len < loc->flen)
        return err_set(err, ERR_CORRUPT,
                       "%s: frame at %llu: the pack is cut short", name,
                       (unsigned long long)off);
    if (frame_open(ctx, head->origins, head->origin_count, raw, loc->flen, out,
                   loc->ulen, err) < 0)
        return err_wrap(err, "%s: frame at %llu", name,
                        (unsigned long long)off);
    hash_hmac(r->id_key, out, loc->ulen, actual);
    if (!hash_is_equal(actual, id))
        return err_set(err, ERR_CORRUPT, "%s: frame at %llu: digest mismatch",
                       name, (unsigned long long)off);
    return 0;
}

int
pack_reader_frame_at(struct pack_reader *r, struct frame_ctx *ctx,
                     enum frame_kind kind, const struct frame_loc *loc,
                     const uint8_t id[HASH_SIZE], uint8_t *out, struct err *err)
{
    struct pack_id pack = { .kind = kind, .n = loc->n };
    struct pack_head *head = NULL;
    char name[PACK_NAME_SIZE];
    int rc;

    memcpy(pack.session, loc->session, 16);
    if (pack_reader_head(r, &pack, &head, err) < 0)
        return -1;
    pack_name(&pack, name);
    rc = read_frame(r, ctx, head, name, loc, id, out, err);
    pack_reader_unref(r, head);
    return rc;
}

int
pack_reader_frame(struct pack_reader *r, struct frame_ctx *ctx,
                  enum frame_kind kind, const struct frame_loc *loc,
                  const uint8_t id[HASH_SIZE], uint8_t *out, struct err *err)
{
    struct frame_loc at = *loc, copy;
    struct err look_err;
    bool moved = false;

    if (r->look != NULL &&
        r->look(r->look_arg, kind, &at, false, &moved, err) < 0)
        return -1;
    if (pack_reader_frame_at(r, ctx, kind, &at, id, out, err) == 0)
        return 0;
    if (r->look != NULL && err->code == ERR_NOT_FOUND &&
        r->look(r->look_arg, kind, &at, true, &moved, &look_err) == 0 &&
        moved && pack_reader_frame_at(r, ctx, kind, &at, id, out, err) == 0)
        return 0;
    if (!blob_is_lost(err) || r->copy_of == NULL ||
        !r->copy_of(r->copy_arg, kind, &at, &copy))
        return -1;
    if (r->look != NULL &&
        r->look(r->look_arg, kind, &copy, false, &moved, &look_err) < 0)
        return -1;
    return pack_reader_frame_at(r, ctx, kind, &copy, id, out, &look_err);
}

/* ---- trailers and footers ---- */

int
pack_read_tail(struct blob *blob, const struct pack_id *id,
               struct pack_trailer *ret, uint8_t **ret_table, struct err *err)
{
    CLEANUP(mem_free) uint8_t *table = NULL;
    uint8_t end[PACK_TRAILER_SIZE];
    char name[PACK_NAME_SIZE];
    struct pack_trailer t;
    uint64_t size = 0;
    size_t n = 0, tail;

    pack_name(id, name);
    if (blob_size(blob, name, &size, err) < 0)
        return -1;
    if (size < PACK_TRAILER_SIZE)
        return err_set(err, ERR_CORRUPT, "cut short");
    if (blob_get(blob, name, size - sizeof end, end, sizeof end, &n, err) < 0)
        return -1;
    if (n < sizeof end)
        return err_set(err, ERR_CORRUPT, "cut short");
    if (pack_trailer_decode(id, end, size, &t, err) < 0)
        return -1;
    tail = pack_tail_size(t.body_len);
    table = xcalloc(1, tail);
    if (blob_get(blob, name, t.body_len, table, tail, &n, err) < 0)
        return -1;
    if (n < tail)
        return err_set(err, ERR_CORRUPT, "cut short");
    if (pack_tail_check(table, tail, err) < 0)
        return -1;
    *ret = t;
    *ret_table = TAKE(table);
    return 0;
}

int
pack_read_footer(struct blob *blob, const struct pack_id *id,
                 const struct pack_trailer *t, struct frame_ctx *ctx,
                 const struct frame_origin *origin,
                 struct pack_footer_entry **ret_entries, uint32_t *ret_count,
                 struct err *err)
{
    CLEANUP(mem_free) uint8_t *raw = mem_try(t->footer_len, "pack footer", err);
    CLEANUP(mem_free) uint8_t *plain = NULL;
    char name[PACK_NAME_SIZE];
    struct frame_header h;
    size_t n = 0;

    pack_name(id, name);
    if (raw == NULL ||
        blob_get(blob, name, t->footer_off, raw, t->footer_len, &n, err) < 0)
        return -1;
    if (n < t->footer_len ||
        frame_header_decode(raw, n, origin->is_encrypted, &h, err) < 0 ||
        h.ordinal != FRAME_FOOTER_ORDINAL || h.codec != COMPRESS_STORE)
        return err_set(err, ERR_CORRUPT, "footer: unreadable");
    plain = mem_try((size_t)h.ulen + 1, "pack footer", err);
    if (plain == NULL)
        return -1;
    if (frame_open(ctx, origin, 1, raw, t->footer_len, plain, h.ulen, err) <
            0 ||
        pack_footer_decode(plain, h.ulen, ret_entries, ret_count, err) < 0)
        return err->code == ERR_DENIED
                   ? -1
                   : err_set(err, ERR_CORRUPT, "footer: unreadable");
    return 0;
}

int
pack_reader_footer(struct pack_reader *r, struct frame_ctx *ctx,
                   const struct pack_id *id, struct pack_trailer *ret,
                   struct pack_footer_entry **ret_entries, uint32_t *ret_count,
                   struct err *err)
{
    CLEANUP(mem_free) uint8_t *table = NULL;
    struct pack_head *head = NULL;
    int rc;

    if (pack_read_tail(r->blob, id, ret, &table, err) < 0 ||
        pack_reader_head(r, id, &head, err) < 0)
        return -1;
    rc = pack_read_footer(r->blob, id, ret, ctx,
                          &head->origins[head->origin_count], ret_entries,
                          ret_count, err);
    pack_reader_unref(r, head);
    return rc;
}
