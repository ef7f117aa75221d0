/* SPDX-License-Identifier: Apache-2.0 */
/* store/objmeta.c: the rules of object metadata.
 *
 * A Namespace is special in one way: like in Kubernetes it has the finalizer
 * "kubernetes" in its spec, so that its deletion takes two steps, with the
 * controller that empties it in between.
 */
#include "store/objmeta.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"

#define MAX_NAME        253
#define MAX_LABEL       63
#define SUFFIX_LEN      5
#define MAX_ANNOTATIONS (256u * 1024)

bool
objmeta_is_namespace(const struct gvr *gvr)
{
    return gvr->group[0] == 0 && strcmp(gvr->resource, "namespaces") == 0;
}

static bool
is_alnum_lower(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Letters and digits at both ends, dashes too in between.
 * source: RFC 1123, 2.1; Kubernetes "object names" */
static bool
is_label_part(const char *s, size_t len)
{
    if (len == 0 || !is_alnum_lower(s[0]) || !is_alnum_lower(s[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_alnum_lower(s[i]) && s[i] != '-')
            return false;
    return true;
}

static bool
is_label(const char *s)
{
    size_t len = strlen(s);

    return len <= MAX_LABEL && is_label_part(s, len);
}

static bool
is_subdomain(const char *s)
{
    if (strlen(s) > MAX_NAME)
        return false;
    for (;;) {
        size_t len = strcspn(s, ".");

        if (!is_label_part(s, len))
            return false;
        if (s[len] == 0)
            return true;
        s += len + 1;
    }
}

bool
objmeta_is_deleting(const json_t *object)
{
    return jsonx_str(object, "metadata.deletionTimestamp") != NULL;
}

bool
objmeta_has_finalizers(const struct gvr *gvr, const json_t *object)
{
    return json_array_size(jsonx_get(object, "metadata.finalizers")) > 0 ||
           (objmeta_is_namespace(gvr) &&
            json_array_size(jsonx_get(object, "spec.finalizers")) > 0);
}

/* ---- shape ---- */

static int
check_string_map(const json_t *meta, const char *name, struct err *err)
{
    json_t *map = json_object_get(meta, name);
    size_t total = 0;
    const char *key;
    json_t *value;

    if (map != NULL && !json_is_null(map) && !json_is_object(map))
        return err_set(err, ERR_INVALID, "metadata.%s: must be an object",
                       name);
    json_object_foreach(map, key, value)
    {
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID,
                           "metadata.%s: the value of '%s' must be a string",
                           name, key);
        total += strlen(key) + json_string_length(value);
    }
    if (total > MAX_ANNOTATIONS)
        return err_set(err, ERR_INVALID,
                       "metadata.%s: Too long: may not be more than %u bytes",
                       name, MAX_ANNOTATIONS);
    return 0;
}

/* source: Kubernetes "labels": at most 63 of [A-Za-z0-9._-], alphanumeric at
 * both ends, or empty */
static bool
is_label_value(const char *s)
{
    size_t len = strlen(s);

    if (len == 0)
        return true;
    if (len > MAX_LABEL || !isalnum((unsigned char)s[0]) ||
        !isalnum((unsigned char)s[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]) && strchr("._-", s[i]) == NULL)
            return false;
    return true;
}

static int
check_labels(const json_t *meta, struct err *err)
{
    const char *key;
    json_t *value;

    if (check_string_map(meta, "labels", err) < 0)
        return -1;
    json_object_foreach(json_object_get(meta, "labels"), key, value)
    {
        if (!is_label_value(json_string_value(value)))
            return err_set(
                err, ERR_INVALID,
                "metadata.labels: Invalid value: \"%s\": a valid label must be an empty string or consist of at most 63 alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                json_string_value(value));
    }
    return 0;
}

static int
check_finalizers(const json_t *meta, struct err *err)
{
    json_t *list = json_object_get(meta, "finalizers");

    if (list != NULL && !json_is_null(list) && !json_is_array(list))
        return err_set(err, ERR_INVALID, "metadata.finalizers: must be a list");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return err_set(err, ERR_INVALID,
                           "metadata.finalizers[%zu]: must be a string", i);
    return 0;
}

static int
check_owners(const json_t *meta, struct err *err)
{
    static const char *const needed[] = { "apiVersion", "kind", "name", "uid" };
    json_t *list = json_object_get(meta, "ownerReferences");

    if (list != NULL && !json_is_null(list) && !json_is_array(list))
        return err_set(err, ERR_INVALID,
                       "metadata.ownerReferences: must be a list");
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t j = 0; j < ARRAY_SIZE(needed); j++)
            if (jsonx_str_or(json_array_get(list, i), needed[j], "")[0] == 0)
                return err_set(
                    err, ERR_INVALID,
                    "metadata.ownerReferences[%zu].%s: Invalid value: \"\": must not be empty",
                    i, needed[j]);
    return 0;
}

static int
check_meta(const json_t *meta, struct err *err)
{
    if (check_labels(meta, err) < 0 ||
        check_string_map(meta, "annotations", err) < 0 ||
        check_finalizers(meta, err) < 0 || check_owners(meta, err) < 0)
        return -1;
    return 0;
}

static int
check_name(const struct gvr *gvr, const char *name, struct err *err)
{
    if (objmeta_is_namespace(gvr) && !is_label(name))
        return err_set(
            err, ERR_INVALID,
            "metadata.name: Invalid value: \"%s\": a lowercase RFC 1123 label must consist of at most 63 lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
            name);
    if (!is_subdomain(name))
        return err_set(
            err, ERR_INVALID,
            "metadata.name: Invalid value: \"%s\": a lowercase RFC 1123 subdomain must consist of at most 253 lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            name);
    return 0;
}

/* null and empty members are the same as absent ones. */
static void
drop_empty(json_t *meta)
{
    static const char *const names[] = { "labels",       "annotations",
                                         "finalizers",   "ownerReferences",
                                         "namespace",    "generateName",
                                         "managedFields" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        json_t *v = json_object_get(meta, names[i]);

        if (v != NULL && (json_is_null(v) ||
                          (json_is_string(v) && json_string_length(v) == 0) ||
                          (json_is_array(v) && json_array_size(v) == 0) ||
                          (json_is_object(v) && json_object_size(v) == 0)))
            (void)json_object_del(meta, names[i]);
    }
}

/* ---- create ---- */

static int
set_name(const struct gvr *gvr, json_t *meta, struct err *err)
{
    const char *name = jsonx_str_or(meta, "name", "");
    const char *prefix = jsonx_str_or(meta, "generateName", "");
    char full[MAX_NAME + 1];
    char suffix[SUFFIX_LEN + 1];

    if (name[0] == 0 && prefix[0] == 0)
        return err_set(
            err, ERR_INVALID,
            "metadata.name: Required value: name or generateName is required");
    if (name[0] == 0) {
        size_t max = objmeta_is_namespace(gvr) ? MAX_LABEL : MAX_NAME;

        uuid_random_suffix(suffix, SUFFIX_LEN);
        (void)snprintf(full, sizeof full, "%.*s%s", (int)(max - SUFFIX_LEN),
                       prefix, suffix);
        jsonx_set_str(meta, "name", full);
        name = full;
    }
    return check_name(gvr, name, err);
}

static int
set_namespace(const struct gvr *gvr, const char *ns, json_t *meta,
              struct err *err)
{
    const char *said = jsonx_str_or(meta, "namespace", "");

    if (!gvr->is_namespaced) {
        (void)json_object_del(meta, "namespace");
        return 0;
    }
    if (said[0] != 0 && strcmp(said, ns) != 0)
        return err_set(
            err, ERR_INVALID,
            "the namespace of the provided object does not match the namespace sent on the request (%s, %s)",
            said, ns);
    if (!is_label(ns))
        return err_set(
            err, ERR_INVALID,
            "metadata.namespace: Invalid value: \"%s\": must be a lowercase RFC 1123 label",
            ns);
    jsonx_set_str(meta, "namespace", ns);
    return 0;
}

static void
set_type(const struct gvr *gvr, json_t *object)
{
    char api[192];

    (void)snprintf(api, sizeof api, "%s%s%s", gvr->group,
                   gvr->group[0] == 0 ? "" : "/", gvr->version);
    jsonx_set_str(object, "apiVersion", api);
    jsonx_set_str(object, "kind", gvr->kind);
}

static void
set_namespace_fields(json_t *object)
{
    json_t *labels;

    jsonx_set(object, "spec", json_pack("{s:[s]}", "finalizers", "kubernetes"));
    jsonx_set(object, "status", json_pack("{s:s}", "phase", "Active"));
    labels = jsonx_get(object, "metadata.labels");
    if (labels == NULL) {
        jsonx_set(object, "metadata.labels", json_object());
        labels = jsonx_get(object, "metadata.labels");
    }
    (void)json_object_set_new(labels, "kubernetes.io/metadata.name",
                              json_string(jsonx_str(object, "metadata.name")));
}

int
objmeta_prepare_new(const struct gvr *gvr, const char *ns, json_t *object,
                    enum obj_part part, struct err *err)
{
    json_t *meta = json_object_get(object, "metadata");
    char uid[UUID_STR_SIZE];
    char now[CLOCK_RFC3339_SIZE];

    if (!json_is_object(object) || (meta != NULL && !json_is_object(meta)))
        return err_set(err, ERR_INVALID,
                       "%s: the object and its metadata must be JSON objects",
                       gvr->resource);
    if (meta == NULL) {
        jsonx_set(object, "metadata", json_object());
        meta = json_object_get(object, "metadata");
    }
    drop_empty(meta);
    if (jsonx_str_or(meta, "resourceVersion", "")[0] != 0)
        return err_set(
            err, ERR_INVALID,
            "resourceVersion should not be set on objects to be created");
    if (set_namespace(gvr, ns, meta, err) < 0 || set_name(gvr, meta, err) < 0 ||
        check_meta(meta, err) < 0)
        return -1;
    set_type(gvr, object);
    if (part != OBJ_ALL || !uuid_is_valid(jsonx_str_or(meta, "uid", ""))) {
        uuid_random(uid);
        jsonx_set_str(meta, "uid", uid);
    }
    clock_format_rfc3339(clock_wall_s(), now);
    jsonx_set_str(meta, "creationTimestamp", now);
    (void)json_object_del(meta, "resourceVersion");
    (void)json_object_del(meta, "deletionTimestamp");
    (void)json_object_del(meta, "deletionGracePeriodSeconds");
    (void)json_object_del(meta, "selfLink");
    (void)json_object_del(meta, "generation");
    if (gvr->has_generation)
        jsonx_set(meta, "generation", json_integer(1));
    if (part != OBJ_ALL && gvr->has_status)
        (void)json_object_del(object, "status");
    if (objmeta_is_namespace(gvr))
        set_namespace_fields(object);
    return 0;
}

/* ---- update ---- */

/* Member `name` of `to` as it is in `from`, absent if it is absent there. */
static void
restore_member(json_t *to, const json_t *from, const char *name)
{
    json_t *v = json_object_get(from, name);

    if (v == NULL)
        (void)json_object_del(to, name);
    else
        (void)json_object_set_new(to, name, json_deep_copy(v));
}

static void
restore_owned(json_t *result, const json_t *old)
{
    static const char *const names[] = { "name",
                                         "namespace",
                                         "uid",
                                         "creationTimestamp",
                                         "generation",
                                         "deletionTimestamp",
                                         "deletionGracePeriodSeconds",
                                         "selfLink" };
    json_t *meta = json_object_get(result, "metadata");
    json_t *old_meta = json_object_get(old, "metadata");

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        restore_member(meta, old_meta, names[i]);
    (void)json_object_del(meta, "resourceVersion");
    restore_member(result, old, "apiVersion");
    restore_member(result, old, "kind");
}

static bool
has_string(const json_t *list, const char *s)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), s) == 0)
            return true;
    return false;
}

