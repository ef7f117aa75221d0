/* SPDX-License-Identifier: Apache-2.0 */
#include "api/ssa.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define UPDATES_MAX 10 /* entries of writers other than apply */

/* --- sets of fields -------------------------------------------------- */

static bool
is_leaf(const json_t *tree)
{
    return json_object_size(tree) == 0;
}

/* The child of a tree for the member `name`. */
static json_t *
child(const json_t *tree, const char *name)
{
    CLEANUP(mem_free) char *key = xasprintf("f:%s", name);

    return json_object_get(tree, key);
}

static json_t *
make_child(json_t *tree, const char *name)
{
    CLEANUP(mem_free) char *key = xasprintf("f:%s", name);
    json_t *c = json_object_get(tree, key);

    if (c == NULL) {
        c = json_object();
        json_object_set_new(tree, key, c);
    }
    return c;
}

static void
drop_child(json_t *tree, const char *name)
{
    CLEANUP(mem_free) char *key = xasprintf("f:%s", name);

    (void)json_object_del(tree, key);
}

static bool
is_map(const json_t *v)
{
    return json_object_size(v) > 0; /* 0 for what is no object */
}

/* All fields of `v` into `tree`. */
static void
add_leaves(const json_t *v, json_t *tree)
{
    const char *name;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)v, name, member)
    {
        json_t *c;

        if (json_is_null(member))
            continue; /* says nothing */
        c = make_child(tree, name);
        if (is_map(member))
            add_leaves(member, c);
    }
}

/* Identity, and what the server alone writes. */
static void
drop_server_fields(json_t *tree)
{
    static const char *const meta[] = { "name",
                                        "namespace",
                                        "generateName",
                                        "selfLink",
                                        "uid",
                                        "resourceVersion",
                                        "generation",
                                        "creationTimestamp",
                                        "managedFields",
                                        "deletionTimestamp",
                                        "deletionGracePeriodSeconds" };
    json_t *m = child(tree, "metadata");

    drop_child(tree, "apiVersion");
    drop_child(tree, "kind");
    for (size_t i = 0; i < ARRAY_SIZE(meta); i++)
        drop_child(m, meta[i]);
    if (m != NULL && is_leaf(m))
        drop_child(tree, "metadata");
}

static void
unite(json_t *into, const json_t *tree)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)tree, key, v)
    {
        json_t *have = json_object_get(into, key);

        if (have == NULL)
            json_object_set_new(into, key, json_deep_copy(v));
        else
            unite(have, v);
    }
}

/* Unite `set` into the child, which is not made for an empty one. */
static void
unite_child(json_t *tree, const char *name, const json_t *set)
{
    if (!is_leaf(set))
        unite(make_child(tree, name), set);
}

/* Take the leaves of `gone` (and all below them) out of `from`. */
static void
subtract(json_t *from, const json_t *gone)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)gone, key, v)
    {
        json_t *have = json_object_get(from, key);

        if (have == NULL)
            continue;
        if (!is_leaf(v) && is_leaf(have))
            continue; /* an empty map owns only itself */
        subtract(have, v);
        if (is_leaf(have))
            (void)json_object_del(from, key);
    }
}

/* What became other, or new, into `changed`; what went into `removed`. */
static void
compare(const json_t *old, const json_t *new, json_t *changed, json_t *removed)
{
    const char *name;
    json_t *v, *other;

    json_object_foreach((json_t *)(uintptr_t) new, name, v)
    {
        other = json_object_get(old, name);
        if (is_map(v) && is_map(other)) {
            json_t *c = json_object();
            json_t *r = json_object();

            compare(other, v, c, r);
            unite_child(changed, name, c);
            unite_child(removed, name, r);
            json_decref(c);
            json_decref(r);
        } else if (other == NULL || !json_equal(v, other)) {
            json_t *c = make_child(changed, name);

            if (is_map(v))
                add_leaves(v, c);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)old, name, v)
    {
        if (json_object_get(new, name) == NULL) {
            json_t *c = make_child(removed, name);

            if (is_map(v))
                add_leaves(v, c);
        }
    }
}

/* --- managers -------------------------------------------------------- */

static bool
is_entry(const json_t *e, const char *manager, const char *operation)
{
    return strcmp(jsonx_str_or(e, "manager", ""), manager) == 0 &&
           strcmp(jsonx_str_or(e, "operation", ""), operation) == 0 &&
           jsonx_str_or(e, "subresource", "")[0] == 0;
}

