/* SPDX-License-Identifier: Apache-2.0 */
/* One caller hands in chunks, in batches of as many as are hashed at once;
 * workers take a batch through all stages, while it is in their cache: zero and
 * pattern test, HMAC, comparison with the parent's entry, look-up among this
 * backup's own chunks and those of committed backups (the index), compression,
 * encryption into the open pack.
 * Memory is bounded by the buffers: who wants one waits for a worker.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "repo/backup.h"

#define PATTERN 8 /* bytes that repeat */

static void lock(struct repo_backup *b) ACQUIRE(backup_lock);
static void unlock(struct repo_backup *b) RELEASE(backup_lock);

static void NO_TSA
lock(struct repo_backup *b)
{
    pthread_mutex_lock(&b->mutex);
}

static void NO_TSA
unlock(struct repo_backup *b)
{
    pthread_mutex_unlock(&b->mutex);
}

int
backup_work_check(struct repo_backup *b, struct err *err)
{
    int rc = 0;

    lock(b);
    if (b->has_failed) {
        *err = b->err;
        rc = -1;
    }
    unlock(b);
    return rc;
}

/* ---- buffers ------------------------------------------------------------ */

static uint8_t *
pop_locked(struct repo_backup *b, unsigned log2) REQUIRES(backup_lock)
{
    uint8_t *buffer = b->free_buffers[log2 - BACKUP_LOG2_MIN];

    if (buffer != NULL)
        memcpy(&b->free_buffers[log2 - BACKUP_LOG2_MIN], buffer,
               sizeof(uint8_t *));
    return buffer;
}

static void
push_locked(struct repo_backup *b, unsigned log2, uint8_t *buffer)
    REQUIRES(backup_lock)
{
    memcpy(buffer, &b->free_buffers[log2 - BACKUP_LOG2_MIN], sizeof(uint8_t *));
    b->free_buffers[log2 - BACKUP_LOG2_MIN] = buffer;
}

/* Free one buffer of another size; false: there is none. */
static bool
shrink_locked(struct repo_backup *b) REQUIRES(backup_lock)
{
    for (unsigned log2 = BACKUP_LOG2_MAX; log2 >= BACKUP_LOG2_MIN; log2--) {
        uint8_t *buffer = pop_locked(b, log2);

        if (buffer == NULL)
            continue;
        free(buffer);
        b->buffer_bytes -= (size_t)1 << log2;
        return true;
    }
    return false;
}

/* A free one, or a new one; NULL: all are in use. */
static uint8_t *
try_buffer_locked(struct repo_backup *b, unsigned log2) REQUIRES(backup_lock)
{
    size_t size = (size_t)1 << log2;
    uint8_t *buffer = pop_locked(b, log2);

    if (buffer != NULL)
        return buffer;
    while (b->buffer_bytes + size > BACKUP_BUFFER_BYTES)
        if (!shrink_locked(b))
            return NULL;
    b->buffer_bytes += size;
    return xcalloc(1, size);
}

int
backup_work_buffer(struct repo_backup *b, unsigned log2, uint8_t **ret,
                   struct err *err)
{
    uint8_t *buffer;
    int rc = 0;

    lock(b);
    buffer = try_buffer_locked(b, log2);
    if (buffer == NULL) { /* what is in the open batch will be one */
        unlock(b);
        backup_work_flush(b);
        lock(b);
        while (!b->has_failed && (buffer = try_buffer_locked(b, log2)) == NULL)
            pthread_cond_wait(&b->done, &b->mutex);
    }
    if (b->has_failed) {
        if (buffer != NULL)
            push_locked(b, log2, buffer);
        *err = b->err;
        rc = -1;
    } else {
        *ret = buffer;
    }
    unlock(b);
    return rc;
}

void
backup_work_buffer_put(struct repo_backup *b, unsigned log2, uint8_t *buffer)
{
    lock(b);
    push_locked(b, log2, buffer);
    pthread_cond_broadcast(&b->done);
    unlock(b);
}

/* ---- the caller's side --------------------------------------------------- */

void
backup_work_flush(struct repo_backup *b)
{
    struct backup_batch *batch = TAKE(b->batch);

    if (batch == NULL)
        return;
    lock(b);
    if (b->newest == NULL)
        b->first = batch;
    else
        b->newest->next = batch;
    b->newest = batch;
    pthread_cond_signal(&b->work);
    unlock(b);
}

void
backup_work_submit(struct repo_backup *b, const struct backup_job *job)
{
    lock(b);
    job->leaf->pending++;
    b->progress.seen_bytes += job->len;
    unlock(b);
    if (b->batch == NULL)
        b->batch = xcalloc(1, sizeof *b->batch);
    b->batch->jobs[b->batch->count++] = *job;
    if (b->batch->count >= hash_lanes((size_t)1 << job->log2))
        backup_work_flush(b);
}

