/* SPDX-License-Identifier: Apache-2.0 */
#include "api/discovery.h"

#include <stdio.h>
#include <string.h>

#include "api/accept.h"
#include "api/extra.h"
#include "base/map.h"
#include "base/mem.h"

#define KINDS_MAX 64

struct discovery {
    struct map *docs; /* "apis", "apis v2", "apis/G/V": its text */
};

static bool
is_served_in(const struct kind *k, const char *group, const char *version)
{
    if (strcmp(k->gvr.group, group) != 0)
        return false;
    for (size_t i = 0; k->versions[i] != NULL; i++) {
        if (strcmp(k->versions[i], version) == 0)
            return true;
    }
    return false;
}

/* All kinds, the store's first: the order decides whose short name wins. */
static size_t
all_kinds(const struct kind **v)
{
    size_t n = 0;

    for (size_t i = 0; kind_table[i] != NULL && n < KINDS_MAX; i++)
        v[n++] = kind_table[i];
    for (size_t i = 0; extra_table[i] != NULL && n < KINDS_MAX; i++) {
        if (extra_table[i] != &extra_pod)
            v[n++] = extra_table[i];
    }
    return n;
}

static json_t *
string_list(const char *const *v)
{
    json_t *list = json_array();

    for (size_t i = 0; v != NULL && v[i] != NULL; i++)
        json_array_append_new(list, json_string(v[i]));
    return list;
}

static json_t *
response_kind(const struct kind *k, const char *version)
{
    return json_pack("{s:s, s:s, s:s}", "group", k->gvr.group, "version",
                     version, "kind", k->gvr.kind);
}

static const char *const status_verbs[] = { "get", "patch", "update", NULL };
static const char *const action_verbs[] = { "update", NULL };

/* One resource in the aggregated form. */
static json_t *
new_resource(const struct kind *k, const char *version)
{
    bool is_bare = k == &extra_sub_vm || k == &extra_sub_vmi;
    json_t *subs = json_array();
    json_t *r = json_pack(
        "{s:s, s:o, s:s, s:s, s:o}", "resource", k->gvr.resource,
        "responseKind",
        is_bare ? json_pack("{s:s, s:s, s:s}", "group", "", "version", "",
                            "kind", "")
                : response_kind(k, version),
        "scope", k->gvr.is_namespaced ? "Namespaced" : "Cluster",
        "singularResource", k->singular, "verbs", string_list(k->verbs));
    const char *const *names = extra_subresources(k);

    if (k->short_names != NULL && k->short_names[0] != NULL)
        json_object_set_new(r, "shortNames", string_list(k->short_names));
    if (k->categories != NULL && k->categories[0] != NULL)
        json_object_set_new(r, "categories", string_list(k->categories));
    if (k->gvr.has_status)
        json_array_append_new(
            subs, json_pack("{s:s, s:o, s:o}", "subresource", "status",
                            "responseKind", response_kind(k, version), "verbs",
                            string_list(status_verbs)));
    for (size_t i = 0; names[i] != NULL; i++)
        json_array_append_new(
            subs, json_pack("{s:s, s:o, s:o}", "subresource", names[i],
                            "responseKind", response_kind(k, version), "verbs",
                            string_list(action_verbs)));
    if (json_array_size(subs) > 0)
        json_object_set(r, "subresources", subs);
    json_decref(subs);
    return r;
}

static void
add_old_subresource(json_t *list, const struct kind *k, const char *sub,
                    const char *const *verbs)
{
    CLEANUP(mem_free) char *name = xasprintf("%s/%s", k->gvr.resource, sub);

    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", name,
                                    "singularName", "", "namespaced",
                                    (int)k->gvr.is_namespaced, "kind",
                                    k->gvr.kind, "verbs", string_list(verbs)));
}

