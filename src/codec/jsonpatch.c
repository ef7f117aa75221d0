/* SPDX-License-Identifier: Apache-2.0 */
/* The document is copied once; each operation then works on the copy. A
 * pointer is split into its last token and the container that holds it, which
 * is all that add, remove and replace need; move and copy are made of them.
 */
#include "codec/jsonpatch.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define MAX_OPS   10000  /* as kube-apiserver */
#define MAX_NODES 200000 /* values that all copies together may add */

struct place {
    json_t *holder;  /* the object or array; NULL: the place is the root */
    char *key;       /* last token, unescaped */
    unsigned tokens; /* how deep the place is */
};

static void
place_fini_p(struct place *p)
{
    free(p->key);
}

struct run {
    json_t *doc;
    size_t copied; /* values */
};

/* One token, "~1" and "~0" put back. NULL: a tilde before something else. */
static char *
unescape(const char *token, size_t len)
{
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < len; i++) {
        char c = token[i];

        if (c == '~') {
            c = i + 1 < len ? token[i + 1] : 0;
            i++;
            if (c != '0' && c != '1') {
                buf_fini(&out);
                return NULL;
            }
            c = c == '0' ? '~' : '/';
        }
        buf_add_char(&out, c);
    }
    return buf_take_str(&out);
}

/* An array index: digits without leading zeros, below `limit`. */
static bool
parse_index(const char *key, size_t limit, size_t *ret_i)
{
    size_t i = 0;

    if (*key == 0 || (*key == '0' && key[1] != 0))
        return false;
    for (const char *p = key; *p != 0; p++) {
        if (*p < '0' || *p > '9')
            return false;
        i = i * 10 + (size_t)(*p - '0');
        if (i >= limit)
            return false;
    }
    *ret_i = i;
    return true;
}

static json_t *
child(const json_t *v, const char *key)
{
    size_t i;

    if (json_is_object(v))
        return json_object_get(v, key);
    if (json_is_array(v) && parse_index(key, json_array_size(v), &i))
        return json_array_get(v, i);
    return NULL;
}

static int
find_place(json_t *doc, const char *path, struct place *ret, struct err *err)
{
    json_t *at = doc;

    *ret = (struct place){ NULL, NULL, 0 };
    if (*path != 0 && *path != '/')
        return err_set(err, ERR_INVALID,
                       "path \"%.100s\" does not begin with /", path);
    for (const char *p = path; *p == '/';) {
        size_t len = strcspn(p + 1, "/");

        if (ret->key != NULL)
            at = child(at, ret->key);
        free(ret->key);
        ret->key = unescape(p + 1, len);
        ret->holder = at;
        ret->tokens++;
        p += 1 + len;
        if (ret->key == NULL)
            return err_set(err, ERR_INVALID,
                           "path \"%.100s\": ~ stands before neither 0 nor 1",
                           path);
        if (!json_is_object(at) && !json_is_array(at))
            return err_set(err, ERR_INVALID, "path \"%.100s\" does not exist",
                           path);
    }
    return 0;
}

static json_t *
value_at(const struct run *r, const struct place *p)
{
    return p->holder == NULL ? r->doc : child(p->holder, p->key);
}

/* `value` is stolen. */
static int
add_at(struct run *r, const struct place *p, const char *path, json_t *value,
       struct err *err)
{
    CLEANUP(json_decref) json_t *owned = value;
    size_t i, n;

    if (p->tokens + jsonx_depth(value) > JSONX_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "nested deeper than %d levels",
                       JSONX_DEPTH_MAX);
    if (p->holder == NULL) {
        json_decref(r->doc);
        r->doc = TAKE(owned);
        return 0;
    }
    if (json_is_object(p->holder)) {
        json_object_set(p->holder, p->key, value);
        return 0;
    }
    n = json_array_size(p->holder);
    if (strcmp(p->key, "-") == 0)
        i = n;
    else if (!parse_index(p->key, n + 1, &i))
        return err_set(err, ERR_INVALID,
                       "path \"%.100s\": no such place in a "
                       "list of %zu",
                       path, n);
    json_array_insert(p->holder, i, value);
    return 0;
}

static int
remove_at(struct run *r, const struct place *p, const char *path,
          struct err *err)
{
    size_t i;

    if (value_at(r, p) == NULL)
        return err_set(err, ERR_INVALID, "path \"%.100s\" does not exist",
                       path);
    if (p->holder == NULL)
        return err_set(err, ERR_INVALID, "the whole object cannot be removed");
    if (json_is_object(p->holder))
        json_object_del(p->holder, p->key);
    else if (parse_index(p->key, json_array_size(p->holder), &i))
        json_array_remove(p->holder, i);
    return 0;
}

static int
op_add(struct run *r, const json_t *op, const char *path, struct err *err)
{
    CLEANUP(place_fini) struct place p;
    json_t *value = json_object_get(op, "value");

    if (find_place(r->doc, path, &p, err) < 0)
        return -1;
    if (value == NULL)
        return err_set(err, ERR_INVALID, "it has no value");
    return add_at(r, &p, path, json_deep_copy(value), err);
}

