/* SPDX-License-Identifier: Apache-2.0 */
/* A table of paths, in which * stands for one member or place. KubeVirt's own
 * check splits the text at commas and colons and so refuses MAC addresses and
 * objects; this one parses it.
 */
#include "types/restorepatch.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/uuid.h"
#include "types/rules.h"

#define LABEL_WORDS                                                            \
    "at most 63 letters, digits, '-', '_' or '.', with a letter or digit at "  \
    "both ends"
#define DOMAIN_PATH "/spec/template/spec/domain/"

enum value_kind {
    VALUE_NAME,     /* the target's name */
    VALUE_TEXT,     /* a string */
    VALUE_LABEL,    /* the value of a label; its name is in the path */
    VALUE_NOTE,     /* a string; the annotation's name is in the path */
    VALUE_LABELS,   /* an object of labels */
    VALUE_NOTES,    /* an object of strings */
    VALUE_MAC,      /* or "" */
    VALUE_UUID,     /* or "" */
    VALUE_QUANTITY, /* "2Gi" */
    VALUE_COUNT,    /* 1 to 4096 */
    VALUE_STRATEGY,
};

static const struct {
    const char *path;
    enum value_kind kind;
} allowed[] = {
    { "/metadata/name", VALUE_NAME },
    { "/metadata/labels", VALUE_LABELS },
    { "/metadata/labels/*", VALUE_LABEL },
    { "/metadata/annotations", VALUE_NOTES },
    { "/metadata/annotations/*", VALUE_NOTE },
    { "/spec/runStrategy", VALUE_STRATEGY },
    { "/spec/template/metadata/labels", VALUE_LABELS },
    { "/spec/template/metadata/labels/*", VALUE_LABEL },
    { "/spec/template/metadata/annotations", VALUE_NOTES },
    { "/spec/template/metadata/annotations/*", VALUE_NOTE },
    { DOMAIN_PATH "devices/interfaces/*/macAddress", VALUE_MAC },
    { DOMAIN_PATH "firmware/uuid", VALUE_UUID },
    { DOMAIN_PATH "firmware/serial", VALUE_TEXT },
    { DOMAIN_PATH "memory/guest", VALUE_QUANTITY },
    { DOMAIN_PATH "resources/requests/memory", VALUE_QUANTITY },
    { DOMAIN_PATH "resources/limits/memory", VALUE_QUANTITY },
    { DOMAIN_PATH "cpu/cores", VALUE_COUNT },
    { DOMAIN_PATH "cpu/sockets", VALUE_COUNT },
    { DOMAIN_PATH "cpu/threads", VALUE_COUNT },
};

static bool
matches(const char *pattern, const char *path)
{
    while (*pattern != 0) {
        if (*pattern == '*') {
            if (*path == 0 || *path == '/')
                return false;
            path += strcspn(path, "/");
            pattern++;
        } else if (*pattern++ != *path++)
            return false;
    }
    return *path == 0;
}

static int
find_path(const char *path, enum value_kind *ret_kind, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
        if (matches(allowed[i].path, path)) {
            *ret_kind = allowed[i].kind;
            return 0;
        }
    }
    if (strncmp(path, "/spec/", 6) != 0 &&
        strncmp(path, "/metadata/labels/", 17) != 0 &&
        strncmp(path, "/metadata/annotations/", 22) != 0)
        return err_set(err, ERR_INVALID,
                       "patching is valid only for elements under /spec/ only: "
                       "%.80s",
                       path);
    return err_set(err, ERR_INVALID,
                   "%.90s cannot be patched: labels, annotations, runStrategy, "
                   "MAC addresses, firmware uuid and serial, memory and CPU "
                   "counts can",
                   path);
}

static bool
is_mac(const char *s)
{
    for (int i = 0; i < 17; i++) {
        bool is_separator = i % 3 == 2;

        if (is_separator ? s[i] != ':' && s[i] != '-'
                         : !isxdigit((unsigned char)s[i]))
            return false;
    }
    return s[17] == 0;
}

/* source  apimachinery's resource.Quantity, without exponents */
static bool
is_quantity(const char *s)
{
    static const char *const units[] = { "",   "k",  "M",  "G",  "T", "P",
                                         "Ki", "Mi", "Gi", "Ti", "Pi" };
    size_t digits = strspn(s, "0123456789");

    if (digits == 0 || digits > 18 || strspn(s, "0") == digits)
        return false;
    if (s[digits] == '.')
        digits += 1 + strspn(s + digits + 1, "0123456789");
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (strcmp(s + digits, units[i]) == 0)
            return true;
    }
    return false;
}

static bool
is_label(const json_t *v)
{
    return json_is_string(v) && rules_is_label_value(json_string_value(v));
}