/* A copy of an object's entries that look like some. */
static json_t *
entries_of(const json_t *object)
{
    const json_t *have = jsonx_get(object, "metadata.managedFields");
    json_t *list = json_array();
    size_t i;
    json_t *e;

    json_array_foreach(have, i, e)
    {
        if (json_is_object(json_object_get(e, "fieldsV1")))
            json_array_append_new(list, json_deep_copy(e));
    }
    return list;
}

static json_t *
new_entry(const struct ssa_writer *who, const char *operation, json_t *set)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:O}", "manager", who->manager,
                     "operation", operation, "apiVersion", who->api_version,
                     "time", who->now, "fieldsType", "FieldsV1", "fieldsV1",
                     set);
}

static void
store_entries(json_t *object, json_t *list)
{
    for (size_t i = json_array_size(list); i > 0; i--) {
        if (is_leaf(json_object_get(json_array_get(list, i - 1), "fieldsV1")))
            (void)json_array_remove(list, i - 1);
    }
    if (json_array_size(list) > 0)
        jsonx_set(object, "metadata.managedFields", json_incref(list));
    else
        jsonx_del(object, "metadata.managedFields");
}

/* --- apply ----------------------------------------------------------- */

/* Where `tree` (another manager's) has the leaf that config sets, a leaf
 * above it that is no map, or fields below it. */
struct conflict_search {
    const json_t *entry;
    struct ssa_conflicts *found;
    json_t *taken; /* the same as a set */
};

static void
add_conflict(struct conflict_search *s, const struct buf *path)
{
    struct ssa_conflict *c;

    if (s->found->n++ >= SSA_CONFLICTS_MAX)
        return;
    c = &s->found->v[s->found->n - 1];
    (void)snprintf(c->manager, sizeof c->manager, "%s",
                   jsonx_str_or(s->entry, "manager", ""));
    (void)snprintf(c->api_version, sizeof c->api_version, "%s",
                   jsonx_str_or(s->entry, "apiVersion", ""));
    (void)snprintf(c->field, sizeof c->field, "%s", buf_str(path));
}

static void
find_conflicts(struct conflict_search *s, const json_t *config,
               const json_t *live, const json_t *tree, json_t *taken,
               struct buf *path)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)config, name, v)
    {
        const json_t *present = json_object_get(live, name);
        const json_t *theirs = child(tree, name);
        size_t len = path->len;

        if (theirs == NULL || present == NULL || json_equal(v, present))
            continue;
        buf_printf(path, ".%s", name);
        if (is_map(v) && json_is_object(present)) {
            json_t *t = json_object();

            find_conflicts(s, v, present, theirs, t, path);
            unite_child(taken, name, t);
            json_decref(t);
        } else {
            add_conflict(s, path);
            unite(make_child(taken, name), theirs);
        }
        buf_truncate(path, len);
    }
}

static void
merge(json_t *into, const json_t *config)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)config, name, v)
    {
        json_t *have = json_object_get(into, name);

        if (json_is_null(v))
            continue;
        if (json_is_object(v) && json_is_object(have))
            merge(have, v);
        else
            json_object_set_new(into, name, json_deep_copy(v));
    }
}

/* Remove what was applied before (`was`), is not now and nobody else has. */
static void
remove_left_out(json_t *object, const json_t *was, const json_t *is,
                const json_t *others)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)was, key, v)
    {
        const json_t *now = json_object_get(is, key);
        const json_t *theirs = json_object_get(others, key);
        const char *name = key + (strncmp(key, "f:", 2) == 0 ? 2 : 0);
        json_t *member = json_object_get(object, name);

        if (is_leaf(v) || !json_is_object(member)) {
            if (now == NULL && theirs == NULL)
                (void)json_object_del(object, name);
            continue;
        }
        remove_left_out(member, v, now, theirs);
        if (json_object_size(member) == 0 && now == NULL && theirs == NULL)
            (void)json_object_del(object, name);
    }
}

/* The manager's Apply entry gets `set`; equal sets keep their time. */
static void
put_apply_entry(json_t *list, const struct ssa_writer *who, json_t *set)
{
    size_t i;
    json_t *e;

    json_array_foreach(list, i, e)
    {
        if (!is_entry(e, who->manager, "Apply"))
            continue;
        if (!json_equal(json_object_get(e, "fieldsV1"), set) ||
            strcmp(jsonx_str_or(e, "apiVersion", ""), who->api_version) != 0)
            json_array_set_new(list, i, new_entry(who, "Apply", set));
        return;
    }
    json_array_append_new(list, new_entry(who, "Apply", set));
}