/* One resource and its subresources in the legacy form. */
static void
add_old_resource(json_t *list, const struct kind *k)
{
    const char *const *names = extra_subresources(k);
    json_t *r = json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", k->gvr.resource,
                          "singularName", k->singular, "namespaced",
                          (int)k->gvr.is_namespaced, "kind", k->gvr.kind,
                          "verbs", string_list(k->verbs));

    if (k->short_names != NULL && k->short_names[0] != NULL)
        json_object_set_new(r, "shortNames", string_list(k->short_names));
    if (k->categories != NULL && k->categories[0] != NULL)
        json_object_set_new(r, "categories", string_list(k->categories));
    if (names[0] == NULL)
        json_array_append(list, r);
    json_decref(r);
    if (k->gvr.has_status)
        add_old_subresource(list, k, "status", status_verbs);
    for (size_t i = 0; names[i] != NULL; i++)
        add_old_subresource(list, k, names[i], action_verbs);
}

static void
put(struct discovery *d, const char *path, const char *variant, json_t *doc)
{
    CLEANUP(mem_free) char *key = xasprintf("%s%s", path, variant);
    char *text = json_dumps(doc, JSON_COMPACT);

    json_decref(doc);
    if (text == NULL)
        abort(); /* made of our own tables */
    free(map_put(d->docs, key, text));
}

/* One version of a group: legacy list stored, aggregated entry returned. */
static json_t *
add_version(struct discovery *d, const char *group, const char *version)
{
    const struct kind *v[KINDS_MAX];
    size_t n = all_kinds(v);
    json_t *old = json_array();
    json_t *new = json_array();
    CLEANUP(mem_free)
    char *gv =
        group[0] != 0 ? xasprintf("%s/%s", group, version) : xstrdup(version);
    CLEANUP(mem_free)
    char *path = xasprintf("%s/%s", group[0] != 0 ? "apis" : "api", gv);

    for (size_t i = 0; i < n; i++) {
        if (!is_served_in(v[i], group, version))
            continue;
        add_old_resource(old, v[i]);
        json_array_append_new(new, new_resource(v[i], version));
    }
    put(d, path, "",
        json_pack("{s:s, s:s, s:s, s:o}", "kind", "APIResourceList",
                  "apiVersion", "v1", "groupVersion", gv, "resources", old));
    return json_pack("{s:s, s:s, s:o}", "version", version, "freshness",
                     "Current", "resources", new);
}

/* The versions of a group, each once, in the order of its kinds. */
static size_t
versions_of(const char *group, const char **ret_v, size_t max)
{
    const struct kind *v[KINDS_MAX];
    size_t n = all_kinds(v), nv = 0;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(v[i]->gvr.group, group) != 0)
            continue;
        for (size_t k = 0; v[i]->versions[k] != NULL; k++) {
            bool is_known = false;

            for (size_t j = 0; j < nv; j++)
                is_known |= strcmp(ret_v[j], v[i]->versions[k]) == 0;
            if (!is_known && nv < max)
                ret_v[nv++] = v[i]->versions[k];
        }
    }
    return nv;
}

/* A group: APIGroup stored and returned, aggregated item returned. */
static json_t *
add_group(struct discovery *d, const char *group, json_t **ret_new)
{
    const char *version[8];
    size_t n = versions_of(group, version, ARRAY_SIZE(version));
    json_t *old_versions = json_array();
    json_t *new_versions = json_array();
    json_t *meta = json_object();
    CLEANUP(mem_free) char *path = xasprintf("apis/%s", group);
    json_t *doc;

    for (size_t i = 0; i < n; i++) {
        CLEANUP(mem_free) char *gv = xasprintf("%s/%s", group, version[i]);

        json_array_append_new(new_versions, add_version(d, group, version[i]));
        json_array_append_new(
            old_versions,
            json_pack("{s:s, s:s}", "groupVersion", gv, "version", version[i]));
    }
    if (group[0] != 0)
        json_object_set_new(meta, "name", json_string(group));
    *ret_new =
        json_pack("{s:o, s:o}", "metadata", meta, "versions", new_versions);
    doc = json_pack("{s:s, s:s, s:s, s:O, s:o}", "kind", "APIGroup",
                    "apiVersion", "v1", "name", group, "preferredVersion",
                    json_array_get(old_versions, 0), "versions", old_versions);
    if (group[0] != 0)
        put(d, path, "", json_incref(doc));
    return doc;
}

