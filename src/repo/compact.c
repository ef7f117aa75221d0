/* SPDX-License-Identifier: Apache-2.0 */
/* In steps: list the packs of sessions that committed; walk the present
 * backups to see which frames of them are needed; choose; copy a group of
 * packs, append its REDIRECT; the next group. A group is a session of its own,
 * so a crash loses at most one, and what it left is garbage.
 *
 * A backup that commits while a group is copied may need more frames of these
 * packs: the REDIRECT is refused then, and what is new is walked and copied
 * too. Of two compactors that chose the same pack the second gives its group
 * up.
 */
#include "repo/compact.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repo/backup.h"
#include "repo/liveset.h"
#include "repo/livewalk.h"
#include "repo/logstate.h"
#include "repo/mover.h"
#include "repo/repo-id.h"

#define DEAD_PERCENT 25u
#define REST_PERCENT 1u
#define GROUP_BYTES  ((uint64_t)2 << 30) /* needed ones; of one REDIRECT */
#define GROUP_FRAMES (MOVEMAP_MOVES_MAX / 2)
#define MAP_N        ((uint32_t)1 << 20) /* packs of maps, behind all others */
#define TRIES        100

/* What choosing needs to know of a pack besides liveset_pack. */
struct measure {
    uint64_t dead; /* bytes of frames that nobody needs */
    bool is_chosen;
    bool is_done;
    bool is_unreadable;
    bool is_movers; /* written for a REDIRECT */
};

struct compact {
    struct repo *repo;
    const struct repo_compact_options *options;
    const struct repo_compact_sink *sink;
    struct repo_compact_result *result;
    struct liveset_pack *packs;
    struct measure *measures;
    size_t count;
    size_t from; /* the window that `set` knows begins there */
    struct liveset *set;
    struct livewalk *walk;
    uint64_t covers; /* every backup committed up to there was walked */
    uint64_t done_bytes, all_bytes;
};

/* ---- what there is ------------------------------------------------------- */

static bool
is_map_pack(const struct logstate *s, const struct pack_id *id)
{
    for (size_t i = 0; id->n >= MAP_N && i < s->redirect_count; i++)
        if (memcmp(s->redirects[i].session, id->session, 16) == 0)
            return id->kind == FRAME_META;
    return false;
}

/* Packs that will never change hands any more but by a REDIRECT. */
static bool
is_eligible(const struct logstate *s, const struct pack_id *id)
{
    return logstate_is_used(s, id->session) &&
           !logstate_is_protected(s, id->session) &&
           packset_get(&s->condemned, id) == 0 &&
           logstate_moved_find(s, id) == NULL && !is_map_pack(s, id);
}

static int
list_names(struct compact *c, const char *prefix, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (blob_list(c->repo->blob, prefix, &n, err) < 0)
        return -1;
    c->packs = xrealloc(c->packs, c->count + n.count + 1, sizeof *c->packs);
    for (size_t i = 0; i < n.count; i++) {
        struct liveset_pack *p = &c->packs[c->count];

        memset(p, 0, sizeof *p);
        if (pack_name_parse(n.names[i], &p->id))
            c->count++;
    }
    return 0;
}

/* Such a pack is kept as long as the old ones are named, so one that is not
 * needed at all goes like the others. */
static int
mark_movers(struct compact *c, struct err *err)
{
    const struct logstate *s;

    if (commitlog_state_take(c->repo->log, &s, err) < 0)
        return -1;
    for (size_t i = 0; i < c->count; i++) {
        const uint8_t *session = c->packs[i].id.session;
        bool is = false;

        if (i > 0 && memcmp(session, c->packs[i - 1].id.session, 16) == 0) {
            c->measures[i].is_movers = c->measures[i - 1].is_movers;
            continue;
        }
        for (size_t k = 0; !is && k < s->redirect_count; k++)
            is = memcmp(s->redirects[k].session, session, 16) == 0;
        c->measures[i].is_movers = is;
    }
    commitlog_state_give(c->repo->log);
    return 0;
}

