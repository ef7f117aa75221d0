/* SPDX-License-Identifier: Apache-2.0 */
/* PUT .../virtualmachines/NAME/start and its like.
 *
 * The handler writes a VirtualMachineAction and lets the connection wait,
 * suspended, until the controller has written a final status or 30 s are
 * over: nothing else connects API and controllers, so the host that has the
 * VM may be another one. What takes longer than 30 s goes on: 202 says that
 * it was accepted, not that it is done, as in KubeVirt.
 */
#include <string.h>

#include "api/body.h"
#include "api/handlers.h"
#include "api/options.h"
#include "api/status.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/obj.h"

#define WAIT_MS 30000

struct wait {
    struct pending pending;
    struct api *api;
    uint64_t waker;
    struct cache_watch *cursor;
    char *ns, *name; /* of the action */
    uint64_t end_ms;
};

static void
wait_free(struct pending *p)
{
    struct wait *w = container_of(p, struct wait, pending);

    cache_watch_free(w->cursor);
    free(w->ns);
    free(w->name);
    free(w);
}

/* The action's status is final: make it the answer. */
static bool
take_status(const struct object *o, struct reply *rp)
{
    CLEANUP(json_decref) json_t *v = object_json(o);
    const char *phase = jsonx_str_or(v, "status.phase", "");
    int64_t code = jsonx_int(v, "status.code", 0);

    if (strcmp(phase, "Succeeded") == 0) {
        rp->code = 202;
        return true;
    }
    if (strcmp(phase, "Failed") != 0)
        return false;
    status_reply(rp, code >= 400 && code < 600 ? (int)code : 500,
                 jsonx_str_or(v, "status.reason", "InternalError"), "%s",
                 jsonx_str_or(v, "status.message", "it failed"));
    return true;
}

static bool
wait_poll(struct pending *p, struct reply *rp)
{
    struct wait *w = container_of(p, struct wait, pending);
    struct cache_event ev;

    while (cache_watch_next(w->cursor, &ev)) {
        bool is_done = false;

        if (ev.type == CACHE_EXPIRED || ev.object == NULL) {
            cache_event_fini(&ev);
            status_reply(
                rp, 503, "ServiceUnavailable",
                "too much happened at once: look at virtualmachineaction %s",
                w->name);
            return true;
        }
        if (strcmp(object_name(ev.object), w->name) == 0 &&
            strcmp(object_ns(ev.object), w->ns) == 0)
            is_done = take_status(ev.object, rp);
        cache_event_fini(&ev);
        if (is_done)
            return true;
    }
    if (clock_mono_ms() < w->end_ms)
        return false;
    rp->code = 202;
    reply_warning(
        rp,
        "accepted, but not done within 30 s: kubectl get vmactions shows its progress");
    return true;
}

static void
on_wake(void *arg)
{
    struct wait *w = arg;

    api_wake(w->api, w->waker);
}

/* The options that KubeVirt's clients send, under KubeVirt's names. */
static json_t *
action_of(const struct request *rq, const json_t *options)
{
    const struct target *t = &rq->target;
    CLEANUP(mem_free)
    char *prefix = xasprintf("%.200s-%s-", t->name, t->subresource);
    json_t *spec =
        json_pack("{s:s, s:s, s:s}", "virtualMachineName", t->name, "action",
                  t->subresource, "requestedBy", rq->user.name);
    /* A stop says gracePeriod, a restart gracePeriodSeconds. */
    static const struct {
        const char *from, *to;
    } kept[] = { { "paused", "paused" },
                 { "gracePeriod", "gracePeriodSeconds" },
                 { "gracePeriodSeconds", "gracePeriodSeconds" },
                 { "unfreezeTimeout", "unfreezeTimeout" } };

    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        const json_t *v = json_object_get(options, kept[i].from);

        if (v != NULL && !json_is_null(v))
            json_object_set(spec, kept[i].to, (json_t *)(uintptr_t)v);
    }
    return json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion",
                     "vmkeep.io/v1alpha1", "kind", "VirtualMachineAction",
                     "metadata", "generateName", prefix, "spec", spec);
}

/* dryRun in the options, as in KubeVirt, or in the query. */
static bool
read_dry_run(const struct request *rq, const json_t *options, bool *ret,
             struct reply *rp)
{
    bool is_in_body = false;

    if (!options_write_read(rq, "UpdateOptions", ret, rp) ||
        !options_body_dry_run(options, &is_in_body, rp))
        return false;
    *ret = *ret || is_in_body;
    return true;
}

static int
create_action(struct request *rq, struct reply *rp, json_t *v, bool is_dry_run,
              struct object **ret_object)
{
    struct obj_write how = { .part = OBJ_MAIN, .is_dry_run = is_dry_run };
    struct causes causes = { 0 };
    struct err err = { 0 };

    if (kind_check_schema(&kind_action, v, &causes, NULL) < 0) {
        status_invalid(rp, &rq->target, rq->target.name, &causes);
        return -1;
    }
    if (obj_create(rq->api->store, &kind_action.gvr, rq->target.ns, v, &how,
                   ret_object, &err) < 0) {
        status_of_err(rp, &rq->target, &err);
        return -1;
    }
    return 0;
}

static bool
check_vm(struct request *rq, struct reply *rp)
{
    struct obj_ref ref = { &kind_vm.gvr, rq->target.ns, rq->target.name };
    CLEANUP(object_unref) struct object *vm = NULL;
    struct target as_vm = rq->target;
    struct err err = { 0 };

    as_vm.kind = &kind_vm;
    if (obj_get(rq->api->store, &ref, &vm, &err) == 0)
        return true;
    status_of_err(rp, &as_vm, &err);
    return false;
}

void
subresource_put(struct request *rq, struct reply *rp)
{
    CLEANUP(json_decref) json_t *options = NULL;
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(object_unref) struct object *o = NULL;
    struct cache_watch *cursor;
    struct wait *w;
    bool is_dry_run = false;
    struct err err = { 0 };

    options = body_parse(rq, true, rp);
    if (options == NULL || !read_dry_run(rq, options, &is_dry_run, rp) ||
        !check_vm(rq, rp))
        return;
    v = action_of(rq, options);
    if (create_action(rq, rp, v, is_dry_run, &o) < 0)
        return;
    if (is_dry_run) {
        rp->code = 202; /* it would be tried */
        return;
    }
    w = xcalloc(1, sizeof *w);
    w->api = rq->api;
    w->waker = rq->waker;
    cursor = cache_watch_new(rq->api->cache, &kind_action.gvr,
                             object_rev(o) - 1, on_wake, w, &err);
    if (cursor == NULL) {
        free(w);
        rp->code = 202; /* it was accepted; nobody can say more */
        return;
    }
    w->cursor = cursor;
    w->pending.poll = wait_poll;
    w->pending.free = wait_free;
    w->ns = xstrdup(object_ns(o));
    w->name = xstrdup(object_name(o));
    w->end_ms = clock_mono_ms() + WAIT_MS;
    rp->pending = &w->pending;
}