int
backup_work_wait(struct repo_backup *b, struct backup_leaf *leaf,
                 bool *ret_dirty, struct err *err)
{
    int rc = 0;

    backup_work_flush(b);
    lock(b);
    while (leaf->pending > 0)
        pthread_cond_wait(&b->done, &b->mutex);
    *ret_dirty = leaf->is_dirty;
    if (b->has_failed) {
        *err = b->err;
        rc = -1;
    }
    unlock(b);
    return rc;
}

void
backup_work_mark_dirty(struct repo_backup *b, struct backup_leaf *leaf)
{
    lock(b);
    leaf->is_dirty = true;
    unlock(b);
}

void
backup_work_note_zero(struct repo_backup *b, uint64_t bytes)
{
    lock(b);
    b->progress.seen_bytes += bytes;
    b->progress.zero_bytes += bytes;
    unlock(b);
}

/* ---- a worker ------------------------------------------------------------ */

/* What a worker found out about a chunk. */
struct outcome {
    bool is_dirty;
    uint64_t zero_bytes, same_bytes, dup_bytes, resumed_bytes;
};

static void
set_entry(const struct backup_job *job, const struct tree_entry *e,
          struct outcome *o)
{
    struct tree_entry *at = &job->leaf->node.entries[job->slot];

    if (tree_entry_is_equal(at, e))
        return;
    *at = *e;
    o->is_dirty = true;
}

/* Zero or a pattern: then the entry is set. */
static bool
is_trivial(const struct backup_job *job, struct outcome *o)
{
    struct tree_entry e = { .type = TREE_PATTERN };
    static const uint8_t zeros[PATTERN];

    if (job->len < PATTERN) {
        if (memcmp(job->buffer, zeros, job->len) != 0)
            return false;
    } else if (memcmp(job->buffer, job->buffer + PATTERN, job->len - PATTERN) !=
               0) {
        return false;
    }
    memcpy(e.pattern, job->buffer, job->len < PATTERN ? job->len : PATTERN);
    if (memcmp(e.pattern, zeros, PATTERN) == 0)
        e = (struct tree_entry){ .type = TREE_ZERO };
    else if (!job->is_whole)
        return false;
    set_entry(job, &e, o);
    o->zero_bytes = job->len;
    return true;
}

/* The next backup shall find it. */
static void
list_chunk(struct repo_backup *b, const uint8_t id[HASH_SIZE],
           const struct frame_loc *loc)
{
    struct segment_hit place = { .off8 = loc->off8, .flen = loc->flen };

    memcpy(place.pack.session, loc->session, 16);
    place.pack.n = loc->n;
    segment_writer_add(b->listed, id, &place);
}

static int
store(struct repo_backup *b, struct frame_ctx *ctx,
      const struct backup_job *job, const uint8_t id[HASH_SIZE],
      struct outcome *o, struct err *err)
{
    struct tree_entry e = { .type = TREE_REF };
    struct tree_entry *was = &job->leaf->node.entries[job->slot];
    bool is_known;

    memcpy(e.id, id, HASH_SIZE);
    e.loc.ulen = job->len;
    if (tree_entry_is_equal(was, &e)) {
        if (!repo_private_is_bad(b->repo, &b->bad, FRAME_DATA, &was->loc)) {
            o->same_bytes = job->len;
            return 0;
        }
        was->type = TREE_ZERO; /* damaged there: it is stored again */
    }
    lock(b);
    is_known = dedup_find(b->dedup, id, &e.loc) && e.loc.ulen == job->len;
    unlock(b);
    if (is_known) {
        o->dup_bytes = job->len;
    } else if (b->resume != NULL &&
               resume_find(b->resume, ctx, id, job->len, &e.loc)) {
        o->resumed_bytes = job->len;
        list_chunk(b, id, &e.loc);
    } else if (dedupindex_find(b->index, ctx, id, job->len, &e.loc)) {
        o->dup_bytes = job->len;
    } else {
        if (packer_add(b->data, ctx, job->buffer, job->len, id, &e.loc, err) <
            0)
            return -1;
        lock(b);
        dedup_add(b->dedup, id, &e.loc);
        unlock(b);
        list_chunk(b, id, &e.loc);
    }
    set_entry(job, &e, o);
    return 0;
}

