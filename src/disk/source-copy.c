/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of slots in the order of the disk: a chunk that is being read, or a
 * run of zeros. Filled at its end as long as there is room, emptied at its
 * head as soon as that is complete; reads behind the head go on meanwhile.
 * So the sink sees ascending offsets, and memory is what the ring may hold.
 *
 * What is zero is asked for in windows, while reads of the window before are
 * under way. A window grows while answers are short (a large hole is one
 * extent) and shrinks when they are long.
 *
 * The sink's buffers are asked for one by one and handed on in order. The
 * repository's pool blocks until its workers give one back, and they need
 * three chunks to have been handed in before they begin: so a copy must never
 * hold all that there are, see DISK_SINK_HELD_MAX.
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "disk/source-priv.h"

enum {
    SLOTS = 128,
    DATA_SLOTS_MAX = 32,
    PARTS_MAX = 64, /* of a chunk of 16 MiB */
    STATUS_ROUNDS = 64,
    FEW_EXTENTS = 64,
};

#define PART       ((size_t)256 << 10) /* of one request */
#define CHUNK_MIN  ((size_t)4 << 10)
#define CHUNK_MAX  (PARTS_MAX * PART)
#define WINDOW_MIN ((uint64_t)64 << 20)
#define WINDOW_MAX ((uint64_t)2 << 30)
#define ZERO_MAX   ((uint64_t)1 << 40) /* one run: so that progress is seen */
#define STATE_ZERO 2u

struct slot {
    uint64_t off, len;
    uint8_t *buffer; /* NULL: zeros */
    size_t n_parts;
    struct nbdconn_request parts[PARTS_MAX];
};

struct copy {
    struct disk_source *s;
    const struct ranges *want;
    const struct disk_sink *sink;
    size_t chunk;
    uint64_t done; /* bytes handed on */

    uint64_t pos;        /* planned up to here */
    struct ranges data;  /* what is not zero in the window */
    uint64_t window_end; /* known up to here; a multiple of chunk, or the end */
    uint64_t window_len; /* of the next one */

    struct slot ring[SLOTS];
    size_t head, n;            /* of the ring */
    size_t n_data, n_data_max; /* slots that hold a buffer */
    size_t next_conn;
};

static int
report(const struct copy *c, struct err *err)
{
    if (c->sink->progress == NULL ||
        c->sink->progress(c->sink->arg, c->done) == 0)
        return 0;
    return err_set(err, ERR_CANCELLED, "%s: the copy was cancelled",
                   c->s->what);
}

/* ---- what comes next ----------------------------------------------------- */

/* Where the window that begins at c->pos may end: not behind the last byte
 * that is wanted. */
static uint64_t
window_limit(const struct copy *c)
{
    const struct range *last = &c->want->v[c->want->n - 1];
    uint64_t end = last->off + last->len;

    if (end > c->s->size)
        end = c->s->size;
    return end - c->pos > c->window_len ? c->pos + c->window_len : end;
}

/* Learn what is zero from c->pos on, at least for one chunk. A server that
 * tells in crumbs is believed for so many; the rest of the chunk is read. */
static int
next_window(struct copy *c, struct err *err)
{
    uint64_t limit = window_limit(c), at = c->pos;
    uint64_t chunk_end = limit - at > c->chunk ? at + c->chunk : limit;
    size_t n_extents = 0;

    ranges_fini(&c->data);
    for (int round = 0; at < chunk_end; round++) {
        struct nbdconn_extent *v = NULL;
        size_t n = 0;

        if (round == STATUS_ROUNDS) {
            ranges_add(&c->data, at, chunk_end - at);
            at = chunk_end;
            break;
        }
        if (nbdconn_status(c->s->conns[0], at, limit - at, &v, &n, err) < 0)
            return -1;
        for (size_t i = 0; i < n; i++) {
            if ((v[i].flags & STATE_ZERO) == 0)
                ranges_add(&c->data, at, v[i].len);
            at += v[i].len;
        }
        free(v);
        n_extents += n;
    }
    /* The end of a chunk, of which the rest is not known, is asked again. */
    c->window_end = at == limit ? at : at - at % c->chunk;
    if (n_extents <= FEW_EXTENTS && c->window_len < WINDOW_MAX)
        c->window_len *= 2;
    else if (n_extents > FEW_EXTENTS * 16 && c->window_len > WINDOW_MIN)
        c->window_len /= 2;
    return 0;
}

/* The next piece: a chunk of data, or zeros. len 0: there is none. */
static int
next_piece(struct copy *c, struct range *ret, bool *ret_is_zero,
           struct err *err)
{
    struct range w, d;
    uint64_t end;

    *ret = (struct range){ 0, 0 };
    if (!ranges_next(c->want, c->pos, &w) || w.off >= c->s->size)
        return 0;
    c->pos = w.off;
    if (c->pos >= c->window_end && next_window(c, err) < 0)
        return -1;
    end = w.len > c->s->size - w.off ? c->s->size : w.off + w.len;
    if (end > c->window_end)
        end = c->window_end;
    if (end - c->pos > ZERO_MAX)
        end = c->pos + ZERO_MAX;
    if (ranges_next(&c->data, c->pos, &d) && d.off < end)
        end = d.off - d.off % c->chunk;
    *ret_is_zero = end > c->pos;
    if (!*ret_is_zero) {
        end = w.off + w.len < c->s->size ? w.off + w.len : c->s->size;
        if (end - c->pos > c->chunk)
            end = c->pos + c->chunk;
    }
    *ret = (struct range){ c->pos, end - c->pos };
    c->pos = end;
    return 0;
}

/* ---- the ring ------------------------------------------------------------ */

