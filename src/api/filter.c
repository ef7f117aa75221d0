/* SPDX-License-Identifier: Apache-2.0 */
#include "api/filter.h"

#include <string.h>

#include "api/status.h"
#include "base/mem.h"

/* Field names that a selector may use beside metadata's, and where they are
 * in the object. */
struct field {
    const char *group, *resource;
    const char *name, *path;
};

static const struct field fields[] = {
    { "", "events", "involvedObject.kind", "involvedObject.kind" },
    { "", "events", "involvedObject.name", "involvedObject.name" },
    { "", "events", "involvedObject.namespace", "involvedObject.namespace" },
    { "", "events", "involvedObject.uid", "involvedObject.uid" },
    { "", "events", "involvedObject.apiVersion", "involvedObject.apiVersion" },
    { "", "events", "involvedObject.resourceVersion",
      "involvedObject.resourceVersion" },
    { "", "events", "involvedObject.fieldPath", "involvedObject.fieldPath" },
    { "", "events", "reason", "reason" },
    { "", "events", "type", "type" },
    { "", "events", "source", "source.component" },
    { "", "events", "reportingComponent", "reportingComponent" },
    { "", "namespaces", "status.phase", "status.phase" },
    { "", "secrets", "type", "type" },
};

static const struct field *
find_field(const struct gvr *gvr, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (strcmp(fields[i].group, gvr->group) == 0 &&
            strcmp(fields[i].resource, gvr->resource) == 0 &&
            strcmp(fields[i].name, name) == 0)
            return &fields[i];
    }
    return NULL;
}

static bool
is_meta_field(const char *name)
{
    return strcmp(name, "metadata.name") == 0 ||
           strcmp(name, "metadata.namespace") == 0;
}

static bool
check_fields(struct filter *f, const struct gvr *gvr, struct reply *rp)
{
    for (size_t i = 0; i < f->fields.n; i++) {
        const char *name = f->fields.v[i].key;

        if (is_meta_field(name))
            continue;
        f->needs_json = true;
        if (find_field(gvr, name) == NULL) {
            status_bad_request(rp, "field label not supported: %s", name);
            return false;
        }
    }
    return true;
}

bool
filter_init(struct filter *f, const struct request *rq, struct reply *rp)
{
    const char *exact;
    struct err err = { 0 };

    *f = (struct filter){ .ns = rq->target.ns };
    if (selector_parse_labels(uri_query(&rq->uri, "labelSelector"), &f->labels,
                              &err) < 0 ||
        selector_parse_fields(uri_query(&rq->uri, "fieldSelector"), &f->fields,
                              &err) < 0) {
        status_bad_request(rp, "%s", err.msg);
        filter_fini(f);
        return false;
    }
    if (!check_fields(f, &rq->target.kind->gvr, rp)) {
        filter_fini(f);
        return false;
    }
    exact = selector_exact(&f->fields, "metadata.name");
    if (rq->target.name != NULL)
        exact = rq->target.name;
    f->name = xstrdup(exact);
    return true;
}

void
filter_fini(struct filter *f)
{
    selector_fini(&f->labels);
    selector_fini(&f->fields);
    free(f->name);
    f->name = NULL;
}

static const char *
get_label(void *arg, const char *key)
{
    return object_label(arg, key);
}

struct field_source {
    const struct object *o;
    const json_t *json; /* NULL: not needed */
};

static const char *
get_field(void *arg, const char *key)
{
    const struct field_source *s = arg;
    const struct field *f;

    if (strcmp(key, "metadata.name") == 0)
        return object_name(s->o);
    if (strcmp(key, "metadata.namespace") == 0)
        return object_ns(s->o);
    f = find_field(object_gvr(s->o), key);
    /* An absent field is the empty string. */
    return f != NULL ? jsonx_str_or(s->json, f->path, "") : "";
}

bool
filter_match(const struct filter *f, const struct object *o)
{
    struct field_source source = { o, NULL };
    CLEANUP(json_decref) json_t *json = NULL;

    if (f->ns != NULL && strcmp(f->ns, object_ns(o)) != 0)
        return false;
    if (f->name != NULL && strcmp(f->name, object_name(o)) != 0)
        return false;
    if (!selector_match(&f->labels, get_label, (void *)(uintptr_t)o))
        return false;
    if (f->needs_json)
        source.json = json = object_json(o);
    return selector_match(&f->fields, get_field, &source);
}

bool
filter_is_empty(const struct filter *f)
{
    return f->name == NULL && f->labels.n == 0 && f->fields.n == 0;
}
