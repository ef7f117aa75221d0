/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's thread walks each disk in ascending order. A leaf of the tree
 * is opened when its first chunk is handed in, and closed, in order, when a
 * few later ones are open: by then its chunks are stored. So the tree grows
 * behind the data, and only the caller's thread builds it.
 *
 * On crash: before the COMMIT nothing refers to what was written.
 */
#include "repo/backup.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repo/repo-id.h"
#include "repo/repo-index.h"
#include "repo/rescue.h"
#include "repo/summary.h"

/* Of the chunks one in so many is decoded again before it is written: memory
 * that fails again and again is found in the first pack. */
#define CHECK_EVERY 32

#define RESCUES 20 /* of a commit: collectors that are faster each time */

/* ---- begin and end ------------------------------------------------------- */

static struct packer *
make_packer(struct repo_backup *b, enum frame_kind kind, size_t size,
            unsigned check_every)
{
    struct packer_config c = { .blob = b->repo->blob,
                               .wrap = b->repo->wrap,
                               .session = b->id,
                               .kind = kind,
                               .pack_size = size,
                               .makes_parity = b->repo->info.makes_parity,
                               .check_every = check_every,
                               .id_key = &b->repo->keys.id };

    return packer_new(&c);
}

static void NO_TSA
init(struct repo_backup *b, const struct repo_backup_options *o)
{
    const char *flow = effect_flow_get();

    b->level = o->level;
    b->worker_count = repo_private_threads(o->threads);
    b->created_unix_s = clock_wall_s();
    b->ctx = frame_ctx_new(1);
    b->disks = xcalloc(REPO_DISKS_MAX, sizeof *b->disks);
    b->dedup = dedup_new(b->id);
    b->index = dedupindex_new(b->repo);
    b->listed = segment_writer_new(b->repo->blob, b->repo->uuid, b->id,
                                   SEGMENT_WRITER_ENTRIES);
    b->data = make_packer(b, FRAME_DATA, BACKUP_DATA_PACK,
                          o->checks_all ? 1 : CHECK_EVERY);
    b->meta = make_packer(b, FRAME_META, BACKUP_META_PACK, 1);
    if (flow != NULL)
        (void)snprintf(b->flow, sizeof b->flow, "%s", flow);
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->work, NULL);
    pthread_cond_init(&b->done, NULL);
    backup_work_start(b);
}

static void
free_packs(struct packset *packs, unsigned count)
{
    for (unsigned i = 0; packs != NULL && i < count; i++)
        packset_fini(&packs[i]);
    free(packs);
}

/* The summaries of the parent's disks. */
static int
load_parent(struct repo *repo, const struct repo_view *parent,
            struct packset **ret, struct err *err)
{
    unsigned n = parent->root.disk_count;
    struct packset *packs = xcalloc(n + 1, sizeof *packs);

    if (summary_load(repo, &parent->root, packs, err) < 0) {
        free_packs(packs, n);
        return err_wrap(err, "backup %s", parent->id);
    }
    *ret = packs;
    return 0;
}

/* End the session for ever and find what it left: *ret stays NULL when that is
 * nothing. */
static int
take_over(struct repo *repo, const char *text, uint8_t session[16],
          struct resume **ret, struct err *err)
{
    if (!repo_id_parse(text, session))
        return err_set(err, ERR_INVALID, "\"%.40s\" is no backup id", text);
    if (commitlog_append_abort(repo->log, session, err) < 0)
        return err_wrap(err, "resume %s", text);
    /* A role that cannot read what was stored cannot check it either. */
    if (commitlog_is_discarded(repo->log, session) ||
        !keys_can_read(&repo->keys))
        return 0;
    if (resume_new(repo, session, ret, err) < 0)
        return err_wrap(err, "resume %s", text);
    return 0;
}