static struct slot *
push(struct copy *c, const struct range *r)
{
    struct slot *slot = &c->ring[(c->head + c->n++) % SLOTS];

    slot->off = r->off;
    slot->len = r->len;
    slot->buffer = NULL;
    slot->n_parts = 0;
    return slot;
}

/* Ask for a chunk, in parts. */
static int
push_data(struct copy *c, const struct range *r, struct err *err)
{
    uint8_t *buffer = NULL;
    struct slot *slot;

    if (c->sink->buffer_get(c->sink->arg, &buffer, err) < 0)
        return -1;
    slot = push(c, r);
    slot->buffer = buffer;
    c->n_data++;
    for (uint64_t at = 0; at < r->len; at += PART) {
        size_t len = r->len - at < PART ? (size_t)(r->len - at) : PART;
        struct nbdconn *conn = c->s->conns[c->next_conn++ % c->s->n_conns];

        if (nbdconn_pread(conn, &slot->parts[slot->n_parts], r->off + at,
                          buffer + at, len, err) < 0)
            return -1;
        slot->n_parts++;
    }
    return 0;
}

static void
push_zero(struct copy *c, const struct range *r)
{
    struct slot *last =
        c->n == 0 ? NULL : &c->ring[(c->head + c->n - 1) % SLOTS];

    if (last != NULL && last->buffer == NULL &&
        last->off + last->len == r->off && last->len < ZERO_MAX)
        last->len += r->len;
    else
        (void)push(c, r);
}

static int
fill(struct copy *c, bool *ret_is_end, struct err *err)
{
    while (c->n < SLOTS && c->n_data < c->n_data_max) {
        struct range r;
        bool is_zero = false;

        if (next_piece(c, &r, &is_zero, err) < 0)
            return -1;
        if (r.len == 0) {
            *ret_is_end = true;
            return 0;
        }
        if (is_zero)
            push_zero(c, &r);
        else if (push_data(c, &r, err) < 0)
            return -1;
    }
    return 0;
}

static bool
is_complete(const struct slot *slot)
{
    for (size_t i = 0; i < slot->n_parts; i++)
        if (!slot->parts[i].is_done)
            return false;
    return true;
}

static int
hand_on(struct copy *c, struct slot *slot, struct err *err)
{
    const struct disk_sink *k = c->sink;

    for (size_t i = 0; i < slot->n_parts; i++)
        if (slot->parts[i].error != 0)
            return err_sys(err, slot->parts[i].error, "%s: read at %llu",
                           c->s->what,
                           (unsigned long long)(slot->off + i * PART));
    if (slot->buffer == NULL)
        return k->zero(k->arg, slot->off, slot->len, err);
    uint8_t *buffer = TAKE(slot->buffer);

    slot->n_parts = 0;
    c->n_data--;
    return k->write(k->arg, slot->off, buffer, (size_t)slot->len, err);
}

/* All that is complete, from the head on. */
static int
drain(struct copy *c, struct err *err)
{
    while (c->n > 0 && is_complete(&c->ring[c->head])) {
        struct slot *slot = &c->ring[c->head];

        if (hand_on(c, slot, err) < 0)
            return -1;
        c->done += slot->len;
        c->head = (c->head + 1) % SLOTS;
        c->n--;
        if (report(c, err) < 0)
            return -1;
    }
    return 0;
}

static int
run(struct copy *c, struct err *err)
{
    bool is_end = false;

    if (c->want->n == 0)
        return 0;
    for (;;) {
        if (!is_end && fill(c, &is_end, err) < 0)
            return -1;
        if (drain(c, err) < 0)
            return -1;
        if (c->n == 0 && is_end)
            return 0;
        if (c->n > 0 &&
            (nbdconn_wait(c->s->conns, c->s->n_conns, 1000, err) < 0 ||
             report(c, err) < 0))
            return -1;
    }
}

static bool
is_aligned(const struct ranges *want, size_t chunk, uint64_t size)
{
    for (size_t i = 0; i < want->n; i++)
        if (want->v[i].off % chunk != 0 ||
            (want->v[i].len % chunk != 0 &&
             want->v[i].off + want->v[i].len < size))
            return false;
    return true;
}

int
disk_source_copy(struct disk_source *s, const struct ranges *want, size_t chunk,
                 const struct disk_sink *sink, struct err *err)
{
    CLEANUP(mem_free) struct copy *c = NULL;
    int rc;

    assert(chunk >= CHUNK_MIN && chunk <= CHUNK_MAX &&
           (chunk & (chunk - 1)) == 0);
    assert(is_aligned(want, chunk, s->size));
    if (s->is_broken)
        return err_set(err, ERR_UNAVAILABLE, "%s: reading it has failed before",
                       s->what);
    c = xcalloc(1, sizeof *c);
    c->s = s;
    c->want = want;
    c->sink = sink;
    c->chunk = chunk;
    c->window_len = WINDOW_MIN;
    c->n_data_max = DISK_SINK_HELD_MAX / chunk;
    c->n_data_max = c->n_data_max < 2 ? 2 : c->n_data_max;
    if (c->n_data_max > DATA_SLOTS_MAX)
        c->n_data_max = DATA_SLOTS_MAX;
    rc = run(c, err);
    if (rc == 0)
        rc = s->chain == NULL ? 0 : chain_check(s->chain, err);
    if (rc < 0)
        rc = disk_source_fail(s, err); /* ends what is under way first */
    for (size_t i = 0; i < c->n; i++) {
        struct slot *slot = &c->ring[(c->head + i) % SLOTS];

        if (slot->buffer != NULL)
            sink->buffer_put(sink->arg, slot->buffer);
    }
    ranges_fini(&c->data);
    return rc;
}
