/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-sync.c
 *
 * A backup and its object share a UID, so neither is adopted twice and a name
 * that is taken by another backup is no hindrance. The repository is listed
 * first, then the objects: an object is always there before its backup, so a
 * backup without an object in that order is nobody's, or its object was
 * deleted in between. Then its backup was deleted before the object, and a
 * second look at the repository tells; or the deletion was written into
 * pendingDeletions before the object went, so these are read after the
 * objects.
 *
 * A repository may come back under another BackupTarget's name. Objects that
 * name one that is gone, and this repository, go over to it.
 */
#include "controller/target-sync.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "controller/backup-meta.h"
#include "controller/backup-status.h"
#include "controller/objutil.h"
#include "controller/target-priv.h"
#include "repo/hold.h"

#define ENTRIES_PER_UID_MAX 64

void
target_sync_seen_fini(struct target_sync_seen *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->uids[i]);
    free(s->uids);
    memset(s, 0, sizeof *s);
}

int
target_sync_list(struct target_ref *ref, struct target_sync_seen *ret_seen,
                 struct err *err)
{
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    struct target_sync_seen s = { 0 };

    if (repo_list(target_repo(ref), &e, &s.n, &s.damage, err) < 0)
        return -1;
    s.uids = xcalloc(s.n + 1, sizeof *s.uids);
    for (size_t i = 0; i < s.n; i++) {
        s.uids[i] = xstrdup(e[i].object_uid);
        s.stored_bytes += e[i].stored_bytes;
    }
    *ret_seen = s;
    return 0;
}

/* ---- adopting ---- */

static void
note_uids(struct ctl *ctl, struct map *known)
{
    struct object_list list;

    cache_list(ctl->cache, &kind_vmbackup.gvr, NULL, &list);
    for (size_t i = 0; i < list.n; i++)
        (void)map_put(known, object_uid(list.v[i]), known);
    object_list_fini(&list);
}

/* ---- objects of a BackupTarget that is gone ---- */

struct place {
    const char *target, *endpoint, *repo_uuid;
};

/* Finished, in this repository, by another target? That one's name, or NULL. */
static const char *
other_target(const json_t *object, const struct place *here)
{
    const char *target = jsonx_str(object, "status.vmkeep.target");
    const char *uuid = jsonx_str_or(object, "status.vmkeep.repositoryUUID", "");
    const char *phase = jsonx_str_or(object, "status.vmkeep.phase", "");

    if (target == NULL || strcmp(target, here->target) == 0 ||
        strcmp(uuid, here->repo_uuid) != 0 || strcmp(phase, "Ready") != 0)
        return NULL;
    return target;
}

static int
put_place(void *arg, json_t *object, struct err *err)
{
    const struct place *here = arg;

    (void)err;
    if (other_target(object, here) == NULL)
        return 1;
    jsonx_set_str(object, "status.vmkeep.target", here->target);
    jsonx_set_str(object, "status.backupTarget.endpoint", here->endpoint);
    return 0;
}

static int
take_over(struct ctl *ctl, const struct place *here, struct object *o,
          struct err *err)
{
    struct obj_ref at =
        objutil_ref(&kind_vmbackup, object_ns(o), object_name(o));
    struct obj_write how = { .part = OBJ_STATUS, .uid = object_uid(o) };
    CLEANUP(json_decref) json_t *json = object_json(o);
    CLEANUP(object_unref) struct object *target = NULL;
    const char *name = other_target(json, here);

    if (name == NULL)
        return 0;
    if (objutil_find(ctl, &kind_backuptarget, "", name, &target, err) < 0)
        return -1;
    if (target != NULL)
        return 0;
    log_info("target %s: backup %s/%s was in %s, which is gone", here->target,
             object_ns(o), object_name(o), name);
    if (obj_update(ctl->store, &at, &how, put_place, (void *)(uintptr_t)here,
                   NULL, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return 0;
}

/* Few are parsed: the text of the others names this target. */
static int
take_over_all(struct ctl *ctl, const struct place *here, struct err *err)
{
    CLEANUP(mem_free) char *ours = xasprintf("\"target\":\"%s\"", here->target);
    CLEANUP(object_list_fini) struct object_list list = { 0 };
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    int rc = 0;

    cache_list(ctl->cache, &kind_vmbackup.gvr, NULL, &list);
    for (size_t i = 0; rc == 0 && i < list.n; i++) {
        buf_truncate(&text, 0);
        object_text(list.v[i], NULL, &text);
        if (strstr(buf_str(&text), here->repo_uuid) != NULL &&
            strstr(buf_str(&text), ours) == NULL)
            rc = take_over(ctl, here, list.v[i], err);
    }
    return rc;
}

/* What waits to be deleted must not come back. */
static int
note_pending(struct ctl *ctl, const char *target, struct map *known,
             struct err *err)
{
    CLEANUP(object_unref) struct object *o = NULL;
    CLEANUP(json_decref) json_t *json = NULL;
    const json_t *list;

    if (objutil_find(ctl, &kind_backuptarget, "", target, &o, err) < 0)
        return -1;
    json = o == NULL ? NULL : object_json(o);
    list = jsonx_get(json, "status.pendingDeletions");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *uid = jsonx_str(json_array_get(list, i), "backupUID");

        if (uid != NULL)
            (void)map_put(known, uid, known);
    }
    return 0;
}

static int
make_namespace(struct ctl *ctl, const char *ns, struct err *err)
{
    CLEANUP(json_decref)
    json_t *o = json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind",
                          "Namespace", "metadata", "name", ns);
    CLEANUP(object_unref) struct object *made = NULL;
    struct obj_write how = { .part = OBJ_MAIN };

