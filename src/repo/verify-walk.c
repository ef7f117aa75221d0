/* SPDX-License-Identifier: Apache-2.0 */
/* Every backup is walked from its root. Backups share most of their nodes, so
 * a node is read once, and how many bytes below it are lost is remembered
 * under its place and id. A reference is good when its pack is not damaged
 * there and, at the deepest level, when the pack's footer has that id at that
 * place: the frame itself was compared with the footer when the pack was read.
 */
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "repo/copies.h"
#include "repo/packset.h"
#include "repo/repo-id.h"
#include "repo/summary-check.h"
#include "repo/verify.h"
#include "repo/view.h"

#define FOOTERS       32
#define NODE_KEY_SIZE 160

struct footer {
    struct pack_id pack;
    uint64_t used;    /* 0: empty */
    bool is_readable; /* else no reference into it is good */
    struct pack_footer_entry *entries;
    uint32_t count;
};

struct walk {
    struct verify *v;
    struct map *lost; /* by place, id and end of a node: uint64_t * */
    struct summary_check *summaries;
    struct footer footers[FOOTERS];
    uint64_t clock;
    struct frame_ctx *ctx;
    struct repo_view *view; /* the backup being walked */
    unsigned disk;
};

static bool
is_damage(const struct err *err)
{
    return blob_is_lost(err) || err->code == ERR_UNSUPPORTED;
}

/* ---- footers ---- */

static int
read_range(struct walk *w, const char *name, uint64_t off, uint8_t *data,
           size_t len, struct err *err)
{
    size_t n = 0;

    if (blob_get(w->v->repo->blob, name, off, data, len, &n, err) < 0)
        return -1;
    return n == len ? 0 : err_set(err, ERR_CORRUPT, "%s: cut short", name);
}

static int
read_footer(struct walk *w, struct footer *f, const char *name,
            struct pack_head *head, struct err *err)
{
    CLEANUP(mem_free) uint8_t *raw = NULL;
    CLEANUP(mem_free) uint8_t *plain = NULL;
    uint8_t end[PACK_TRAILER_SIZE];
    struct pack_trailer t;
    struct frame_header h;
    uint64_t size;

    if (blob_size(w->v->repo->blob, name, &size, err) < 0)
        return -1;
    if (size < sizeof end)
        return err_set(err, ERR_CORRUPT, "%s: cut short", name);
    if (read_range(w, name, size - sizeof end, end, sizeof end, err) < 0 ||
        pack_trailer_decode(&f->pack, end, size, &t, err) < 0)
        return -1;
    raw = mem_try(t.footer_len, "pack footer", err);
    if (raw == NULL ||
        read_range(w, name, t.footer_off, raw, t.footer_len, err) < 0 ||
        frame_header_decode(raw, t.footer_len, head->origins[0].is_encrypted,
                            &h, err) < 0)
        return -1;
    plain = mem_try((size_t)h.ulen + 1, "pack footer", err);
    if (plain == NULL ||
        frame_open(w->ctx, &head->origins[head->origin_count], 1, raw,
                   t.footer_len, plain, h.ulen, err) < 0)
        return -1;
    return pack_footer_decode(plain, h.ulen, &f->entries, &f->count, err);
}

static int
load_footer(struct walk *w, struct footer *f, struct err *err)
{
    struct pack_reader *packs = w->v->repo->packs;
    struct pack_head *head = NULL;
    char name[PACK_NAME_SIZE];
    int rc;

    pack_name(&f->pack, name);
    if (pack_reader_head(packs, &f->pack, &head, err) < 0)
        return -1;
    rc = read_footer(w, f, name, head, err);
    pack_reader_unref(packs, head);
    return rc;
}

/* The footer of a pack; loaded if need be, and then damage is reported. */
static int
footer_of(struct walk *w, const struct pack_id *pack, struct footer **ret,
          struct err *err)
{
    struct footer *f = &w->footers[0];

    for (unsigned i = 0; i < FOOTERS; i++) {
        struct footer *g = &w->footers[i];

        if (g->used != 0 && packset_compare(&g->pack, pack) == 0) {
            g->used = ++w->clock;
            *ret = g;
            return 0;
        }
        if (g->used < f->used)
            f = g;
    }
    free(f->entries);
    *f = (struct footer){ .pack = *pack, .used = ++w->clock };
    f->is_readable = load_footer(w, f, err) == 0;
    if (!f->is_readable && !is_damage(err))
        return -1;
    if (!f->is_readable &&
        verify_state_of(w->v, pack, 0, UINT64_MAX) == VERIFY_GOOD)
        verify_damage_pack(
            w->v, pack, err->code == ERR_NOT_FOUND ? "is missing" : err->msg);
    *ret = f;
    return 0;
}

