/* SPDX-License-Identifier: Apache-2.0 */
/* CustomResourceDefinitions, read-only: one per kind outside the core group,
 * made from types/'s tables on each request; nobody asks often.
 */
#include <string.h>

#include "api/extra.h"
#include "api/handlers.h"
#include "api/status.h"
#include "base/mem.h"

static json_t *
strings(const char *const *v)
{
    json_t *list = json_array();

    for (size_t i = 0; v != NULL && v[i] != NULL; i++)
        json_array_append_new(list, json_string(v[i]));
    return list;
}

static json_t *
schema_of(const struct kind *k)
{
    struct err err = { 0 };

    if (k->schema_json != NULL)
        return jsonx_parse(k->schema_json, strlen(k->schema_json), &err);
    return json_pack("{s:s, s:b}", "type", "object",
                     "x-kubernetes-preserve-unknown-fields", 1);
}

static json_t *
columns_of(const struct kind *k)
{
    json_t *list = json_array();

    for (const struct kind_column *c = k->columns; c->name != NULL; c++) {
        if (c->path != NULL)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i}",
                                                  "name", c->name, "type",
                                                  c->type, "jsonPath", c->path,
                                                  "priority", c->priority));
    }
    return list;
}

static json_t *
versions_of(const struct kind *k)
{
    json_t *list = json_array();

    for (size_t i = 0; k->versions[i] != NULL; i++) {
        json_t *v = json_pack(
            "{s:s, s:b, s:b, s:{s:o}, s:o}", "name", k->versions[i], "served",
            1, "storage", (int)(strcmp(k->versions[i], k->gvr.version) == 0),
            "schema", "openAPIV3Schema", schema_of(k),
            "additionalPrinterColumns", columns_of(k));

        if (k->gvr.has_status)
            json_object_set_new(v, "subresources",
                                json_pack("{s:{}}", "status"));
        json_array_append_new(list, v);
    }
    return list;
}

static json_t *
conditions(void)
{
    return json_pack("[{s:s, s:s, s:s, s:s}, {s:s, s:s, s:s, s:s}]", "type",
                     "NamesAccepted", "status", "True", "reason", "NoConflicts",
                     "message", "no conflicts found", "type", "Established",
                     "status", "True", "reason", "InitialNamesAccepted",
                     "message", "the initial names have been accepted");
}

static json_t *
crd_of(const struct kind *k, const char *name)
{
    CLEANUP(mem_free) char *list_kind = xasprintf("%sList", k->gvr.kind);
    json_t *names = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o}", "plural", k->gvr.resource, "singular",
        k->singular, "kind", k->gvr.kind, "listKind", list_kind, "shortNames",
        strings(k->short_names), "categories", strings(k->categories));

    return json_pack(
        "{s:s, s:s, s:{s:s, s:s, s:s}, s:{s:s, s:O, s:s, s:o}, s:{s:o, s:o, s:[s]}}",
        "apiVersion", "apiextensions.k8s.io/v1", "kind",
        "CustomResourceDefinition", "metadata", "name", name, "resourceVersion",
        "1", "uid", name, "spec", "group", k->gvr.group, "names", names,
        "scope", k->gvr.is_namespaced ? "Namespaced" : "Cluster", "versions",
        versions_of(k), "status", "conditions", conditions(), "acceptedNames",
        names, "storedVersions", k->gvr.version);
}

/* The core group and storage.k8s.io are built into Kubernetes. */
static bool
is_custom(const struct kind *k)
{
    return k->gvr.group[0] != 0 && strcmp(k->gvr.group, "storage.k8s.io") != 0;
}

void
crd_get(struct request *rq, struct reply *rp)
{
    const char *wanted = rq->target.name;
    CLEANUP(json_decref) json_t *list = json_array();
    CLEANUP(json_decref) json_t *doc = NULL;
    struct err err = { 0 };

    for (size_t i = 0; kind_table[i] != NULL; i++) {
        CLEANUP(mem_free) char *name = status_resource(kind_table[i]);

        if (is_custom(kind_table[i]) &&
            (wanted == NULL || strcmp(wanted, name) == 0))
            json_array_append_new(list, crd_of(kind_table[i], name));
    }
    if (wanted != NULL && json_array_size(list) == 0) {
        (void)err_set(
            &err, ERR_NOT_FOUND,
            "customresourcedefinitions.apiextensions.k8s.io \"%s\" not found",
            wanted);
        status_of_err(rp, &rq->target, &err);
    } else if (wanted != NULL) {
        reply_json(rp, 200, json_array_get(list, 0));
    } else {
        doc = json_pack("{s:s, s:s, s:{s:s}, s:O}", "kind",
                        "CustomResourceDefinitionList", "apiVersion",
                        "apiextensions.k8s.io/v1", "metadata",
                        "resourceVersion", "1", "items", list);
        reply_json(rp, 200, doc);
    }
}
