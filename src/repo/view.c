/* SPDX-License-Identifier: Apache-2.0 */
/* A node is found from the root downwards; the last few are cached, so a
 * sequential walk reads each once. Random reads keep the last few chunks.
 */
#include "repo/view.h"

#include <string.h>

#include "base/mem.h"
#include "codec/le.h"
#include "repo/repo-id.h"

static void lock(struct repo_view *v) ACQUIRE(view_lock);
static void unlock(struct repo_view *v) RELEASE(view_lock);

static void NO_TSA
lock(struct repo_view *v)
{
    pthread_mutex_lock(&v->mutex);
}

static void NO_TSA
unlock(struct repo_view *v)
{
    pthread_mutex_unlock(&v->mutex);
}

uint64_t
view_chunks(const struct root_disk *d)
{
    return (d->size + ((uint64_t)1 << d->chunk_log2) - 1) >> d->chunk_log2;
}

uint32_t
view_span(const struct root_disk *d, uint64_t chunk)
{
    uint64_t size = (uint64_t)1 << d->chunk_log2;
    uint64_t left = d->size - chunk * size;

    return (uint32_t)(left < size ? left : size);
}

/* ---- frames -------------------------------------------------------------- */

int
view_mend_frame(struct repo_view *v, struct frame_ctx *ctx,
                enum frame_kind kind, const struct frame_loc *loc,
                const uint8_t id[HASH_SIZE], uint8_t *out, struct err *err)
{
    struct frame_loc at = *loc;
    bool moved = false;
    struct err why;

    if (pack_reader_frame(v->repo->packs, ctx, kind, loc, id, out, err) == 0)
        return 0;
    if (!blob_is_lost(err) ||
        redirect_resolve(v->repo->moves, kind, &at, &moved, &why) < 0)
        return -1;
    if (mend_frame(v->mend, ctx, kind, &at, id, out, &why) == 0)
        return 0;
    if (mend_may_come(&why))
        *err = why;
    return -1;
}

unsigned
repo_view_mended(struct repo_view *v)
{
    return mend_packs(v->mend);
}

/* ---- open --------------------------------------------------------------- */

static int
load_root(struct repo_view *v, const struct commitlog_commit *c,
          struct err *err)
{
    struct frame_ctx *ctx = repo_private_ctx_take(v->repo);
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, c->root.loc.ulen);
    int rc = view_mend_frame(v, ctx, FRAME_META, &c->root.loc, c->root.id, data,
                             err);

    repo_private_ctx_put(v->repo, ctx);
    if (rc < 0 || root_decode(data, c->root.loc.ulen, &v->root, err) < 0)
        return -1;
    if (memcmp(v->root.id, c->id, 16) != 0 ||
        memcmp(v->root.repo_uuid, v->repo->uuid, 16) != 0)
        return err_set(err, ERR_CORRUPT, "the root is that of another backup");
    return 0;
}

int NO_TSA
view_open_commit(struct repo *repo, const struct commitlog_commit *c,
                 struct repo_view **ret_view, struct err *err)
{
    CLEANUP(repo_view_close) struct repo_view *v = xcalloc(1, sizeof *v);

    v->repo = repo;
    v->mend = mend_new(repo);
    repo_id_random(v->pin);
    renew_set(&v->renew, VIEW_PIN_S);
    repo_id_format(c->id, v->id);
    pthread_mutex_init(&v->mutex, NULL);
    if (load_root(v, c, err) < 0)
        return err_wrap(err, "backup %s: root", v->id);
    *ret_view = TAKE(v);
    return 0;
}

int
repo_view_open(struct repo *repo, const char *backup_id,
               struct repo_view **ret_view, struct err *err)
{
    struct commitlog_backup b;
    uint8_t id[16];

    if (repo_private_need_key(repo, err) < 0)
        return -1;
    if (!repo_id_parse(backup_id, id))
        return err_set(err, ERR_NOT_FOUND, "backup %.60s: no such backup",
                       backup_id);
    if (commitlog_find(repo->log, id, &b, err) < 0 ||
        redirect_update(repo->moves, false, err) < 0)
        return -1;
    return view_open_commit(repo, &b.commit, ret_view, err);
}

/* ---- pin ---- */

/* It is read, from now on or still. */
static int
pin(struct repo_view *v, struct err *err)
{
    int rc = commitlog_append_pin(v->repo->log, v->pin, v->root.id, err);

    lock(v);
    if (rc == 0)
        v->is_pinned = true;
    renew_set(&v->renew, rc == 0 ? RENEW_S : RENEW_RETRY_S);
    unlock(v);
    return rc;
}