static int
op_replace(struct run *r, const json_t *op, const char *path, struct err *err)
{
    CLEANUP(place_fini) struct place p;
    json_t *value = json_object_get(op, "value");

    if (find_place(r->doc, path, &p, err) < 0)
        return -1;
    if (value == NULL)
        return err_set(err, ERR_INVALID, "it has no value");
    if (p.holder != NULL && remove_at(r, &p, path, err) < 0)
        return -1;
    return add_at(r, &p, path, json_deep_copy(value), err);
}

static int
op_remove(struct run *r, const json_t *op, const char *path, struct err *err)
{
    CLEANUP(place_fini) struct place p;

    if (find_place(r->doc, path, &p, err) < 0)
        return -1;
    return remove_at(r, &p, path, err);
}

static int
op_test(struct run *r, const json_t *op, const char *path, struct err *err)
{
    CLEANUP(place_fini) struct place p;
    const json_t *want = json_object_get(op, "value");
    const json_t *is;

    if (find_place(r->doc, path, &p, err) < 0)
        return -1;
    is = value_at(r, &p);
    if (want == NULL)
        return err_set(err, ERR_INVALID, "it has no value");
    /* null is equal to what is not there, as in kube-apiserver's library */
    if (is == NULL ? !json_is_null(want) : !jsonx_equal(is, want))
        return err_set(err, ERR_INVALID, "testing path \"%.100s\" failed",
                       path);
    return 0;
}

/* move and copy: a private copy of what is at `from`. */
static int
take_from(struct run *r, const json_t *op, bool is_move, const char *path,
          json_t **ret_value, struct err *err)
{
    const char *from = jsonx_str(op, "from");
    CLEANUP(place_fini) struct place p = { NULL, NULL, 0 };
    json_t *value;
    size_t len;

    if (from == NULL)
        return err_set(err, ERR_INVALID, "it has no from");
    len = strlen(from);
    if (is_move && strncmp(path, from, len) == 0 && path[len] == '/')
        return err_set(err, ERR_INVALID, "\"%.100s\" cannot move into itself",
                       from);
    if (find_place(r->doc, from, &p, err) < 0)
        return -1;
    value = value_at(r, &p);
    if (value == NULL)
        return err_set(err, ERR_INVALID, "from \"%.100s\" does not exist",
                       from);
    r->copied += jsonx_count(value);
    if (r->copied > MAX_NODES)
        return err_set(err, ERR_INVALID, "the patch copies too much");
    value = json_deep_copy(value);
    if (is_move && remove_at(r, &p, from, err) < 0) {
        json_decref(value);
        return -1;
    }
    *ret_value = value;
    return 0;
}

static int
op_take(struct run *r, const json_t *op, bool is_move, const char *path,
        struct err *err)
{
    CLEANUP(place_fini) struct place p = { NULL, NULL, 0 };
    json_t *value;

    if (take_from(r, op, is_move, path, &value, err) < 0)
        return -1;
    if (find_place(r->doc, path, &p, err) < 0) {
        json_decref(value);
        return -1;
    }
    return add_at(r, &p, path, value, err);
}

static int
apply_one(struct run *r, const json_t *op, struct err *err)
{
    const char *name = jsonx_str_or(op, "op", "");
    const char *path = jsonx_str(op, "path");

    if (path == NULL)
        return err_set(err, ERR_INVALID, "it has no path");
    if (strcmp(name, "add") == 0)
        return op_add(r, op, path, err);
    if (strcmp(name, "replace") == 0)
        return op_replace(r, op, path, err);
    if (strcmp(name, "remove") == 0)
        return op_remove(r, op, path, err);
    if (strcmp(name, "test") == 0)
        return op_test(r, op, path, err);
    if (strcmp(name, "move") == 0)
        return op_take(r, op, true, path, err);
    if (strcmp(name, "copy") == 0)
        return op_take(r, op, false, path, err);
    return err_set(err, ERR_INVALID, "there is no operation \"%.20s\"", name);
}

json_t *
jsonpatch_apply(const json_t *doc, const json_t *ops, struct err *err)
{
    struct run r = { NULL, 0 };

    if (!json_is_array(ops))
        return err_set_null(err, ERR_INVALID,
                            "JSON patch: want a list of operations");
    if (json_array_size(ops) > MAX_OPS)
        return err_set_null(err, ERR_INVALID,
                            "JSON patch: more than %d operations", MAX_OPS);
    r.doc = json_deep_copy(doc);
    for (size_t i = 0; i < json_array_size(ops); i++) {
        if (apply_one(&r, json_array_get(ops, i), err) < 0) {
            json_decref(r.doc);
            return err_wrap_null(err, "JSON patch: operation %zu", i);
        }
    }
    return r.doc;
}

/* Recursion is bounded by the depth of the parsed patch. */
json_t *
jsonpatch_merge(const json_t *doc, const json_t *patch)
{
    const char *key;
    json_t *value, *out;

    if (!json_is_object(patch))
        return json_deep_copy(patch);
    out = json_is_object(doc) ? json_deep_copy(doc) : json_object();
    json_object_foreach((json_t *)(uintptr_t)patch, key, value)
    {
        if (json_is_null(value))
            json_object_del(out, key);
        else
            json_object_set_new(
                out, key, jsonpatch_merge(json_object_get(out, key), value));
    }
    return out;
}
