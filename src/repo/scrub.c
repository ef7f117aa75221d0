/* SPDX-License-Identifier: Apache-2.0 */
/* One thread, one pack at a time, by verify-pack.c; the walk at the end is
 * verify-walk.c's. What a pack's damage means for backups is only known after
 * the walk; but its bad frames go into the log as soon as the pack was read, so
 * that a pass of weeks tells the writers at once.
 *
 * Slow on purpose: after each read it sleeps until the average is kept. A
 * second's worth may be read at once.
 */
#include "repo/scrub.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repo/copies.h"
#include "repo/parity.h"
#include "repo/scrub-private.h"
#include "repo/verify.h"

/* The cursor is written after so many packs, or so long: what a kill costs. */
#define SAVE_PACKS 4
#define SAVE_MS    1000
#define NAP_MS     500 /* a sleep is interrupted to ask whether to stop */

struct scrub {
    struct repo *repo;
    const struct repo_scrub_options *options;
    const struct repo_scrub_sink *sink;
    struct repo_scrub_result *result;
    enum repo_verify_level level;
    bool makes_parity;
    struct verify verify;
    struct scrub_state state;
    struct badset before;  /* the list when the pass began */
    struct badset found;   /* not in the log yet */
    uint64_t pack_damages; /* of the pack being read */
    bool holds;            /* its damage is not told yet, but */
    struct scrub_held held;
    uint64_t all, done; /* bytes, of the whole pass */
    uint64_t budget_ms; /* when the next byte may be read */
    uint64_t saved_ms;
    unsigned unsaved; /* packs that were read since */
};

/* ---- hooks of verify ---- */

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct scrub *s = arg;

    s->pack_damages++;
    if (s->holds) {
        scrub_held_add(&s->held, object, cause);
        return;
    }
    s->result->damages++;
    s->state.known.damages++;
    if (s->sink->damage != NULL)
        s->sink->damage(s->sink->arg, object, cause);
}

static void
on_affected(void *arg, const struct repo_entry *backup, const char *disk,
            uint64_t lost_bytes)
{
    struct scrub *s = arg;

    if (s->sink->affected != NULL)
        s->sink->affected(s->sink->arg, backup, disk, lost_bytes);
}

static void
on_bad_frame(void *arg, const struct badset_frame *f)
{
    struct scrub *s = arg;
    struct frame_loc loc = { .n = f->n, .off8 = f->off8 };

    memcpy(loc.session, f->session, 16);
    if (!badset_has(&s->before, f->kind, &loc))
        badset_add(&s->found, f);
}

static int
tell(struct scrub *s, struct err *err)
{
    if (s->sink->progress != NULL &&
        s->sink->progress(s->sink->arg, s->done, s->all) != 0)
        return err_set(err, ERR_CANCELLED, "the scrub was stopped");
    return 0;
}