static bool
footer_has(const struct footer *f, const struct tree_entry *e)
{
    uint32_t lo = 0, hi = f->count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (f->entries[mid].off8 < e->loc.off8)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < f->count && f->entries[lo].off8 == e->loc.off8 &&
           memcmp(f->entries[lo].id, e->id, HASH_SIZE) == 0;
}

/* ---- the walk ---- */

static struct pack_id
pack_of(const struct tree_entry *e, enum frame_kind kind)
{
    struct pack_id id = { .kind = kind, .n = e->loc.n };

    memcpy(id.session, e->loc.session, 16);
    return id;
}

/* The last word: read the frame. */
static int
try_chunk(struct walk *w, const struct tree_entry *e, bool *ret,
          struct err *err)
{
    CLEANUP(mem_free) uint8_t *plain = xcalloc(1, e->loc.ulen);
    int rc = pack_reader_frame(w->v->repo->packs, w->ctx, FRAME_DATA, &e->loc,
                               e->id, plain, err);

    /* What our key does not open is not lost, as far as we can tell. */
    *ret = rc == 0 ||
           (err->code == ERR_DENIED && !keys_can_read(&w->v->repo->keys));
    return *ret || is_damage(err) ? 0 : -1;
}

static int
look_at_chunk(struct walk *w, const struct tree_entry *said, bool *ret,
              struct err *err)
{
    struct tree_entry there = *said;
    const struct tree_entry *e = &there;
    enum verify_state state;
    struct pack_id pack;
    struct footer *f;
    uint64_t end8;
    bool moved;

    if (redirect_resolve(w->v->repo->moves, FRAME_DATA, &there.loc, &moved,
                         err) < 0) {
        *ret = false;
        return is_damage(err) ? 0 : -1;
    }
    pack = pack_of(e, FRAME_DATA);
    *ret = verify_is_repairable(w->v, &pack);
    if (*ret)
        return 0;
    end8 = (uint64_t)e->loc.off8 + e->loc.flen / 8;
    state = verify_state_of(w->v, &pack, e->loc.off8, end8);
    *ret = state != VERIFY_BAD;
    if (state == VERIFY_UNSURE)
        return try_chunk(w, e, ret, err);
    if (!*ret || w->v->level < REPO_VERIFY_TREES)
        return 0;
    if (footer_of(w, &pack, &f, err) < 0)
        return -1;
    if (!f->is_readable)
        return try_chunk(w, e, ret, err);
    *ret = footer_has(f, e);
    if (!*ret) {
        char cause[80];

        (void)snprintf(cause, sizeof cause,
                       "frame at %llu: a backup needs it, the footer lacks it",
                       (unsigned long long)e->loc.off8 * 8);
        verify_damage_part(w->v, &pack, e->loc.off8, end8, cause);
    }
    return 0;
}

/* A newer version wrote it: of no use here, but nothing is wrong with it. */
static bool
is_newer(struct walk *w, const struct tree_entry *e)
{
    CLEANUP(mem_free) uint8_t *plain = xcalloc(1, e->loc.ulen);
    struct err err = { 0 };

    return pack_reader_frame(w->v->repo->packs, w->ctx, FRAME_DATA, &e->loc,
                             e->id, plain, &err) < 0 &&
           err.code == ERR_UNSUPPORTED;
}

/* A bad one may have a copy that is as good: then the backup is whole. */
static int
is_chunk_good(struct walk *w, const struct tree_entry *e, bool *ret,
              struct err *err)
{
    struct tree_entry there = *e;
    struct frame_loc copy;
    struct pack_id pack;
    bool moved;

    if (look_at_chunk(w, e, ret, err) < 0)
        return -1;
    if (*ret)
        return 0;
    if (redirect_resolve(w->v->repo->moves, FRAME_DATA, &there.loc, &moved,
                         err) < 0)
        there = *e;
    pack = pack_of(&there, FRAME_DATA);
    if (is_newer(w, &there))
        return 0;
    verify_bad_frame(w->v, &pack, there.loc.off8, e->id);
    if (copies_find(w->v->repo, FRAME_DATA, &there.loc, &copy))
        return try_chunk(w, e, ret, err);
    return 0;
}