/* An object that is being deleted gets no new finalizer. */
static int
check_no_new_finalizer(const json_t *old, const json_t *result, struct err *err)
{
    json_t *had = jsonx_get(old, "metadata.finalizers");
    json_t *has = jsonx_get(result, "metadata.finalizers");

    if (!objmeta_is_deleting(old))
        return 0;
    for (size_t i = 0; i < json_array_size(has); i++) {
        const char *f = json_string_value(json_array_get(has, i));

        if (!has_string(had, f))
            return err_set(
                err, ERR_INVALID,
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"%s\"}",
                f);
    }
    return 0;
}

/* Did anything but metadata and status change? */
static bool
spec_differs(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)a, key, value)
    {
        if (strcmp(key, "metadata") != 0 && strcmp(key, "status") != 0 &&
            !json_equal(value, json_object_get(b, key)))
            return true;
    }
    return false;
}

static void
count_generation(json_t *result, const json_t *old)
{
    if (spec_differs(result, old) || spec_differs(old, result))
        jsonx_set(result, "metadata.generation",
                  json_integer(jsonx_int(old, "metadata.generation", 0) + 1));
}

static json_t *
merge_status(const json_t *old, const json_t *wanted)
{
    json_t *result = json_deep_copy(old);
    json_t *fields = jsonx_get(wanted, "metadata.managedFields");

    restore_member(result, wanted, "status");
    if (fields != NULL)
        jsonx_set(result, "metadata.managedFields", json_deep_copy(fields));
    return result;
}

