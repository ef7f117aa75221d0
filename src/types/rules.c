/* SPDX-License-Identifier: Apache-2.0 */
#include "types/rules.h"

#include <string.h>

#include "base/mem.h"

const char *const rules_verbs[] = { "create", "delete", "deletecollection",
                                    "get",    "list",   "patch",
                                    "update", "watch",  NULL };
const char *const rules_projected_verbs[] = { "get",    "list",  "patch",
                                              "update", "watch", NULL };
const char *const rules_in_all[] = { "all", NULL };

void
rules_check_vm_ref(const json_t *ref, const char *field, struct causes *causes)
{
    const char *group = jsonx_str(ref, "apiGroup");
    char at[128];

    (void)snprintf(at, sizeof at, "%s.apiGroup", field);
    if (group == NULL) {
        causes_add(causes, "FieldValueNotFound", at,
                   "missing apiGroup: want \"" RULES_KUBEVIRT_GROUP "\"");
        return;
    }
    if (strcmp(group, RULES_KUBEVIRT_GROUP) != 0) {
        causes_add(causes, "FieldValueInvalid", at,
                   "invalid apiGroup: want \"" RULES_KUBEVIRT_GROUP "\"");
        return;
    }
    if (strcmp(jsonx_str_or(ref, "kind", ""), "VirtualMachine") != 0) {
        (void)snprintf(at, sizeof at, "%s.kind", field);
        causes_add(causes, "FieldValueInvalid", at,
                   "invalid kind: want \"VirtualMachine\"");
    }
}

void
rules_check_spec_unchanged(const struct kind_request *rq, struct causes *causes)
{
    if (!jsonx_equal(json_object_get(rq->object, "spec"),
                     json_object_get(rq->old, "spec")))
        causes_add(causes, "FieldValueInvalid", "spec",
                   "spec is immutable after creation");
}

const json_t *
rules_condition(const json_t *object, const char *type)
{
    return jsonx_find(jsonx_get(object, "status.conditions"), "type", type);
}

bool
rules_condition_is(const json_t *object, const char *type, const char *status)
{
    return strcmp(jsonx_str_or(rules_condition(object, type), "status", ""),
                  status) == 0;
}

bool
rules_has_dot_part(const char *path)
{
    while (*path != 0) {
        size_t len = strcspn(path, "/");

        if ((len == 1 && path[0] == '.') ||
            (len == 2 && path[0] == '.' && path[1] == '.'))
            return true;
        path += len;
        path += *path == '/';
    }
    return false;
}

char *
rules_size(int64_t bytes)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi" };
    double v = (double)bytes;
    size_t u = 0;

    while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
        v /= 1024;
        u++;
    }
    return xasprintf(u == 0 || v >= 100 ? "%.0f%s" : "%.1f%s", v, units[u]);
}

bool
rules_is_restore_active(const json_t *restore)
{
    const json_t *progress = rules_condition(restore, "InProgress");

    if (jsonx_bool(restore, "status.complete"))
        return false;
    return strcmp(jsonx_str_or(progress, "status", ""), "False") != 0 ||
           strcmp(jsonx_str_or(progress, "reason", ""), "Error") != 0;
}

bool
rules_is_vm_undefined(const json_t *vm)
{
    return strcmp(jsonx_str_or(vm, "status.printableStatus", ""),
                  "Undefined") == 0;
}

bool
rules_is_label(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    size_t len = strlen(name);

    return len > 0 && len <= 63 && strspn(name, letters) == len &&
           name[0] != '-' && name[len - 1] != '-';
}

bool
rules_is_object_name(const char *name)
{
    size_t len = strlen(name);
    char part[64];

    if (len == 0 || len > 253)
        return false;
    for (;;) {
        size_t n = strcspn(name, ".");

        if (n >= sizeof part)
            return false;
        memcpy(part, name, n);
        part[n] = 0;
        if (!rules_is_label(part))
            return false;
        if (name[n] == 0)
            return true;
        name += n + 1;
    }
}

bool
rules_is_label_value(const char *value)
{
    static const char ends[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t len = strlen(value);

    for (size_t i = 0; i < len; i++)
        if (strchr(ends, value[i]) == NULL && strchr("-_.", value[i]) == NULL)
            return false;
    return len == 0 || (len <= 63 && strchr(ends, value[0]) != NULL &&
                        strchr(ends, value[len - 1]) != NULL);
}

/* "name", or "prefix/name" with a prefix like that of a domain */
bool
rules_is_key(const char *key)
{
    const char *slash = strchr(key, '/');
    const char *name = slash == NULL ? key : slash + 1;

    if (slash != NULL) {
        CLEANUP(mem_free) char *prefix = xstrndup(key, (size_t)(slash - key));

        if (!rules_is_object_name(prefix))
            return false;
    }
    return *name != 0 && rules_is_label_value(name);
}

void
rules_check_keys(const json_t *map, const json_t *old, const char *field,
                 struct causes *causes)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)map, key,
                        v) if (!rules_is_key(key) &&
                               json_object_get(old, key) == NULL)
        causes_add(causes, "FieldValueInvalid", field,
                   "Invalid value: \"%.80s\": a name has at most 63 "
                   "letters, digits, '-', '_' or '.', and a prefix with a "
                   "slash before it is a DNS name",
                   key);
}

