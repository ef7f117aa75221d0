/* SPDX-License-Identifier: Apache-2.0 */
/* Objects and lists.
 *
 * A list is read from the cache, which is waited for until it has what the
 * store had when the request came. A page of a list (limit) carries a token
 * "REVISION:NAMESPACE/NAME": the next page is read from the store as it was
 * at that revision, so pages together are one snapshot. Both are ordered by
 * the store's keys.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/filter.h"
#include "api/handlers.h"
#include "api/options.h"
#include "api/render.h"
#include "api/status.h"
#include "base/mem.h"
#include "store/obj.h"

#define REV_WAIT_MS 3000
#define BATCH       500u

struct page {
    struct filter filter;
    struct render render;
    size_t limit;      /* 0: all */
    uint64_t at_rev;   /* 0: now */
    const char *after; /* "NS/NAME" behind which to go on; NULL: begin */
};

static bool
parse_number(const char *s, uint64_t *ret)
{
    size_t n = strlen(s);

    if (n == 0 || n > 18 || strspn(s, "0123456789") != n)
        return false;
    *ret = strtoull(s, NULL, 10);
    return true;
}

static void
reply_expired(struct reply *rp)
{
    status_reply(
        rp, 410, "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.");
}

static void
reply_future(struct reply *rp, uint64_t wanted, uint64_t have)
{
    CLEANUP(json_decref) json_t *s = NULL;
    char text[128];

    (void)snprintf(text, sizeof text,
                   "Too large resource version: %" PRIu64 ", current: %" PRIu64,
                   wanted, have);
    s = status_json(504, "Timeout", text);
    json_object_set_new(s, "details",
                        json_pack("{s:[{s:s, s:s}], s:i}", "causes", "reason",
                                  "ResourceVersionTooLarge", "message",
                                  "Too large resource version",
                                  "retryAfterSeconds", 1));
    reply_header(rp, "Retry-After", "1");
    reply_json(rp, 504, s);
}

/* "REV:NS/NAME" */
static bool
parse_continue(const char *token, struct page *p, struct reply *rp)
{
    const char *colon = strchr(token, ':');
    CLEANUP(mem_free)
    char *rev = colon != NULL ? xstrndup(token, (size_t)(colon - token)) : NULL;

    if (rev == NULL || !parse_number(rev, &p->at_rev) || p->at_rev == 0 ||
        strlen(colon + 1) > 512 || strchr(colon + 1, '/') == NULL) {
        status_bad_request(rp, "continue key is not valid");
        return false;
    }
    p->after = colon + 1;
    return true;
}

/* Wait for what the client has seen elsewhere. */
static bool
reach(const struct request *rq, uint64_t rev, struct reply *rp)
{
    if (cache_wait_rev(rq->api->cache, rev, REV_WAIT_MS))
        return true;
    reply_future(rp, rev, cache_rev(rq->api->cache));
    return false;
}

void
list_get(struct request *rq, struct reply *rp)
{
    const struct target *t = &rq->target;
    struct obj_ref ref = { &t->kind->gvr, t->ns != NULL ? t->ns : "", t->name };
    CLEANUP(object_unref) struct object *o = NULL;
    struct render render;
    struct err err = { 0 };
    uint64_t rev;

    if (!options_get_read(rq, &rev, rp) || !reach(rq, rev, rp))
        return;
    if (obj_get(rq->api->store, &ref, &o, &err) < 0) {
        status_of_err(rp, t, &err);
        return;
    }
    render_init(&render, rq);
    rp->code = 200;
    render_object(&render, o, true, &rp->body);
    buf_add_char(&rp->body, '\n');
}

static bool
parse_options(const struct request *rq, struct page *p, struct reply *rp)
{
    struct options_list o;

    if (!options_list_read(rq, false, &o, rp))
        return false;
    p->limit = o.limit;
    if (o.token != NULL)
        return parse_continue(o.token, p, rp);
    if (!o.has_rev)
        api_catch_up(rq->api);
    else if (!reach(rq, o.rev, rp))
        return false;
    if (o.is_exact || (o.limit > 0 && !o.has_match))
        p->at_rev = o.rev; /* 0: any */
    return true;
}

