/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/jsonx.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* jansson's own limit is 2048 levels, which recursive readers of ours would
 * have to survive; so depth is bounded before anything is built. */
static bool
is_too_deep(const char *text, size_t len)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"')
            in_string = true;
        else if (c == '{' || c == '[') {
            if (++depth > JSONX_DEPTH_MAX)
                return true;
        } else if (c == '}' || c == ']')
            depth--;
    }
    return false;
}

json_t *
jsonx_parse(const char *text, size_t len, struct err *err)
{
    json_error_t e;
    json_t *v;

    if (is_too_deep(text, len))
        return err_set_null(err, ERR_INVALID,
                            "JSON: nested deeper than %d levels",
                            JSONX_DEPTH_MAX);
    v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (v == NULL)
        return err_set_null(err, ERR_INVALID, "JSON: line %d, column %d: %s",
                            e.line, e.column, e.text);
    return v;
}

static char *
dump(const json_t *v, size_t flags)
{
    char *s = json_dumps(v, flags | JSON_ENCODE_ANY);

    if (s == NULL)
        abort(); /* a value that we built or parsed always has a text */
    return s;
}

char *
jsonx_canonical(const json_t *v)
{
    return dump(v, JSON_COMPACT | JSON_SORT_KEYS);
}

char *
jsonx_pretty(const json_t *v)
{
    return dump(v, JSON_INDENT(4));
}

/* The member or element of `v` named by the `len` bytes at `key`. */
static json_t *
child(const json_t *v, const char *key, size_t len)
{
    if (json_is_array(v)) {
        size_t i = 0;

        for (size_t k = 0; k < len; k++) {
            if (!isdigit((unsigned char)key[k]) || i > 1000000)
                return NULL;
            i = i * 10 + (size_t)(key[k] - '0');
        }
        return json_array_get(v, i);
    }
    char name[256];

    if (len >= sizeof name)
        return NULL;
    memcpy(name, key, len);
    name[len] = 0;
    return json_object_get(v, name);
}

json_t *
jsonx_get(const json_t *v, const char *path)
{
    json_t *at = NULL;

    for (const char *p = path; v != NULL; p++) {
        size_t len = strcspn(p, ".");

        v = at = child(v, p, len);
        p += len;
        if (*p == 0)
            return at;
    }
    return NULL;
}

const char *
jsonx_str(const json_t *v, const char *path)
{
    return json_string_value(jsonx_get(v, path));
}

const char *
jsonx_str_or(const json_t *v, const char *path, const char *def)
{
    const char *s = jsonx_str(v, path);

    return s == NULL ? def : s;
}

bool
jsonx_bool(const json_t *v, const char *path)
{
    return json_is_true(jsonx_get(v, path));
}

int64_t
jsonx_int(const json_t *v, const char *path, int64_t def)
{
    const json_t *n = jsonx_get(v, path);

    return json_is_integer(n) ? (int64_t)json_integer_value(n) : def;
}

json_t *
jsonx_find(const json_t *list, const char *key, const char *value)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *v = json_array_get(list, i);
        const char *is = json_string_value(json_object_get(v, key));

        if (is != NULL && strcmp(is, value) == 0)
            return v;
    }
    return NULL;
}

void
jsonx_set(json_t *v, const char *path, json_t *value)
{
    const char *p = path;

    if (value == NULL)
        return;
    for (;;) {
        size_t len = strcspn(p, ".");
        CLEANUP(mem_free) char *key = xstrndup(p, len);

        if (p[len] == 0) {
            if (json_is_object(v))
                json_object_set(v, key, value);
            json_decref(value);
            return;
        }
        json_t *next = child(v, p, len);

        if (next == NULL && json_is_object(v)) {
            next = json_object();
            json_object_set_new(v, key, next);
        }
        v = next;
        p += len + 1;
    }
}

void
jsonx_set_str(json_t *v, const char *path, const char *s)
{
    if (s == NULL)
        jsonx_del(v, path);
    else
        jsonx_set(v, path, json_string(s));
}

void
jsonx_del(json_t *v, const char *path)
{
    const char *dot = strrchr(path, '.');

    if (dot == NULL) {
        json_object_del(v, path);
        return;
    }
    CLEANUP(mem_free) char *parent = xstrndup(path, (size_t)(dot - path));
    json_t *at = jsonx_get(v, parent);

    if (json_is_object(at))
        json_object_del(at, dot + 1);
}

bool
jsonx_equal(const json_t *a, const json_t *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return json_equal(a, b) != 0;
}

unsigned
jsonx_depth(const json_t *v)
{
    unsigned deepest = 0, d;
    const char *key;
    json_t *member;

    if (json_is_object(v)) {
        json_object_foreach((json_t *)(uintptr_t)v, key, member)
        {
            d = jsonx_depth(member);
            deepest = d > deepest ? d : deepest;
        }
    } else if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            d = jsonx_depth(json_array_get(v, i));
            deepest = d > deepest ? d : deepest;
        }
    } else {
        return 0;
    }
    return deepest + 1;
}

size_t
jsonx_count(const json_t *v)
{
    size_t n = 1;
    const char *key;
    json_t *member;

    if (json_is_object(v)) {
        json_object_foreach((json_t *)(uintptr_t)v, key, member) n +=
            jsonx_count(member);
    } else if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++)
            n += jsonx_count(json_array_get(v, i));
    }
    return n;
}