static unsigned
count_old_sessions(const struct logstate *s)
{
    unsigned n = 0;

    for (size_t i = 0; i < s->session_count; i++) {
        const struct logstate_session *x = &s->sessions[i];

        n += x->end == LOGSTATE_OPEN && x->open_seq != 0 && !x->is_void &&
             x->epoch != s->epoch.epoch;
    }
    return n;
}

static int
list_packs(struct compact *c, struct err *err)
{
    const struct logstate *s;
    size_t n = 0;

    if (list_names(c, "p/", err) < 0 || list_names(c, "m/", err) < 0 ||
        commitlog_state_take(c->repo->log, &s, err) < 0)
        return -1;
    for (size_t i = 0; i < c->count; i++)
        if (is_eligible(s, &c->packs[i].id))
            c->packs[n++] = c->packs[i];
    c->result->old_sessions = count_old_sessions(s);
    commitlog_state_give(c->repo->log);
    c->count = n;
    for (size_t i = 0; i < n; i++) {
        char name[PACK_NAME_SIZE];

        pack_name(&c->packs[i].id, name);
        if (blob_size(c->repo->blob, name, &c->packs[i].size, err) < 0) {
            if (err->code != ERR_NOT_FOUND)
                return -1;
            c->packs[i].size = 0; /* just removed; or lost */
        }
    }
    liveset_sort(c->packs, n);
    c->measures = xcalloc(n + 1, sizeof *c->measures);
    return mark_movers(c, err);
}

/* ---- what is needed ---- */

static int
on_frame(void *arg, enum frame_kind kind, const struct tree_entry *e,
         struct err *err)
{
    struct compact *c = arg;

    (void)err;
    (void)liveset_add(c->set, kind, e);
    return 0;
}

/* The present backups, the newest first, so that what it needs is stored in
 * the order of its disks. */
static int
list_present(struct compact *c, struct commitlog_commit **ret, size_t *ret_n,
             struct err *err)
{
    const struct logstate *s;
    struct commitlog_commit *b;
    size_t n = 0;

    if (commitlog_state_take(c->repo->log, &s, err) < 0)
        return -1;
    if (s->damage_count > 0) {
        commitlog_state_give(c->repo->log);
        return err_set(err, ERR_CORRUPT,
                       "the log is damaged: nothing can be compacted");
    }
    b = xcalloc(s->backup_count + s->deleted_count + 1, sizeof *b);
    for (size_t i = s->backup_count; i > 0; i--)
        b[n++] = s->backups[i - 1].commit;
    for (size_t i = s->deleted_count; i > 0; i--)
        b[n++] = s->deleted[i - 1].backup.commit;
    c->covers = s->last_seq;
    commitlog_state_give(c->repo->log);
    *ret = b;
    *ret_n = n;
    return 0;
}

