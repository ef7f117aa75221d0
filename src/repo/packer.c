/* SPDX-License-Identifier: Apache-2.0 */
/* A pack in memory goes FREE -> OPEN -> CLOSED -> WRITING -> FREE. A thread
 * that adds a frame reserves its place under the lock, encrypts into it
 * without, and then says so; a closed pack is written when its last such
 * thread is done. So the only copy of a compressed chunk is its encryption.
 *
 * Who waits for whom is seen when a pack is full: the other one is free, then
 * the store is idle; it is being written, and a thread must wait, then the
 * store is what everybody waits for.
 *
 * A bit that flips in memory between the hash of a chunk and the store would be
 * found by the one who needs the chunk. So every metadata frame, and of others
 * as many as the owner likes, is decoded again where it lies and its id
 * compared; and when a pack is written the checksums of all its frames are,
 * which takes 4 ms for 64 MiB. What flips before the hash is the guest's own.
 */
#include "repo/packer.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/effect.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "codec/le.h"
#include "repo/parity.h"

#define PACKS      2
#define FRAMES_MAX 65536u /* per pack: bounds the footer */

enum state {
    FREE,
    OPEN,
    CLOSED,
    WRITING
};

struct pack {
    enum state state;
    uint8_t *bytes; /* pack_size, made when first used */
    size_t used;
    struct pack_id id;
    struct frame_origin origin;
    struct frame_origin footer_origin;
    unsigned writers; /* threads that fill a reserved place */
    uint32_t frames;
    uint8_t *footer; /* FRAMES_MAX entries, grown */
    uint32_t footer_cap;
};

struct packer {
    struct packer_config config; /* [C] */
    struct frame_ctx *ctx;       /* [T:sink] */
    char flow[EFFECT_FLOW_SIZE]; /* [C] effects of the sink count there */
    pthread_t sink;              /* [C] */
    pthread_mutex_t mutex;       /* what packer_lock stands for */
    pthread_cond_t changed;
    struct pack packs[PACKS] GUARDED_BY(packer_lock);
    uint32_t next_n GUARDED_BY(packer_lock);
    uint64_t stored GUARDED_BY(packer_lock);
    bool has_failed GUARDED_BY(packer_lock);
    bool is_stopping GUARDED_BY(packer_lock);
    bool has_waited GUARDED_BY(packer_lock); /* for room, since the last pack */
    atomic_uint effort;
    struct err err GUARDED_BY(packer_lock);
};

static void lock(struct packer *p) ACQUIRE(packer_lock);
static void unlock(struct packer *p) RELEASE(packer_lock);

static void NO_TSA
lock(struct packer *p)
{
    pthread_mutex_lock(&p->mutex);
}

static void NO_TSA
unlock(struct packer *p)
{
    pthread_mutex_unlock(&p->mutex);
}

static void
wait_locked(struct packer *p) REQUIRES(packer_lock)
{
    pthread_cond_wait(&p->changed, &p->mutex);
}

static void
begin_pack_locked(struct packer *p, struct pack *k) REQUIRES(packer_lock)
{
    if (k->bytes == NULL)
        k->bytes = xcalloc(1, p->config.pack_size);
    k->state = OPEN;
    k->frames = 0;
    k->id.kind = p->config.kind;
    memcpy(k->id.session, p->config.session, 16);
    k->id.n = p->next_n++;
    memcpy(k->origin.session, p->config.session, 16);
    k->origin.n = k->id.n;
    k->origin.kind = k->id.kind;
    k->origin.is_encrypted = p->config.wrap.keys != NULL;
    k->origin.serial = frame_serial();
    if (k->origin.is_encrypted)
        uuid_random_bytes(k->origin.key, sizeof k->origin.key);
    k->used = pack_header_encode(&p->config.wrap, &k->origin, k->bytes);
    pack_footer_origin(&p->config.wrap, &k->id, &k->footer_origin);
}

static bool
has_room(const struct packer *p, const struct pack *k, uint32_t flen)
{
    size_t footer = FRAME_HEADER_SIZE + AEAD_TAG_SIZE + 8 +
                    (size_t)PACK_FOOTER_ENTRY * (k->frames + 1);
    size_t body = k->used + flen + footer;

    return k->frames < FRAMES_MAX &&
           body + pack_tail_size(body) <= p->config.pack_size;
}

static void
close_locked(struct packer *p, struct pack *k) REQUIRES(packer_lock)
{
    k->state = CLOSED;
    pthread_cond_broadcast(&p->changed);
}

/* A pack is full: who waited for whom? */
static void
judge_locked(struct packer *p, bool store_is_idle) REQUIRES(packer_lock)
{
    unsigned effort = atomic_load(&p->effort);

    if (p->has_waited && effort < PACKER_EFFORT_MAX)
        atomic_store(&p->effort, effort + 1);
    else if (!p->has_waited && store_is_idle && effort > 0)
        atomic_store(&p->effort, effort - 1);
    p->has_waited = false;
}

