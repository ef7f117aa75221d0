/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about oneself: kubectl auth can-i, can-i --list, whoami. */
#include <string.h>

#include "api/authz.h"
#include "api/body.h"
#include "api/extra.h"
#include "api/handlers.h"
#include "api/status.h"

/* "" means any or none. */
static const char *
given(const json_t *v, const char *path)
{
    const char *s = jsonx_str(v, path);

    return s != NULL && s[0] != 0 ? s : NULL;
}

static void
answer_access(const struct request *rq, json_t *v)
{
    const json_t *res = jsonx_get(v, "spec.resourceAttributes");
    const json_t *path = jsonx_get(v, "spec.nonResourceAttributes");
    const json_t *asked = res != NULL ? res : path;
    struct authz_question q = {
        .verb = jsonx_str_or(asked, "verb", ""),
        .group = jsonx_str_or(res, "group", ""),
        .resource = res != NULL ? jsonx_str_or(res, "resource", "") : NULL,
        .subresource = given(res, "subresource"),
        .ns = given(res, "namespace"),
        .name = given(res, "name"),
        .path = res == NULL ? jsonx_str_or(path, "path", "") : NULL,
    };
    const char *reason;
    bool is_allowed = authz_allows(&rq->user, &q, &reason);

    json_object_set_new(
        v, "status",
        json_pack("{s:b, s:s}", "allowed", (int)is_allowed, "reason", reason));
}

static void
answer_rules(const struct request *rq, json_t *v)
{
    bool is_admin = user_in_group(&rq->user, USER_GROUP_MASTERS);
    json_t *rules = json_array();
    json_t *paths = json_array();

    if (is_admin) {
        json_array_append_new(rules,
                              json_pack("{s:[s], s:[s], s:[s]}", "verbs", "*",
                                        "apiGroups", "*", "resources", "*"));
        json_array_append_new(paths, json_pack("{s:[s], s:[s]}", "verbs", "*",
                                               "nonResourceURLs", "*"));
    } else {
        json_array_append_new(
            rules, json_pack("{s:[s], s:[ss], s:[sss]}", "verbs", "create",
                             "apiGroups", "authorization.k8s.io",
                             "authentication.k8s.io", "resources",
                             "selfsubjectaccessreviews",
                             "selfsubjectrulesreviews", "selfsubjectreviews"));
        json_array_append_new(paths, json_pack("{s:[s], s:[ssssss]}", "verbs",
                                               "get", "nonResourceURLs",
                                               "/healthz", "/version", "/api",
                                               "/api/*", "/apis", "/apis/*"));
    }
    json_object_set_new(v, "status",
                        json_pack("{s:o, s:o, s:b}", "resourceRules", rules,
                                  "nonResourceRules", paths, "incomplete", 0));
}

static void
answer_self(const struct request *rq, json_t *v)
{
    json_t *groups = json_array();

    for (int i = 0; i < rq->user.ngroups; i++)
        json_array_append_new(groups, json_string(rq->user.groups[i]));
    json_object_set_new(v, "status",
                        json_pack("{s:{s:s, s:o}}", "userInfo", "username",
                                  rq->user.name, "groups", groups));
}

void
review_create(struct request *rq, struct reply *rp)
{
    const struct kind *k = rq->target.kind;
    CLEANUP(json_decref) json_t *v = body_parse(rq, false, rp);

    if (v == NULL)
        return;
    if (!json_is_object(v) ||
        strcmp(jsonx_str_or(v, "kind", k->gvr.kind), k->gvr.kind) != 0) {
        status_bad_request(rp, "the body is not a %s", k->gvr.kind);
        return;
    }
    jsonx_set_str(v, "kind", k->gvr.kind);
    jsonx_set(v, "apiVersion",
              json_sprintf("%s/%s", k->gvr.group, k->gvr.version));
    if (k == &extra_access_review)
        answer_access(rq, v);
    else if (k == &extra_rules_review)
        answer_rules(rq, v);
    else
        answer_self(rq, v);
    reply_json(rp, 201, v);
}
