/* SPDX-License-Identifier: Apache-2.0 */
/* The table of kinds, in the order in which discovery lists them: short names
 * that two groups share (vmrestore) mean the group that comes first.
 */
#include "types/kind.h"

#include <string.h>

#include "base/clock.h"

const struct kind *const kind_table[] = {
    &kind_namespace,
    &kind_event,
    &kind_pvc,
    &kind_node,
    &kind_vm,
    &kind_vmi,
    &kind_vmsnapshot,
    &kind_vmsnapshotcontent,
    &kind_vmrestore,
    &kind_vmbackup,
    &kind_hrestore,
    &kind_backuptarget,
    &kind_action,
    &kind_storageclass,
    NULL,
};

static bool
is_served(const struct kind *k, const char *version)
{
    for (size_t i = 0; k->versions[i] != NULL; i++) {
        if (strcmp(k->versions[i], version) == 0)
            return true;
    }
    return false;
}

const struct kind *
kind_by_resource(const char *group, const char *version, const char *resource)
{
    for (size_t i = 0; kind_table[i] != NULL; i++) {
        const struct kind *k = kind_table[i];

        if (strcmp(k->gvr.group, group) == 0 &&
            strcmp(k->gvr.resource, resource) == 0 && is_served(k, version))
            return k;
    }
    return NULL;
}

const struct kind *
kind_by_kind(const char *group, const char *kind)
{
    for (size_t i = 0; kind_table[i] != NULL; i++) {
        const struct kind *k = kind_table[i];

        if (strcmp(k->gvr.group, group) == 0 && strcmp(k->gvr.kind, kind) == 0)
            return k;
    }
    return NULL;
}

static json_t *
age_cell(const json_t *value, int64_t now_s)
{
    char age[CLOCK_AGE_SIZE];
    const char *stamp = json_string_value(value);
    struct err err;
    int64_t at_s;

    if (stamp == NULL || clock_parse_rfc3339(stamp, &at_s, &err) < 0)
        return json_null();
    clock_format_age(now_s > at_s ? now_s - at_s : 0, age);
    return json_string(age);
}

json_t *
kind_cell(const struct kind *k, const struct kind_column *col,
          const json_t *object, int64_t now_s)
{
    if (col->path == NULL) {
        CLEANUP(mem_free) char *text = k->cell(col, object);

        return text == NULL ? json_null() : json_string(text);
    }
    json_t *value = jsonx_get(object, col->path + 1);

    if (strcmp(col->type, "date") == 0)
        return age_cell(value, now_s);
    if (json_is_string(value) || json_is_boolean(value) ||
        json_is_integer(value))
        return json_incref(value);
    return json_null();
}