int
repo_backup_begin(struct repo *repo, const struct repo_backup_options *options,
                  struct repo_backup **ret_backup, struct err *err)
{
    static const uint8_t none[16];
    CLEANUP(repo_view_close) struct repo_view *parent = NULL;
    CLEANUP(resume_free) struct resume *resume = NULL;
    CLEANUP(badset_fini) struct badset bad = { 0 };
    uint8_t id[16], resumed[16];
    struct packset *packs = NULL;
    struct repo_backup *b;

    if (repo_private_need_backup(repo, err) < 0 ||
        blob_room(repo->blob, 0, err) < 0)
        return -1;
    if (options->parent != NULL &&
        repo_view_open(repo, options->parent, &parent, err) < 0)
        return err_wrap(err, "parent");
    if (commitlog_bad(repo->log, &bad, err) < 0)
        return -1;
    if (options->resume != NULL &&
        take_over(repo, options->resume, resumed, &resume, err) < 0)
        return -1;
    repo_id_random(id);
    if (commitlog_append_open(
            repo->log, id, parent != NULL ? parent->root.id : none,
            clock_wall_s(), resume != NULL ? resumed : NULL, err) < 0)
        return err_wrap(err, "begin a backup");
    /* Only now does the parent stay. */
    if (parent != NULL && load_parent(repo, parent, &packs, err) < 0) {
        struct err ignored;

        (void)!commitlog_append_abort(repo->log, id, &ignored);
        return err_wrap(err, "parent");
    }
    b = xcalloc(1, sizeof *b);
    b->repo = repo;
    b->parent_packs = packs;
    memcpy(b->id, id, sizeof b->id);
    repo_id_format(b->id, b->id_text);
    b->parent = TAKE(parent);
    if (b->parent != NULL)
        b->parent->is_kept = true;
    b->resume = TAKE(resume);
    if (b->resume != NULL)
        memcpy(b->resumed, resumed, sizeof b->resumed);
    renew_set(&b->renew, RENEW_S);
    b->bad = bad;
    bad = (struct badset){ 0 };
    init(b, options);
    *ret_backup = b;
    return 0;
}

static void
free_leaves(struct backup_disk *d)
{
    while (d->leaves != NULL) {
        struct backup_leaf *next = d->leaves->next;

        free(d->leaves);
        d->leaves = next;
    }
}

/* A courtesy to the collector of garbage; it copes without. */
static void
end_session(struct repo_backup *b)
{
    struct err ignored;

    if (!b->is_discarded) {
        (void)!commitlog_append_abort(b->repo->log, b->id, &ignored);
        return;
    }
    /* From here on nobody takes them up. */
    if (commitlog_append_discard(b->repo->log, b->id, &ignored) < 0)
        return;
    segment_writer_discard(b->listed);
    repo_private_remove_packs(b->repo, b->id);
}

void
repo_backup_discard(struct repo_backup *b)
{
    b->is_discarded = true;
}

void NO_TSA
repo_backup_free(struct repo_backup *b)
{
    if (b == NULL)
        return;
    packer_stop(b->data); /* a worker that waits for room fails */
    backup_work_stop(b);
    packer_free(b->data);
    packer_free(b->meta);
    if (!b->is_committed)
        end_session(b);
    for (unsigned i = 0; i < b->disk_count; i++) {
        free_leaves(&b->disks[i]);
        builder_free(b->disks[i].builder);
    }
    free(b->disks);
    dedup_free(b->dedup);
    dedupindex_free(b->index);
    segment_writer_free(b->listed);
    frame_ctx_free(b->ctx);
    resume_free(b->resume);
    if (b->parent != NULL)
        free_packs(b->parent_packs, b->parent->root.disk_count);
    packset_fini(&b->fresh);
    badset_fini(&b->bad);
    repo_view_close(b->parent);
    pthread_cond_destroy(&b->work);
    pthread_cond_destroy(&b->done);
    pthread_mutex_destroy(&b->mutex);
    free(b);
}

const char *
repo_backup_id(const struct repo_backup *b)
{
    return b->id_text;
}

