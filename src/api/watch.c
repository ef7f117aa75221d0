/* SPDX-License-Identifier: Apache-2.0 */
/* A watch is a stream over a cursor of the cache (store/cache.h).
 *
 *   initial objects -> end-of-initial bookmark -> live events -> the end
 *
 * The reader renders one event at a time into `out` and hands it over in
 * pieces. Nothing is queued per watcher: who does not read falls off the
 * cache's ring and gets a 410, after which clients list again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/filter.h"
#include "api/handlers.h"
#include "api/options.h"
#include "api/render.h"
#include "api/status.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/uuid.h"

#define BOOKMARK_MS    60000
#define TIMEOUT_MIN_MS 1800000u /* 30 to 60 minutes unless the client says */
#define TIMEOUT_MAX_S  86400u

struct watch {
    struct stream stream;
    struct api *api;
    uint64_t waker;
    struct filter filter;
    struct render render; /* points into the request, which lives longer */
    struct cache_watch *cursor; /* NULL: expired before it began */
    struct object_list initial;
    size_t next_initial;
    bool wants_bookmarks;
    bool owes_initial_end; /* the WatchList bookmark */
    bool has_columns;      /* a table's columns were sent */
    bool is_over;
    uint64_t end_ms, bookmark_ms;
    struct buf out;
    size_t off; /* of what is handed over */
};

static void
watch_free(struct stream *s)
{
    struct watch *w = container_of(s, struct watch, stream);

    cache_watch_free(w->cursor);
    object_list_fini(&w->initial);
    filter_fini(&w->filter);
    buf_fini(&w->out);
    free(w);
}

/* --- events ---------------------------------------------------------- */

static void
emit(struct watch *w, const char *type, const struct object *o)
{
    buf_printf(&w->out, "{\"type\":\"%s\",\"object\":", type);
    render_object(&w->render, o, !w->has_columns, &w->out);
    buf_add_str(&w->out, "}\n");
    w->has_columns = true;
}

static void
emit_bookmark(struct watch *w, uint64_t rev, bool is_initial_end)
{
    buf_add_str(&w->out, "{\"type\":\"BOOKMARK\",\"object\":");
    render_bookmark(&w->render, rev, is_initial_end, &w->out);
    buf_add_str(&w->out, "}\n");
    w->bookmark_ms = clock_mono_ms() + BOOKMARK_MS;
}

/* After an ERROR the stream always ends. */
static void
emit_expired(struct watch *w)
{
    CLEANUP(json_decref)
    json_t *s = status_json(410, "Expired", "too old resource version");
    CLEANUP(mem_free) char *text = jsonx_canonical(s);

    buf_printf(&w->out, "{\"type\":\"ERROR\",\"object\":%s}\n", text);
    w->is_over = true;
}

/* The object left the selection: its last state that was in it, at the
 * revision at which it left. */
static void
emit_gone(struct watch *w, const struct object *last, uint64_t rev)
{
    CLEANUP(object_unref) struct object *o = object_at_rev(last, rev);

    emit(w, "DELETED", o);
}

static void
take_event(struct watch *w, const struct cache_event *ev)
{
    bool was, is;

    if (ev->type == CACHE_EXPIRED || ev->object == NULL) {
        emit_expired(w);
        return;
    }
    was = ev->prev != NULL && filter_match(&w->filter, ev->prev);
    is = ev->type != CACHE_DELETED && filter_match(&w->filter, ev->object);
    if (is)
        emit(w, was ? "MODIFIED" : "ADDED", ev->object);
    else if (was)
        emit_gone(w, ev->prev, ev->rev);
}

/* Something to send is put into `out`; false: there is nothing now. */
static bool
fill(struct watch *w)
{
    uint64_t now_ms = clock_mono_ms();

    while (w->next_initial < w->initial.n && w->out.len < 32768) {
        struct object *o = w->initial.v[w->next_initial++];

        if (filter_match(&w->filter, o))
            emit(w, "ADDED", o);
    }
    if (w->next_initial == w->initial.n && w->owes_initial_end) {
        emit_bookmark(w, w->initial.rev, true);
        w->owes_initial_end = false;
    }
    if (w->out.len > 0)
        return true;
    if (w->cursor == NULL && !w->is_over)
        emit_expired(w);
    while (w->cursor != NULL && w->out.len == 0 && !w->is_over) {
        struct cache_event ev;

        if (!cache_watch_next(w->cursor, &ev))
            break;
        take_event(w, &ev);
        cache_event_fini(&ev);
    }
    if (w->out.len == 0 && !w->is_over && w->wants_bookmarks &&
        (now_ms >= w->bookmark_ms || now_ms >= w->end_ms))
        emit_bookmark(w, cache_watch_rev(w->cursor), false);
    if (now_ms >= w->end_ms)
        w->is_over = true;
    return w->out.len > 0;
}