static void
put_aggregated(struct discovery *d, const char *path, json_t *items)
{
    static const char *const versions[] = { "v2", "v2beta1" };

    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        CLEANUP(mem_free) char *variant = xasprintf(" %s", versions[i]);
        CLEANUP(mem_free)
        char *gv = xasprintf("apidiscovery.k8s.io/%s", versions[i]);

        put(d, path, variant,
            json_pack("{s:s, s:s, s:{}, s:O}", "kind", "APIGroupDiscoveryList",
                      "apiVersion", gv, "metadata", "items", items));
    }
    json_decref(items);
}

struct discovery *
discovery_new(void)
{
    struct discovery *d = xcalloc(1, sizeof *d);
    const struct kind *v[KINDS_MAX];
    size_t n = all_kinds(v);
    json_t *old = json_array();
    json_t *new = json_array();
    json_t *core;

    d->docs = map_new();
    json_decref(add_group(d, "", &core));
    put_aggregated(d, "api", json_pack("[o]", core));
    put(d, "api", "",
        json_pack("{s:s, s:[s], s:[]}", "kind", "APIVersions", "versions", "v1",
                  "serverAddressByClientCIDRs"));
    for (size_t i = 0; i < n; i++) {
        bool is_first = v[i]->gvr.group[0] != 0;
        json_t *item;

        for (size_t k = 0; k < i; k++)
            is_first &= strcmp(v[k]->gvr.group, v[i]->gvr.group) != 0;
        if (!is_first)
            continue;
        json_array_append_new(old, add_group(d, v[i]->gvr.group, &item));
        json_array_append_new(new, item);
    }
    put_aggregated(d, "apis", new);
    put(d, "apis", "",
        json_pack("{s:s, s:s, s:o}", "kind", "APIGroupList", "apiVersion", "v1",
                  "groups", old));
    return d;
}

void
discovery_free(struct discovery *d)
{
    void *text;
    const char *key;

    if (d == NULL)
        return;
    for (size_t i = 0; map_next(d->docs, &i, &key, &text);)
        free(text);
    map_free(d->docs);
    free(d);
}

bool
discovery_reply(const struct discovery *d, const char *path,
                const struct request *rq, struct reply *rp)
{
    const char *version = accept_discovery(request_header(rq, "Accept"));
    bool is_root = strcmp(path, "api") == 0 || strcmp(path, "apis") == 0;
    CLEANUP(mem_free)
    char *key = xasprintf("%s%s%s", path, is_root && version != NULL ? " " : "",
                          is_root && version != NULL ? version : "");
    const char *text = map_get(d->docs, key);

    if (text == NULL)
        return false;
    rp->code = 200;
    if (is_root && version != NULL)
        rp->content_type =
            strcmp(version, "v2") == 0
                ? "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
                : "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    reply_header(rp, "Vary", "Accept");
    buf_add_str(&rp->body, text);
    return true;
}

void
discovery_each(discovery_fn fn, void *arg)
{
    for (size_t i = 0; kind_table[i] != NULL; i++) {
        const char *group = kind_table[i]->gvr.group;
        const char *version[8];
        size_t n = versions_of(group, version, ARRAY_SIZE(version));
        bool is_first = true;

        for (size_t k = 0; k < i; k++)
            is_first &= strcmp(kind_table[k]->gvr.group, group) != 0;
        for (size_t j = 0; is_first && j < n; j++) {
            const struct kind *v[KINDS_MAX];
            size_t nv = 0;

            for (size_t k = i; kind_table[k] != NULL && nv < KINDS_MAX; k++) {
                if (is_served_in(kind_table[k], group, version[j]))
                    v[nv++] = kind_table[k];
            }
            fn(arg, group, version[j], v, nv);
        }
    }
}
