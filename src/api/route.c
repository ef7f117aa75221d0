/* SPDX-License-Identifier: Apache-2.0 */
/* What there is:
 *
 *   /healthz /livez /readyz /version /metrics /
 *   /api /apis ...                    discovery
 *   /openapi/v2 /openapi/v3 ...
 *   /api/v1/REST, /apis/GROUP/VERSION/REST with REST one of
 *       RESOURCE[/NAME[/SUBRESOURCE]]
 *       namespaces/NS/RESOURCE[/NAME[/SUBRESOURCE]]
 *   /v1/harvester/...                 three of Harvester's (harvester.c)
 *   /vmkeep/v1/kubeconfig             on the UNIX socket only
 *
 * Everything is asked of authz.c first, as a resource or as a path.
 */
#include "api/route.h"

#include <string.h>

#include "api/authz.h"
#include "api/extra.h"
#include "api/handlers.h"
#include "api/status.h"
#include "base/mem.h"

/* The path as it is known to discovery and authz: "apis/G/V", no slash in
 * front. */
static char *
joined_path(const struct uri *u)
{
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < u->nseg; i++)
        buf_printf(&b, "%s%s", i > 0 ? "/" : "", u->seg[i]);
    return buf_take_str(&b);
}

static bool
seg_is(const struct uri *u, size_t i, const char *s)
{
    return i < u->nseg && strcmp(u->seg[i], s) == 0;
}

static bool
deny(struct request *rq, struct reply *rp, const struct authz_question *q)
{
    if (user_in_group(&rq->user, USER_GROUP_ANONYMOUS))
        status_reply(rp, 401, "Unauthorized", "Unauthorized");
    else if (q->path != NULL)
        status_reply(rp, 403, "Forbidden",
                     "forbidden: User \"%s\" cannot %s path \"%s\"",
                     rq->user.name, q->verb, q->path);
    else
        status_forbidden(rp, &rq->user, q->verb, &rq->target);
    return false;
}

static bool
may(struct request *rq, struct reply *rp, const struct authz_question *q)
{
    return authz_allows(&rq->user, q, NULL) || deny(rq, rp, q);
}

/* --- paths that are no resources ------------------------------------- */

static void
reply_version(struct request *rq, struct reply *rp)
{
    /* The minor version picks the client where kubectl is a dispatcher. */
    CLEANUP(json_decref)
    json_t *v = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "major", "1", "minor",
        "32", "gitVersion", "v1.32.0+vmkeep" VMKEEP_VERSION, "gitCommit", "",
        "gitTreeState", "clean", "buildDate", "1970-01-01T00:00:00Z",
        "goVersion", "none", "compiler", "cc", "platform", "linux/amd64");

    reply_json(rp, 200, v);
}

static void
reply_root(struct request *rq, struct reply *rp)
{
    CLEANUP(json_decref)
    json_t *v = json_pack("{s:[ssssssssss]}", "paths", "/api", "/api/v1",
                          "/apis", "/healthz", "/livez", "/metrics",
                          "/openapi/v2", "/openapi/v3", "/readyz", "/version");

    reply_json(rp, 200, v);
}

static void
reply_ok(struct request *rq, struct reply *rp)
{
    reply_text(rp, 200, "ok");
}

static void
method_not_allowed(struct reply *rp)
{
    status_reply(
        rp, 405, "MethodNotAllowed",
        "the server does not allow this method on the requested resource");
}

static const struct {
    const char *path;
    enum method method;
    void (*handle)(struct request *rq, struct reply *rp);
} plain[] = {
    { "", METHOD_GET, reply_root },
    { "healthz", METHOD_GET, reply_ok },
    { "livez", METHOD_GET, reply_ok },
    { "readyz", METHOD_GET, reply_ok },
    { "version", METHOD_GET, reply_version },
    { "metrics", METHOD_GET, local_metrics },
    { "vmkeep/v1/kubeconfig", METHOD_POST, local_kubeconfig },
};

static const char *
path_verb(enum method m)
{
    switch (m) {
    case METHOD_GET:
        return "get";
    case METHOD_POST:
        return "post";
    case METHOD_PUT:
        return "put";
    case METHOD_PATCH:
        return "patch";
    case METHOD_DELETE:
        return "delete";
    case METHOD_OTHER:
        break;
    }
    return "other";
}