/* After `bytes` were read: wait until the next ones may be. */
static int
on_read(void *arg, uint64_t bytes, struct err *err)
{
    struct scrub *s = arg;
    uint64_t rate = s->options->bytes_per_s, now = clock_mono_ms();

    s->done += bytes;
    s->result->bytes += bytes;
    if (tell(s, err) < 0)
        return -1;
    if (rate == 0)
        return 0;
    if (s->budget_ms + 1000 < now) /* unused budget is lost but for a second */
        s->budget_ms = now - 1000;
    s->budget_ms += bytes * 1000 / rate;
    while ((now = clock_mono_ms()) < s->budget_ms) {
        uint64_t nap = s->budget_ms - now;

        clock_sleep_ms(nap < NAP_MS ? nap : NAP_MS);
        if (tell(s, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- what was found ---- */

static int
write_found(struct scrub *s, struct err *err)
{
    /* A key that may not say so finds them all the same. */
    bool can_say = s->repo->info.is_unlocked && !s->repo->is_read_only &&
                   keys_can_delete(&s->repo->keys);

    if (s->found.count == 0)
        return 0;
    if (can_say && commitlog_append_bad(s->repo->log, true, s->found.frames,
                                        s->found.count, err) < 0)
        return -1;
    s->result->new_bad += can_say ? s->found.count : 0;
    for (size_t i = 0; i < s->found.count; i++)
        badset_add(&s->before, &s->found.frames[i]);
    badset_fini(&s->found);
    return 0;
}

/* A pack that is whole: what was said of it is over. */
static int
clear_pack(struct scrub *s, const struct pack_id *id, struct err *err)
{
    CLEANUP(badset_fini) struct badset gone = { 0 };

    if (s->verify.level == REPO_VERIFY_STRIPES || s->pack_damages > 0)
        return 0;
    for (size_t i = 0; i < s->before.count; i++) {
        const struct badset_frame *f = &s->before.frames[i];

        if (f->kind == id->kind && f->n == id->n &&
            memcmp(f->session, id->session, 16) == 0)
            badset_add(&gone, f);
    }
    if (gone.count == 0)
        return 0;
    for (size_t i = 0; i < gone.count; i++)
        badset_remove(&s->before, &gone.frames[i]);
    s->result->good_again += gone.count;
    return commitlog_append_bad(s->repo->log, false, gone.frames, gone.count,
                                err);
}

/* ---- the pass ---- */

static int
save(struct scrub *s, bool is_urgent, struct err *err)
{
    uint64_t now = clock_mono_ms();

    if (!is_urgent && s->unsaved < SAVE_PACKS && now - s->saved_ms < SAVE_MS)
        return 0;
    s->saved_ms = now;
    s->unsaved = 0;
    s->state.known.done_bytes = s->done;
    return scrub_state_save(s->repo, &s->state, err);
}

static void
tell_repaired(struct scrub *s, const char *object, const char *what)
{
    if (s->sink->repaired != NULL)
        s->sink->repaired(s->sink->arg, object, what);
}

static int
read_held(struct scrub *s, struct frame_ctx *ctx, uint8_t *window,
          const struct pack_id *id, struct err *err)
{
    int rc;

    s->holds = true;
    rc = verify_pack(&s->verify, ctx, window, id, err);
    s->holds = false;
    return rc;
}

/* As if nothing had been. */
static int
read_again(struct scrub *s, struct frame_ctx *ctx, uint8_t *window,
           const struct pack_id *id, struct err *err)
{
    uint64_t done = s->done;
    int rc;

    scrub_held_fini(&s->held);
    badset_fini(&s->found); /* all of it of this pack */
    verify_forget(&s->verify, id);
    s->pack_damages = 0;
    rc = read_held(s, ctx, window, id, err);
    s->done = done;
    return rc;
}

static int
keep_parity(struct scrub *s, const struct pack_id *id, struct err *err)
{
    uint64_t done = s->done;
    char name[PARITY_NAME_SIZE];
    struct scrub_parity p;
    int rc;

    if (scrub_keep_parity(s->repo, id, s->makes_parity, &p, err) < 0)
        return -1;
    parity_name(id, name);
    s->result->parity_made += p.is_made;
    if (p.lacks && s->result->parity_lacks++ == 0)
        (void)snprintf(s->result->parity_cause, sizeof s->result->parity_cause,
                       "%.190s", p.text);
    if (p.is_damaged && p.is_made)
        tell_repaired(s, name, p.text);
    else if (p.is_damaged)
        on_damage(s, name, p.text);
    s->pack_damages = 0; /* the pack is whole */
    rc = on_read(s, p.bytes, err);
    s->done = done; /* of packs only */
    return rc;
}

static int
repair(struct scrub *s, struct frame_ctx *ctx, uint8_t *window,
       const struct pack_id *id, const char *name, struct err *err)
{
    char text[SCRUB_TEXT];
    enum scrub_repair how = scrub_repair(s->repo, id, text, err);

    if (how == SCRUB_REPAIR_AWAY) { /* the next one looks again, and tells */
        scrub_held_fini(&s->held);
        badset_fini(&s->found);
        s->pack_damages = 0;
        return -1;
    }
    if (how == SCRUB_REPAIR_DONE) {
        s->result->repaired++;
        tell_repaired(s, name, text);
    }
    if (how != SCRUB_REPAIR_NONE && read_again(s, ctx, window, id, err) < 0)
        return -1;
    if (how != SCRUB_REPAIR_DONE)
        scrub_held_explain(&s->held, text);
    return 0;
}

static int
read_and_repair(struct scrub *s, struct frame_ctx *ctx, uint8_t *window,
                const struct pack_id *id, const char *name, struct err *err)
{
    int rc = read_held(s, ctx, window, id, err);

    if (rc == 0 && s->pack_damages > 0)
        rc = repair(s, ctx, window, id, name, err);
    if (rc == 0 && s->pack_damages == 0)
        return keep_parity(s, id, err);
    s->pack_damages -= s->held.count;
    for (size_t i = 0; i < s->held.count; i++)
        on_damage(s, s->held.notes[i].object, s->held.notes[i].cause);
    scrub_held_fini(&s->held);
    return rc;
}

/* One that went away since it was listed was collected, or is missing: the
 * walk will tell. */
static int
read_pack(struct scrub *s, struct frame_ctx *ctx, uint8_t *window,
          const struct pack_id *id, const char *name, struct err *err)
{
    uint64_t size;

    s->pack_damages = 0;
    if (blob_size(s->repo->blob, name, &size, err) < 0 &&
        (err->code == ERR_NOT_FOUND || !blob_is_lost(err)))
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    if (read_and_repair(s, ctx, window, id, name, err) < 0 ||
        write_found(s, err) < 0 || clear_pack(s, id, err) < 0)
        return -1;
    s->result->packs++;
    s->unsaved++;
    (void)snprintf(s->state.cursor, sizeof s->state.cursor, "%s", name);
    return save(s, false, err);
}

static int
read_packs(struct scrub *s, struct frame_ctx *ctx, uint8_t *window,
           struct err *err)
{
    CLEANUP(scrub_packs_fini) struct scrub_packs packs = { 0 };

    if (scrub_packs_list(s->repo, &packs, err) < 0)
        return -1;
    for (size_t i = 0; i < packs.count; i++) {
        char name[PACK_NAME_SIZE];

        pack_name(&packs.ids[i], name);
        s->all += packs.sizes[i];
        if (strcmp(name, s->state.cursor) <= 0)
            s->done += packs.sizes[i];
    }
    for (size_t i = 0; i < packs.count; i++) {
        char name[PACK_NAME_SIZE];

        pack_name(&packs.ids[i], name);
        if (strcmp(name, s->state.cursor) > 0 &&
            read_pack(s, ctx, window, &packs.ids[i], name, err) < 0)
            return -1;
    }
    return 0;
}

static void
begin(struct scrub *s)
{
    struct repo_scrub_state *k = &s->state.known;

    if (k->is_under_way && !s->options->restarts &&
        s->state.level == (unsigned)s->level)
        return;
    s->state.level = s->level;
    s->state.cursor[0] = 0;
    k->is_under_way = true;
    k->began_unix_s = clock_wall_s();
    k->damages = 0;
}

static int
walk(struct scrub *s, struct err *err)
{
    uint64_t more = 0;

    if (!s->repo->info.is_unlocked)
        return 0;
    s->verify.level = REPO_VERIFY_TREES;
    /* What has a whole copy affects no backup; and again for what only the
     * walk finds. */
    if (scrub_heal(s->repo, &s->result->healed, err) < 0 ||
        verify_walk(&s->verify, err) < 0)
        return -1;
    if (s->found.count == 0)
        return 0;
    if (write_found(s, err) < 0 || scrub_heal(s->repo, &more, err) < 0)
        return -1;
    s->result->healed += more;
    return 0;
}

/* Its bytes are none of packs: they do not count as done. */
static int
index_read(void *arg, uint64_t bytes, struct err *err)
{
    struct scrub *s = arg;
    uint64_t done = s->done;
    int rc = on_read(s, bytes, err);

    s->done = done;
    return rc;
}

static void
index_repaired(void *arg, const char *object, const char *what)
{
    tell_repaired(arg, object, what);
}

static int
finish(struct scrub *s, struct err *err)
{
    const struct scrub_index_hooks hooks = { index_read, index_repaired, s };
    struct repo_scrub_state *k = &s->state.known;

    /* What was repaired; a repair does not end for that. */
    if (blob_sync(s->repo->blob, err) < 0 || walk(s, err) < 0 ||
        scrub_index(s->repo, &hooks, err) < 0)
        return -1;
    k->is_under_way = false;
    k->last_end_unix_s = clock_wall_s();
    k->last_damages = k->damages;
    s->state.cursor[0] = 0;
    return save(s, true, err);
}

static int
run(struct scrub *s, struct err *err)
{
    CLEANUP(mem_free) uint8_t *window = xcalloc(1, VERIFY_WINDOW);
    struct frame_ctx *ctx;
    struct err ignored;
    int rc;

    if (scrub_state_load(s->repo, &s->state, err) < 0)
        return -1;
    s->makes_parity = repo_private_makes_parity(s->repo);
    begin(s);
    if (save(s, true, err) < 0)
        return -1;
    ctx = repo_private_ctx_take(s->repo);
    rc = read_packs(s, ctx, window, err);
    repo_private_ctx_put(s->repo, ctx);
    if (rc == 0)
        return finish(s, err);
    (void)!save(s, true, &ignored); /* the next one goes on from here */
    return -1;
}

static int
count_bad(struct scrub *s, struct err *err)
{
    CLEANUP(badset_fini) struct badset bad = { 0 };

    if (copies_bad(s->repo, &bad, err) < 0)
        return -1;
    for (size_t i = 0; i < bad.count; i++)
        s->result->bad += !bad.frames[i].has_copy;
    return 0;
}

int NO_TSA
repo_scrub_run(struct repo *repo, const struct repo_scrub_options *options,
               const struct repo_scrub_sink *sink,
               struct repo_scrub_result *ret, struct err *err)
{
    struct scrub s = {
        .repo = repo, .options = options, .sink = sink, .result = ret
    };
    const struct repo_verify_sink inner = { .damage = on_damage,
                                            .affected = on_affected,
                                            .arg = &s };
    int rc;

    *ret = (struct repo_scrub_result){ 0 };
    s.level = options->level;
    if (s.level > REPO_VERIFY_STRIPES) {
        if (repo_private_need_write(repo, err) < 0)
            return -1;
        ret->is_shallow = !keys_can_read(&repo->keys);
    }
    if (ret->is_shallow)
        s.level = REPO_VERIFY_STRIPES;
    s.verify = (struct verify){ .repo = repo,
                                .level = s.level,
                                .sink = &inner,
                                .pace = on_read,
                                .bad_frame = on_bad_frame,
                                .hook_arg = &s };
    if (commitlog_bad(repo->log, &s.before, err) < 0)
        return -1;
    pthread_mutex_init(&s.verify.mutex, NULL);
    rc = run(&s, err);
    if (rc == 0)
        rc = count_bad(&s, err);
    free(s.verify.bad);
    pthread_mutex_destroy(&s.verify.mutex);
    badset_fini(&s.before);
    badset_fini(&s.found);
    return rc;
}
