/* SPDX-License-Identifier: Apache-2.0 */
/* A run: kill who is dead, see what the present backups need, condemn the
 * rest, remove what was condemned long enough ago, by whomever.
 *
 * While the roots are read others go on. Nothing is held meanwhile: the CONDEMN
 * says what the collector had seen, and if a backup was committed since, it is
 * not written, the new backup's packs are added and it is tried again.
 *
 * On crash: a KILL or CONDEMN stands in the log or does not; what it condemned
 * is removed by whoever comes next.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repo/copies.h"
#include "repo/gc-private.h"
#include "repo/parity.h"
#include "repo/repo-id.h"

#define SWEEP_S 86400 /* a put takes no longer */
#define TRIES   100   /* against writers that commit all the time */

struct repo_gc_options
repo_gc_defaults(void)
{
    return (struct repo_gc_options){ .undelete_s = REPO_GC_UNDELETE_S,
                                     .grace_s = REPO_GC_GRACE_S,
                                     .kill_s = REPO_GC_KILL_S };
}

/* ---- the dead ---- */

struct dead {
    uint8_t id[16];
    bool is_pin;
};

static struct dead *
find_dead(const struct gc *gc, const struct logstate *s, size_t *ret_count)
{
    struct dead *d = xcalloc(s->session_count + s->pin_count + 1, sizeof *d);
    CLEANUP(mem_free) int64_t *times = logstate_times(s, gc->now);
    size_t n = 0;

    for (size_t i = 0; i < s->session_count; i++) {
        const struct logstate_session *x = &s->sessions[i];

        if (x->end == LOGSTATE_OPEN && x->open_seq != 0 &&
            gc->now - times[x->open_seq - 1] >= gc->options->kill_s)
            memcpy(d[n++].id, x->id, 16);
    }
    for (size_t i = 0; i < s->pin_count; i++) {
        if (gc->now - times[s->pins[i].seq - 1] < gc->options->kill_s)
            continue;
        memcpy(d[n].id, s->pins[i].id, 16);
        d[n++].is_pin = true;
    }
    *ret_count = n;
    return d;
}

static int
kill_dead(struct gc *gc, struct err *err)
{
    CLEANUP(mem_free) struct dead *d = NULL;
    const struct logstate *s;
    size_t n = 0;

    if (commitlog_state_take(gc->repo->log, &s, err) < 0)
        return -1;
    d = find_dead(gc, s, &n);
    commitlog_state_give(gc->repo->log);
    for (size_t i = 0; i < n; i++) {
        int rc = 0;

        gc->result->killed_sessions += !d[i].is_pin;
        if (gc->options->is_dry_run)
            continue;
        rc = d[i].is_pin
                 ? commitlog_append_pin(gc->repo->log, d[i].id, NULL, err)
                 : commitlog_append_kill(gc->repo->log, d[i].id, err);
        if (rc < 0 && err->code != ERR_CONFLICT) /* it ended by itself */
            return -1;
    }
    return 0;
}

/* ---- what exists ---- */

static int
compare(const void *a, const void *b)
{
    return packset_compare(a, b);
}

static int
list_packs(struct gc *gc, const char *prefix, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (blob_list(gc->repo->blob, prefix, &n, err) < 0)
        return -1;
    gc->packs =
        xrealloc(gc->packs, gc->pack_count + n.count + 1, sizeof *gc->packs);
    gc->parities = xrealloc(gc->parities, gc->parity_count + n.count + 1,
                            sizeof *gc->parities);
    for (size_t i = 0; i < n.count; i++)
        if (pack_name_parse(n.names[i], &gc->packs[gc->pack_count]))
            gc->pack_count++;
        else if (parity_name_parse(n.names[i], &gc->parities[gc->parity_count]))
            gc->parity_count++;
    return 0;
}

static int
list_all(struct gc *gc, struct err *err)
{
    if (list_packs(gc, "p/", err) < 0 || list_packs(gc, "m/", err) < 0)
        return -1;
    qsort(gc->packs, gc->pack_count, sizeof *gc->packs, compare);
    gc->next.packs = xcalloc(gc->pack_count + 1, sizeof *gc->next.packs);
    return 0;
}

/* ---- condemn ---- */

/* Which deleted backups go, and which are present: *ret_backups. */
static int
look(struct gc *gc, struct commitlog_commit **ret_backups, size_t *ret_count,
     struct err *err)
{
    CLEANUP(mem_free) int64_t *times = NULL;
    struct commitlog_commit *c;
    const struct logstate *s;
    size_t n = 0;