/* The part of the disk below node (level, idx). */
static uint64_t
bytes_below(const struct root_disk *d, unsigned level, uint64_t idx)
{
    uint64_t span = (uint64_t)1 << d->chunk_log2, off;

    for (unsigned i = 0; i <= level; i++)
        span *= TREE_FANOUT;
    off = idx * span;
    if (off >= d->size)
        return 0;
    return d->size - off < span ? d->size - off : span;
}

static int walk_node(struct walk *w, unsigned level, uint64_t idx,
                     const struct tree_entry *e, uint64_t *ret_lost,
                     struct err *err);

static int
walk_children(struct walk *w, const struct tree_node *n, uint64_t idx,
              uint64_t *ret_lost, struct err *err)
{
    const struct root_disk *d = &w->view->root.disks[w->disk];

    for (unsigned i = 0; i < n->count; i++) {
        uint64_t child = idx * TREE_FANOUT + i, lost = 0;
        bool is_good = true;

        if (n->entries[i].type != TREE_REF)
            continue;
        if (n->level > 0) {
            if (walk_node(w, n->level - 1, child, &n->entries[i], &lost, err) <
                0)
                return -1;
        } else if (is_chunk_good(w, &n->entries[i], &is_good, err) < 0) {
            return -1;
        }
        if (!is_good && child < view_chunks(d))
            lost = view_span(d, child);
        *ret_lost += lost;
    }
    return 0;
}

static int
load_and_walk(struct walk *w, unsigned level, uint64_t idx,
              const struct tree_entry *e, uint64_t *ret_lost, struct err *err)
{
    CLEANUP(mem_free) struct tree_node *n = xcalloc(1, sizeof *n);
    struct tree_entry there = *e;
    struct pack_id pack;
    struct err look_err;
    bool found = false, moved;

    if (view_node(w->view, w->disk, level, idx, n, &found, err) == 0)
        return walk_children(w, n, idx, ret_lost, err);
    if (!is_damage(err))
        return -1;
    if (redirect_resolve(w->v->repo->moves, FRAME_META, &there.loc, &moved,
                         &look_err) < 0)
        there = *e; /* the map is damaged: the old place tells which */
    pack = pack_of(&there, FRAME_META);
    if (verify_state_of(w->v, &pack, there.loc.off8,
                        (uint64_t)there.loc.off8 + 1) == VERIFY_GOOD)
        verify_damage_part(w->v, &pack, there.loc.off8,
                           (uint64_t)there.loc.off8 + there.loc.flen / 8,
                           err->msg);
    if (err->code != ERR_UNSUPPORTED) /* a newer version wrote it */
        verify_bad_frame(w->v, &pack, there.loc.off8, e->id);
    *ret_lost = bytes_below(&w->view->root.disks[w->disk], level, idx);
    return 0;
}

/* By its place, because the same node may lie in several and be damaged in
 * one; and by its id, because who wants another one there finds none. What is
 * below depends on the disk's end too, for the last node. */
static void
node_key(const struct walk *w, unsigned level, uint64_t idx,
         const struct tree_entry *e, char key[NODE_KEY_SIZE])
{
    char session[UUID_STR_SIZE], id[UUID_STR_SIZE];

    repo_id_format(e->loc.session, session);
    repo_id_format(e->id, id); /* its first half is enough */
    (void)snprintf(key, NODE_KEY_SIZE, "%s/%u/%u/%u/%llu/%s", session, e->loc.n,
                   e->loc.off8, level,
                   (unsigned long long)bytes_below(
                       &w->view->root.disks[w->disk], level, idx),
                   id);
}

/* NOLINTNEXTLINE(misc-no-recursion): at most TREE_LEVEL_MAX deep */
static int
walk_node(struct walk *w, unsigned level, uint64_t idx,
          const struct tree_entry *e, uint64_t *ret_lost, struct err *err)
{
    char key[NODE_KEY_SIZE];
    uint64_t *known;

    node_key(w, level, idx, e, key);
    known = map_get(w->lost, key);
    if (known != NULL) {
        *ret_lost += *known;
        return 0;
    }
    known = xcalloc(1, sizeof *known);
    (void)map_put(w->lost, key, known);
    if (load_and_walk(w, level, idx, e, known, err) < 0)
        return -1;
    *ret_lost += *known;
    return 0;
}

static void
affected(struct walk *w, const struct repo_entry *entry, const char *disk,
         uint64_t lost)
{
    if (w->v->sink->affected != NULL)
        w->v->sink->affected(w->v->sink->arg, entry, disk, lost);
}