int
repo_view_pin(struct repo_view *v, struct err *err)
{
    struct err ignored;
    bool is_pinned;

    lock(v);
    is_pinned = v->is_pinned;
    unlock(v);
    if (is_pinned || repo_private_need_write(v->repo, &ignored) < 0)
        return 0;
    if (pin(v, err) == 0 || err->code != ERR_NOT_FOUND)
        return 0; /* or keep() tries again */
    return err_wrap(err, "backup %s", v->id);
}

/* Who reads for long says so, and again each day. What cannot be said now is
 * tried again. */
static void
keep(struct repo_view *v)
{
    struct err ignored;
    bool is_due;

    lock(v);
    is_due = !v->is_kept && renew_is_due(&v->renew);
    if (is_due)
        renew_set(&v->renew, RENEW_RETRY_S); /* nobody else does it */
    unlock(v);
    if (is_due && repo_private_need_write(v->repo, &ignored) == 0)
        (void)!pin(v, &ignored);
}

static void NO_TSA
unpin(struct repo_view *v)
{
    struct err ignored;

    if (v->is_pinned)
        (void)!commitlog_append_pin(v->repo->log, v->pin, NULL, &ignored);
}

void NO_TSA
repo_view_close(struct repo_view *v)
{
    if (v == NULL)
        return;
    unpin(v);
    for (unsigned i = 0; i < VIEW_NODES; i++)
        free(v->nodes[i].node);
    for (unsigned i = 0; i < VIEW_CHUNKS; i++)
        free(v->chunks[i].data);
    root_fini(&v->root);
    mend_free(v->mend);
    pthread_mutex_destroy(&v->mutex);
    free(v);
}

unsigned
repo_view_disk_count(const struct repo_view *v)
{
    return v->root.disk_count;
}

struct repo_disk
repo_view_disk(const struct repo_view *v, unsigned disk)
{
    const struct root_disk *d = &v->root.disks[disk];

    return (struct repo_disk){ .name = d->name,
                               .size = d->size,
                               .chunk_size = (uint64_t)1 << d->chunk_log2 };
}

int
repo_view_find_disk(const struct repo_view *v, const char *name,
                    unsigned *ret_disk, struct err *err)
{
    for (unsigned i = 0; i < v->root.disk_count; i++)
        if (strcmp(v->root.disks[i].name, name) == 0) {
            *ret_disk = i;
            return 0;
        }
    return err_set(err, ERR_NOT_FOUND, "backup %s: no disk \"%.64s\"", v->id,
                   name);
}

const char *
repo_view_uid(const struct repo_view *v)
{
    return v->root.object_uid;
}

int
repo_view_metadata(struct repo_view *v, void **ret_data, size_t *ret_len,
                   struct err *err)
{
    const struct tree_entry *m = &v->root.metadata;
    struct frame_ctx *ctx;
    uint8_t *data;
    int rc;

    if (m->type == TREE_ZERO) {
        *ret_data = NULL;
        *ret_len = 0;
        return 0;
    }
    data = xcalloc(1, m->loc.ulen);
    ctx = repo_private_ctx_take(v->repo);
    rc = view_mend_frame(v, ctx, FRAME_META, &m->loc, m->id, data, err);
    repo_private_ctx_put(v->repo, ctx);
    if (rc < 0) {
        free(data);
        return err_wrap(err, "backup %s: metadata", v->id);
    }
    *ret_data = data;
    *ret_len = m->loc.ulen;
    return 0;
}

/* ---- nodes -------------------------------------------------------------- */

static bool
node_find_locked(struct repo_view *v, unsigned disk, unsigned level,
                 uint64_t idx, struct tree_node *ret) REQUIRES(view_lock)
{
    for (unsigned i = 0; i < VIEW_NODES; i++) {
        struct view_node_slot *s = &v->nodes[i];

        if (s->used != 0 && s->disk == disk && s->idx == idx &&
            s->node->level == level) {
            s->used = ++v->clock;
            *ret = *s->node;
            return true;
        }
    }
    return false;
}

static void
node_keep_locked(struct repo_view *v, unsigned disk, uint64_t idx,
                 const struct tree_node *node) REQUIRES(view_lock)
{
    struct view_node_slot *s = &v->nodes[0];

    for (unsigned i = 1; i < VIEW_NODES; i++)
        if (v->nodes[i].used < s->used)
            s = &v->nodes[i];
    if (s->node == NULL)
        s->node = xcalloc(1, sizeof *s->node);
    *s->node = *node;
    s->disk = disk;
    s->idx = idx;
    s->used = ++v->clock;
}

