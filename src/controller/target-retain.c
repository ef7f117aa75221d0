/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/target-retain.h"

#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "controller/objutil.h"
#include "repo/hold.h"
#include "types/rules.h"

#define DELETE_MAX 20 /* in one go; the rest in the next */

struct candidate {
    struct object *object; /* a reference */
    char *group;
    uint64_t seq;
};

struct choice {
    struct candidate *candidates;
    struct retain_item *items;
    size_t count;
};

static void
choice_fini_p(struct choice *c)
{
    for (size_t i = 0; i < c->count; i++) {
        object_unref(c->candidates[i].object);
        free(c->candidates[i].group);
    }
    free(c->candidates);
    free(c->items);
}

/* ---- what the objects say ---- */

int
target_retain_policy(const json_t *target, struct retain_policy *ret,
                     struct err *err)
{
    const json_t *spec = jsonx_get(target, "spec.retention");
    const char *within = jsonx_str_or(spec, "keepWithin", "");

    *ret = (struct retain_policy){
        .last = (unsigned)jsonx_int(spec, "keepLast", 0),
        .hourly = (unsigned)jsonx_int(spec, "keepHourly", 0),
        .daily = (unsigned)jsonx_int(spec, "keepDaily", 0),
        .weekly = (unsigned)jsonx_int(spec, "keepWeekly", 0),
        .monthly = (unsigned)jsonx_int(spec, "keepMonthly", 0),
        .yearly = (unsigned)jsonx_int(spec, "keepYearly", 0),
    };
    if (within[0] == 0)
        return 0;
    return retain_parse_within(within, &ret->within_s, err);
}

bool
target_retain_is_held(const json_t *backup)
{
    const char *hold = json_string_value(json_object_get(
        jsonx_get(backup, "metadata.annotations"), TARGET_RETAIN_HOLD));

    return hold != NULL && strcmp(hold, "false") != 0;
}

bool
target_retain_counts(const json_t *backup, const char *target, bool *ret_is_bad)
{
    const char *verified = ctl_condition_get(backup, "Verified");

    if (strcmp(jsonx_str_or(backup, "spec.type", "backup"), "backup") != 0 ||
        strcmp(jsonx_str_or(backup, "status.vmkeep.target", ""), target) != 0 ||
        strcmp(jsonx_str_or(backup, "status.vmkeep.phase", ""), "Ready") != 0 ||
        jsonx_str(backup, "metadata.deletionTimestamp") != NULL)
        return false;
    *ret_is_bad = !jsonx_bool(backup, "status.readyToUse") ||
                  (verified != NULL && strcmp(verified, "False") == 0);
    return true;
}

static char *
group_of(const json_t *backup)
{
    const char *vm = jsonx_str(backup, "status.sourceUID");

    if (vm != NULL)
        return xstrdup(vm);
    return xasprintf("%s/%s", jsonx_str_or(backup, "metadata.namespace", ""),
                     jsonx_str_or(backup, "spec.source.name", ""));
}

/* The backups that restores read now: "namespace/name". */
static struct map *
note_restores(struct ctl *ctl)
{
    struct map *used = map_new();
    struct object_list list;

    cache_list(ctl->cache, &kind_hrestore.gvr, NULL, &list);
    for (size_t i = 0; i < list.n; i++) {
        CLEANUP(json_decref) json_t *r = object_json(list.v[i]);
        CLEANUP(mem_free)
        char *name = xasprintf(
            "%s/%s", jsonx_str_or(r, "spec.virtualMachineBackupNamespace", ""),
            jsonx_str_or(r, "spec.virtualMachineBackupName", ""));

        if (rules_is_restore_active(r))
            (void)map_put(used, name, used);
    }
    object_list_fini(&list);
    return used;
}

/* ---- gathering ---- */

struct known {
    struct repo_entry *entries;
    size_t count;
    struct repo_hold *holds;
    size_t hold_count;
    struct map *restores;
};

static void
known_fini_p(struct known *k)
{
    free(k->entries);
    free(k->holds);
    map_free(k->restores);
}

static int
ask_repo(struct repo *repo, struct known *k, struct err *err)
{
    size_t damage = 0;

    if (repo_list(repo, &k->entries, &k->count, &damage, err) < 0 ||
        repo_hold_list(repo, &k->holds, &k->hold_count, err) < 0)
        return -1;
    if (damage > 0)
        return err_set(
            err, ERR_CORRUPT,
            "%zu entries of the log cannot be read: no backup is deleted by "
            "spec.retention until that is repaired",
            damage);
    return 0;
}