/* Ids of the jobs that need one, side by side where lengths agree. */
static void
hash_jobs(struct repo_backup *b, const struct backup_batch *batch,
          const bool *needs, uint8_t ids[HASH_LANES][HASH_SIZE])
{
    const uint8_t *data[HASH_LANES];
    uint8_t out[HASH_LANES][HASH_SIZE];
    unsigned at[HASH_LANES], n;
    bool done[HASH_LANES] = { false };

    for (unsigned i = 0; i < batch->count; i++) {
        if (!needs[i] || done[i])
            continue;
        n = 0;
        for (unsigned k = i; k < batch->count; k++)
            if (needs[k] && !done[k] &&
                batch->jobs[k].len == batch->jobs[i].len) {
                data[n] = batch->jobs[k].buffer;
                at[n++] = k;
                done[k] = true;
            }
        hash_hmac_lanes(&b->repo->keys.id, data, n, batch->jobs[i].len, out);
        for (unsigned k = 0; k < n; k++)
            memcpy(ids[at[k]], out[k], HASH_SIZE);
    }
}

static void
finish_jobs_locked(struct repo_backup *b, const struct backup_batch *batch,
                   const struct outcome *o) REQUIRES(backup_lock)
{
    for (unsigned i = 0; i < batch->count; i++) {
        const struct backup_job *job = &batch->jobs[i];

        if (o[i].is_dirty)
            job->leaf->is_dirty = true;
        b->progress.zero_bytes += o[i].zero_bytes;
        b->progress.same_bytes += o[i].same_bytes;
        b->progress.dup_bytes += o[i].dup_bytes;
        b->progress.resumed_bytes += o[i].resumed_bytes;
        job->leaf->pending--;
        push_locked(b, job->log2, job->buffer);
    }
    pthread_cond_broadcast(&b->done);
}

static void
fail(struct repo_backup *b, const struct err *err)
{
    lock(b);
    if (!b->has_failed) {
        b->has_failed = true;
        b->err = *err;
    }
    pthread_cond_broadcast(&b->done);
    unlock(b);
}

static void
work_on(struct repo_backup *b, struct frame_ctx *ctx,
        struct backup_batch *batch)
{
    uint8_t ids[HASH_LANES][HASH_SIZE];
    struct outcome o[HASH_LANES] = { 0 };
    bool needs[HASH_LANES] = { false };
    struct err err = { 0 };

    if (backup_work_check(b, &err) == 0) {
        for (unsigned i = 0; i < batch->count; i++)
            needs[i] = !is_trivial(&batch->jobs[i], &o[i]);
        hash_jobs(b, batch, needs, ids);
        for (unsigned i = 0; i < batch->count; i++)
            if (needs[i] &&
                store(b, ctx, &batch->jobs[i], ids[i], &o[i], &err) < 0) {
                fail(b, &err);
                break;
            }
    }
    lock(b);
    finish_jobs_locked(b, batch, o);
    unlock(b);
    free(batch);
}

static struct backup_batch *
take_locked(struct repo_backup *b) REQUIRES(backup_lock)
{
    struct backup_batch *batch;

    while (b->first == NULL && !b->is_stopping)
        pthread_cond_wait(&b->work, &b->mutex);
    batch = b->first;
    if (batch != NULL) {
        b->first = batch->next;
        if (b->first == NULL)
            b->newest = NULL;
    }
    return batch;
}

static struct backup_batch *
take(struct repo_backup *b)
{
    struct backup_batch *batch;

    lock(b);
    batch = take_locked(b);
    unlock(b);
    return batch;
}

static void *
worker(void *arg)
{
    struct repo_backup *b = arg;
    /* What each effort buys; above 3 a guest's host has better to do. */
    static const int levels[PACKER_EFFORT_MAX + 1] = { COMPRESS_FAST, 1, 3 };
    struct frame_ctx *ctx = frame_ctx_new(b->level);
    struct backup_batch *batch;

    effect_flow_set(b->flow[0] == 0 ? NULL : b->flow);
    while ((batch = take(b)) != NULL) {
        if (b->level == 0)
            frame_ctx_set_level(ctx, levels[packer_effort(b->data)]);
        work_on(b, ctx, batch);
    }
    frame_ctx_free(ctx);
    return NULL;
}

void
backup_work_start(struct repo_backup *b)
{
    for (unsigned i = 0; i < b->worker_count; i++) {
        if (pthread_create(&b->workers[i], NULL, worker, b) != 0)
            abort();
        pthread_setname_np(b->workers[i], "repo-worker");
    }
}

void
backup_work_stop(struct repo_backup *b)
{
    struct err err = { .code = ERR_CANCELLED, .msg = "the backup was ended" };

    backup_work_flush(b);
    fail(b, &err); /* what is queued is dropped */
    lock(b);
    b->is_stopping = true;
    pthread_cond_broadcast(&b->work);
    unlock(b);
    for (unsigned i = 0; i < b->worker_count; i++)
        pthread_join(b->workers[i], NULL);
    lock(b);
    while (shrink_locked(b))
        ;
    unlock(b);
}
