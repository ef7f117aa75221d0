/* SPDX-License-Identifier: Apache-2.0 */
#include "api/openapi.h"

#include <string.h>

#include "api/discovery.h"
#include "api/openapi2.h"
#include "base/map.h"
#include "base/mem.h"

#define META_NAME "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

struct openapi {
    struct map *docs; /* "openapi/v3/apis/G/V": its text */
    struct buf v2_proto;
};

static const char meta_schema[] =
    "{\"type\":\"object\",\"description\":\"Metadata that all objects have.\","
    "\"properties\":{"
    "\"name\":{\"type\":\"string\",\"description\":\"Name, unique within a namespace; cannot be changed.\"},"
    "\"generateName\":{\"type\":\"string\",\"description\":\"Prefix of the name, where no name is given.\"},"
    "\"namespace\":{\"type\":\"string\",\"description\":\"Namespace of the object.\"},"
    "\"selfLink\":{\"type\":\"string\",\"description\":\"Not used.\"},"
    "\"uid\":{\"type\":\"string\",\"description\":\"Set by the server; never used twice.\"},"
    "\"resourceVersion\":{\"type\":\"string\",\"description\":\"Changes with every write; opaque.\"},"
    "\"generation\":{\"type\":\"integer\",\"format\":\"int64\",\"description\":\"Counts the changes of the spec.\"},"
    "\"creationTimestamp\":{\"type\":\"string\",\"format\":\"date-time\",\"description\":\"Set by the server.\"},"
    "\"deletionTimestamp\":{\"type\":\"string\",\"format\":\"date-time\",\"description\":\"Set by the server when deletion was asked for.\"},"
    "\"deletionGracePeriodSeconds\":{\"type\":\"integer\",\"format\":\"int64\",\"description\":\"Always 0.\"},"
    "\"labels\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},\"description\":\"Words to select objects by.\"},"
    "\"annotations\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},\"description\":\"Notes of tools and people.\"},"
    "\"finalizers\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"description\":\"Who must finish before the object is removed.\"},"
    "\"ownerReferences\":{\"type\":\"array\",\"description\":\"Objects that this one depends on.\",\"items\":{\"type\":\"object\","
    "\"required\":[\"apiVersion\",\"kind\",\"name\",\"uid\"],\"properties\":{\"apiVersion\":{\"type\":\"string\"},\"kind\":{\"type\":\"string\"},"
    "\"name\":{\"type\":\"string\"},\"uid\":{\"type\":\"string\"},\"controller\":{\"type\":\"boolean\"},\"blockOwnerDeletion\":{\"type\":\"boolean\"}}}},"
    "\"managedFields\":{\"type\":\"array\",\"description\":\"Who set which field.\",\"items\":{\"type\":\"object\",\"properties\":{"
    "\"manager\":{\"type\":\"string\"},\"operation\":{\"type\":\"string\"},\"apiVersion\":{\"type\":\"string\"},"
    "\"time\":{\"type\":\"string\",\"format\":\"date-time\"},\"fieldsType\":{\"type\":\"string\"},\"fieldsV1\":{\"type\":\"object\"},"
    "\"subresource\":{\"type\":\"string\"}}}}}}";

/* "io.kubevirt.snapshot.v1beta1.VirtualMachineSnapshot" */
static char *
schema_name(const struct kind *k, const char *version)
{
    struct buf b = BUF_INIT;
    const char *group = k->gvr.group;
    size_t end = strlen(group);

    if (end == 0)
        buf_add_str(&b, "io.k8s.api.core.");
    while (end > 0) {
        size_t start = end;

        while (start > 0 && group[start - 1] != '.')
            start--;
        buf_add(&b, group + start, end - start);
        buf_add_char(&b, '.');
        end = start > 0 ? start - 1 : 0;
    }
    buf_printf(&b, "%s.%s", version, k->gvr.kind);
    return buf_take_str(&b);
}

static json_t *
gvk_of(const struct kind *k, const char *version)
{
    return json_pack("{s:s, s:s, s:s}", "group", k->gvr.group, "version",
                     version, "kind", k->gvr.kind);
}

static json_t *
parsed(const char *text)
{
    struct err err = { 0 };
    json_t *v = jsonx_parse(text, strlen(text), &err);

    if (v == NULL)
        abort(); /* compiled in: a bug */
    return v;
}

/* The schema with its group, version and kind and with metadata filled in. */
static json_t *
full_schema(const struct kind *k, const char *version, bool is_v2)
{
    json_t *v3 = parsed(k->schema_json);
    json_t *s = is_v2 ? openapi2_schema(v3) : json_incref(v3);
    json_t *meta = is_v2
                       ? json_pack("{s:s}", "$ref", "#/definitions/" META_NAME)
                       : json_pack("{s:s, s:[{s:s}]}", "description",
                                   "Metadata that all objects have.", "allOf",
                                   "$ref", "#/components/schemas/" META_NAME);
    json_t *props = json_object_get(s, "properties");

    if (props != NULL)
        json_object_set(props, "metadata", meta);
    json_decref(meta);
    json_object_set_new(s, "x-kubernetes-group-version-kind",
                        json_pack("[o]", gvk_of(k, version)));
    json_decref(v3);
    return s;
}