void NO_TSA
repo_backup_progress(struct repo_backup *b, struct repo_progress *ret)
{
    pthread_mutex_lock(&b->mutex);
    *ret = b->progress;
    pthread_mutex_unlock(&b->mutex);
    ret->stored_bytes = packer_stored(b->data) + packer_stored(b->meta);
}

/* ---- disks ---- */

static void
find_parent_disk(struct repo_backup *b, struct backup_disk *d, unsigned log2)
{
    struct err ignored;
    unsigned n;

    d->out.chunk_log2 = log2 != 0 ? log2 : b->repo->info.chunk_log2;
    if (b->parent == NULL ||
        repo_view_find_disk(b->parent, d->out.name, &n, &ignored) < 0)
        return;
    if (log2 != 0 && b->parent->root.disks[n].chunk_log2 != log2)
        return;
    d->has_parent = true;
    d->parent_disk = n;
    d->parent_size = b->parent->root.disks[n].size;
    d->out.chunk_log2 = b->parent->root.disks[n].chunk_log2;
}

static int
check_disk(const struct repo_backup *b, const char *name, uint64_t size,
           unsigned log2, struct err *err)
{
    if (!root_name_is_valid(name))
        return err_set(err, ERR_INVALID,
                       "disk names are 1 to 64 printable characters");
    if (size > TREE_SIZE_MAX ||
        (log2 != 0 && (log2 < BACKUP_LOG2_MIN || log2 > BACKUP_LOG2_MAX)))
        return err_set(err, ERR_INVALID, "disk %s: size out of range", name);
    if (b->disk_count == REPO_DISKS_MAX)
        return err_set(err, ERR_INVALID, "disk %s: more than %d disks", name,
                       REPO_DISKS_MAX);
    for (unsigned i = 0; i < b->disk_count; i++)
        if (strcmp(b->disks[i].out.name, name) == 0)
            return err_set(err, ERR_EXISTS, "disk %s: added twice", name);
    return 0;
}

int
repo_backup_add_disk(struct repo_backup *b, const char *name, uint64_t size,
                     unsigned chunk_log2, unsigned *ret_disk, struct err *err)
{
    struct builder_config c = { .packer = b->meta,
                                .id_key = &b->repo->keys.id,
                                .ctx = b->ctx,
                                .size = size,
                                .session = b->id,
                                .fresh = &b->fresh };
    struct backup_disk *d = &b->disks[b->disk_count];

    if (check_disk(b, name, size, chunk_log2, err) < 0)
        return -1;
    (void)snprintf(d->out.name, sizeof d->out.name, "%s", name);
    d->out.size = size;
    find_parent_disk(b, d, chunk_log2);
    c.chunk_log2 = d->out.chunk_log2;
    if (d->has_parent) {
        c.parent = b->parent;
        c.parent_disk = d->parent_disk;
        c.parent_packs = &b->parent_packs[d->parent_disk];
    }
    if (builder_new(&c, &d->builder, err) < 0) {
        memset(d, 0, sizeof *d);
        return err_wrap(err, "disk %s", name);
    }
    d->out.top_level = builder_top_level(d->builder);
    *ret_disk = b->disk_count++;
    return 0;
}

uint64_t
repo_backup_chunk_size(const struct repo_backup *b, unsigned disk)
{
    assert(disk < b->disk_count);
    return (uint64_t)1 << b->disks[disk].out.chunk_log2;
}

/* ---- leaves ---- */

static int
close_oldest(struct repo_backup *b, struct backup_disk *d, struct err *err)
{
    struct backup_leaf *leaf = d->leaves;
    bool is_dirty = false;
    int rc = backup_work_wait(b, leaf, &is_dirty, err);

    d->leaves = leaf->next;
    d->leaf_count--;
    if (d->leaves == NULL)
        d->last = NULL;
    if (rc == 0 && is_dirty)
        rc = builder_put_leaf(d->builder, leaf->idx, &leaf->node, err);
    free(leaf);
    return rc;
}

static int
close_all(struct repo_backup *b, struct backup_disk *d, struct err *err)
{
    while (d->leaves != NULL)
        if (close_oldest(b, d, err) < 0)
            return -1;
    return 0;
}