static ssize_t
watch_read(struct stream *s, char *buf, size_t max)
{
    struct watch *w = container_of(s, struct watch, stream);
    size_t n;

    if (w->off == w->out.len) {
        buf_truncate(&w->out, 0);
        w->off = 0;
        if (w->is_over || !fill(w))
            return w->is_over ? STREAM_END : STREAM_WAIT;
    }
    n = w->out.len - w->off;
    if (n > max)
        n = max;
    memcpy(buf, w->out.data + w->off, n);
    w->off += n;
    return (ssize_t)n;
}

static bool
watch_tick(struct stream *s, uint64_t now_ms)
{
    struct watch *w = container_of(s, struct watch, stream);

    return now_ms >= w->end_ms ||
           (w->wants_bookmarks && now_ms >= w->bookmark_ms);
}

/* The cache calls this without its lock; the watch may be gone by the time
 * the connection is looked up, and then nothing happens. */
static void
on_wake(void *arg)
{
    struct watch *w = arg;

    api_wake(w->api, w->waker);
}

/* --- the beginning --------------------------------------------------- */

/* Begin with the objects that are there. */
static int
begin_with_list(struct watch *w, const struct target *t, struct err *err)
{
    /* Once more if a thousand changes came between list and cursor. */
    for (int i = 0; i < 3; i++) {
        object_list_fini(&w->initial);
        cache_list(w->api->cache, &t->kind->gvr, t->ns, &w->initial);
        w->cursor = cache_watch_new(w->api->cache, &t->kind->gvr,
                                    w->initial.rev, on_wake, w, err);
        if (w->cursor != NULL)
            return 0;
    }
    return -1;
}

static bool
begin(struct watch *w, const struct request *rq, const struct options_list *o,
      struct reply *rp)
{
    bool is_from_now = o->rev == 0;
    uint64_t rev = o->rev;
    struct err err = { 0 };

    if (!o->has_rev)
        api_catch_up(w->api);
    if (o->wants_initial && rev > 0)
        (void)cache_wait_rev(w->api->cache, rev, 3000);
    if (o->wants_initial || (is_from_now && !o->has_initial)) {
        w->owes_initial_end = o->wants_initial;
        if (begin_with_list(w, &rq->target, &err) < 0) {
            status_of_err(rp, &rq->target, &err);
            return false;
        }
        return true;
    }
    if (is_from_now)
        rev = cache_rev(w->api->cache);
    w->cursor = cache_watch_new(w->api->cache, &rq->target.kind->gvr, rev,
                                on_wake, w, &err);
    return true; /* no cursor: the stream says 410 */
}

static uint64_t
timeout_ms(uint64_t said_s)
{
    uint16_t spread;

    if (said_s > 0)
        return (said_s < TIMEOUT_MAX_S ? said_s : TIMEOUT_MAX_S) * 1000;
    uuid_random_bytes(&spread, sizeof spread);
    return TIMEOUT_MIN_MS + TIMEOUT_MIN_MS * spread / UINT16_MAX;
}

void
watch_start(struct request *rq, struct reply *rp)
{
    struct watch *w;
    struct options_list options;
    struct filter filter;

    if (!options_list_read(rq, true, &options, rp) ||
        !filter_init(&filter, rq, rp))
        return;
    w = xcalloc(1, sizeof *w);
    w->stream.read = watch_read;
    w->stream.tick = watch_tick;
    w->stream.free = watch_free;
    w->api = rq->api;
    w->waker = rq->waker;
    w->filter = filter;
    render_init(&w->render, rq);
    w->wants_bookmarks = options.wants_bookmarks;
    w->end_ms = clock_mono_ms() + timeout_ms(options.timeout_s);
    w->bookmark_ms = clock_mono_ms() + BOOKMARK_MS;
    if (!begin(w, rq, &options, rp)) {
        watch_free(&w->stream);
        return;
    }
    rp->code = 200;
    rp->stream = &w->stream;
}