static void
route_path(struct request *rq, struct reply *rp, const char *path)
{
    CLEANUP(mem_free) char *full = xasprintf("/%s", path);
    struct authz_question q = { .verb = path_verb(rq->method), .path = full };

    if (!may(rq, rp, &q))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        if (strcmp(plain[i].path, path) != 0)
            continue;
        if (plain[i].method == rq->method)
            plain[i].handle(rq, rp);
        else
            method_not_allowed(rp);
        return;
    }
    if (!discovery_reply(rq->api->discovery, path, rq, rp) &&
        !openapi_reply(rq->api->openapi, path, rq, rp))
        status_no_path(rp);
    else if (rq->method != METHOD_GET) {
        reply_fini(rp);
        method_not_allowed(rp);
    }
}

/* --- resources ------------------------------------------------------- */

/* A name from the URL becomes part of a key: what cannot be a name of an
 * object names none. */
static bool
is_name(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > 253 || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] <= ' ' || s[i] == '/' || s[i] == '%' ||
            (unsigned char)s[i] == 0x7f)
            return false;
    }
    return true;
}

/* The segments from `at` on are what follows the version. */
static bool
parse_rest(const struct uri *u, size_t at, const char *group,
           const char *version, struct target *t)
{
    size_t n = u->nseg - at;
    const char *resource;

    if (n >= 3 && seg_is(u, at, "namespaces") &&
        !(group[0] == 0 && n == 3 &&
          (seg_is(u, at + 2, "status") || seg_is(u, at + 2, "finalize")))) {
        t->ns = u->seg[at + 1];
        at += 2;
        n -= 2;
    }
    if (n == 0 || n > 3)
        return false;
    resource = u->seg[at];
    t->name = n > 1 ? u->seg[at + 1] : NULL;
    t->subresource = n > 2 ? u->seg[at + 2] : NULL;
    t->version = version;
    t->kind = kind_by_resource(group, version, resource);
    if (t->kind == NULL)
        t->kind = extra_by_resource(group, version, resource);
    if (t->kind == NULL || (t->ns != NULL && !t->kind->gvr.is_namespaced) ||
        (t->ns != NULL && !is_name(t->ns)) ||
        (t->name != NULL && !is_name(t->name)))
        return false;
    /* One object of a namespaced kind is not named without its namespace. */
    return t->ns != NULL || t->name == NULL || !t->kind->gvr.is_namespaced;
}

static bool
is_watch(const struct request *rq)
{
    return rq->method == METHOD_GET && uri_query_bool(&rq->uri, "watch");
}

static const char *
resource_verb(const struct request *rq)
{
    bool is_one = rq->target.name != NULL;

    switch (rq->method) {
    case METHOD_GET:
        return is_watch(rq) ? "watch" : is_one ? "get" : "list";
    case METHOD_POST:
        return "create";
    case METHOD_PUT:
        return "update";
    case METHOD_PATCH:
        return "patch";
    case METHOD_DELETE:
        return is_one ? "delete" : "deletecollection";
    case METHOD_OTHER:
        break;
    }
    return "other";
}

static void
dispatch_stored(struct request *rq, struct reply *rp)
{
    const struct target *t = &rq->target;
    bool is_one = t->name != NULL;
    bool is_sub = t->subresource != NULL;

    if (is_sub &&
        !(t->kind->gvr.has_status && strcmp(t->subresource, "status") == 0))
        status_no_path(rp);
    else if (is_watch(rq) && !is_sub)
        watch_start(rq, rp);
    else if (rq->method == METHOD_GET && is_one)
        list_get(rq, rp);
    else if (rq->method == METHOD_GET)
        list_collection(rq, rp);
    else if (rq->method == METHOD_POST && !is_one &&
             (t->ns != NULL || !t->kind->gvr.is_namespaced))
        write_create(rq, rp);
    else if (rq->method == METHOD_PUT && is_one)
        write_replace(rq, rp);
    else if (rq->method == METHOD_PATCH && is_one)
        write_patch(rq, rp);
    else if (rq->method == METHOD_DELETE && is_one && !is_sub)
        delete_one(rq, rp);
    else if (rq->method == METHOD_DELETE && !is_one)
        delete_collection(rq, rp);
    else
        method_not_allowed(rp);
}

