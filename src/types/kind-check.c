/* SPDX-License-Identifier: Apache-2.0 */
/* The structural check: the part of OpenAPI v3 that our schemas use, which is
 * type, properties, additionalProperties, items, required, enum, minimum and
 * three of Kubernetes' extensions. Schemas are parsed at their first use and
 * kept; they never change, so threads share them without a lock.
 * source  https://kubernetes.io/docs/reference/using-api/cel/ (structural
 *         schemas); the messages are those of apiextensions-apiserver
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "types/rules.h"
#include "types/schema.h"

#define MAX_KINDS 64

static pthread_once_t once = PTHREAD_ONCE_INIT;
static json_t *schemas[MAX_KINDS]; /* [C] by place in kind_table */
static json_t *metadata_schema;    /* [C] */

struct walk {
    struct causes *causes;
    struct buf *unknown; /* NULL: not wanted */
    struct buf path;
};

static void check_value(struct walk *w, const json_t *schema,
                        const json_t *value);

static json_t *
parse_schema(const char *text)
{
    struct err err;
    json_t *schema = jsonx_parse(text, strlen(text), &err);

    assert(schema != NULL); /* compiled in, and covered by a test */
    return schema;
}

static void
parse_all(void)
{
    for (size_t i = 0; kind_table[i] != NULL; i++) {
        assert(i < MAX_KINDS);
        if (kind_table[i]->schema_json != NULL)
            schemas[i] = parse_schema(kind_table[i]->schema_json);
    }
    metadata_schema = parse_schema(schema_common_metadata);
}

static const json_t *
schema_of(const struct kind *k)
{
    (void)pthread_once(&once, parse_all);
    for (size_t i = 0; kind_table[i] != NULL; i++) {
        if (kind_table[i] == k)
            return schemas[i];
    }
    return NULL;
}

static const char *
type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
        return "integer";
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    case JSON_NULL:
    default:
        return "null";
    }
}

static bool
is_of_type(const json_t *schema, const json_t *v)
{
    const char *want = jsonx_str(schema, "type");

    if (json_is_true(json_object_get(schema, "x-kubernetes-int-or-string")))
        return json_is_integer(v) || json_is_string(v);
    if (want == NULL)
        return true;
    if (strcmp(want, "number") == 0)
        return json_is_number(v);
    return strcmp(want, type_name(v)) == 0;
}

static void
report_type(struct walk *w, const json_t *schema, const json_t *v)
{
    const char *want = jsonx_str(schema, "type");

    causes_add(w->causes, "FieldValueTypeInvalid", buf_str(&w->path),
               "Invalid value: \"%s\": %s in body must be of type %s: \"%s\"",
               type_name(v), buf_str(&w->path),
               want == NULL ? "integer or string" : want, type_name(v));
}

static void
check_enum(struct walk *w, const json_t *schema, const json_t *v)
{
    const json_t *values = json_object_get(schema, "enum");
    CLEANUP(buf_fini) struct buf list = BUF_INIT;

    if (values == NULL)
        return;
    for (size_t i = 0; i < json_array_size(values); i++) {
        if (json_equal(json_array_get(values, i), v))
            return;
        buf_printf(&list, "%s\"%s\"", i == 0 ? "" : ", ",
                   json_string_value(json_array_get(values, i)));
    }
    causes_add(w->causes, "FieldValueNotSupported", buf_str(&w->path),
               "Unsupported value: \"%.60s\": supported values: %s",
               json_string_value(v), buf_str(&list));
}

static void
check_minimum(struct walk *w, const json_t *schema, const json_t *v)
{
    const json_t *minimum = json_object_get(schema, "minimum");

    if (json_is_integer(minimum) && json_is_integer(v) &&
        json_integer_value(v) < json_integer_value(minimum))
        causes_add(w->causes, "FieldValueInvalid", buf_str(&w->path),
                   "Invalid value: %lld: %s in body should be greater than or "
                   "equal to %lld",
                   (long long)json_integer_value(v), buf_str(&w->path),
                   (long long)json_integer_value(minimum));
}