static int
leaf_for(struct repo_backup *b, struct backup_disk *d, uint64_t idx,
         struct backup_leaf **ret, struct err *err)
{
    struct backup_leaf *leaf;
    bool is_cut = false;

    if (d->last != NULL && d->last->idx == idx) {
        *ret = d->last;
        return 0;
    }
    while (d->leaf_count >= BACKUP_OPEN_LEAVES)
        if (close_oldest(b, d, err) < 0)
            return -1;
    leaf = xcalloc(1, sizeof *leaf);
    if (builder_leaf(d->builder, idx, &leaf->node, &is_cut, err) < 0) {
        free(leaf);
        return -1;
    }
    leaf->idx = idx;
    if (is_cut)
        backup_work_mark_dirty(b, leaf);
    if (d->last == NULL)
        d->leaves = leaf;
    else
        d->last->next = leaf;
    d->last = leaf;
    d->leaf_count++;
    *ret = leaf;
    return 0;
}

/* ---- writing ---- */

/* Say that we are still at work, each day. A collector that took us for dead
 * is found out here and not by the commit. */
static int
renew(struct repo_backup *b, struct err *err)
{
    static const uint8_t none[16];
    const uint8_t *parent = b->parent != NULL ? b->parent->root.id : none;

    if (!renew_is_due(&b->renew))
        return 0;
    renew_set(&b->renew, RENEW_S);
    if (commitlog_append_open(b->repo->log, b->id, parent, b->created_unix_s,
                              b->resume != NULL ? b->resumed : NULL, err) == 0)
        return 0;
    renew_set(&b->renew, RENEW_RETRY_S);
    return err->code != ERR_CONFLICT
               ? 0 /* the store is away: there is time */
               : err_wrap(err, "backup %s: taken for dead", b->id_text);
}

static int
check_range(struct repo_backup *b, unsigned disk, uint64_t off, uint64_t len,
            struct err *err)
{
    const struct backup_disk *d;
    uint64_t mask;

    if (disk >= b->disk_count)
        return err_set(err, ERR_INVALID, "no disk number %u", disk);
    if (b->is_done)
        return err_set(err, ERR_INVALID, "the backup was committed");
    d = &b->disks[disk];
    mask = ((uint64_t)1 << d->out.chunk_log2) - 1;
    if (off > d->out.size || len > d->out.size - off)
        return err_set(err, ERR_INVALID, "disk %s: write beyond its end",
                       d->out.name);
    if (off < d->cursor)
        return err_set(err, ERR_INVALID,
                       "disk %s: offset %llu after %llu: writes must ascend",
                       d->out.name, (unsigned long long)off,
                       (unsigned long long)d->cursor);
    if (renew(b, err) < 0)
        return -1;
    if (len == 0)
        return 0;
    if ((off & mask) != 0 || ((len & mask) != 0 && off + len != d->out.size))
        return err_set(err, ERR_INVALID,
                       "disk %s: write at %llu is not of whole chunks",
                       d->out.name, (unsigned long long)off);
    return 0;
}

/* One chunk. Takes the buffer. */
static int
put_chunk(struct repo_backup *b, struct backup_disk *d, uint64_t off,
          uint8_t *buffer, size_t len, struct err *err)
{
    uint64_t chunk = off >> d->out.chunk_log2;
    struct backup_job job = { .slot = (unsigned)(chunk % TREE_FANOUT),
                              .log2 = d->out.chunk_log2,
                              .buffer = buffer,
                              .len = (uint32_t)len,
                              .is_whole = len == (size_t)1
                                                     << d->out.chunk_log2 };

    if (leaf_for(b, d, chunk / TREE_FANOUT, &job.leaf, err) < 0) {
        backup_work_buffer_put(b, job.log2, buffer);
        return -1;
    }
    d->cursor = off + len;
    backup_work_submit(b, &job);
    return 0;
}