/* The open pack with room for `flen` bytes; NULL when the packer failed. */
static struct pack *
room_locked(struct packer *p, uint32_t flen) REQUIRES(packer_lock)
{
    while (!p->has_failed) {
        struct pack *free_pack = NULL;
        bool is_open = false, is_full = false;

        for (unsigned i = 0; i < PACKS; i++) {
            struct pack *k = &p->packs[i];

            if (k->state == OPEN && has_room(p, k, flen))
                return k;
            if (k->state == OPEN) {
                close_locked(p, k);
                is_full = true;
            }
            if (k->state == FREE)
                free_pack = k;
        }
        if (is_full)
            judge_locked(p, free_pack != NULL);
        if (free_pack != NULL) {
            begin_pack_locked(p, free_pack);
            is_open = true;
        }
        if (!is_open) {
            p->has_waited = true;
            wait_locked(p);
        }
    }
    return NULL;
}

static uint32_t
note_frame_locked(struct pack *k, const uint8_t id[HASH_SIZE], uint32_t flen)
    REQUIRES(packer_lock)
{
    uint8_t *e;

    if (k->frames == k->footer_cap) {
        k->footer_cap = k->footer_cap == 0 ? 256 : 2 * k->footer_cap;
        k->footer = xrealloc(k->footer, k->footer_cap, PACK_FOOTER_ENTRY);
    }
    e = k->footer + (size_t)k->frames * PACK_FOOTER_ENTRY;
    memcpy(e, id, HASH_SIZE);
    le_put32(e + HASH_SIZE, (uint32_t)(k->used / 8));
    k->used += flen;
    k->writers++;
    return k->frames++;
}

static struct pack *
reserve(struct packer *p, const struct frame_body *body,
        const uint8_t id[HASH_SIZE], uint32_t *ret_ordinal, size_t *ret_off,
        struct err *err)
{
    struct pack *k;

    lock(p);
    k = room_locked(p, body->flen);
    if (k != NULL) {
        *ret_off = k->used;
        *ret_ordinal = note_frame_locked(k, id, body->flen);
    } else {
        *err = p->err;
    }
    unlock(p);
    return k;
}

static void
release(struct packer *p, struct pack *k)
{
    lock(p);
    k->writers--;
    if (k->writers == 0 && k->state == CLOSED)
        pthread_cond_broadcast(&p->changed);
    unlock(p);
}

/* The frame where it lies, as a reader would see it. */
static int
read_back(struct packer *p, struct frame_ctx *ctx, const struct pack *k,
          const uint8_t *frame, const struct frame_body *body,
          const uint8_t id[HASH_SIZE], struct err *err)
{
    uint8_t *plain = frame_ctx_plain(ctx), actual[HASH_SIZE];
    struct err cause = { .msg = "it is not what was hashed" };

    if (frame_open(ctx, &k->origin, 1, frame, body->flen, plain, body->ulen,
                   &cause) == 0) {
        hash_hmac(p->config.id_key, plain, body->ulen, actual);
        if (hash_is_equal(actual, id))
            return 0;
    }
    return err_set(
        err, ERR_INTERNAL,
        "a frame was changed before it was written: the memory or the processor of this host is faulty (%s)",
        cause.msg);
}

static void
fail(struct packer *p, const struct err *err)
{
    lock(p);
    if (!p->has_failed) {
        p->has_failed = true;
        p->err = *err;
    }
    pthread_cond_broadcast(&p->changed);
    unlock(p);
}

int
packer_add(struct packer *p, struct frame_ctx *ctx, const void *plain,
           uint32_t len, const uint8_t id[HASH_SIZE], struct frame_loc *ret_loc,
           struct err *err)
{
    unsigned every = p->config.check_every;
    struct frame_body body;
    struct pack *k;
    uint32_t ordinal = 0;
    size_t off = 0;
    int rc = 0;

    assert(len > 0 && len <= FRAME_PLAIN_MAX);
    body = frame_pack(ctx, plain, len, p->config.wrap.keys != NULL);
    k = reserve(p, &body, id, &ordinal, &off, err);
    if (k == NULL)
        return -1;
    /* Ours alone: nobody writes the pack while it has a writer. */
    frame_seal(ctx, &k->origin, 0, ordinal, &body, k->bytes + off);
    memcpy(ret_loc->session, k->id.session, 16);
    ret_loc->n = k->id.n;
    ret_loc->off8 = (uint32_t)(off / 8);
    ret_loc->flen = body.flen;
    ret_loc->ulen = len;
    if (every != 0 && ordinal % every == 0)
        rc = read_back(p, ctx, k, k->bytes + off, &body, id, err);
    if (rc < 0)
        fail(p, err); /* if it is written, then for a session that ends */
    release(p, k);
    return rc;
}

