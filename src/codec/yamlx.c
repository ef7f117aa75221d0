/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's events become values by a stack without recursion on our side: the
 * containers that are open, and for a mapping the key that waits for its
 * value. An anchor names a finished value; an alias copies it. Merge keys
 * ("<<") are kept aside per mapping and filled in when it ends, so that keys
 * written out win wherever they stand.
 */
#include "codec/yamlx.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/map.h"
#include "base/mem.h"
#include "codec/yamlx-scalar.h"

#define MAX_NODES 200000 /* values in one text, those of aliases included */

struct frame {
    json_t *value; /* object or array */
    char *key;     /* object: waiting for its value */
    bool is_merge; /* the key is << */
    json_t *merge; /* what << named: an object or a list of them */
    char *anchor;
};

struct parser {
    yaml_parser_t yaml;
    struct frame stack[JSONX_DEPTH_MAX];
    size_t depth;
    struct map *anchors; /* name -> json_t, a reference each */
    size_t nodes;
    json_t *root; /* of the present document */
    json_t *docs;
};

static int
fail(const yaml_mark_t *at, struct err *err, const char *fmt, const char *what)
{
    char text[200];

    (void)snprintf(text, sizeof text, "%.150s", what);
    return err_set(err, ERR_INVALID, "YAML: line %zu, column %zu: %s%s",
                   at->line + 1, at->column + 1, fmt, text);
}

static void
remember(struct parser *p, const char *anchor, json_t *value)
{
    if (anchor != NULL)
        json_decref(map_put(p->anchors, anchor, json_incref(value)));
}

/* ---- keys ---- */

/* JSON has text keys only; what is no text in YAML is written out. */
static char *
key_of(const json_t *v)
{
    if (json_is_string(v))
        return xstrdup(json_string_value(v));
    if (json_is_integer(v) || json_is_boolean(v) || json_is_real(v))
        return json_dumps(v, JSON_ENCODE_ANY);
    return NULL;
}

static int
take_key(struct frame *f, const yaml_event_t *ev, const json_t *value,
         struct err *err)
{
    bool is_plain = ev->type == YAML_SCALAR_EVENT &&
                    ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

    f->key = key_of(value);
    if (f->key == NULL)
        return fail(&ev->start_mark, err, "a key must be text or a number", "");
    f->is_merge = is_plain && strcmp(f->key, "<<") == 0;
    if (!f->is_merge && json_object_get(f->value, f->key) != NULL)
        return fail(&ev->start_mark, err, "key already set in map: ", f->key);
    return 0;
}

/* ---- merge ---- */

static bool
is_mergeable(const json_t *v)
{
    if (json_is_object(v))
        return true;
    if (!json_is_array(v))
        return false;
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (!json_is_object(json_array_get(v, i)))
            return false;
    }
    return true;
}

static void
merge_into(json_t *object, const json_t *from)
{
    if (json_is_array(from)) {
        for (size_t i = 0; i < json_array_size(from); i++)
            json_object_update_missing(object, json_array_get(from, i));
    } else {
        json_object_update_missing(object,
                                   (json_t *)(uintptr_t)(const void *)from);
    }
}

/* ---- values ---- */

/* Put a value where it belongs. `value` is stolen. */
static int
place(struct parser *p, const yaml_event_t *ev, json_t *value, struct err *err)
{
    struct frame *f = p->depth == 0 ? NULL : &p->stack[p->depth - 1];

    if (f == NULL) {
        p->root = value;
        return 0;
    }
    if (json_is_array(f->value)) {
        json_array_append_new(f->value, value);
        return 0;
    }
    if (f->key == NULL) {
        int rc = take_key(f, ev, value, err);

        json_decref(value);
        return rc;
    }
    if (f->is_merge && !is_mergeable(value)) {
        json_decref(value);
        return fail(&ev->start_mark, err, "<< wants a map or a list of maps",
                    "");
    }
    if (f->is_merge) {
        json_decref(f->merge);
        f->merge = value;
    } else {
        json_object_set_new(f->value, f->key, value);
    }
    free(TAKE(f->key));
    return 0;
}

static int
count(struct parser *p, const yaml_event_t *ev, size_t n, struct err *err)
{
    p->nodes += n;
    if (p->nodes > MAX_NODES)
        return fail(&ev->start_mark, err, "too many values", "");
    return 0;
}

/* The text of a scalar by its tag; NULL with err. */
static json_t *
scalar_value(const yaml_event_t *ev, struct err *err)
{
    const char *s = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;
    const char *tag = (const char *)ev->data.scalar.tag;
    bool is_plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    json_t *v;

    if (memchr(s, 0, len) != NULL) {
        (void)fail(&ev->start_mark, err, "a NUL in text", "");
        return NULL;
    }
    if ((tag == NULL && !is_plain) ||
        (tag != NULL && strcmp(tag, YAML_STR_TAG) == 0))
        return json_stringn(s, len);
    v = yamlx_scalar_resolve(s, len);
    if (v == NULL) {
        (void)fail(&ev->start_mark, err, "JSON has no such number: ", s);
        return NULL;
    }
    if (tag == NULL || (strcmp(tag, YAML_NULL_TAG) == 0 && json_is_null(v)) ||
        (strcmp(tag, YAML_BOOL_TAG) == 0 && json_is_boolean(v)) ||
        (strcmp(tag, YAML_INT_TAG) == 0 && json_is_integer(v)) ||
        (strcmp(tag, YAML_FLOAT_TAG) == 0 && json_is_number(v)))
        return v;
    json_decref(v);
    (void)fail(&ev->start_mark, err, "the tag does not fit: ", tag);
    return NULL;
}