int
repo_backup_buffer_get(struct repo_backup *b, unsigned disk,
                       uint8_t **ret_buffer, struct err *err)
{
    assert(disk < b->disk_count);
    return backup_work_buffer(b, b->disks[disk].out.chunk_log2, ret_buffer,
                              err);
}

void
repo_backup_buffer_put(struct repo_backup *b, unsigned disk, uint8_t *buffer)
{
    assert(disk < b->disk_count);
    backup_work_buffer_put(b, b->disks[disk].out.chunk_log2, buffer);
}

int
repo_backup_write_buffer(struct repo_backup *b, unsigned disk, uint64_t off,
                         uint8_t *buffer, size_t len, struct err *err)
{
    int rc = check_range(b, disk, off, len, err);

    if (rc == 0 && (len == 0 || len > repo_backup_chunk_size(b, disk)))
        rc = err_set(err, ERR_INVALID, "a buffer holds one chunk");
    if (rc < 0) {
        repo_backup_buffer_put(b, disk, buffer);
        return -1;
    }
    return put_chunk(b, &b->disks[disk], off, buffer, len, err);
}

int
repo_backup_write(struct repo_backup *b, unsigned disk, uint64_t off,
                  const void *data, size_t len, struct err *err)
{
    const uint8_t *p = data;

    if (check_range(b, disk, off, len, err) < 0)
        return -1;
    while (len > 0) {
        size_t chunk = repo_backup_chunk_size(b, disk);
        size_t n = len < chunk ? len : chunk;
        uint8_t *buffer = NULL;

        if (repo_backup_buffer_get(b, disk, &buffer, err) < 0)
            return -1;
        memcpy(buffer, p, n);
        if (put_chunk(b, &b->disks[disk], off, buffer, n, err) < 0)
            return -1;
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

/* ---- zeros ---- */

/* Chunks c to c1 within one leaf. */
static int
zero_in_leaf(struct repo_backup *b, struct backup_disk *d, uint64_t c,
             uint64_t c1, struct err *err)
{
    struct backup_leaf *leaf;
    bool is_changed = false;

    if (leaf_for(b, d, c / TREE_FANOUT, &leaf, err) < 0)
        return -1;
    /* No worker has these: offsets ascend. */
    for (; c < c1; c++) {
        struct tree_entry *e = &leaf->node.entries[c % TREE_FANOUT];

        if (e->type != TREE_ZERO) {
            memset(e, 0, sizeof *e);
            is_changed = true;
        }
    }
    if (is_changed)
        backup_work_mark_dirty(b, leaf);
    return 0;
}

/* The largest subtree that begins at chunk c and lies within c..c1 (or beyond
 * the disk's end): its level as an entry, and its chunks. 0 chunks: none. */
static uint64_t
whole_subtree(const struct backup_disk *d, uint64_t c, uint64_t c1,
              unsigned *ret_level)
{
    uint64_t best = 0, span = TREE_FANOUT;

    for (unsigned level = 0; level <= d->out.top_level; level++) {
        bool fits =
            c % span == 0 && (span <= c1 - c || c1 == view_chunks(&d->out));

        if (!fits)
            break;
        best = span;
        *ret_level = level;
        span *= TREE_FANOUT;
    }
    return best;
}

static int
zero_chunks(struct repo_backup *b, struct backup_disk *d, uint64_t c,
            uint64_t c1, struct err *err)
{
    while (c < c1) {
        unsigned level = 0;
        uint64_t n = whole_subtree(d, c, c1, &level);

        if (n == 0) {
            uint64_t end = (c / TREE_FANOUT + 1) * TREE_FANOUT;

            end = end < c1 ? end : c1;
            if (zero_in_leaf(b, d, c, end, err) < 0)
                return -1;
            c = end;
            continue;
        }
        if (close_all(b, d, err) < 0 ||
            builder_put_zero(d->builder, level, c / n, err) < 0)
            return -1;
        c = n < c1 - c ? c + n : c1;
    }
    return 0;
}

int
repo_backup_zero(struct repo_backup *b, unsigned disk, uint64_t off,
                 uint64_t len, struct err *err)
{
    struct backup_disk *d;
    uint64_t c, c1;

    if (check_range(b, disk, off, len, err) < 0)
        return -1;
    if (len == 0)
        return 0;
    d = &b->disks[disk];
    c = off >> d->out.chunk_log2;
    c1 = (off + len + ((uint64_t)1 << d->out.chunk_log2) - 1) >>
         d->out.chunk_log2;
    if (!builder_begins_zero(d->builder) && zero_chunks(b, d, c, c1, err) < 0)
        return -1;
    d->cursor = off + len;
    backup_work_note_zero(b, len);
    return backup_work_check(b, err);
}

/* ---- commit ---- */

/* The last chunk of a disk that shrank into it: cut it, so that growing the
 * disk again does not bring back what was behind the end. */
static int
cut_last_chunk(struct repo_backup *b, struct backup_disk *d, struct err *err)
{
    uint64_t chunk = (uint64_t)1 << d->out.chunk_log2;
    uint64_t off = d->out.size / chunk * chunk;
    size_t len = (size_t)(d->out.size - off);
    uint8_t *buffer = NULL;

    if (len == 0 || d->cursor > off)
        return 0;
    if (backup_work_buffer(b, d->out.chunk_log2, &buffer, err) < 0)
        return -1;
    if (repo_view_read(b->parent, d->parent_disk, off, buffer, len, err) < 0) {
        backup_work_buffer_put(b, d->out.chunk_log2, buffer);
        return err_wrap(err, "parent");
    }
    return put_chunk(b, d, off, buffer, len, err);
}

static int
finish_disk(struct repo_backup *b, struct backup_disk *d, struct err *err)
{
    struct backup_leaf *leaf;

    if (d->has_parent && d->out.size < d->parent_size && d->out.size > 0) {
        uint64_t last = (view_chunks(&d->out) - 1) / TREE_FANOUT;

        if (cut_last_chunk(b, d, err) < 0)
            return -1;
        /* Opening it cuts it; a zeroed one is closed and cut already. */
        if (d->cursor < d->out.size && leaf_for(b, d, last, &leaf, err) < 0)
            return -1;
    }
    if (close_all(b, d, err) < 0)
        return -1;
    return builder_finish(d->builder, &d->out.top, err);
}

static int
put_meta(struct repo_backup *b, const void *data, size_t len,
         struct tree_entry *ret, struct err *err)
{
    memset(ret, 0, sizeof *ret);
    if (len == 0)
        return 0;
    ret->type = TREE_REF;
    hash_hmac(&b->repo->keys.id, data, len, ret->id);
    return packer_add(b->meta, b->ctx, data, (uint32_t)len, ret->id, &ret->loc,
                      err);
}

static int
put_root(struct repo_backup *b, const void *metadata, size_t len,
         struct commitlog_commit *c, struct err *err)
{
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    CLEANUP(root_fini) struct root root = { 0 };
    CLEANUP(mem_free) const struct packset **packs = NULL;

    memcpy(root.repo_uuid, b->repo->uuid, 16);
    memcpy(root.id, c->id, 16);
    memcpy(root.parent, c->parent, 16);
    memcpy(root.object_uid, c->object_uid, sizeof root.object_uid);
    root.created_unix_s = c->created_unix_s;
    root.disk_count = b->disk_count;
    root.disks = xcalloc(b->disk_count + 1, sizeof *root.disks);
    packs = xcalloc(b->disk_count + 1, sizeof *packs);
    for (unsigned i = 0; i < b->disk_count; i++) {
        root.disks[i] = b->disks[i].out;
        packs[i] = builder_packs(b->disks[i].builder);
    }
    if (put_meta(b, metadata, len, &root.metadata, err) < 0 ||
        summary_store(b->meta, b->ctx, &b->repo->keys.id, packs, &root, err) <
            0)
        return -1;
    root_encode(&root, &bytes);
    return put_meta(b, bytes.data, bytes.len, &c->root, err);
}

/* Is every pack that was written still there? Somebody may have cleaned up.
 * Other objects lie there too: parity. */
static int
check_packs(struct repo_backup *b, struct packer *p, char kind, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    size_t want = packer_count(p), count = 0;
    struct pack_id id;
    char prefix[64];

    (void)snprintf(prefix, sizeof prefix, "%c/%s/", kind, b->id_text);
    if (blob_list(b->repo->blob, prefix, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++)
        count += pack_name_parse(n.names[i], &id) && id.n < want;
    if (count < want)
        return err_set(
            err, ERR_CORRUPT,
            "%zu of the %zu packs of %s are gone before the commit: somebody removed them",
            want - count, want, prefix);
    return 0;
}

/* Everything durable, then the COMMIT.
 *   errors  CONFLICT also if packs of others are not what they were */
static int
commit_once(struct repo_backup *b, const void *metadata, size_t len,
            struct commitlog_commit *c, struct err *err)
{
    CLEANUP(packset_fini) struct packset needed = { 0 };

    for (unsigned i = 0; i < b->disk_count; i++)
        packset_add_all(&needed, builder_packs(b->disks[i].builder));
    if (put_root(b, metadata, len, c, err) < 0 ||
        packer_finish(b->data, err) < 0 || packer_finish(b->meta, err) < 0 ||
        check_packs(b, b->data, 'p', err) < 0 ||
        check_packs(b, b->meta, 'm', err) < 0 ||
        blob_sync(b->repo->blob, err) < 0)
        return -1;
    c->stored_bytes = packer_stored(b->data) + packer_stored(b->meta);
    return commitlog_append_commit(b->repo->log, c, &needed, &b->fresh, err);
}

static int
commit(struct repo_backup *b, const void *metadata, size_t len,
       const char *object_uid, struct err *err)
{
    struct commitlog_commit c = { .created_unix_s = b->created_unix_s };
    struct err ignored;
    unsigned unlisted = 0;
    bool is_changed = true;
    int rc;

    memcpy(c.id, b->id, 16);
    if (b->parent != NULL)
        memcpy(c.parent, b->parent->root.id, 16);
    (void)snprintf(c.object_uid, sizeof c.object_uid, "%s", object_uid);
    for (unsigned i = 0; i < b->disk_count; i++) {
        if (finish_disk(b, &b->disks[i], err) < 0)
            return err_wrap(err, "disk %s", b->disks[i].out.name);
        c.logical_bytes += b->disks[i].out.size;
    }
    /* What cannot be listed now, `vmkeep repo index` lists. */
    segment_writer_finish(b->listed, &unlisted, &ignored);
    rc = commit_once(b, metadata, len, &c, err);
    for (unsigned i = 0; rc < 0 && err->code == ERR_CONFLICT && i < RESCUES;
         i++) {
        struct err cause;

        if (rescue_run(b, &is_changed, &cause) < 0) {
            *err = cause;
            return -1;
        }
        if (!is_changed)
            break; /* it was something else */
        rc = commit_once(b, metadata, len, &c, err);
    }
    return rc;
}

int
repo_backup_commit(struct repo_backup *b, const void *metadata, size_t len,
                   const char *object_uid, struct err *err)
{
    if (b->is_done)
        return err_set(err, ERR_INVALID, "the backup was committed");
    if (len > REPO_METADATA_MAX)
        return err_set(err, ERR_INVALID, "metadata of more than %zu bytes",
                       REPO_METADATA_MAX);
    if (object_uid == NULL)
        object_uid = "";
    if (!root_uid_is_valid(object_uid))
        return err_set(err, ERR_INVALID,
                       "the object UID is at most %d printable characters",
                       REPO_UID_MAX);
    b->is_done = true; /* even if it fails: it may have arrived */
    if (commit(b, metadata, len, object_uid, err) < 0)
        return err_wrap(err, "backup %s", b->id_text);
    b->is_committed = true;
    if (segment_writer_sums_get(b->listed).segments > 0)
        repo_index_tidy(b->repo);
    return 0;
}