/* Footer, stripes, trailer; then to the store, and the parity after it. */
static int
write_pack(struct packer *p, struct pack *k, size_t *ret_size, struct err *err)
{
    struct frame_body footer = frame_pack_plain(
        k->footer, k->frames * PACK_FOOTER_ENTRY, k->origin.is_encrypted);
    struct pack_trailer t = { .footer_off = k->used,
                              .footer_len = footer.flen,
                              .body_len = k->used + footer.flen };
    char name[PACK_NAME_SIZE];
    bool existed = false;

    frame_seal(p->ctx, &k->footer_origin, 0, FRAME_FOOTER_ORDINAL, &footer,
               k->bytes + k->used);
    if (pack_check_frames(k->bytes, pack_head_size(k->origin.is_encrypted),
                          t.body_len, k->origin.is_encrypted, err) < 0)
        return -1;
    pack_tail_encode(k->bytes, &k->id, &t);
    *ret_size = t.body_len + pack_tail_size(t.body_len);
    pack_name(&k->id, name);
    if (blob_put_spare(p->config.blob, name, k->bytes, *ret_size, &existed,
                       err) < 0)
        return err_wrap(err, "write pack %s", name);
    if (existed)
        return err_set(err, ERR_EXISTS,
                       "%s: exists already; its session is not unique", name);
    if (!p->config.makes_parity)
        return 0;
    return parity_put(p->config.blob, &k->id, k->bytes, *ret_size, err);
}

static struct pack *
next_to_write_locked(struct packer *p) REQUIRES(packer_lock)
{
    for (;;) {
        for (unsigned i = 0; i < PACKS; i++)
            if (p->packs[i].state == CLOSED && p->packs[i].writers == 0) {
                p->packs[i].state = WRITING;
                return &p->packs[i];
            }
        if (p->is_stopping)
            return NULL;
        wait_locked(p);
    }
}

static struct pack *
next_to_write(struct packer *p)
{
    struct pack *k;

    lock(p);
    k = next_to_write_locked(p);
    unlock(p);
    return k;
}

static void
written_locked(struct packer *p, struct pack *k, int rc, size_t size,
               const struct err *err) REQUIRES(packer_lock)
{
    if (rc < 0 && !p->has_failed) {
        p->has_failed = true;
        p->err = *err;
    }
    if (rc == 0)
        p->stored += size;
    mem_wipe(k->origin.key, sizeof k->origin.key);
    mem_wipe(k->footer_origin.key, sizeof k->footer_origin.key);
    k->state = FREE;
    pthread_cond_broadcast(&p->changed);
}

static void *
sink(void *arg)
{
    struct packer *p = arg;
    struct pack *k;

    effect_flow_set(p->flow[0] == 0 ? NULL : p->flow);
    while ((k = next_to_write(p)) != NULL) {
        struct err err = { 0 };
        size_t size = 0;
        int rc = write_pack(p, k, &size, &err);

        lock(p);
        written_locked(p, k, rc, size, &err);
        unlock(p);
    }
    return NULL;
}

struct packer *NO_TSA
packer_new(const struct packer_config *config)
{
    struct packer *p = xcalloc(1, sizeof *p);
    const char *flow = effect_flow_get();

    p->config = *config;
    p->next_n = config->first_n;
    p->ctx = frame_ctx_new(1);
    if (flow != NULL)
        (void)snprintf(p->flow, sizeof p->flow, "%s", flow);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    if (pthread_create(&p->sink, NULL, sink, p) != 0)
        abort();
    pthread_setname_np(p->sink, "repo-sink");
    return p;
}

void
packer_stop(struct packer *p)
{
    lock(p);
    if (!p->has_failed) {
        p->has_failed = true;
        err_do_set(&p->err, ERR_CANCELLED, "the backup was ended");
    }
    pthread_cond_broadcast(&p->changed);
    unlock(p);
}

void NO_TSA
packer_free(struct packer *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->mutex);
    p->is_stopping = true;
    p->has_failed = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    pthread_join(p->sink, NULL);
    for (unsigned i = 0; i < PACKS; i++) {
        free(p->packs[i].bytes);
        free(p->packs[i].footer);
    }
    frame_ctx_free(p->ctx);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    mem_wipe(p, sizeof *p);
    free(p);
}

static int
finish_locked(struct packer *p, struct err *err) REQUIRES(packer_lock)
{
    bool is_idle = false;

    for (unsigned i = 0; i < PACKS; i++)
        if (p->packs[i].state == OPEN)
            close_locked(p, &p->packs[i]);
    while (!is_idle) {
        is_idle = true;
        for (unsigned i = 0; i < PACKS; i++)
            is_idle = is_idle && p->packs[i].state == FREE;
        if (!is_idle)
            wait_locked(p);
    }
    if (p->has_failed) {
        *err = p->err;
        return -1;
    }
    return 0;
}

int
packer_finish(struct packer *p, struct err *err)
{
    int rc;

    lock(p);
    rc = finish_locked(p, err);
    unlock(p);
    return rc;
}

unsigned
packer_effort(struct packer *p)
{
    return atomic_load(&p->effort);
}

uint32_t
packer_count(struct packer *p)
{
    uint32_t n;

    lock(p);
    n = p->next_n;
    unlock(p);
    return n;
}

uint64_t
packer_stored(struct packer *p)
{
    uint64_t n;

    lock(p);
    n = p->stored;
    unlock(p);
    return n;
}
