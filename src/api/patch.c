/* SPDX-License-Identifier: Apache-2.0 */
#include "api/patch.h"

#include <string.h>

#include "api/body.h"
#include "codec/jsonpatch.h"

enum patch_type
patch_type_of(const struct request *rq)
{
    if (body_has_type(rq, "application/json-patch+json"))
        return PATCH_JSON;
    if (body_has_type(rq, "application/merge-patch+json"))
        return PATCH_MERGE;
    if (body_has_type(rq, "application/apply-patch+yaml"))
        return PATCH_APPLY;
    if (body_has_type(rq, "application/strategic-merge-patch+json") &&
        rq->target.kind->gvr.group[0] == 0)
        return PATCH_STRATEGIC;
    return PATCH_UNKNOWN;
}

json_t *
patch_apply(enum patch_type type, const json_t *object, const json_t *patch,
            struct err *err)
{
    if (type == PATCH_JSON)
        return jsonpatch_apply(object, patch, err);
    if (!json_is_object(patch))
        return err_set_null(err, ERR_INVALID, "the patch is not an object");
    return type == PATCH_STRATEGIC ? patch_strategic(object, patch)
                                   : jsonpatch_merge(object, patch);
}

/* --- strategic merge ------------------------------------------------- */

static json_t *merge(json_t *object, const json_t *patch);

/* Lists whose elements are found again by a key; NULL: replaced as a whole. */
static const char *
merge_key(const char *field)
{
    if (strcmp(field, "ownerReferences") == 0)
        return "uid";
    return strcmp(field, "conditions") == 0 ? "type" : NULL;
}

static size_t
find_by_key(const json_t *list, const char *key, const json_t *value)
{
    size_t n = json_array_size(list);

    for (size_t i = 0; i < n; i++) {
        if (json_equal(json_object_get(json_array_get(list, i), key), value))
            return i;
    }
    return n;
}

static bool
is_directive(const json_t *v, const char *what)
{
    const char *s = json_string_value(json_object_get(v, "$patch"));

    return s != NULL && strcmp(s, what) == 0;
}

/* Elements of `patch` into `list`, by their key. */
static void
merge_list(json_t *list, const char *key, const json_t *patch)
{
    size_t i;
    json_t *e;

    json_array_foreach(patch, i, e)
    {
        size_t at = find_by_key(list, key, json_object_get(e, key));
        json_t *old = json_array_get(list, at);

        if (is_directive(e, "delete"))
            (void)json_array_remove(list, at);
        else if (old == NULL)
            json_array_append_new(list, merge(json_object(), e));
        else
            json_array_set_new(list, at, merge(json_incref(old), e));
    }
}

/* A set of strings: what is new is added. */
static void
merge_set(json_t *list, const json_t *patch)
{
    size_t i, k;
    json_t *e, *old;

    json_array_foreach(patch, i, e)
    {
        bool is_there = false;

        json_array_foreach(list, k, old) is_there |= json_equal(old, e);
        if (!is_there)
            json_array_append(list, e);
    }
}

static void
delete_from_set(json_t *list, const json_t *gone)
{
    size_t i;
    json_t *e;

    json_array_foreach(gone, i, e)
    {
        for (size_t k = json_array_size(list); k > 0; k--) {
            if (json_equal(json_array_get(list, k - 1), e))
                (void)json_array_remove(list, k - 1);
        }
    }
}

/* "$retainKeys": only these stay. */
static void
retain_keys(json_t *object, const json_t *keys)
{
    const char *key;
    json_t *v;
    void *tmp;

    json_object_foreach_safe(object, tmp, key, v)
    {
        bool is_kept = false;
        size_t i;
        json_t *k;

        json_array_foreach(keys, i, k) is_kept |=
            json_is_string(k) && strcmp(json_string_value(k), key) == 0;
        if (!is_kept)
            (void)json_object_del(object, key);
    }
}

static void
merge_member(json_t *object, const char *key, json_t *v)
{
    static const char from_set[] = "$deleteFromPrimitiveList/";
    json_t *old = json_object_get(object, key);

    if (strncmp(key, from_set, sizeof from_set - 1) == 0) {
        delete_from_set(json_object_get(object, key + sizeof from_set - 1), v);
    } else if (strcmp(key, "$retainKeys") == 0) {
        retain_keys(object, v);
    } else if (key[0] == '$') {
        return; /* $patch: done by the caller; $setElementOrder: order only */
    } else if (json_is_null(v)) {
        (void)json_object_del(object, key);
    } else if (json_is_object(v)) {
        json_object_set_new(
            object, key,
            merge(json_is_object(old) ? json_incref(old) : json_object(), v));
    } else if (json_is_array(v) && json_is_array(old) &&
               merge_key(key) != NULL) {
        merge_list(old, merge_key(key), v);
    } else if (json_is_array(v) && json_is_array(old) &&
               strcmp(key, "finalizers") == 0) {
        merge_set(old, v);
    } else {
        json_object_set_new(object, key, json_deep_copy(v));
    }
}

/* Takes and returns a reference to `object`, changed in place. */
static json_t *
merge(json_t *object, const json_t *patch)
{
    const char *key;
    json_t *v;

    if (is_directive(patch, "replace") || is_directive(patch, "delete"))
        (void)json_object_clear(object);
    if (is_directive(patch, "delete"))
        return object;
    json_object_foreach((json_t *)(uintptr_t)patch, key, v)
        merge_member(object, key, v);
    return object;
}

json_t *
patch_strategic(const json_t *object, const json_t *patch)
{
    return merge(json_deep_copy(object), patch);
}