json_t *
objmeta_merge(const struct gvr *gvr, const json_t *old, const json_t *wanted,
              enum obj_part part, struct err *err)
{
    CLEANUP(json_decref) json_t *result = NULL;
    json_t *meta = json_object_get(wanted, "metadata");

    if (!json_is_object(wanted) || !json_is_object(meta))
        return err_set_null(
            err, ERR_INVALID,
            "%s: the object and its metadata must be JSON objects",
            gvr->resource);
    if (strcmp(jsonx_str_or(meta, "name", ""),
               jsonx_str_or(old, "metadata.name", "")) != 0)
        return err_set_null(
            err, ERR_INVALID,
            "metadata.name: Invalid value: \"%s\": field is immutable",
            jsonx_str_or(meta, "name", ""));
    if (part == OBJ_STATUS && gvr->has_status)
        return merge_status(old, wanted);

    result = json_deep_copy(wanted);
    drop_empty(json_object_get(result, "metadata"));
    restore_owned(result, old);
    if (check_meta(json_object_get(result, "metadata"), err) < 0 ||
        check_no_new_finalizer(old, result, err) < 0)
        return NULL;
    if (part == OBJ_MAIN && gvr->has_status)
        restore_member(result, old, "status");
    if (part == OBJ_MAIN && objmeta_is_namespace(gvr)) {
        restore_member(result, old, "spec");
        restore_member(result, old, "status");
    }
    if (gvr->has_generation)
        count_generation(result, old);
    return TAKE(result);
}

void
objmeta_mark_deleting(const struct gvr *gvr, json_t *object)
{
    char now[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(clock_wall_s(), now);
    jsonx_set_str(object, "metadata.deletionTimestamp", now);
    jsonx_set(object, "metadata.deletionGracePeriodSeconds", json_integer(0));
    if (gvr->has_generation)
        jsonx_set(
            object, "metadata.generation",
            json_integer(jsonx_int(object, "metadata.generation", 0) + 1));
    if (objmeta_is_namespace(gvr))
        jsonx_set_str(object, "status.phase", "Terminating");
}