    if (commitlog_state_take(gc->repo->log, &s, err) < 0)
        return -1;
    times = logstate_times(s, gc->now);
    c = xcalloc(s->backup_count + s->deleted_count + 1, sizeof *c);
    free(gc->next.drops);
    gc->next.drops = xcalloc(s->deleted_count + 1, sizeof *gc->next.drops);
    gc->next.drop_count = 0;
    gc->next.base_seq = s->last_seq;
    for (size_t i = 0; i < s->backup_count; i++)
        c[n++] = s->backups[i].commit;
    for (size_t i = 0; i < s->deleted_count; i++) {
        const struct commitlog_deleted *d = &s->deleted[i];

        if (gc->now - times[d->seq - 1] < gc->options->undelete_s ||
            logstate_is_kept(s, d->backup.commit.id))
            c[n++] = d->backup.commit;
        else
            memcpy(gc->next.drops[gc->next.drop_count++], d->backup.commit.id,
                   16);
    }
    commitlog_state_give(gc->repo->log);
    *ret_backups = c;
    *ret_count = n;
    return 0;
}

/* Any part of it may come to stand alone: a backup that is dropped has packs
 * that a later run finds. */
static int
append_next(struct gc *gc, struct err *err)
{
    size_t drop = 0, pack = 0;

    while (drop < gc->next.drop_count || pack < gc->next.pack_count) {
        struct commitlog_condemn c = { .base_seq = gc->next.base_seq };

        c.drops = gc->next.drops + drop;
        c.drop_count = gc->next.drop_count - drop;
        if (c.drop_count > COMMITLOG_DROPS)
            c.drop_count = COMMITLOG_DROPS;
        drop += c.drop_count;
        c.packs = gc->next.packs + pack;
        /* Packs only when all that needed them is dropped. */
        c.pack_count =
            drop < gc->next.drop_count ? 0 : gc->next.pack_count - pack;
        if (c.pack_count > COMMITLOG_CONDEMNS)
            c.pack_count = COMMITLOG_CONDEMNS;
        pack += c.pack_count;
        if (commitlog_append_condemn(gc->repo->log, &c, err) < 0)
            return -1;
    }
    return 0;
}

static int
choose(struct gc *gc, struct err *err)
{
    const struct logstate *s;

    if (commitlog_state_take(gc->repo->log, &s, err) < 0)
        return -1;
    gc_choose(gc, s);
    commitlog_state_give(gc->repo->log);
    return 0;
}

/* Before something is taken away: are the summaries right? */
static int
choose_checked(struct gc *gc, const struct commitlog_commit *backups, size_t n,
               struct err *err)
{
    bool grew = false;

    if (choose(gc, err) < 0)
        return -1;
    if (gc->next.pack_count == 0)
        return 0;
    if (gc_check(gc, backups, n, &grew, err) < 0)
        return -1;
    return grew ? choose(gc, err) : 0;
}