/* Split: the manager's own set before, and the union of all others'. */
static void
split_sets(const json_t *list, const struct ssa_writer *who, json_t *mine,
           json_t *others)
{
    size_t i;
    json_t *e;

    json_array_foreach(list, i, e)
    {
        bool is_mine = is_entry(e, who->manager, "Apply");

        unite(is_mine ? mine : others, json_object_get(e, "fieldsV1"));
    }
}

/* Fields in dispute are found and, when forced, taken from their managers. */
static bool
settle_conflicts(json_t *list, const json_t *live, const json_t *config,
                 const struct ssa_writer *who, bool is_forced,
                 struct ssa_conflicts *found)
{
    size_t i;
    json_t *e;

    json_array_foreach(list, i, e)
    {
        CLEANUP(buf_fini) struct buf path = BUF_INIT;
        CLEANUP(json_decref) json_t *taken = json_object();
        struct conflict_search s = { e, found, taken };
        json_t *set = json_object_get(e, "fieldsV1");

        if (is_entry(e, who->manager, "Apply"))
            continue;
        find_conflicts(&s, config, live, set, taken, &path);
        if (is_forced)
            subtract(set, taken);
    }
    return is_forced || found->n == 0;
}

json_t *
ssa_apply(const json_t *live, const json_t *config,
          const struct ssa_writer *who, bool is_forced,
          struct ssa_conflicts *ret_conflicts)
{
    CLEANUP(json_decref) json_t *list = entries_of(live);
    CLEANUP(json_decref) json_t *set = json_object();
    CLEANUP(json_decref) json_t *mine = json_object();
    CLEANUP(json_decref) json_t *others = json_object();
    json_t *out;

    *ret_conflicts = (struct ssa_conflicts){ .n = 0 };
    add_leaves(config, set);
    drop_server_fields(set);
    if (!settle_conflicts(list, live, config, who, is_forced, ret_conflicts))
        return NULL;
    out = live != NULL ? json_deep_copy(live) : json_object();
    split_sets(list, who, mine, others);
    merge(out, config);
    remove_left_out(out, mine, set, others);
    put_apply_entry(list, who, set);
    store_entries(out, list);
    return out;
}

/* --- other writes ---------------------------------------------------- */

/* Every name of a manager costs an entry: beyond UPDATES_MAX the oldest are
 * put together under one name, as Kubernetes does. */
static void
fold_updates(json_t *list)
{
    size_t updates = 0, first = SIZE_MAX, ancient = SIZE_MAX, i;
    json_t *e;

    json_array_foreach(list, i, e)
    {
        if (strcmp(jsonx_str_or(e, "operation", ""), "Update") != 0)
            continue;
        updates++;
        if (strcmp(jsonx_str_or(e, "manager", ""), "ancient-changes") == 0)
            ancient = i;
        else if (first == SIZE_MAX)
            first = i;
    }
    if (updates <= UPDATES_MAX || first == SIZE_MAX)
        return;
    e = json_array_get(list, first);
    if (ancient == SIZE_MAX) {
        json_object_set_new(e, "manager", json_string("ancient-changes"));
        return;
    }
    unite(json_object_get(json_array_get(list, ancient), "fieldsV1"),
          json_object_get(e, "fieldsV1"));
    (void)json_array_remove(list, first);
}

static void
put_update_entry(json_t *list, const struct ssa_writer *who, json_t *changed)
{
    size_t i;
    json_t *e;

    if (is_leaf(changed))
        return;
    json_array_foreach(list, i, e)
    {
        if (is_entry(e, who->manager, "Update")) {
            unite(json_object_get(e, "fieldsV1"), changed);
            json_object_set_new(e, "time", json_string(who->now));
            return;
        }
    }
    json_array_append_new(list, new_entry(who, "Update", changed));
    fold_updates(list);
}

void
ssa_track(const json_t *old, json_t *object, const struct ssa_writer *who)
{
    CLEANUP(json_decref) json_t *changed = json_object();
    CLEANUP(json_decref) json_t *removed = json_object();
    CLEANUP(json_decref) json_t *list = NULL;
    size_t i;
    json_t *e;

    /* A client that sends none keeps what is there. */
    if (jsonx_get(object, "metadata.managedFields") == NULL && old != NULL)
        list = entries_of(old);
    else
        list = entries_of(object);
    compare(old, object, changed, removed);
    drop_server_fields(changed);
    drop_server_fields(removed);
    drop_child(changed, "status"); /* the subresource's */
    drop_child(removed, "status");
    json_array_foreach(list, i, e)
    {
        json_t *set = json_object_get(e, "fieldsV1");

        subtract(set, removed);
        if (!is_entry(e, who->manager, "Update"))
            subtract(set, changed);
    }
    put_update_entry(list, who, changed);
    store_entries(object, list);
}