struct loss {
    struct repo_entry entry;
    char disk[REPO_DISK_NAME_MAX + 1]; /* "": the whole backup */
    uint64_t bytes;
};

static void
note_loss(struct loss **losses, size_t *count, const struct repo_entry *entry,
          const char *disk, uint64_t bytes)
{
    struct loss *l;

    if ((*count & (*count - 1)) == 0)
        *losses = xrealloc(*losses, *count == 0 ? 1 : 2 * *count, sizeof *l);
    l = &(*losses)[(*count)++];
    l->entry = *entry;
    l->bytes = bytes;
    (void)snprintf(l->disk, sizeof l->disk, "%s", disk);
}

/* A collector goes by the summary. What is wrong with it is no loss: not yet.
 */
static int
check_summary(struct walk *w, const struct commitlog_commit *backup,
              const char *id, struct err *err)
{
    char text[SUMMARY_FAULT_TEXT];
    struct summary_fault fault;

    if (summary_check_backup(w->summaries, backup, NULL, &fault, err) < 0) {
        if (!is_damage(err))
            return -1;
        verify_damage(w->v, id, err->msg);
    } else if (fault.disk[0] != 0) {
        summary_fault_format(&fault, text);
        verify_damage(w->v, id, text);
    }
    return 0;
}

/* *ret_found false: it was deleted since we began. */
static int
find_backup(struct walk *w, const struct repo_entry *entry,
            struct commitlog_backup *ret, bool *ret_found, struct err *err)
{
    uint8_t id[16];

    *ret_found = repo_id_parse(entry->id, id) &&
                 commitlog_find(w->v->repo->log, id, ret, err) == 0;
    if (!*ret_found && err->code != ERR_NOT_FOUND)
        return -1;
    return redirect_update(w->v->repo->moves, false, err);
}

static int
walk_backup(struct walk *w, const struct repo_entry *entry,
            struct loss **losses, size_t *count, struct err *err)
{
    CLEANUP(repo_view_close) struct repo_view *view = NULL;
    CLEANUP(mem_free) void *metadata = NULL;
    struct commitlog_backup backup;
    size_t len, before = *count;
    bool is_found;

    if (find_backup(w, entry, &backup, &is_found, err) < 0)
        return -1;
    if (!is_found)
        return 0;
    if (view_open_commit(w->v->repo, &backup.commit, &view, err) < 0) {
        if (!is_damage(err))
            return -1;
        verify_damage(w->v, entry->id, err->msg);
        note_loss(losses, count, entry, "", entry->logical_bytes);
        return 0;
    }
    w->view = view;
    if (repo_view_metadata(view, &metadata, &len, err) < 0) {
        if (!is_damage(err))
            return -1;
        verify_damage(w->v, entry->id, err->msg);
    }
    for (w->disk = 0; w->disk < view->root.disk_count; w->disk++) {
        const struct root_disk *d = &view->root.disks[w->disk];
        uint64_t lost = 0;

        if (d->top.type == TREE_REF &&
            walk_node(w, d->top_level, 0, &d->top, &lost, err) < 0)
            return -1;
        if (lost > 0)
            note_loss(losses, count, entry, d->name, lost);
    }
    if (w->v->level < REPO_VERIFY_TREES || *count > before)
        return 0;
    return check_summary(w, &backup.commit, entry->id, err);
}

static void
walk_fini(struct walk *w)
{
    const char *key;
    void *value;

    for (size_t i = 0; map_next(w->lost, &i, &key, &value);)
        free(value);
    map_free(w->lost);
    summary_check_free(w->summaries);
    for (unsigned i = 0; i < FOOTERS; i++)
        free(w->footers[i].entries);
    repo_private_ctx_put(w->v->repo, w->ctx);
}

int
verify_walk(struct verify *v, struct err *err)
{
    struct walk w = { .v = v,
                      .lost = map_new(),
                      .summaries = summary_check_new(v->repo),
                      .ctx = repo_private_ctx_take(v->repo) };
    CLEANUP(mem_free) struct repo_entry *entries = NULL;
    CLEANUP(mem_free) struct loss *losses = NULL;
    size_t n = 0, damage = 0, count = 0;
    int rc = repo_list(v->repo, &entries, &n, &damage, err);

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = walk_backup(&w, &entries[i], &losses, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        affected(&w, &losses[i].entry, losses[i].disk, losses[i].bytes);
    walk_fini(&w);
    return rc;
}