static bool
is_map(const json_t *v, bool is_of_labels)
{
    const char *key;
    json_t *member;

    if (!json_is_object(v))
        return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        if (!rules_is_key(key) || !json_is_string(member) ||
            (is_of_labels && !is_label(member)))
            return false;
    }
    return true;
}

/* The last word of the path is the name of a label or annotation. */
static bool
is_key_in(const char *path)
{
    const char *from = strrchr(path, '/') + 1;
    CLEANUP(buf_fini) struct buf key = BUF_INIT;

    for (; *from != 0; from++) {
        if (*from == '~' && (from[1] == '0' || from[1] == '1'))
            buf_add_char(&key, *++from == '1' ? '/' : '~');
        else
            buf_add_char(&key, *from);
    }
    return rules_is_key(buf_str(&key));
}

static bool
is_strategy(const char *s)
{
    static const char *const names[] = { "Always", "Halted", "Manual",
                                         "RerunOnFailure", "Once" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(s, names[i]) == 0)
            return true;
    }
    return false;
}

/* NULL: the value is fine; else what it should be. */
static const char *
value_wanted(enum value_kind kind, const json_t *v, const char *target_name)
{
    const char *s = json_string_value(v);

    switch (kind) {
    case VALUE_NAME:
        return s != NULL && strcmp(s, target_name) == 0
                   ? NULL
                   : "the name that spec.target has";
    case VALUE_TEXT:
        return s != NULL ? NULL : "a string";
    case VALUE_LABEL:
        return is_label(v) ? NULL : LABEL_WORDS;
    case VALUE_LABELS:
        return is_map(v, true) ? NULL
                               : "an object of labels, each " LABEL_WORDS;
    case VALUE_NOTE:
        return s != NULL ? NULL : "a string";
    case VALUE_NOTES:
        return is_map(v, false) ? NULL
                                : "an object of strings, with names as "
                                  "those of labels";
    case VALUE_MAC:
        return s != NULL && (*s == 0 || is_mac(s))
                   ? NULL
                   : "a MAC address, or \"\" for a new one";
    case VALUE_UUID:
        return s != NULL && (*s == 0 || uuid_is_valid(s))
                   ? NULL
                   : "a UUID, or \"\" for a new one";
    case VALUE_QUANTITY:
        return s != NULL && is_quantity(s) ? NULL : "a quantity, as 2Gi";
    case VALUE_COUNT:
        return json_is_integer(v) && json_integer_value(v) >= 1 &&
                       json_integer_value(v) <= 4096
                   ? NULL
                   : "a number from 1 to 4096";
    case VALUE_STRATEGY:
    default:
        return s != NULL && is_strategy(s) ? NULL : "a run strategy";
    }
}

static int
check_operation(const json_t *op, const char *target_name, struct err *err)
{
    const char *name = jsonx_str(op, "op");
    const char *path = jsonx_str(op, "path");
    enum value_kind kind;

    if (!json_is_object(op) || name == NULL || path == NULL)
        return err_set(err, ERR_INVALID,
                       "patch format is not valid - want an object with op and "
                       "path");
    bool has_value = strcmp(name, "add") == 0 || strcmp(name, "replace") == 0 ||
                     strcmp(name, "test") == 0;

    if (!has_value && strcmp(name, "remove") != 0)
        return err_set(err, ERR_INVALID,
                       "patch format is not valid - op \"%.20s\" is none of "
                       "add, remove, replace, test",
                       name);
    if (find_path(path, &kind, err) < 0)
        return -1;
    if (!has_value || strcmp(name, "test") == 0)
        return 0;
    if ((kind == VALUE_LABEL || kind == VALUE_NOTE) && !is_key_in(path))
        return err_set(err, ERR_INVALID,
                       "%.80s does not end with a name: " LABEL_WORDS, path);
    const char *want =
        value_wanted(kind, json_object_get(op, "value"), target_name);

    if (want != NULL)
        return err_set(err, ERR_INVALID, "the value for %.80s must be %s", path,
                       want);
    return 0;
}

json_t *
restorepatch_parse(const char *text, const char *target_name, struct err *err)
{
    struct err why = { 0 };
    CLEANUP(json_decref) json_t *v = jsonx_parse(text, strlen(text), &why);
    CLEANUP(json_decref) json_t *list = NULL;

    if (v == NULL)
        return err_set_null(err, ERR_INVALID, "patch format is not valid - %s",
                            why.msg);
    list = json_is_array(v) ? json_incref(v) : json_pack("[O]", v);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (check_operation(json_array_get(list, i), target_name, err) < 0)
            return NULL;
    }
    return TAKE(list);
}