int
view_entry(struct repo_view *v, unsigned disk, unsigned level, uint64_t idx,
           struct tree_entry *ret, struct err *err)
{
    const struct root_disk *d = &v->root.disks[disk];
    CLEANUP(mem_free) struct tree_node *up = NULL;
    bool found = false;

    if (level >= d->top_level) {
        *ret = level == d->top_level && idx == 0
                   ? d->top
                   : (struct tree_entry){ .type = TREE_ZERO };
        return 0;
    }
    up = xcalloc(1, sizeof *up);
    if (view_node(v, disk, level + 1, idx / TREE_FANOUT, up, &found, err) < 0)
        return -1;
    *ret = found ? up->entries[idx % TREE_FANOUT]
                 : (struct tree_entry){ .type = TREE_ZERO };
    return 0;
}

static int
load_node(struct repo_view *v, const struct tree_entry *e, unsigned level,
          struct tree_node *ret, struct err *err)
{
    uint8_t data[TREE_NODE_MAX];
    struct frame_ctx *ctx;
    int rc;

    if (e->loc.ulen > sizeof data)
        return err_set(err, ERR_CORRUPT, "node too long");
    ctx = repo_private_ctx_take(v->repo);
    rc = view_mend_frame(v, ctx, FRAME_META, &e->loc, e->id, data, err);
    repo_private_ctx_put(v->repo, ctx);
    return rc < 0 ? -1 : tree_decode(data, e->loc.ulen, level, ret, err);
}

/* A leaf's chunks have at most the chunk's size. */
static int
check_leaf(const struct root_disk *d, const struct tree_node *n,
           struct err *err)
{
    for (unsigned i = 0; n->level == 0 && i < n->count; i++)
        if (n->entries[i].type == TREE_REF &&
            n->entries[i].loc.ulen > (uint32_t)1 << d->chunk_log2)
            return err_set(err, ERR_CORRUPT, "leaf: chunk too long");
    return 0;
}

int
view_node(struct repo_view *v, unsigned disk, unsigned level, uint64_t idx,
          struct tree_node *ret, bool *ret_found, struct err *err)
{
    struct tree_entry e;
    bool is_cached;

    keep(v);
    lock(v);
    is_cached = node_find_locked(v, disk, level, idx, ret);
    unlock(v);
    *ret_found = is_cached;
    if (is_cached)
        return 0;
    if (view_entry(v, disk, level, idx, &e, err) < 0)
        return -1;
    if (e.type != TREE_REF)
        return 0;
    if (load_node(v, &e, level, ret, err) < 0 ||
        check_leaf(&v->root.disks[disk], ret, err) < 0)
        return err_wrap(err, "backup %s: disk %s: node %u/%llu", v->id,
                        v->root.disks[disk].name, level,
                        (unsigned long long)idx);
    lock(v);
    node_keep_locked(v, disk, idx, ret);
    unlock(v);
    *ret_found = true;
    return 0;
}

/* ---- reading ------------------------------------------------------------ */

static bool
chunk_find_locked(struct repo_view *v, const struct tree_entry *e, uint32_t off,
                  void *data, size_t len) REQUIRES(view_lock)
{
    for (unsigned i = 0; i < VIEW_CHUNKS; i++) {
        struct view_chunk_slot *s = &v->chunks[i];

        if (s->used != 0 && s->len == e->loc.ulen &&
            memcmp(s->id, e->id, HASH_SIZE) == 0) {
            s->used = ++v->clock;
            memcpy(data, s->data + off, len);
            return true;
        }
    }
    return false;
}

/* Takes `data`. */
static void
chunk_keep_locked(struct repo_view *v, const struct tree_entry *e,
                  uint8_t *data) REQUIRES(view_lock)
{
    struct view_chunk_slot *s = &v->chunks[0];

    for (unsigned i = 1; i < VIEW_CHUNKS; i++)
        if (v->chunks[i].used < s->used)
            s = &v->chunks[i];
    free(s->data);
    s->data = data;
    s->len = e->loc.ulen;
    memcpy(s->id, e->id, HASH_SIZE);
    s->used = ++v->clock;
}

/* `len` bytes at `off`, both within the frame. */
static int
read_ref(struct repo_view *v, const struct tree_entry *e, uint32_t off,
         void *data, size_t len, struct err *err)
{
    struct frame_ctx *ctx;
    uint8_t *plain;
    bool is_cached;
    int rc;

    lock(v);
    is_cached = chunk_find_locked(v, e, off, data, len);
    unlock(v);
    if (is_cached)
        return 0;
    plain = xcalloc(1, e->loc.ulen);
    ctx = repo_private_ctx_take(v->repo);
    rc = view_mend_frame(v, ctx, FRAME_DATA, &e->loc, e->id, plain, err);
    repo_private_ctx_put(v->repo, ctx);
    if (rc < 0) {
        free(plain);
        return -1;
    }
    memcpy(data, plain + off, len);
    lock(v);
    chunk_keep_locked(v, e, plain);
    unlock(v);
    return 0;
}