/* Go on to a member; `path` is put back as it was. */
static void
check_member(struct walk *w, const json_t *schema, const char *key,
             const json_t *value)
{
    size_t len = w->path.len;

    buf_printf(&w->path, "%s%s", len == 0 ? "" : ".", key);
    check_value(w, schema, value);
    buf_truncate(&w->path, len);
}

static void
report_missing(struct walk *w, const char *key)
{
    CLEANUP(buf_fini) struct buf field = BUF_INIT;

    if (w->path.len > 0)
        buf_printf(&field, "%s.", buf_str(&w->path));
    buf_add_str(&field, key);
    causes_add(w->causes, "FieldValueRequired", buf_str(&field),
               "Required value");
}

static void
check_required(struct walk *w, const json_t *schema, const json_t *object)
{
    const json_t *required = json_object_get(schema, "required");

    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *key = json_string_value(json_array_get(required, i));
        const json_t *v = json_object_get(object, key);

        if (v == NULL || json_is_null(v))
            report_missing(w, key);
    }
}

static void
note_unknown(struct walk *w, const char *key)
{
    if (w->unknown == NULL)
        return;
    if (w->path.len > 0)
        buf_printf(w->unknown, "%s.", buf_str(&w->path));
    buf_printf(w->unknown, "%s\n", key);
}

static void
check_object(struct walk *w, const json_t *schema, const json_t *object)
{
    const json_t *known = json_object_get(schema, "properties");
    const json_t *others = json_object_get(schema, "additionalProperties");
    bool takes_all = json_is_true(
        json_object_get(schema, "x-kubernetes-preserve-unknown-fields"));
    const char *key;
    json_t *value;

    check_required(w, schema, object);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        const json_t *member = json_object_get(known, key);

        if (member == NULL)
            member = others;
        if (member != NULL)
            check_member(w, member, key, value);
        else if (!takes_all && (known != NULL || w->path.len == 0))
            note_unknown(w, key);
    }
}

static void
check_array(struct walk *w, const json_t *schema, const json_t *array)
{
    const json_t *items = json_object_get(schema, "items");
    size_t len = w->path.len;

    if (items == NULL)
        return;
    for (size_t i = 0; i < json_array_size(array); i++) {
        buf_printf(&w->path, "[%zu]", i);
        check_value(w, items, json_array_get(array, i));
        buf_truncate(&w->path, len);
    }
}

/* Depth is bounded by the schema's, not by the value's. */
static void
check_value(struct walk *w, const json_t *schema, const json_t *value)
{
    if (value == NULL || json_is_null(value))
        return;
    if (!is_of_type(schema, value)) {
        report_type(w, schema, value);
        return;
    }
    if (json_is_object(value))
        check_object(w, schema, value);
    else if (json_is_array(value))
        check_array(w, schema, value);
    else if (json_is_string(value))
        check_enum(w, schema, value);
    else
        check_minimum(w, schema, value);
}

int
kind_check_schema(const struct kind *k, const json_t *object,
                  struct causes *causes, struct buf *unknown_fields)
{
    const json_t *schema = schema_of(k);
    struct walk w = { .causes = causes, .unknown = unknown_fields };
    size_t before = causes->n;

    if (schema == NULL)
        return 0;
    check_value(&w, schema, object);
    check_member(&w, metadata_schema, "metadata",
                 json_object_get(object, "metadata"));
    buf_fini(&w.path);
    return causes->n == before ? 0 : -1;
}

static bool
has_text(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));

        if (s != NULL && strcmp(s, text) == 0)
            return true;
    }
    return false;
}

void
kind_check_names(const json_t *object, const json_t *old, struct causes *causes)
{
    static const char *const maps[] = { "metadata.labels",
                                        "metadata.annotations" };
    const json_t *list = jsonx_get(object, "metadata.finalizers");

    for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
        rules_check_keys(jsonx_get(object, maps[i]), jsonx_get(old, maps[i]),
                         maps[i], causes);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));

        if (s != NULL && !rules_is_key(s) &&
            !has_text(jsonx_get(old, "metadata.finalizers"), s))
            causes_add(causes, "FieldValueInvalid", "metadata.finalizers",
                       "Invalid value: \"%.80s\": want a name as that of a "
                       "label, as example.com/protection",
                       s);
    }
}