/* Pods and Services: there are never any. */
static void
dispatch_empty(struct request *rq, struct reply *rp)
{
    const struct kind *k = rq->target.kind;
    CLEANUP(json_decref) json_t *v = NULL;
    struct err err = { 0 };

    if (rq->method != METHOD_GET || is_watch(rq)) {
        method_not_allowed(rp);
    } else if (rq->target.name != NULL) {
        (void)err_set(&err, ERR_NOT_FOUND, "%s \"%s\" not found",
                      k->gvr.resource, rq->target.name);
        status_of_err(rp, &rq->target, &err);
    } else {
        v = json_pack("{s:o, s:s, s:{s:s}, s:[]}", "kind",
                      json_sprintf("%sList", k->gvr.kind), "apiVersion", "v1",
                      "metadata", "resourceVersion", "1", "items");
        reply_json(rp, 200, v);
    }
}

static bool
has_subresource(const struct target *t)
{
    const char *const *v = extra_subresources(t->kind);

    for (size_t i = 0; t->subresource != NULL && v[i] != NULL; i++) {
        if (strcmp(v[i], t->subresource) == 0)
            return true;
    }
    return false;
}

/* False: the kind is the store's. */
static bool
dispatch_extra(struct request *rq, struct reply *rp)
{
    const struct target *t = &rq->target;
    const struct kind *k = t->kind;

    if (k == &extra_pod || k == &extra_service)
        dispatch_empty(rq, rp);
    else if (k == &extra_crd && rq->method == METHOD_GET && !is_watch(rq))
        crd_get(rq, rp);
    else if (k == &extra_sub_vm || k == &extra_sub_vmi) {
        if (!has_subresource(t))
            status_no_path(rp);
        else if (rq->method != METHOD_PUT)
            method_not_allowed(rp);
        else
            subresource_put(rq, rp);
    } else if ((k == &extra_access_review || k == &extra_rules_review ||
                k == &extra_self_review) &&
               rq->method == METHOD_POST && t->name == NULL)
        review_create(rq, rp);
    else if (extra_by_resource(k->gvr.group, k->gvr.version, k->gvr.resource) ==
             k)
        method_not_allowed(rp);
    else
        return false;
    return true;
}

static void
route_resource(struct request *rq, struct reply *rp)
{
    const struct target *t = &rq->target;
    struct authz_question q = {
        .verb = resource_verb(rq),
        .group = t->kind->gvr.group,
        .resource = t->kind->gvr.resource,
        .subresource = t->subresource,
        .ns = t->ns,
        .name = t->name,
    };

    if (!may(rq, rp, &q))
        return;
    if (rq->method == METHOD_OTHER)
        method_not_allowed(rp);
    else if (!dispatch_extra(rq, rp))
        dispatch_stored(rq, rp);
}

/* The rights are those on the object that is made or read. */
static void
route_harvester(struct request *rq, struct reply *rp)
{
    const struct target *t = &rq->target;

    if (!harvester_target(rq) || (t->ns != NULL && !is_name(t->ns)) ||
        (rq->uri.nseg == 5 && !is_name(rq->uri.seg[4]))) {
        if (user_in_group(&rq->user, USER_GROUP_ANONYMOUS))
            status_reply(rp, 401, "Unauthorized", "Unauthorized");
        else
            status_no_path(rp);
        return;
    }
    struct authz_question q = {
        .verb = rq->method == METHOD_POST ? "create" : "get",
        .group = t->kind->gvr.group,
        .resource = t->kind->gvr.resource,
        .ns = t->ns,
        .name = t->name,
    };

    if (may(rq, rp, &q))
        harvester_handle(rq, rp);
}

void
route_handle(struct request *rq, struct reply *rp)
{
    const struct uri *u = &rq->uri;
    CLEANUP(mem_free) char *path = joined_path(u);
    bool is_core = seg_is(u, 0, "api") && seg_is(u, 1, "v1") && u->nseg > 2;
    bool is_group = seg_is(u, 0, "apis") && u->nseg > 3;

    if (!auth_identify(rq->api->auth, rq, rp))
        return;
    if (seg_is(u, 0, "v1") && seg_is(u, 1, "harvester"))
        route_harvester(rq, rp);
    else if (!is_core && !is_group)
        route_path(rq, rp, path);
    else if (parse_rest(u, is_core ? 2 : 3, is_core ? "" : u->seg[1],
                        is_core ? "v1" : u->seg[2], &rq->target))
        route_resource(rq, rp);
    else if (user_in_group(&rq->user, USER_GROUP_ANONYMOUS))
        status_reply(rp, 401, "Unauthorized", "Unauthorized");
    else
        status_no_path(rp);
}