    if (obj_create(ctl->store, &kind_namespace.gvr, "", o, &how, &made, err) <
            0 &&
        err->code != ERR_EXISTS)
        return err_wrap(err, "namespace %s", ns);
    return 0;
}

static int
create(struct ctl *ctl, const struct backup_meta *meta, const char *name,
       const struct backup_status_place *place, struct err *err)
{
    CLEANUP(json_decref)
    json_t *o = backup_status_object(meta, name, place);
    CLEANUP(object_unref) struct object *made = NULL;
    struct obj_write how = { .part = OBJ_ALL };

    if (backup_status_check(o, err) < 0 ||
        obj_create(ctl->store, &kind_vmbackup.gvr, meta->ns, o, &how, &made,
                   err) < 0)
        return -1;
    eventrec_normal(ctl->events, made, "BackupFound",
                    "made from what the BackupTarget %s holds", place->target);
    return 0;
}

static int
adopt(struct ctl *ctl, struct target_ref *ref, const struct repo_entry *entry,
      const char *endpoint, struct err *err)
{
    CLEANUP(repo_view_close) struct repo_view *view = NULL;
    CLEANUP(backup_meta_free) struct backup_meta *meta = NULL;
    CLEANUP(mem_free) char *other = NULL;
    struct backup_status_place place = { .target = target_name(ref),
                                         .endpoint = endpoint,
                                         .repo_uuid = target_uuid(ref),
                                         .entry = entry };

    if (repo_view_open(target_repo(ref), entry->id, &view, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1; /* deleted meanwhile */
    meta = backup_meta_read(view, err);
    if (meta == NULL)
        return -1;
    if (strcmp(meta->uid, entry->object_uid) != 0)
        return err_set(err, ERR_CORRUPT,
                       "its metadata is that of another backup");
    if (make_namespace(ctl, meta->ns, err) < 0)
        return -1;
    if (create(ctl, meta, meta->name, &place, err) == 0)
        return 0;
    if (err->code != ERR_EXISTS)
        return -1;
    other = xasprintf("%.240s-%.5s", meta->name, meta->uid);
    return create(ctl, meta, other, &place, err);
}

/* A committed backup of vmkeepd's; others in the same repository were made by
 * vmkeep repo, and are left alone. */
static bool
is_ours(const struct repo_entry *e)
{
    return uuid_is_valid(e->object_uid);
}

int
target_sync_adopt(struct ctl *ctl, struct target_ref *ref, const char *endpoint,
                  char **ret_trouble, struct err *err)
{
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    CLEANUP(map_free) struct map *known = map_new();
    size_t n = 0, damage;

    const struct place here = { target_name(ref), endpoint, target_uuid(ref) };

    *ret_trouble = NULL;
    if (take_over_all(ctl, &here, err) < 0 ||
        repo_list(target_repo(ref), &e, &n, &damage, err) < 0)
        return -1;
    note_uids(ctl, known);
    if (note_pending(ctl, target_name(ref), known, err) < 0)
        return -1;
    for (size_t i = n; i-- > 0;) { /* the newest of a UID counts */
        struct err why;

        if (!is_ours(&e[i]) || map_get(known, e[i].object_uid) != NULL)
            continue;
        (void)map_put(known, e[i].object_uid, known);
        target_look_on(ctl->targets, target_name(ref));
        if (adopt(ctl, ref, &e[i], endpoint, &why) == 0)
            continue;
        log_warn("target %s: backup %s: %s", target_name(ref), e[i].id,
                 why.msg);
        if (*ret_trouble == NULL)
            *ret_trouble = xasprintf("backup %s: %s", e[i].id, why.msg);
    }
    return 0;
}

/* ---- deleting ---- */

static int
release(struct repo *repo, const char *const *ids, size_t n, const char *hold,
        struct err *err)
{
    CLEANUP(mem_free) struct repo_hold *holds = NULL;
    size_t count = 0;

    if (repo_hold_list(repo, &holds, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < n; k++)
            if (strcmp(holds[i].id, ids[k]) == 0 &&
                strcmp(holds[i].reason, hold) == 0 &&
                repo_hold_clear(repo, ids[k], err) < 0 &&
                err->code != ERR_NOT_FOUND)
                return -1;
    return 0;
}

int
target_sync_delete(struct repo *repo, const char *object_uid, const char *hold,
                   struct err *err)
{
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    const char *ids[ENTRIES_PER_UID_MAX];
    size_t n = 0, damage, n_ids = 0;

    if (repo_list(repo, &e, &n, &damage, err) < 0)
        return -1;
    for (size_t i = 0; i < n && n_ids < ENTRIES_PER_UID_MAX; i++)
        if (strcmp(e[i].object_uid, object_uid) == 0)
            ids[n_ids++] = e[i].id;
    if (n_ids == 0)
        return 0;
    if (hold != NULL && release(repo, ids, n_ids, hold, err) < 0)
        return -1;
    if (repo_delete(repo, ids, n_ids, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return 0;
}
