/* SPDX-License-Identifier: Apache-2.0 */
#include "api/render.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

void
render_init(struct render *r, const struct request *rq)
{
    const char *include = uri_query(&rq->uri, "includeObject");

    *r = (struct render){ .target = &rq->target };
    r->form = accept_form(request_header(rq, "Accept"), &r->form_version);
    if (include != NULL && strcmp(include, "Object") == 0)
        r->include = RENDER_OBJECT;
    else if (include != NULL && strcmp(include, "None") == 0)
        r->include = RENDER_NONE;
    r->other_version = api_other_version(&rq->target, r->version);
}

static void
add_json(struct buf *out, const json_t *v)
{
    CLEANUP(mem_free)
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

    buf_add_str(out, text != NULL ? text : "null");
}

static void
add_partial(const struct render *r, const json_t *object, struct buf *out)
{
    buf_printf(
        out,
        "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/%s\",\"metadata\":",
        r->form_version);
    add_json(out, json_object_get(object, "metadata"));
    buf_add_char(out, '}');
}

/* A kind whose own columns hold the name says where it goes; else it is the
 * first. */
static bool
has_own_name(const struct kind *k)
{
    for (const struct kind_column *c = k->columns; c->name != NULL; c++) {
        if (strcmp(c->name, "Name") == 0)
            return true;
    }
    return false;
}

static void
add_columns(const struct render *r, struct buf *out)
{
    const struct kind *k = r->target->kind;
    CLEANUP(json_decref) json_t *list = json_array();

    if (!has_own_name(k))
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:i}", "name", "Name", "type",
                            "string", "format", "name", "description",
                            "Name of the object.", "priority", 0));
    for (const struct kind_column *c = k->columns; c->name != NULL; c++) {
        /* An age is sent as text: clients print it as it comes. */
        bool is_date = strcmp(c->type, "date") == 0;

        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:s, s:i}", "name", c->name, "type",
                      is_date ? "string" : c->type, "format", "", "description",
                      c->description != NULL ? c->description : "", "priority",
                      c->priority));
    }
    buf_add_str(out, "\"columnDefinitions\":");
    add_json(out, list);
    buf_add_char(out, ',');
}

static void
add_row(const struct render *r, const struct object *o, struct buf *out)
{
    const struct kind *k = r->target->kind;
    CLEANUP(json_decref) json_t *json = object_json(o);
    CLEANUP(json_decref) json_t *cells = json_array();
    int64_t now_s = clock_wall_s();

    if (!has_own_name(k))
        json_array_append_new(cells, json_string(object_name(o)));
    for (const struct kind_column *c = k->columns; c->name != NULL; c++)
        json_array_append_new(cells, kind_cell(k, c, json, now_s));
    buf_add_str(out, "{\"cells\":");
    add_json(out, cells);
    if (r->include != RENDER_NONE)
        buf_add_str(out, ",\"object\":");
    if (r->include == RENDER_METADATA)
        add_partial(r, json, out);
    else if (r->include == RENDER_OBJECT)
        object_text(o, r->other_version, out);
    buf_add_char(out, '}');
}

void
render_object(const struct render *r, const struct object *o, bool with_columns,
              struct buf *out)
{
    CLEANUP(json_decref) json_t *json = NULL;

    switch (r->form) {
    case FORM_PLAIN:
        object_text(o, r->other_version, out);
        break;
    case FORM_PARTIAL:
        json = object_json(o);
        add_partial(r, json, out);
        break;
    case FORM_TABLE:
        buf_printf(
            out,
            "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\",\"metadata\":{\"resourceVersion\":\"%" PRIu64
            "\"},",
            r->form_version, object_rev(o));
        if (with_columns)
            add_columns(r, out);
        else
            buf_add_str(out, "\"columnDefinitions\":null,");
        buf_add_str(out, "\"rows\":[");
        add_row(r, o, out);
        buf_add_str(out, "]}");
        break;
    }
}

/* kind and apiVersion of a list, up to the items; metadata comes last, when
 * it is known whether there is more. */
void
render_list_begin(const struct render *r, struct buf *out)
{
    CLEANUP(mem_free) char *version = api_version_of(r->target);

    switch (r->form) {
    case FORM_PLAIN:
        buf_printf(out,
                   "{\"kind\":\"%sList\",\"apiVersion\":\"%s\",\"items\":[",
                   r->target->kind->gvr.kind, version);
        break;
    case FORM_PARTIAL:
        buf_printf(
            out,
            "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/%s\",\"items\":[",
            r->form_version);
        break;
    case FORM_TABLE:
        buf_printf(out,
                   "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\",",
                   r->form_version);
        add_columns(r, out);
        buf_add_str(out, "\"rows\":[");
        break;
    }
}

void
render_list_item(const struct render *r, const struct object *o, bool is_first,
                 struct buf *out)
{
    CLEANUP(json_decref) json_t *json = NULL;

    if (!is_first)
        buf_add_char(out, ',');
    switch (r->form) {
    case FORM_PLAIN:
        object_text(o, r->other_version, out);
        break;
    case FORM_PARTIAL:
        json = object_json(o);
        add_partial(r, json, out);
        break;
    case FORM_TABLE:
        add_row(r, o, out);
        break;
    }
}

void
render_list_end(const struct render *r, uint64_t rev, const char *next,
                int64_t remaining, struct buf *out)
{
    CLEANUP(json_decref) json_t *meta = json_object();
    CLEANUP(mem_free) char *text = xasprintf("%" PRIu64, rev);

    json_object_set_new(meta, "resourceVersion", json_string(text));
    if (next != NULL)
        json_object_set_new(meta, "continue", json_string(next));
    if (next != NULL && remaining >= 0)
        json_object_set_new(meta, "remainingItemCount",
                            json_integer(remaining));
    buf_add_str(out, "],\"metadata\":");
    add_json(out, meta);
    buf_add_str(out, "}\n");
}

void
render_bookmark(const struct render *r, uint64_t rev, bool is_initial_end,
                struct buf *out)
{
    CLEANUP(mem_free) char *version = api_version_of(r->target);
    bool is_plain = r->form == FORM_PLAIN;

    if (is_plain)
        buf_printf(out, "{\"kind\":\"%s\",\"apiVersion\":\"%s\"",
                   r->target->kind->gvr.kind, version);
    else
        buf_printf(out, "{\"kind\":\"%s\",\"apiVersion\":\"meta.k8s.io/%s\"",
                   r->form == FORM_TABLE ? "Table" : "PartialObjectMetadata",
                   r->form_version);
    buf_printf(out, ",\"metadata\":{\"resourceVersion\":\"%" PRIu64 "\"", rev);
    if (is_initial_end)
        buf_add_str(
            out, ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}");
    buf_add_str(out, "}");
    if (r->form == FORM_TABLE)
        buf_add_str(out, ",\"columnDefinitions\":null,\"rows\":[]");
    buf_add_char(out, '}');
}