static void
add_operation(json_t *path, const char *method, const char *action,
              const struct kind *k, const char *version, bool is_v2)
{
    static const char *const params[] = { "dryRun", "fieldManager",
                                          "fieldValidation" };
    bool is_write = strcmp(method, "get") != 0;
    json_t *list = json_array();

    for (size_t i = 0; is_write && i < ARRAY_SIZE(params); i++) {
        json_t *p = json_pack("{s:s, s:s}", "name", params[i], "in", "query");

        if (is_v2)
            json_object_set_new(p, "type", json_string("string"));
        else
            json_object_set_new(p, "schema",
                                json_pack("{s:s}", "type", "string"));
        json_array_append_new(list, p);
    }
    json_object_set_new(
        path, method,
        json_pack("{s:s, s:o, s:o, s:{s:{s:s}}}", "x-kubernetes-action", action,
                  "x-kubernetes-group-version-kind", gvk_of(k, version),
                  "parameters", list, "responses", "200", "description", "OK"));
}

static void
add_paths(json_t *paths, const struct kind *k, const char *version, bool is_v2)
{
    bool is_core = k->gvr.group[0] == 0;
    CLEANUP(mem_free)
    char *prefix = xasprintf("%s%s/%s", is_core ? "/api" : "/apis/",
                             k->gvr.group, version);
    CLEANUP(mem_free)
    char *collection = xasprintf(
        "%s/%s%s", prefix,
        k->gvr.is_namespaced ? "namespaces/{namespace}/" : "", k->gvr.resource);
    CLEANUP(mem_free) char *item = xasprintf("%s/{name}", collection);
    CLEANUP(mem_free) char *all = xasprintf("%s/%s", prefix, k->gvr.resource);
    json_t *p = json_object();

    add_operation(p, "get", "list", k, version, is_v2);
    add_operation(p, "post", "post", k, version, is_v2);
    json_object_set_new(paths, collection, p);
    p = json_object();
    add_operation(p, "get", "get", k, version, is_v2);
    add_operation(p, "put", "put", k, version, is_v2);
    add_operation(p, "patch", "patch", k, version, is_v2);
    add_operation(p, "delete", "delete", k, version, is_v2);
    json_object_set_new(paths, item, p);
    if (k->gvr.is_namespaced) {
        p = json_object();
        add_operation(p, "get", "list", k, version, is_v2);
        json_object_set_new(paths, all, p);
    }
}

struct build {
    struct openapi *o;
    json_t *index; /* of v3: path -> {serverRelativeURL} */
    json_t *paths2, *defs2;
};

static void
put(struct openapi *o, const char *path, json_t *doc)
{
    char *text = json_dumps(doc, JSON_COMPACT);

    json_decref(doc);
    if (text == NULL)
        abort();
    free(map_put(o->docs, path, text));
}

static void
add_group_version(void *arg, const char *group, const char *version,
                  const struct kind *const *v, size_t n)
{
    struct build *b = arg;
    CLEANUP(mem_free)
    char *path = group[0] == 0 ? xasprintf("api/%s", version)
                               : xasprintf("apis/%s/%s", group, version);
    CLEANUP(mem_free) char *full = xasprintf("openapi/v3/%s", path);
    CLEANUP(mem_free) char *url = xasprintf("/%s", full);
    json_t *paths = json_object();
    json_t *schemas = json_object();

    json_object_set_new(schemas, META_NAME, parsed(meta_schema));
    for (size_t i = 0; i < n; i++) {
        CLEANUP(mem_free) char *name = schema_name(v[i], version);

        add_paths(paths, v[i], version, false);
        add_paths(b->paths2, v[i], version, true);
        if (v[i]->schema_json == NULL)
            continue;
        json_object_set_new(schemas, name, full_schema(v[i], version, false));
        json_object_set_new(b->defs2, name, full_schema(v[i], version, true));
    }
    json_object_set_new(b->index, path,
                        json_pack("{s:s}", "serverRelativeURL", url));
    put(b->o, full,
        json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:o}}", "openapi", "3.0.0",
                  "info", "title", "vmkeep", "version", VMKEEP_VERSION, "paths",
                  paths, "components", "schemas", schemas));
}

struct openapi *
openapi_new(void)
{
    struct openapi *o = xcalloc(1, sizeof *o);
    struct build b = { o, json_object(), json_object(), json_object() };
    json_t *v2;

    o->docs = map_new();
    json_object_set_new(b.defs2, META_NAME, parsed(meta_schema));
    discovery_each(add_group_version, &b);
    put(o, "openapi/v3", json_pack("{s:o}", "paths", b.index));
    v2 = json_pack("{s:s, s:{s:s, s:s}, s:o, s:o}", "swagger", "2.0", "info",
                   "title", "vmkeep", "version", VMKEEP_VERSION, "paths",
                   b.paths2, "definitions", b.defs2);
    openapi2_encode(v2, &o->v2_proto);
    put(o, "openapi/v2", v2);
    return o;
}

void
openapi_free(struct openapi *o)
{
    const char *key;
    void *text;

    if (o == NULL)
        return;
    for (size_t i = 0; map_next(o->docs, &i, &key, &text);)
        free(text);
    map_free(o->docs);
    buf_fini(&o->v2_proto);
    free(o);
}

bool
openapi_reply(const struct openapi *o, const char *path,
              const struct request *rq, struct reply *rp)
{
    const char *accept = request_header(rq, "Accept");
    const char *text = map_get(o->docs, path);

    if (text == NULL)
        return false;
    rp->code = 200;
    reply_header(rp, "Vary", "Accept");
    if (strcmp(path, "openapi/v2") == 0 && accept != NULL &&
        strstr(accept, "proto-openapi") != NULL) {
        /* The form with "@v1.0" does not pass Go's MIME parser. */
        rp->content_type =
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        buf_add(&rp->body, o->v2_proto.data, o->v2_proto.len);
    } else {
        buf_add_str(&rp->body, text);
    }
    return true;
}