static int
on_scalar(struct parser *p, const yaml_event_t *ev, struct err *err)
{
    json_t *v;

    if (count(p, ev, 1, err) < 0)
        return -1;
    v = scalar_value(ev, err);
    if (v == NULL)
        return -1;
    remember(p, (const char *)ev->data.scalar.anchor, v);
    return place(p, ev, v, err);
}

static int
on_alias(struct parser *p, const yaml_event_t *ev, struct err *err)
{
    const char *name = (const char *)ev->data.alias.anchor;
    const json_t *v = map_get(p->anchors, name);

    if (v == NULL)
        return fail(&ev->start_mark, err, "unknown anchor: ", name);
    if (count(p, ev, jsonx_count(v), err) < 0)
        return -1;
    if (p->depth + jsonx_depth(v) > JSONX_DEPTH_MAX)
        return fail(&ev->start_mark, err, "nested too deep", "");
    return place(p, ev, json_deep_copy(v), err);
}

static int
on_start(struct parser *p, const yaml_event_t *ev, bool is_map, struct err *err)
{
    const char *anchor =
        (const char *)(is_map ? ev->data.mapping_start.anchor
                              : ev->data.sequence_start.anchor);
    const char *tag = (const char *)(is_map ? ev->data.mapping_start.tag
                                            : ev->data.sequence_start.tag);

    if (count(p, ev, 1, err) < 0)
        return -1;
    if (tag != NULL && strcmp(tag, is_map ? YAML_MAP_TAG : YAML_SEQ_TAG) != 0)
        return fail(&ev->start_mark, err, "the tag does not fit: ", tag);
    if (p->depth == JSONX_DEPTH_MAX)
        return fail(&ev->start_mark, err, "nested too deep", "");
    if (p->depth > 0 && json_is_object(p->stack[p->depth - 1].value) &&
        p->stack[p->depth - 1].key == NULL)
        return fail(&ev->start_mark, err, "a key must be text or a number", "");
    p->stack[p->depth++] = (struct frame){
        .value = is_map ? json_object() : json_array(),
        .anchor = anchor == NULL ? NULL : xstrdup(anchor),
    };
    return 0;
}

static int
on_end(struct parser *p, const yaml_event_t *ev, struct err *err)
{
    struct frame f = p->stack[--p->depth];

    if (f.merge != NULL) {
        merge_into(f.value, f.merge);
        json_decref(f.merge);
    }
    remember(p, f.anchor, f.value);
    free(f.anchor);
    return place(p, ev, f.value, err);
}

static void
end_document(struct parser *p)
{
    const char *name;
    void *value;

    if (p->root != NULL && !json_is_null(p->root))
        json_array_append(p->docs, p->root);
    json_decref(TAKE(p->root));
    for (size_t i = 0; map_next(p->anchors, &i, &name, &value);) {
        json_decref(value);
        (void)map_remove(p->anchors, name);
    }
}

static int
on_event(struct parser *p, const yaml_event_t *ev, struct err *err)
{
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(p, ev, err);
    case YAML_ALIAS_EVENT:
        return on_alias(p, ev, err);
    case YAML_MAPPING_START_EVENT:
        return on_start(p, ev, true, err);
    case YAML_SEQUENCE_START_EVENT:
        return on_start(p, ev, false, err);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        return on_end(p, ev, err);
    case YAML_DOCUMENT_END_EVENT:
        end_document(p);
        return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    default:
        return 0;
    }
}

static int
run(struct parser *p, struct err *err)
{
    for (bool is_end = false; !is_end;) {
        yaml_event_t ev;
        int rc;

        if (yaml_parser_parse(&p->yaml, &ev) == 0) {
            const char *why = p->yaml.problem;

            return fail(&p->yaml.problem_mark, err, "",
                        why == NULL ? "not YAML" : why);
        }
        is_end = ev.type == YAML_STREAM_END_EVENT;
        rc = on_event(p, &ev, err);
        yaml_event_delete(&ev);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static void
parser_fini(struct parser *p)
{
    while (p->depth > 0) {
        struct frame *f = &p->stack[--p->depth];

        json_decref(f->value);
        json_decref(f->merge);
        free(f->key);
        free(f->anchor);
    }
    end_document(p);
    map_free(p->anchors);
    yaml_parser_delete(&p->yaml);
}

json_t *
yamlx_parse_all(const char *text, size_t len, struct err *err)
{
    struct parser *p = xcalloc(1, sizeof *p);
    json_t *docs;
    int rc;

    p->anchors = map_new();
    p->docs = json_array();
    if (yaml_parser_initialize(&p->yaml) == 0)
        abort(); /* out of memory */
    yaml_parser_set_encoding(&p->yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p->yaml, (const unsigned char *)text, len);
    rc = run(p, err);
    parser_fini(p);
    docs = p->docs;
    free(p);
    if (rc < 0) {
        json_decref(docs);
        return NULL;
    }
    return docs;
}

json_t *
yamlx_parse(const char *text, size_t len, struct err *err)
{
    CLEANUP(json_decref) json_t *docs = yamlx_parse_all(text, len, err);

    if (docs == NULL)
        return NULL;
    if (json_array_size(docs) != 1)
        return err_set_null(err, ERR_INVALID,
                            "YAML: want one document, got %zu",
                            json_array_size(docs));
    return json_incref(json_array_get(docs, 0));
}