static int
read_entry(struct repo_view *v, const struct tree_entry *e, uint32_t off,
           uint8_t *data, size_t len, struct err *err)
{
    size_t have = 0;

    if (e->type == TREE_REF && off < e->loc.ulen) {
        have = e->loc.ulen - off < len ? e->loc.ulen - off : len;
        if (read_ref(v, e, off, data, have, err) < 0)
            return -1;
    }
    if (e->type == TREE_PATTERN)
        for (; have < len; have++)
            data[have] = e->pattern[(off + have) % sizeof e->pattern];
    memset(data + have, 0, len - have);
    return 0;
}

static int
check_range(const struct repo_view *v, unsigned disk, uint64_t off,
            uint64_t len, struct err *err)
{
    if (disk >= v->root.disk_count)
        return err_set(err, ERR_INVALID, "backup %s: no disk number %u", v->id,
                       disk);
    if (off > v->root.disks[disk].size || len > v->root.disks[disk].size - off)
        return err_set(err, ERR_INVALID,
                       "backup %s: disk %s: range beyond its end", v->id,
                       v->root.disks[disk].name);
    return 0;
}

int
repo_view_read(struct repo_view *v, unsigned disk, uint64_t off, void *data,
               size_t len, struct err *err)
{
    CLEANUP(mem_free) struct tree_node *leaf = NULL;
    uint8_t *out = data;
    uint64_t chunk_size, have_leaf = UINT64_MAX;
    bool found = false;

    if (repo_private_need_read(v->repo, err) < 0 ||
        check_range(v, disk, off, len, err) < 0)
        return -1;
    chunk_size = (uint64_t)1 << v->root.disks[disk].chunk_log2;
    leaf = xcalloc(1, sizeof *leaf);
    while (len > 0) {
        uint64_t chunk = off / chunk_size, in = off % chunk_size;
        size_t n = chunk_size - in < len ? (size_t)(chunk_size - in) : len;

        if (chunk / TREE_FANOUT != have_leaf) {
            have_leaf = chunk / TREE_FANOUT;
            if (view_node(v, disk, 0, have_leaf, leaf, &found, err) < 0)
                return -1;
        }
        if (!found)
            memset(out, 0, n);
        else if (read_entry(v, &leaf->entries[chunk % TREE_FANOUT],
                            (uint32_t)in, out, n, err) < 0)
            return err_wrap(err, "backup %s: disk %s: offset %llu", v->id,
                            v->root.disks[disk].name, (unsigned long long)off);
        out += n;
        off += n;
        len -= n;
    }
    return 0;
}

static bool
is_entry(const struct repo *repo, const struct tree_entry *e,
         const uint8_t *data, size_t len)
{
    uint8_t id[HASH_SIZE];

    if (e->type == TREE_PATTERN) {
        for (size_t i = 0; i < len; i++)
            if (data[i] != e->pattern[i % sizeof e->pattern])
                return false;
        return true;
    }
    if (e->type == TREE_ZERO)
        return le_is_zero(data, len);
    if (e->loc.ulen > len)
        return false;
    hash_hmac(&repo->keys.id, data, e->loc.ulen, id);
    return hash_is_equal(id, e->id) &&
           le_is_zero(data + e->loc.ulen, len - e->loc.ulen);
}

int
repo_view_is_chunk(struct repo_view *v, unsigned disk, uint64_t off,
                   const void *data, bool *ret_is, struct err *err)
{
    CLEANUP(mem_free) struct tree_node *leaf = xcalloc(1, sizeof *leaf);
    struct tree_entry zero = { .type = TREE_ZERO };
    uint64_t size, chunk;
    bool found = false;

    if (check_range(v, disk, off, 1, err) < 0)
        return -1;
    size = (uint64_t)1 << v->root.disks[disk].chunk_log2;
    if (off % size != 0 || size > v->root.disks[disk].size - off)
        return err_set(err, ERR_INVALID, "no whole chunk is at %llu",
                       (unsigned long long)off);
    chunk = off / size;
    if (view_node(v, disk, 0, chunk / TREE_FANOUT, leaf, &found, err) < 0)
        return -1;
    *ret_is =
        is_entry(v->repo, found ? &leaf->entries[chunk % TREE_FANOUT] : &zero,
                 data, size);
    return 0;
}