/* Once. *ret_done false: the log went on, look again. */
static int
try_condemn(struct gc *gc, bool *ret_done, struct err *err)
{
    CLEANUP(mem_free) struct commitlog_commit *backups = NULL;
    size_t n = 0;

    if (look(gc, &backups, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (gc_mark(gc, &backups[i], err) < 0) {
            char id[REPO_ID_SIZE];

            repo_id_format(backups[i].id, id);
            return err_wrap(err, "backup %s", id);
        }
    if (choose_checked(gc, backups, n, err) < 0)
        return -1;
    gc->result->dropped_backups = (unsigned)gc->next.drop_count;
    gc->result->condemned_packs = gc->next.pack_count;
    *ret_done = true;
    if (gc->options->is_dry_run || append_next(gc, err) == 0)
        return 0;
    *ret_done = false;
    return err->code == ERR_CONFLICT ? 0 : -1;
}

static int
condemn(struct gc *gc, struct err *err)
{
    bool is_done = false;

    for (unsigned i = 0; i < TRIES; i++) {
        if (try_condemn(gc, &is_done, err) < 0)
            return -1;
        if (is_done)
            return 0;
    }
    return err_set(err, ERR_BUSY,
                   "backups are committed faster than one can look: try again");
}

/* ---- remove ---- */

/* Of the packs that exist, those to remove now. */
static struct pack_id *
find_removable(struct gc *gc, const struct logstate *s, size_t *ret_count)
{
    struct pack_id *p = xcalloc(gc->pack_count + 1, sizeof *p);
    CLEANUP(mem_free) int64_t *times = logstate_times(s, gc->now);

    *ret_count = 0;
    for (size_t i = 0; i < gc->pack_count; i++) {
        uint64_t seq = packset_get(&s->condemned, &gc->packs[i]);

        if (seq == 0)
            continue;
        if (gc->now - times[seq - 1] < gc->options->grace_s)
            gc->result->waiting_packs++;
        else
            p[(*ret_count)++] = gc->packs[i];
    }
    return p;
}

static int
remove_pack(struct gc *gc, const struct pack_id *pack, struct err *err)
{
    char name[PACK_NAME_SIZE];
    uint64_t size = 0;

    pack_name(pack, name);
    if (blob_size(gc->repo->blob, name, &size, err) < 0) {
        if (err->code == ERR_NOT_FOUND)
            return 0; /* another collector was here */
        if (!blob_is_lost(err))
            return -1;
    }
    if (!gc->options->is_dry_run &&
        (blob_remove(gc->repo->blob, name, err) < 0 ||
         parity_remove(gc->repo->blob, pack, err) < 0))
        return -1;
    gc->result->removed_packs++;
    gc->result->removed_bytes += size;
    if (gc->sink != NULL && gc->sink->removed != NULL &&
        gc->sink->removed(gc->sink->arg, name, size) != 0)
        return err_set(err, ERR_CANCELLED, "cancelled");
    return 0;
}

/* I3: only what the log condemns, as it is read now. */
static int
remove_condemned(struct gc *gc, struct err *err)
{
    CLEANUP(mem_free) struct pack_id *p = NULL;
    const struct logstate *s;
    size_t n = 0;

    if (commitlog_state_take(gc->repo->log, &s, err) < 0)
        return -1;
    p = find_removable(gc, s, &n);
    commitlog_state_give(gc->repo->log);
    for (size_t i = 0; i < n; i++)
        if (remove_pack(gc, &p[i], err) < 0)
            return -1;
    return 0;
}

/* Parity of packs that are gone: somebody died between the two. A pack is there
 * before its parity, so what is not there now will not come. */
static int
remove_orphans(struct gc *gc, struct err *err)
{
    for (size_t i = 0; i < gc->parity_count; i++) {
        const struct pack_id *id = &gc->parities[i];
        char name[PACK_NAME_SIZE];
        uint64_t size;

        if (bsearch(id, gc->packs, gc->pack_count, sizeof *id, compare) != NULL)
            continue;
        pack_name(id, name);
        if (blob_size(gc->repo->blob, name, &size, err) < 0 &&
            err->code == ERR_NOT_FOUND &&
            parity_remove(gc->repo->blob, id, err) < 0)
            return -1;
    }
    return 0;
}

/* In a dry run: what would be removed at once. */
static int
count_next(struct gc *gc, struct err *err)
{
    bool waits = gc->options->grace_s > 0;

    if (!gc->options->is_dry_run)
        return 0;
    if (waits)
        gc->result->waiting_packs += gc->next.pack_count;
    for (size_t i = 0; !waits && i < gc->next.pack_count; i++)
        if (remove_pack(gc, &gc->next.packs[i], err) < 0)
            return -1;
    return 0;
}

/* ---- a run ---- */

static int
check_log(struct gc *gc, struct err *err)
{
    const struct logstate *s;
    size_t damages;

    if (commitlog_state_take(gc->repo->log, &s, err) < 0)
        return -1;
    damages = s->damage_count;
    commitlog_state_give(gc->repo->log);
    if (damages > 0)
        return err_set(
            err, ERR_CORRUPT,
            "%zu entries of the log are damaged (verify names them): nothing is collected, they may name what is needed",
            damages);
    return 0;
}

static int
run(struct gc *gc, struct err *err)
{
    if (check_log(gc, err) < 0 || kill_dead(gc, err) < 0 ||
        copies_bad(gc->repo, &gc->bad, err) < 0 || list_all(gc, err) < 0 ||
        condemn(gc, err) < 0 || remove_condemned(gc, err) < 0 ||
        count_next(gc, err) < 0)
        return -1;
    if (gc->options->is_dry_run)
        return 0;
    if (remove_orphans(gc, err) < 0 || blob_sync(gc->repo->blob, err) < 0)
        return -1;
    /* Not sooner, though a writer be killed at once: he may be at a put. */
    return blob_sweep(
        gc->repo->blob,
        gc->options->kill_s > SWEEP_S ? gc->options->kill_s : SWEEP_S, err);
}

int
repo_gc(struct repo *repo, const struct repo_gc_options *options,
        const struct repo_gc_sink *sink, struct repo_gc_result *ret,
        struct err *err)
{
    struct gc gc = { .repo = repo,
                     .options = options,
                     .sink = sink,
                     .result = ret,
                     .now = options->now_unix_s != 0 ? options->now_unix_s
                                                     : clock_wall_s() };
    int rc;

    *ret = (struct repo_gc_result){ 0 };
    if (options->is_dry_run ? repo_private_need_key(repo, err) < 0
                            : repo_private_need_delete(repo, err) < 0)
        return -1;
    rc = run(&gc, err);
    gc_check_end(&gc);
    gc_check_free(&gc);
    badset_fini(&gc.bad);
    packset_fini(&gc.named);
    free(gc.marked);
    free(gc.packs);
    free(gc.parities);
    commitlog_condemn_fini(&gc.next);
    return rc;
}