/* What was walked before costs a look at each root. */
static int
walk(struct compact *c, struct err *err)
{
    CLEANUP(mem_free) struct commitlog_commit *b = NULL;
    size_t n = 0;

    if (list_present(c, &b, &n, err) < 0 ||
        redirect_update(c->repo->moves, false, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (livewalk_backup(c->walk, &b[i], err) < 0)
            return -1;
    return 0;
}

/* ---- choosing ---- */

/* How many bytes of frames the pack has, of which p->live are needed. */
static int
measure(struct compact *c, size_t i, struct err *err)
{
    const struct liveset_pack *p = &c->packs[i];
    struct measure *m = &c->measures[i];
    CLEANUP(mem_free) uint8_t *table = NULL;
    uint8_t head[PACK_HEADER_SIZE];
    struct pack_trailer t;
    char name[PACK_NAME_SIZE];
    uint64_t frames;
    unsigned keys = 0;
    size_t n = 0;

    pack_name(&p->id, name);
    if (pack_read_tail(c->repo->blob, &p->id, &t, &table, err) < 0 ||
        blob_get(c->repo->blob, name, 0, head, sizeof head, &n, err) < 0 ||
        pack_header_peek(head, n, &keys, err) < 0) {
        if (!blob_is_lost(err))
            return -1;
        m->is_unreadable = true;
        c->result->packs_skipped++;
        return 0;
    }
    frames = t.footer_off - pack_head_size(keys);
    m->dead = frames > p->live ? frames - p->live : 0;
    return 0;
}

static int
compare_shares(const void *a, const void *b, void *arg)
{
    const struct compact *c = arg;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    /* shares as fractions, without a division */
    uint64_t fx = c->measures[x].dead * (c->packs[y].size >> 10);
    uint64_t fy = c->measures[y].dead * (c->packs[x].size >> 10);

    return fx > fy ? -1 : fx < fy;
}

static void
choose_one(struct compact *c, size_t i)
{
    c->measures[i].is_chosen = true;
    c->all_bytes += c->packs[i].live;
}

/* Would a key of an older epoch open some of it? */
static int
is_old(struct compact *c, size_t i, bool *ret, struct err *err)
{
    CLEANUP(mover_source_fini) struct mover_source s = { 0 };

    *ret = false;
    if (!c->options->rewrites_keys || c->packs[i].live == 0)
        return 0;
    if (mover_source_open(c->repo->blob, c->repo->wrap.keys != NULL,
                          &c->packs[i].id, 0, &s, err) == 0) {
        *ret = !pack_head_is_of(s.head, s.keys, c->repo->wrap.epoch);
        return 0;
    }
    if (!blob_is_lost(err))
        return -1;
    c->measures[i].is_unreadable = true;
    c->result->packs_skipped++;
    return 0;
}

/* Of the packs from..to. */
static int
choose(struct compact *c, size_t to, struct err *err)
{
    unsigned min =
        c->options->dead_percent != 0 ? c->options->dead_percent : DEAD_PERCENT;
    unsigned rest =
        c->options->rest_percent != 0 ? c->options->rest_percent : REST_PERCENT;
    CLEANUP(mem_free) size_t *order = xcalloc(to - c->from + 1, sizeof *order);
    uint64_t all = 0, dead = 0;
    bool old = false;
    size_t n = 0;

    for (size_t i = c->from; i < to; i++) {
        const struct liveset_pack *p = &c->packs[i];

        c->result->packs_seen++;
        c->result->bytes_seen += p->size;
        all += p->size;
        if (is_old(c, i, &old, err) < 0)
            return -1;
        if (old)
            choose_one(c, i);
        if (old || c->measures[i].is_unreadable)
            continue;
        /* What nobody needs at all is the collector's, but for these. */
        if (p->live == 0 ? p->size == 0 || !c->measures[i].is_movers
                         : (p->size - p->live) * 100 < p->size)
            continue;
        if (measure(c, i, err) < 0)
            return -1;
        dead += c->measures[i].dead;
        if (!c->measures[i].is_unreadable && c->measures[i].dead > 0)
            order[n++] = i;
    }
    c->result->dead_bytes += dead;
    if (n > 0)
        qsort_r(order, n, sizeof *order, compare_shares, c);
    for (size_t k = 0; k < n; k++) {
        size_t i = order[k];
        bool is_bad = c->measures[i].dead * 100 >= min * c->packs[i].size;

        if (!is_bad && (rest >= 100 || dead * 100 <= rest * all))
            break;
        choose_one(c, i);
        dead -= c->measures[i].dead;
    }
    return 0;
}

/* ---- a group ---- */

struct group {
    struct compact *c;
    enum frame_kind kind;
    uint8_t session[16];
    struct mover_source
        *sources;      /* head NULL: could not be read, or left out */
    size_t *packs;     /* their places among all packs */
    uint64_t *written; /* of each, for the result */
    unsigned count;
    struct mover *mover;
    struct packer *maps;
    struct frame_ctx *ctx;
    size_t next; /* frame of the set to look at */
    struct movemap_entry entry;
};

static void
group_fini(struct group *g)
{
    for (unsigned i = 0; i < g->count; i++)
        mover_source_fini(&g->sources[i]);
    free(g->sources);
    free(g->packs);
    mover_free(g->mover);
    packer_free(g->maps);
    frame_ctx_free(g->ctx);
    movemap_entry_fini(&g->entry);
}

/* Up to GROUP_BYTES of chosen packs of that kind. */
static void
group_fill(struct group *g, size_t to)
{
    struct compact *c = g->c;
    uint64_t bytes = 0, frames = 0;

    g->sources = xcalloc(MOVEMAP_SOURCES_MAX, sizeof *g->sources);
    g->packs = xcalloc(MOVEMAP_SOURCES_MAX, sizeof *g->packs);
    for (size_t i = c->from; i < to && g->count < MOVEMAP_SOURCES_MAX; i++) {
        const struct liveset_pack *p = &c->packs[i];
        struct measure *m = &c->measures[i];

        if (!m->is_chosen || m->is_done || p->id.kind != g->kind)
            continue;
        if (g->count > 0 && (bytes + p->live > GROUP_BYTES ||
                             frames + p->frames > GROUP_FRAMES))
            continue;
        m->is_done = true;
        bytes += p->live;
        frames += p->frames;
        g->packs[g->count++] = i;
    }
}

/* One that is damaged is left out. */
static int
open_source(struct group *g, unsigned i, struct err *err)
{
    struct compact *c = g->c;
    struct mover_source *s = &g->sources[i];

    if (mover_source_open(c->repo->blob, c->repo->wrap.keys != NULL,
                          &c->packs[g->packs[i]].id, i, s, err) == 0 &&
        (!c->options->rewrites_keys || c->repo->wrap.keys == NULL ||
         mover_source_unlock(s, &c->repo->wrap, err) == 0))
        return 0;
    mover_source_fini(s);
    return blob_is_lost(err) ? 0 : -1;
}

static int
group_open(struct group *g, struct err *err)
{
    static const uint8_t none[16];
    struct compact *c = g->c;
    struct packer_config config = { .blob = c->repo->blob,
                                    .wrap = c->repo->wrap,
                                    .session = g->session,
                                    .kind = g->kind,
                                    .pack_size = g->kind == FRAME_DATA
                                                     ? BACKUP_DATA_PACK
                                                     : BACKUP_META_PACK,
                                    .makes_parity =
                                        c->repo->info.makes_parity };

    repo_id_random(g->session);
    if (commitlog_append_open(c->repo->log, g->session, none, clock_wall_s(),
                              NULL, err) < 0)
        return -1;
    g->ctx = frame_ctx_new(1);
    config.check_every = 1;
    config.id_key = &c->repo->keys.id;
    g->mover = mover_new(&config);
    if (c->options->rewrites_keys && c->repo->wrap.keys != NULL)
        mover_reseal(g->mover);
    config.kind = FRAME_META;
    config.pack_size = BACKUP_META_PACK;
    config.first_n = MAP_N;
    g->maps = packer_new(&config);
    for (unsigned i = 0; i < g->count; i++)
        if (open_source(g, i, err) < 0)
            return -1;
    return 0;
}

static int
note_progress(struct compact *c, uint64_t bytes, struct err *err)
{
    c->done_bytes += bytes;
    if (c->sink->progress != NULL &&
        c->sink->progress(c->sink->arg, c->done_bytes, c->all_bytes) != 0)
        return err_set(err, ERR_CANCELLED, "compaction was cancelled");
    return 0;
}

static struct mover_source *
source_of(struct group *g, size_t pack)
{
    size_t lo = 0, hi = g->count;

    while (lo < hi) { /* g->packs ascends */
        size_t mid = lo + (hi - lo) / 2;

        if (g->packs[mid] < pack)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < g->count && g->packs[lo] == pack ? &g->sources[lo] : NULL;
}

/* Copy what the set has by now. A source that cannot be read is left out. */
static int
group_copy(struct group *g, struct err *err)
{
    const struct liveset_frame *f;
    size_t n;

    f = liveset_frames(g->c->set, &n);
    for (; g->next < n; g->next++) {
        const struct liveset_frame *x = &f[g->next];
        struct mover_source *s = source_of(g, x->pack);
        struct frame_loc loc = { .off8 = x->off8,
                                 .flen = x->flen,
                                 .ulen = x->ulen };

        if (s == NULL || s->head == NULL)
            continue;
        memcpy(loc.session, s->id.session, 16);
        loc.n = s->id.n;
        if (mover_add(g->mover, s, &loc, x->id, err) < 0) {
            if (!blob_is_lost(err))
                return -1;
            mover_source_fini(s);
        }
        if (note_progress(g->c, x->flen, err) < 0)
            return -1;
    }
    return mover_finish(g->mover, err);
}

/* The sources that are left get new places. */
static void
make_map(struct group *g, struct movemap *map, struct movemap_entry *e)
{
    CLEANUP(mem_free) uint32_t *place = xcalloc(g->count + 1, sizeof *place);
    const struct movemap_move *moves;
    size_t n;

    e->sources = xcalloc(g->count + 1, sizeof *e->sources);
    for (unsigned i = 0; i < g->count; i++) {
        place[i] = UINT32_MAX;
        if (g->sources[i].head == NULL)
            continue;
        place[i] = e->count;
        e->sources[e->count++] = g->sources[i].id;
    }
    moves = mover_moves(g->mover, &n);
    map->kind = g->kind;
    map->sources = e->count;
    map->moves = xcalloc(n + 1, sizeof *map->moves);
    for (size_t i = 0; i < n; i++) {
        if (place[moves[i].source] == UINT32_MAX)
            continue;
        map->moves[map->count] = moves[i];
        map->moves[map->count++].source = place[moves[i].source];
    }
}

/* Make g->entry, with everything durable that it speaks of. */
static int
group_write_map(struct group *g, struct err *err)
{
    CLEANUP(movemap_fini) struct movemap map = { 0 };
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    struct movemap_entry *e = &g->entry;

    movemap_entry_fini(e);
    memcpy(e->session, g->session, 16);
    e->kind = g->kind;
    e->covers = g->c->covers;
    make_map(g, &map, e);
    if (map.count > MOVEMAP_MOVES_MAX)
        return err_set(err, ERR_BUSY, "too many frames were needed meanwhile");
    movemap_encode(&map, &bytes);
    e->map.type = TREE_REF;
    hash_hmac(&g->c->repo->keys.id, bytes.data, bytes.len, e->map.id);
    if (packer_add(g->maps, g->ctx, bytes.data, (uint32_t)bytes.len, e->map.id,
                   &e->map.loc, err) < 0 ||
        packer_finish(g->maps, err) < 0)
        return -1;
    return blob_sync(g->c->repo->blob, err);
}

/* The REDIRECT was refused: is it worth while to try again? */
static int
group_look_again(struct group *g, bool *ret, struct err *err)
{
    const struct logstate *s;

    if (commitlog_state_take(g->c->repo->log, &s, err) < 0)
        return -1;
    *ret = logstate_end_of(s, g->session) == LOGSTATE_OPEN &&
           s->commit_seq > g->entry.covers;
    for (unsigned i = 0; *ret && i < g->entry.count; i++)
        *ret = logstate_moved_find(s, &g->entry.sources[i]) == NULL;
    commitlog_state_give(g->c->repo->log);
    return 0;
}

static int
group_append(struct group *g, bool *ret_done, struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    movemap_entry_encode(&g->entry, &body);
    if (commitlog_append(g->c->repo->log, COMMITLOG_REDIRECT, &body, err) < 0)
        return -1;
    *ret_done = true;
    return 0;
}

/* *ret_done false without an error: nothing was moved. */
static int
group_run(struct group *g, bool *ret_done, struct err *err)
{
    bool again = true;

    if (group_open(g, err) < 0)
        return -1;
    for (unsigned i = 0; again; i++) {
        struct err ignored;

        if (group_copy(g, err) < 0 || group_write_map(g, err) < 0)
            return -1;
        if (g->entry.count == 0)
            return 0; /* no source could be read */
        if (group_append(g, ret_done, err) == 0)
            return 0;
        if (err->code != ERR_CONFLICT)
            return -1;
        if (group_look_again(g, &again, &ignored) < 0 || i >= TRIES)
            again = false;
        if (again && walk(g->c, err) < 0)
            return -1;
    }
    return 0; /* somebody else was faster */
}

/* What was written is of no use. If the REDIRECT arrived after all, or somebody
 * ended the session, the log refuses this. */
static void
group_discard(struct group *g)
{
    struct err ignored;

    if (commitlog_append_discard(g->c->repo->log, g->session, &ignored) < 0)
        return;
    repo_private_remove_packs(g->c->repo, g->session);
}

static void
group_count(struct group *g)
{
    struct repo_compact_result *r = g->c->result;

    for (unsigned i = 0; i < g->count; i++) {
        if (g->sources[i].head == NULL) {
            r->packs_skipped++;
            continue;
        }
        r->packs_rewritten++;
        r->bytes_rewritten += g->c->packs[g->packs[i]].size;
    }
    r->bytes_written += mover_stored(g->mover) + packer_stored(g->maps);
}

static int
run_group(struct compact *c, enum frame_kind kind, size_t to, bool *ret_more,
          struct err *err)
{
    struct group g = { .c = c, .kind = kind };
    bool is_done = false;
    int rc = 0;

    group_fill(&g, to);
    *ret_more = g.count > 0;
    if (g.count > 0) {
        rc = group_run(&g, &is_done, err);
        if (is_done)
            group_count(&g);
        else
            c->result->packs_skipped += g.count;
        if (!is_done)
            group_discard(&g);
    }
    if (is_done && rc == 0)
        rc = redirect_update(c->repo->moves, false, err);
    group_fini(&g);
    return rc;
}

/* ---- all of it ---- */

static void
count_only(struct compact *c, size_t to)
{
    for (size_t i = c->from; i < to; i++)
        if (c->measures[i].is_chosen) {
            c->result->packs_rewritten++;
            c->result->bytes_rewritten += c->packs[i].size;
            c->result->bytes_written += c->packs[i].live;
        }
}

/* The packs from c->from on, as many as fit; *ret_to: behind them. */
static int
run_window(struct compact *c, size_t *ret_to, struct err *err)
{
    struct livewalk_sink sink = { .frame = on_frame, .arg = c };
    bool more = true;

    liveset_free(c->set);
    livewalk_free(c->walk);
    c->set = liveset_new(c->packs, c->count, c->from, LIVESET_FRAMES_MAX);
    c->walk = livewalk_new(c->repo, &sink);
    if (walk(c, err) < 0)
        return -1;
    *ret_to = liveset_to(c->set);
    liveset_fix(c->set); /* who copies keeps places in it */
    if (choose(c, *ret_to, err) < 0)
        return -1;
    if (c->options->dry_run) {
        count_only(c, *ret_to);
        return 0;
    }
    while (more)
        if (run_group(c, FRAME_DATA, *ret_to, &more, err) < 0)
            return -1;
    for (more = true; more;)
        if (run_group(c, FRAME_META, *ret_to, &more, err) < 0)
            return -1;
    return 0;
}

static int
run(struct compact *c, struct err *err)
{
    size_t to = 0;

    if (list_packs(c, err) < 0)
        return -1;
    for (; c->from < c->count; c->from = to)
        if (run_window(c, &to, err) < 0)
            return -1;
    return 0;
}

int
repo_compact(struct repo *repo, const struct repo_compact_options *options,
             const struct repo_compact_sink *sink,
             struct repo_compact_result *ret, struct err *err)
{
    struct compact c = {
        .repo = repo, .options = options, .sink = sink, .result = ret
    };
    int rc;

    memset(ret, 0, sizeof *ret);
    if (repo_private_need_delete(repo, err) < 0 ||
        (options->rewrites_keys && repo_private_need_read(repo, err) < 0))
        return -1;
    rc = run(&c, err);
    liveset_free(c.set);
    livewalk_free(c.walk);
    free(c.packs);
    free(c.measures);
    return rc < 0 ? err_wrap(err, "compact") : 0;
}