static void
list_from_cache(struct request *rq, struct page *p, struct reply *rp)
{
    CLEANUP(object_list_fini) struct object_list l = { 0 };
    CLEANUP(mem_free) char *next = NULL;
    struct object *last = NULL;
    size_t emitted = 0, i;

    cache_list(rq->api->cache, &rq->target.kind->gvr, rq->target.ns, &l);
    render_list_begin(&p->render, &rp->body);
    for (i = 0; i < l.n; i++) {
        if (!filter_match(&p->filter, l.v[i]))
            continue;
        if (p->limit > 0 && emitted == p->limit)
            break;
        last = l.v[i];
        render_list_item(&p->render, last, emitted++ == 0, &rp->body);
    }
    if (i < l.n && last != NULL)
        next = xasprintf("%" PRIu64 ":%s/%s", l.rev, object_ns(last),
                         object_name(last));
    rp->code = 200;
    render_list_end(&p->render, l.rev, next,
                    filter_is_empty(&p->filter) ? (int64_t)(l.n - i) : -1,
                    &rp->body);
}

/* State of reading pages from the store. */
struct reading {
    char *prefix, *after; /* whole keys */
    char *next;           /* continue token; NULL: the end was reached */
    size_t emitted;
    uint64_t head_rev;
};

static void
reading_fini_p(struct reading *r)
{
    free(r->prefix);
    free(r->after);
    free(r->next);
}

static int
emit_batch(struct request *rq, struct page *p, const struct store_items *items,
           struct reading *r, struct buf *out, struct err *err)
{
    for (size_t i = 0; i < items->n; i++) {
        const struct store_item *it = &items->v[i];
        CLEANUP(object_unref) struct object *o = NULL;

        o = object_new(&rq->target.kind->gvr, it->val, it->val_len, it->rev,
                       err);
        if (o == NULL)
            return -1;
        free(r->after);
        r->after = xstrdup(it->key);
        if (!filter_match(&p->filter, o))
            continue;
        render_list_item(&p->render, o, r->emitted++ == 0, out);
        if (p->limit == 0 || r->emitted < p->limit)
            continue;
        if (i + 1 < items->n || items->has_more)
            r->next = xasprintf("%" PRIu64 ":%s/%s", p->at_rev, object_ns(o),
                                object_name(o));
        return 1; /* the page is full */
    }
    return items->has_more ? 0 : 1;
}

static int
read_batches(struct request *rq, struct page *p, struct reading *r,
             struct buf *out, struct err *err)
{
    int rc = 0;

    while (rc == 0) {
        size_t want = filter_is_empty(&p->filter) && p->limit > 0
                          ? p->limit - r->emitted
                          : BATCH;
        struct store_items items = { 0 };

        if (store_list(rq->api->store, r->prefix, r->after, want, p->at_rev,
                       &items, err) < 0)
            return -1;
        rc = emit_batch(rq, p, &items, r, out, err);
        store_items_fini(&items);
    }
    return rc;
}

static void
list_from_store(struct request *rq, struct page *p, struct reply *rp)
{
    const struct gvr *g = &rq->target.kind->gvr;
    const char *ns = rq->target.ns;
    CLEANUP(reading_fini) struct reading r = { 0 };
    struct err err = { 0 };

    r.prefix = xasprintf("/k/%s/%s/%s%s", g->group, g->resource,
                         ns != NULL ? ns : "", ns != NULL ? "/" : "");
    if (p->after != NULL)
        r.after = xasprintf("/k/%s/%s/%s", g->group, g->resource, p->after);
    render_list_begin(&p->render, &rp->body);
    if (read_batches(rq, p, &r, &rp->body, &err) < 0) {
        buf_truncate(&rp->body, 0);
        if (err.code == ERR_NOT_FOUND)
            reply_expired(rp);
        else
            status_of_err(rp, &rq->target, &err);
        return;
    }
    rp->code = 200;
    render_list_end(&p->render, p->at_rev, r.next, -1, &rp->body);
}

void
list_collection(struct request *rq, struct reply *rp)
{
    struct page p = { 0 };

    if (!filter_init(&p.filter, rq, rp))
        return;
    render_init(&p.render, rq);
    if (parse_options(rq, &p, rp)) {
        if (p.at_rev == 0)
            list_from_cache(rq, &p, rp);
        else
            list_from_store(rq, &p, rp);
    }
    filter_fini(&p.filter);
}