/* ---- extents ---- */

/* What a disk is compared with. */
struct other_disk {
    struct repo_view *view;
    unsigned disk;
};

/* Is chunk `c` of interest, and how many chunks from it on (at least one, at
 * most to the end of the subtree) say the same for certain? With `other`, of
 * interest is what differs from it. */
static int
look(struct repo_view *v, unsigned disk, const struct other_disk *other,
     uint64_t c, bool *ret_is, uint64_t *ret_run, struct err *err)
{
    unsigned top = v->root.disks[disk].top_level;

    for (unsigned level = top;; level--) {
        uint64_t span = 1, idx;
        struct tree_entry a, b = { .type = TREE_ZERO };
        unsigned entry_level = level; /* entry of node (level, idx) */

        for (unsigned i = 0; i <= level; i++)
            span *= TREE_FANOUT;
        idx = c / span;
        if (view_entry(v, disk, entry_level, idx, &a, err) < 0 ||
            (other != NULL && view_entry(other->view, other->disk, entry_level,
                                         idx, &b, err) < 0))
            return -1;
        if (tree_entry_is_equal(&a, &b)) {
            *ret_is = false;
            *ret_run = span - c % span;
            return 0;
        }
        if (level == 0)
            break;
    }
    {
        CLEANUP(mem_free) struct tree_node *na = xcalloc(1, sizeof *na);
        CLEANUP(mem_free) struct tree_node *nb = xcalloc(1, sizeof *nb);
        bool fa = false, fb = false;
        unsigned i = c % TREE_FANOUT;
        bool is;

        if (view_node(v, disk, 0, c / TREE_FANOUT, na, &fa, err) < 0 ||
            (other != NULL && view_node(other->view, other->disk, 0,
                                        c / TREE_FANOUT, nb, &fb, err) < 0))
            return -1;
        if (!fa)
            memset(na, 0, sizeof *na);
        if (!fb)
            memset(nb, 0, sizeof *nb);
        is = !tree_entry_is_equal(&na->entries[i], &nb->entries[i]);
        *ret_run = 0;
        while (i < TREE_FANOUT &&
               is == !tree_entry_is_equal(&na->entries[i], &nb->entries[i])) {
            i++;
            (*ret_run)++;
        }
        *ret_is = is;
    }
    return 0;
}

static int
extent(struct repo_view *v, unsigned disk, const struct other_disk *other,
       uint64_t off, uint64_t max, enum repo_extent_kind *ret_kind,
       uint64_t *ret_len, struct err *err)
{
    const struct root_disk *d;
    uint64_t c, end, limit;
    bool is = false, is_next = false;

    if (check_range(v, disk, off, 1, err) < 0)
        return -1;
    d = &v->root.disks[disk];
    limit = d->size - off < max ? d->size : off + max;
    c = off >> d->chunk_log2;
    end = off;
    while (end < limit) {
        uint64_t run = 0;

        if (look(v, disk, other, c, &is_next, &run, err) < 0)
            return -1;
        if (end == off)
            is = is_next;
        if (is_next != is)
            break;
        c += run;
        end = c << d->chunk_log2;
        if (c >= view_chunks(d))
            end = d->size;
    }
    *ret_kind = is ? REPO_EXTENT_DATA : REPO_EXTENT_ZERO;
    *ret_len = (end < limit ? end : limit) - off;
    return 0;
}

int
repo_view_extent(struct repo_view *v, unsigned disk, uint64_t off, uint64_t max,
                 enum repo_extent_kind *ret_kind, uint64_t *ret_len,
                 struct err *err)
{
    return extent(v, disk, NULL, off, max, ret_kind, ret_len, err);
}

int
repo_view_diff(struct repo_view *v, struct repo_view *other, unsigned disk,
               uint64_t off, uint64_t max, enum repo_extent_kind *ret_kind,
               uint64_t *ret_len, struct err *err)
{
    const struct root_disk *d, *o;
    struct other_disk with = { .view = other };

    if (check_range(v, disk, off, 1, err) < 0)
        return -1;
    d = &v->root.disks[disk];
    if (repo_view_find_disk(other, d->name, &with.disk, err) < 0)
        return -1;
    o = &other->root.disks[with.disk];
    /* Trees of different shape: everything may differ. */
    if (o->chunk_log2 != d->chunk_log2 || o->size != d->size) {
        *ret_kind = REPO_EXTENT_DATA;
        *ret_len = d->size - off < max ? d->size - off : max;
        return 0;
    }
    return extent(v, disk, &with, off, max, ret_kind, ret_len, err);
}