/* The newest entry of that object; NULL: it is not there. */
static const struct repo_entry *
entry_of(const struct known *k, const char *uid)
{
    for (size_t i = k->count; i-- > 0;)
        if (strcmp(k->entries[i].object_uid, uid) == 0)
            return &k->entries[i];
    return NULL;
}

static bool
is_held(const struct known *k, const json_t *backup, const char *id)
{
    CLEANUP(mem_free)
    char *name =
        xasprintf("%s/%s", jsonx_str_or(backup, "metadata.namespace", ""),
                  jsonx_str_or(backup, "metadata.name", ""));

    for (size_t i = 0; i < k->hold_count; i++)
        if (strcmp(k->holds[i].id, id) == 0)
            return true;
    return target_retain_is_held(backup) || map_get(k->restores, name) != NULL;
}

static void
add(struct choice *c, const struct known *k, struct object *o,
    const char *target)
{
    CLEANUP(json_decref) json_t *backup = object_json(o);
    const struct repo_entry *entry = entry_of(k, object_uid(o));
    struct candidate *at = &c->candidates[c->count];
    bool is_bad = false;

    if (entry == NULL || !target_retain_counts(backup, target, &is_bad))
        return;
    at->object = object_ref(o);
    at->group = group_of(backup);
    at->seq = entry->seq;
    c->items[c->count++] =
        (struct retain_item){ .group = at->group,
                              .seq = entry->seq,
                              .created_unix_s = entry->created_unix_s,
                              .is_held = is_held(k, backup, entry->id),
                              .is_bad = is_bad };
}

static void
gather(struct ctl *ctl, const struct known *k, const char *target,
       struct choice *c)
{
    struct object_list list;

    cache_list(ctl->cache, &kind_vmbackup.gvr, NULL, &list);
    c->candidates = xcalloc(list.n + 1, sizeof *c->candidates);
    c->items = xcalloc(list.n + 1, sizeof *c->items);
    for (size_t i = 0; i < list.n; i++)
        add(c, k, list.v[i], target);
    object_list_fini(&list);
}

/* ---- deleting ---- */

static struct object *
object_of(const struct choice *c, uint64_t seq)
{
    size_t i = 0;

    while (c->candidates[i].seq != seq)
        i++;
    return c->candidates[i].object;
}

static int
delete_one(struct ctl *ctl, struct object *target, struct object *backup,
           struct target_retain_result *ret, struct err *err)
{
    struct obj_ref at =
        objutil_ref(&kind_vmbackup, object_ns(backup), object_name(backup));
    struct obj_write how = { .part = OBJ_MAIN, .uid = object_uid(backup) };

    if (obj_delete(ctl->store, &at, &how, NULL, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT ? 0 : -1;
    eventrec_normal(ctl->events, target, "BackupExpired",
                    "backup %s/%s is deleted: spec.retention does not keep it",
                    object_ns(backup), object_name(backup));
    if (ret->first == NULL)
        ret->first = xasprintf("%s/%s", object_ns(backup), object_name(backup));
    ret->deleted++;
    return 0;
}

int
target_retain_run(struct ctl *ctl, struct object *target,
                  struct target_ref *ref, struct target_retain_result *ret,
                  struct err *err)
{
    CLEANUP(known_fini) struct known k = { 0 };
    CLEANUP(choice_fini) struct choice c = { 0 };
    CLEANUP(json_decref) json_t *json = object_json(target);
    struct retain_policy policy;

    *ret = (struct target_retain_result){ 0 };
    if (target_retain_policy(json, &policy, err) < 0)
        return -1;
    if (retain_policy_is_empty(&policy))
        return 0;
    if (ask_repo(target_repo(ref), &k, err) < 0)
        return -1;
    k.restores = note_restores(ctl);
    gather(ctl, &k, object_name(target), &c);
    retain_apply(&policy, c.items, c.count, clock_wall_s());
    for (size_t i = 0; i < c.count; i++) {
        ret->kept += c.items[i].reasons != 0;
        if (c.items[i].reasons == 0 && ret->deleted < DELETE_MAX &&
            delete_one(ctl, target, object_of(&c, c.items[i].seq), ret, err) <
                0)
            return -1;
    }
    return 0;
}