void
rules_check_labels(const json_t *map, const char *field, struct causes *causes)
{
    const char *key;
    json_t *v;

    rules_check_keys(map, NULL, field, causes);
    json_object_foreach((json_t *)(uintptr_t)map, key,
                        v) if (json_is_string(v) &&
                               !rules_is_label_value(json_string_value(v)))
        causes_add(causes, "FieldValueInvalid", field,
                   "Invalid value: \"%.80s\": a label has at most 63 "
                   "letters, digits, '-', '_' or '.', and begins and ends "
                   "with a letter or digit",
                   json_string_value(v));
}

/* `s` as one word of a shell command. Caller frees. */
static char *
quote(const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=";
    struct buf out = BUF_INIT;

    if (*s != 0 && s[strspn(s, plain)] == 0)
        return xstrdup(s);
    /* A dash is safe but at the start, where it would be an option. */
    if (*s != 0 && *s != '-') {
        size_t n = 0;

        while (s[n] != 0 && (strchr(plain, s[n]) != NULL || s[n] == '-'))
            n++;
        if (s[n] == 0)
            return xstrdup(s);
    }
    buf_add_char(&out, '\'');
    for (; *s != 0; s++) {
        if (*s == '\'')
            buf_add_str(&out, "'\\''");
        else
            buf_add_char(&out, *s);
    }
    buf_add_char(&out, '\'');
    return buf_take_str(&out);
}

char *
rules_domain_of(const json_t *vm)
{
    const json_t *notes = jsonx_get(vm, "metadata.annotations");
    const char *name =
        json_string_value(json_object_get(notes, "vmkeep.io/domain"));

    return quote(name != NULL ? name : jsonx_str_or(vm, "metadata.name", "?"));
}

static bool find_difference(const json_t *a, const json_t *b, struct buf *path);

static bool
differs_in_array(const json_t *a, const json_t *b, struct buf *path)
{
    size_t len = path->len;

    if (json_array_size(a) != json_array_size(b))
        return true;
    for (size_t i = 0; i < json_array_size(a); i++) {
        buf_printf(path, "[%zu]", i);
        if (find_difference(json_array_get(a, i), json_array_get(b, i), path))
            return true;
        buf_truncate(path, len);
    }
    return false;
}

static bool
differs_in_member(const json_t *a, const json_t *b, const char *key,
                  struct buf *path)
{
    size_t len = path->len;

    buf_printf(path, "%s%s", len == 0 ? "" : ".", key);
    if (find_difference(json_object_get(a, key), json_object_get(b, key), path))
        return true;
    buf_truncate(path, len);
    return false;
}

/* The path of the first place where two values differ, appended to `path`;
 * false: they are equal. Recursion ends where the shorter value does; both were
 * bounded to 100 levels when they were parsed. */
static bool
find_difference(const json_t *a, const json_t *b, struct buf *path)
{
    const char *key;
    json_t *unused;

    if (a == NULL || b == NULL)
        return a != b;
    if (json_is_array(a) && json_is_array(b))
        return differs_in_array(a, b, path);
    if (!json_is_object(a) || !json_is_object(b))
        return !jsonx_equal(a, b);
    json_object_foreach((json_t *)(uintptr_t)a, key, unused)
    {
        if (differs_in_member(a, b, key, path))
            return true;
    }
    json_object_foreach((json_t *)(uintptr_t)b, key, unused)
    {
        if (differs_in_member(a, b, key, path))
            return true;
    }
    return false;
}

void
rules_check_projected(const struct kind_request *rq, struct causes *causes)
{
    CLEANUP(json_decref)
    json_t *was = json_copy(json_object_get(rq->old, "spec"));
    CLEANUP(json_decref)
    json_t *is = json_copy(json_object_get(rq->object, "spec"));
    CLEANUP(buf_fini) struct buf path = BUF_INIT;

    buf_add_str(&path, "spec");
    if (was != NULL) {
        json_object_del(was, "runStrategy");
        json_object_del(was, "running");
    }
    if (is != NULL) {
        json_object_del(is, "runStrategy");
        json_object_del(is, "running");
    }
    if (!find_difference(was, is, &path))
        return;
    CLEANUP(mem_free) char *domain = rules_domain_of(rq->old);

    causes_add(causes, "FieldValueForbidden", buf_str(&path),
               "Forbidden: this is what libvirt says of the domain; change it "
               "there, with: virsh edit %s",
               domain);
}
