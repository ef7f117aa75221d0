/* SPDX-License-Identifier: Apache-2.0 */
#include "api/openapi2.h"

#include <string.h>

#include "base/mem.h"

/* --- protobuf, the little that is needed ----------------------------- */

static void
put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_add_char(b, (char)(v | 0x80));
    buf_add_char(b, (char)v);
}

static void
put_bytes(struct buf *b, unsigned field, const void *data, size_t len)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, len);
    buf_add(b, data, len);
}

static void
put_text(struct buf *b, unsigned field, const char *s)
{
    if (s != NULL)
        put_bytes(b, field, s, strlen(s));
}

static void
put_bool(struct buf *b, unsigned field, bool v)
{
    put_varint(b, field << 3);
    put_varint(b, v);
}

/* The message in `m` as field; `m` is emptied. */
static void
put_message(struct buf *b, unsigned field, struct buf *m)
{
    put_bytes(b, field, buf_str(m), m->len);
    buf_fini(m);
}

/* NamedAny {1 name, 2 Any {2 yaml}}; JSON is YAML. */
static void
put_extension(struct buf *b, unsigned field, const char *name, const json_t *v)
{
    CLEANUP(mem_free) char *yaml = jsonx_canonical(v);
    struct buf any = BUF_INIT, named = BUF_INIT;

    put_text(&any, 2, yaml);
    put_text(&named, 1, name);
    put_message(&named, 2, &any);
    put_message(b, field, &named);
}

/* --- schemas --------------------------------------------------------- */

static void put_schema(struct buf *b, unsigned field, const json_t *s);

/* Properties and Definitions: repeated NamedSchema {1 name, 2 value} = 1 */
static void
put_named_schemas(struct buf *b, unsigned field, const json_t *schemas)
{
    struct buf all = BUF_INIT;
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)schemas, name, v)
    {
        struct buf named = BUF_INIT;

        put_text(&named, 1, name);
        put_schema(&named, 2, v);
        put_message(&all, 1, &named);
    }
    put_message(b, field, &all);
}

static void
put_schema_member(struct buf *m, const char *key, json_t *v)
{
    struct buf sub = BUF_INIT;
    size_t i;
    json_t *e;

    if (strcmp(key, "$ref") == 0) {
        put_text(m, 1, json_string_value(v));
    } else if (strcmp(key, "format") == 0) {
        put_text(m, 2, json_string_value(v));
    } else if (strcmp(key, "description") == 0) {
        put_text(m, 4, json_string_value(v));
    } else if (strcmp(key, "required") == 0) {
        json_array_foreach(v, i, e) put_text(m, 19, json_string_value(e));
    } else if (strcmp(key, "additionalProperties") == 0) {
        if (json_is_object(v))
            put_schema(&sub, 1, v);
        else
            put_bool(&sub, 2, json_is_true(v));
        put_message(m, 21, &sub);
    } else if (strcmp(key, "type") == 0) {
        put_text(&sub, 1, json_string_value(v));
        put_message(m, 22, &sub);
    } else if (strcmp(key, "items") == 0) {
        put_schema(&sub, 1, v);
        put_message(m, 23, &sub);
    } else if (strcmp(key, "properties") == 0) {
        put_named_schemas(m, 25, v);
    } else if (strncmp(key, "x-", 2) == 0) {
        put_extension(m, 31, key, v);
    }
}

static void
put_schema(struct buf *b, unsigned field, const json_t *s)
{
    struct buf m = BUF_INIT;
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)s, key, v)
        put_schema_member(&m, key, v);
    put_message(b, field, &m);
}

/* --- paths ----------------------------------------------------------- */

/* ParametersItem 1 > Parameter 2 > NonBodyParameter 3 > query {...} */
static void
put_query_parameter(struct buf *b, unsigned field, const json_t *p)
{
    struct buf query = BUF_INIT, non_body = BUF_INIT, param = BUF_INIT,
               item = BUF_INIT;

    put_text(&query, 2, "query");
    put_text(&query, 4, jsonx_str(p, "name"));
    put_text(&query, 6, jsonx_str(p, "type"));
    put_message(&non_body, 3, &query);
    put_message(&param, 2, &non_body);
    put_message(&item, 1, &param);
    put_message(b, field, &item);
}

static void
put_operation(struct buf *b, unsigned field, const json_t *op)
{
    struct buf m = BUF_INIT;
    const char *key;
    json_t *v, *p;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)op, key, v)
    {
        if (strcmp(key, "parameters") == 0) {
            json_array_foreach(v, i, p) put_query_parameter(&m, 8, p);
        } else if (strncmp(key, "x-", 2) == 0) {
            put_extension(&m, 13, key, v);
        }
    }
    put_message(b, field, &m);
}

static void
put_paths(struct buf *b, unsigned field, const json_t *paths)
{
    static const struct {
        const char *name;
        unsigned field;
    } ops[] = { { "get", 2 },
                { "put", 3 },
                { "post", 4 },
                { "delete", 5 },
                { "patch", 8 } };
    struct buf all = BUF_INIT;
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)paths, name, v)
    {
        struct buf item = BUF_INIT, named = BUF_INIT;

        for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
            const json_t *op = json_object_get(v, ops[i].name);

            if (op != NULL)
                put_operation(&item, ops[i].field, op);
        }
        put_text(&named, 1, name);
        put_message(&named, 2, &item);
        put_message(&all, 2, &named);
    }
    put_message(b, field, &all);
}

void
openapi2_encode(const json_t *doc, struct buf *out)
{
    struct buf info = BUF_INIT;

    put_text(out, 1, "2.0");
    put_text(&info, 1, jsonx_str(doc, "info.title"));
    put_text(&info, 2, jsonx_str(doc, "info.version"));
    put_message(out, 2, &info);
    put_paths(out, 8, json_object_get(doc, "paths"));
    put_named_schemas(out, 9, json_object_get(doc, "definitions"));
}

/* --- 3.0 to 2.0 ------------------------------------------------------ */

static json_t *
convert_members(const json_t *schemas)
{
    json_t *out = json_object();
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)schemas, name, v)
        json_object_set_new(out, name, openapi2_schema(v));
    return out;
}

json_t *
openapi2_schema(const json_t *v3)
{
    static const char *const kept[] = { "$ref",        "type",     "format",
                                        "description", "required", "enum" };
    const json_t *items = json_object_get(v3, "items");
    const json_t *more = json_object_get(v3, "additionalProperties");
    const json_t *props = json_object_get(v3, "properties");
    json_t *out = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        json_object_set(out, kept[i], json_object_get(v3, kept[i]));
    if (json_is_true(json_object_get(v3, "x-kubernetes-int-or-string"))) {
        jsonx_set_str(out, "type", "string");
        jsonx_set_str(out, "format", "int-or-string");
    }
    /* A client of 2.0 would take an open object's properties for all. */
    if (json_is_true(
            json_object_get(v3, "x-kubernetes-preserve-unknown-fields"))) {
        json_object_del(out, "required");
        return out;
    }
    if (json_is_object(items))
        json_object_set_new(out, "items", openapi2_schema(items));
    if (json_is_object(more))
        json_object_set_new(out, "additionalProperties", openapi2_schema(more));
    if (json_is_object(props))
        json_object_set_new(out, "properties", convert_members(props));
    return out;
}
