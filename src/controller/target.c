/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target.c: BackupTarget.
 *
 *   observe()   the object; the directory: who it is, what is in it
 *               (target-repo.c)
 *   target_plan_make()  pure: is it ours, new, not mounted, another one?
 *   apply       open or make the repository, work off pendingDeletions, adopt
 *               what no object knows (target-sync.c), write the status
 *
 * Every look begins with the directory's identity; a directory that was
 * replaced (mounted, unmounted) means a new handle. What holds the old one goes
 * on with it: its descriptors still lead to where it began.
 *
 * The table maps names to what is known of each target. It is only a memory:
 * after a restart nothing is known until the first look, and target_open()
 * says so. A target that is away leaves its backups' objects as they are;
 * only a list of a healthy repository, or the deletion of the BackupTarget,
 * says that a backup is not there.
 */
#include "controller/target.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/target-repo.h"
#include "controller/target-sync.h"
#include "repo/repo-keys.h"

#define TEST_ANNOTATION "vmkeep.io/test"
#define LOOK_MS         60000
#define LOOK_AWAY_MS    10000
#define SYNC_NOTE_S     300 /* lastSyncTime alone is not written more often */

extern struct role target_lock;

struct target_ref {
    atomic_int refs;    /* [A] */
    struct repo *repo;  /* [C] */
    char *name;         /* [C] */
    char *endpoint;     /* [C] */
    char *uuid;         /* [C] */
    bool is_encrypted;  /* [C] */
    char *key;          /* [C] its key file; NULL: none */
    struct file_id dir; /* [C] */
};

struct known {
    struct target_ref *ref; /* NULL: not ready */
    char *why;              /* then */
    struct map *uids;       /* backups that are there; NULL: not known */
};

struct targets {
    struct ctl *ctl;
    struct loop *loop;
    pthread_mutex_t mutex;
    struct map *table GUARDED_BY(target_lock);
};

/* ---- handles ---- */

static void
lock(struct targets *t) ACQUIRE(target_lock) NO_TSA
{
    pthread_mutex_lock(&t->mutex);
}

static void
unlock(struct targets *t) RELEASE(target_lock) NO_TSA
{
    pthread_mutex_unlock(&t->mutex);
}

static struct target_ref *
ref_get(struct target_ref *ref)
{
    if (ref != NULL)
        atomic_fetch_add(&ref->refs, 1);
    return ref;
}

void
target_release(struct target_ref *ref)
{
    if (ref == NULL || atomic_fetch_sub(&ref->refs, 1) != 1)
        return;
    repo_close(ref->repo);
    free(ref->name);
    free(ref->endpoint);
    free(ref->uuid);
    free(ref->key);
    free(ref);
}

struct repo *
target_repo(struct target_ref *ref)
{
    return ref->repo;
}

const char *
target_name(const struct target_ref *ref)
{
    return ref->name;
}

const char *
target_uuid(const struct target_ref *ref)
{
    return ref->uuid;
}

const char *
target_endpoint(const struct target_ref *ref)
{
    return ref->endpoint;
}

bool
target_is_encrypted(const struct target_ref *ref)
{
    return ref->is_encrypted;
}

/* ---- the table ---- */

static void
uids_free(struct map *uids)
{
    map_free(uids);
}

static void
known_free(struct known *k)
{
    if (k == NULL)
        return;
    target_release(k->ref);
    uids_free(k->uids);
    free(k->why);
    free(k);
}

/* What is known now takes the place of what was; NULL: the target is gone. */
static void
remember(struct targets *t, const char *name, struct known *now)
{
    struct known *was;

    lock(t);
    was =
        now == NULL ? map_remove(t->table, name) : map_put(t->table, name, now);
    unlock(t);
    known_free(was);
}

static bool
is_there(struct ctl *ctl, const char *name)
{
    struct obj_ref at = objutil_ref(&kind_backuptarget, "", name);
    CLEANUP(object_unref) struct object *o = cache_get(ctl->cache, &at);

    return o != NULL;
}

int
target_open(struct ctl *ctl, const char *name, struct target_ref **ret_ref,
            struct err *err)
{
    struct targets *t = ctl->targets;
    struct target_ref *ref = NULL;
    const struct known *k;

    err_do_set(err, ERR_UNAVAILABLE,
               "BackupTarget %s has not been looked at yet", name);
    lock(t);
    k = map_get(t->table, name);
    if (k != NULL) {
        ref = ref_get(k->ref);
        if (ref == NULL)
            err_do_set(err, ERR_UNAVAILABLE, "BackupTarget %s: %s", name,
                       k->why);
    }
    unlock(t);
    if (ref != NULL) {
        *ret_ref = ref;
        return 0;
    }
    if (!is_there(ctl, name))
        return err_set(err, ERR_NOT_FOUND, "there is no BackupTarget %s", name);
    return -1;
}

enum target_holds
target_holds(struct ctl *ctl, const char *name, const char *object_uid)
{
    struct targets *t = ctl->targets;
    enum target_holds holds = TARGET_HOLDS_UNKNOWN;
    const struct known *k;

    if (!is_there(ctl, name))
        return TARGET_IS_GONE;
    lock(t);
    k = map_get(t->table, name);
    if (k != NULL && k->uids != NULL)
        holds = map_get(k->uids, object_uid) != NULL ? TARGET_HOLDS_IT
                                                     : TARGET_HOLDS_NOT;
    unlock(t);
    return holds;
}

void
target_poke(struct ctl *ctl, const char *name)
{
    if (ctl->targets != NULL)
        loop_add(ctl->targets->loop, "", name);
}

/* ---- one look ---- */

struct pass {
    struct targets *t;
    struct ctl *ctl;
    struct object *object;
    json_t *json;
    struct target_repo_place place;
    struct target_repo_look look;
    struct target_ref *ref; /* NULL: not ready */
    struct target_sync_seen seen;
    char *reason, *message; /* of Ready; message is never NULL at the end */
    char *deleted[64];      /* uids that were worked off */
    size_t n_deleted;
    const char *test; /* that is asked for and not answered; NULL: none */
    bool is_new_repo;
};

static void
pass_fini_p(struct pass *p)
{
    object_unref(p->object);
    json_decref(p->json);
    target_repo_look_fini(&p->look);
    target_release(p->ref);
    target_sync_seen_fini(&p->seen);
    free(p->reason);
    free(p->message);
    for (size_t i = 0; i < p->n_deleted; i++)
        free(p->deleted[i]);
}

static void
say(struct pass *p, const char *reason, const char *message)
{
    free(p->reason);
    free(p->message);
    p->reason = xstrdup(reason);
    p->message = xstrdup(message);
}

static const char *
note_of(const json_t *object, const char *key)
{
    return json_string_value(
        json_object_get(jsonx_get(object, "metadata.annotations"), key));
}

static int
observe(struct pass *p, const char *key, bool *ret_is_there, struct err *err)
{
    struct loop_key at;
    const char *test;

    loop_key_parse(key, &at);
    if (objutil_find(p->ctl, &kind_backuptarget, "", at.name, &p->object, err) <
        0)
        return -1;
    *ret_is_there = p->object != NULL && !object_is_deleting(p->object);
    if (!*ret_is_there)
        return 0;
    p->json = object_json(p->object);
    p->place = (struct target_repo_place){
        .state_dir = p->ctl->config.state_dir,
        .roots = p->ctl->config.target_roots,
        .path = jsonx_str_or(p->json, "spec.directory.path", ""),
        .uid = object_uid(p->object),
        .known_uuid = jsonx_str_or(p->json, "status.repositoryUUID", ""),
        .mode = jsonx_str_or(p->json, "spec.encryption.mode", "Generated"),
        .key_file = jsonx_str(p->json, "spec.encryption.keyFile"),
        .passphrase_file = jsonx_str(p->json, "spec.encryption.passphraseFile"),
    };
    test = note_of(p->json, TEST_ANNOTATION);
    if (test != NULL &&
        strcmp(test, jsonx_str_or(p->json, "status.lastTest", "")) != 0)
        p->test = test;
    return 0;
}

/* The handle that is there, if it leads to this very directory. */
static struct target_ref *
present_handle(struct pass *p)
{
    struct target_ref *ref = NULL;
    const struct known *k;

    lock(p->t);
    k = map_get(p->t->table, object_name(p->object));
    if (k != NULL && k->ref != NULL && p->look.step == TARGET_USE &&
        file_id_equal(&k->ref->dir, &p->look.dir) &&
        strcmp(k->ref->uuid, p->place.known_uuid) == 0)
        ref = ref_get(k->ref);
    unlock(p->t);
    return ref;
}

static int
open_handle(struct pass *p, struct err *err)
{
    struct target_ref *ref;
    struct repo *repo = NULL;
    bool is_current = false;
    char *key = NULL;

    p->ref = p->test == NULL ? present_handle(p) : NULL;
    if (p->ref != NULL &&
        repo_keys_is_current(p->ref->repo, &is_current, err) < 0)
        return -1;
    if (is_current)
        return 0;
    target_release(TAKE(p->ref)); /* none, or its keys were rotated */
    if (target_repo_open(&p->place, &p->look, &repo, &key, err) < 0)
        return -1;
    ref = xcalloc(1, sizeof *ref);
    atomic_store(&ref->refs, 1);
    ref->repo = repo;
    ref->name = xstrdup(object_name(p->object));
    ref->endpoint = xasprintf("file://%s", p->place.path);
    ref->uuid = xstrdup(repo_info_get(repo)->uuid);
    ref->is_encrypted = repo_info_get(repo)->is_encrypted;
    ref->key = key;
    ref->dir = p->look.dir;
    p->ref = ref;
    p->is_new_repo = p->look.step == TARGET_CREATE;
    return 0;
}

static int
work_off(struct pass *p, struct err *err)
{
    const json_t *list = jsonx_get(p->json, "status.pendingDeletions");

    for (size_t i = 0;
         i < json_array_size(list) && p->n_deleted < ARRAY_SIZE(p->deleted);
         i++) {
        const char *uid = jsonx_str(json_array_get(list, i), "backupUID");

        if (uid == NULL)
            continue;
        if (target_sync_delete(p->ref->repo, uid, err) < 0) {
            if (err->code != ERR_CONFLICT)
                return -1;
            continue; /* on hold in the repository: when it is released */
        }
        p->deleted[p->n_deleted++] = xstrdup(uid);
    }
    return 0;
}

/* Everything that a target that is there gets. An error means "not ready". */
static int
use(struct pass *p, struct err *err)
{
    CLEANUP(mem_free) char *trouble = NULL;

    if (open_handle(p, err) < 0 ||
        (p->test != NULL &&
         target_repo_test(&p->look, p->place.path, err) < 0) ||
        work_off(p, err) < 0 || target_sync_list(p->ref, &p->seen, err) < 0)
        return -1;
    /* What is still to be deleted must not come back. */
    if (p->n_deleted < ARRAY_SIZE(p->deleted) &&
        target_sync_adopt(p->ctl, p->ref, p->ref->endpoint, &trouble, err) < 0)
        return -1;
    if (p->seen.damage > 0) {
        CLEANUP(mem_free)
        char *text = xasprintf(
            "%zu entries of the repository's log cannot be read: run vmkeep repo verify %s",
            p->seen.damage, p->place.path);

        say(p, "Damaged", text);
    } else if (trouble != NULL) {
        say(p, "NotAllAdopted", trouble);
    } else {
        say(p, "Ready", "The repository can be read and written");
    }
    return 0;
}

static void
look(struct pass *p)
{
    struct err err;

    p->look.fd = -1;
    if (target_repo_look(&p->place, &p->look, &err) < 0) {
        say(p, err_code_name(err.code), err.msg);
        return;
    }
    if (target_plan_reason(p->look.step) != NULL) {
        CLEANUP(mem_free)
        char *text = xasprintf("%s: %s", p->place.path,
                               target_plan_message(p->look.step));

        say(p, target_plan_reason(p->look.step), text);
        return;
    }
    if (use(p, &err) == 0)
        return;
    say(p, err_code_name(err.code), err.msg);
    target_release(p->ref);
    p->ref = NULL;
}

/* ---- its status ---- */

static void
drop_deleted(const struct pass *p, json_t *object)
{
    json_t *list = jsonx_get(object, "status.pendingDeletions");

    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *uid =
            jsonx_str_or(json_array_get(list, i), "backupUID", "");

        for (size_t k = 0; k < p->n_deleted; k++)
            if (strcmp(p->deleted[k], uid) == 0) {
                (void)json_array_remove(list, i);
                break;
            }
    }
    if (list != NULL && json_array_size(list) == 0)
        jsonx_del(object, "status.pendingDeletions");
}

static void
set_number(json_t *object, const char *path, uint64_t n)
{
    jsonx_set(object, path, json_integer((json_int_t)n));
}

/* Space moves all the time: a change of less than a percent is none. */
static void
set_space(json_t *object, const char *path, uint64_t n, uint64_t of)
{
    int64_t was = jsonx_int(object, path, -1);
    uint64_t differs = was < 0             ? of
                       : (uint64_t)was > n ? (uint64_t)was - n
                                           : n - (uint64_t)was;

    if (differs > of / 100)
        set_number(object, path, n);
}

/* That it was looked at because somebody asked. */
static void
tell_test(const struct pass *p, json_t *object, int64_t now_s)
{
    const json_t *list = jsonx_get(object, "status.conditions");

    for (size_t i = 0; i < json_array_size(list); i++)
        (void)json_object_set_new(json_array_get(list, i), "lastProbeTime",
                                  objutil_time(now_s));
    jsonx_set_str(object, "status.lastTest", p->test);
    jsonx_set(object, "status.lastTestTime", objutil_time(now_s));
}

static int
put_status(void *arg, json_t *object, struct err *err)
{
    const struct pass *p = arg;
    int64_t now_s = clock_wall_s();
    bool is_changed;

    (void)err;
    CLEANUP(json_decref)
    json_t *before = json_deep_copy(json_object_get(object, "status"));

    if (json_object_get(object, "status") == NULL)
        jsonx_set(object, "status", json_object());
    (void)ctl_condition_set(object, "Ready", p->ref != NULL ? "True" : "False",
                            p->reason, p->message, 0);
    drop_deleted(p, object);
    if (p->look.fd >= 0 && p->ref != NULL) {
        set_number(object, "status.capacityBytes", p->look.capacity);
        set_space(object, "status.freeBytes", p->look.free, p->look.capacity);
    }
    if (p->ref != NULL) {
        jsonx_set_str(object, "status.repositoryUUID", p->ref->uuid);
        jsonx_set(object, "status.encrypted",
                  json_boolean(p->ref->is_encrypted));
        jsonx_set_str(object, "status.keyFile", p->ref->key);
        set_number(object, "status.backups", p->seen.n);
        set_number(object, "status.storedBytes", p->seen.stored_bytes);
    }
    if (p->test != NULL)
        tell_test(p, object, now_s);
    is_changed = !jsonx_equal(before, json_object_get(object, "status"));
    if (p->ref != NULL &&
        (is_changed ||
         now_s * 1000 - objutil_time_ms(object, "status.lastSyncTime") >
             SYNC_NOTE_S * 1000))
        jsonx_set(object, "status.lastSyncTime", objutil_time(now_s));
    return 0;
}

static void
tell_events(struct pass *p)
{
    const char *was = ctl_condition_get(p->json, "Ready");

    if (p->is_new_repo)
        eventrec_normal(p->ctl->events, p->object, "RepositoryCreated",
                        "repository %s made in %s", p->ref->uuid,
                        p->place.path);
    if (p->is_new_repo && p->ref->key != NULL)
        eventrec_warn(
            p->ctl->events, p->object, "KeepTheKey",
            "keep a copy of %s in another place, or print vmkeep repo export-kit -k %s %s: without a key nothing of this repository can be read",
            p->ref->key, p->ref->key, p->place.path);
    if (p->ref == NULL && (was == NULL || strcmp(was, "True") == 0))
        eventrec_warn(p->ctl->events, p->object, "TargetNotReady", "%s",
                      p->message);
    else if (p->ref != NULL && was != NULL && strcmp(was, "False") == 0)
        eventrec_normal(p->ctl->events, p->object, "TargetReady", "%s",
                        p->message);
}

/* What this look found, for everybody who asks. */
static void
publish(struct pass *p)
{
    const char *name = object_name(p->object);
    struct known *k = xcalloc(1, sizeof *k);

    k->ref = ref_get(p->ref);
    k->why = xstrdup(p->message);
    if (p->ref != NULL && p->seen.damage == 0) {
        k->uids = map_new();
        for (size_t i = 0; i < p->seen.n; i++)
            (void)map_put(k->uids, p->seen.uids[i], p->t);
    }
    remember(p->t, name, k);
}

static int
target_work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct targets *t = arg;
    CLEANUP(pass_fini) struct pass p = { .t = t, .ctl = t->ctl };
    struct obj_write how = { .part = OBJ_STATUS };
    struct loop_key at;
    bool is_wanted = false;

    p.look.fd = -1;
    loop_key_parse(key, &at);
    *ret_again_ms = QUEUE_DONE;
    if (observe(&p, key, &is_wanted, err) < 0)
        return -1;
    if (!is_wanted) {
        remember(t, at.name, NULL);
        return 0;
    }
    look(&p);
    publish(&p); /* who sees the status asks the table */

    struct obj_ref ref = objutil_ref(&kind_backuptarget, "", at.name);

    how.uid = object_uid(p.object);
    if (obj_update(t->ctl->store, &ref, &how, put_status, &p, NULL, NULL, err) <
        0) {
        *ret_again_ms = LOOP_LATER_MS;
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    }
    tell_events(&p);
    *ret_again_ms = p.ref != NULL ? LOOK_MS : LOOK_AWAY_MS;
    if (p.n_deleted == ARRAY_SIZE(p.deleted))
        *ret_again_ms = 0;
    return 0;
}

/* ---- deleting a backup ---- */

struct pending {
    const char *uid, *ns, *name;
};

static int
put_pending(void *arg, json_t *object, struct err *err)
{
    const struct pending *d = arg;
    json_t *list = jsonx_get(object, "status.pendingDeletions");

    (void)err;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(jsonx_str_or(json_array_get(list, i), "backupUID", ""),
                   d->uid) == 0)
            return 1;
    if (list == NULL) {
        list = json_array();
        jsonx_set(object, "status.pendingDeletions", list);
    }
    (void)json_array_append_new(
        list, json_pack("{s:s, s:s, s:s, s:o}", "backupUID", d->uid,
                        "namespace", d->ns, "name", d->name, "time",
                        objutil_time(clock_wall_s())));
    return 0;
}

int
target_delete_backup(struct ctl *ctl, const char *target,
                     const char *object_uid, const char *ns, const char *name,
                     bool *ret_queued, struct err *err)
{
    struct obj_ref at = objutil_ref(&kind_backuptarget, "", target);
    struct obj_write how = { .part = OBJ_STATUS };
    struct pending d = { object_uid, ns, name };
    CLEANUP(target_release) struct target_ref *ref = NULL;
    struct err why;

    *ret_queued = false;
    if (target_open(ctl, target, &ref, &why) == 0 &&
        target_sync_delete(ref->repo, object_uid, &why) == 0) {
        target_poke(ctl, target);
        return 0;
    }
    if (why.code == ERR_NOT_FOUND)
        return 0;
    log_info("target %s: backup %s/%s is deleted later: %s", target, ns, name,
             why.msg);
    *ret_queued = true;
    if (obj_update(ctl->store, &at, &how, put_pending, &d, NULL, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    target_poke(ctl, target);
    return 0;
}

/* ---- the loop ---- */

/* Only what the user changes: the status is ours. A change of it comes here
 * too, once more than needed; so the generation and the test are compared. */
static void
map_event(void *arg, struct loop *l, const struct cache_event *ev)
{
    struct targets *t = arg;
    bool is_known, is_asked;

    lock(t);
    is_known = map_get(t->table, object_name(ev->object)) != NULL;
    unlock(t);
    if (!is_known || ev->type != CACHE_MODIFIED) {
        loop_add(l, "", object_name(ev->object));
        return;
    }

    CLEANUP(json_decref) json_t *o = object_json(ev->object);
    const char *test = note_of(o, TEST_ANNOTATION);

    is_asked = test != NULL &&
               strcmp(test, jsonx_str_or(o, "status.lastTest", "")) != 0;
    if (is_asked || ctl_condition_get(o, "Ready") == NULL ||
        object_is_deleting(ev->object))
        loop_add(l, "", object_name(ev->object));
}

static const struct gvr *const followed[] = { &kind_backuptarget.gvr, NULL };
static const struct loop_spec spec = {
    .name = "target",
    .flow = "target",
    .workers = 4,
    .gvrs = followed,
    .map = map_event,
    .work = target_work,
};

static void NO_TSA
target_stop(void *state)
{
    struct targets *t = state;
    const char *key;
    void *value;

    loop_free(t->loop);
    for (size_t i = 0; map_next(t->table, &i, &key, &value);)
        known_free(value);
    map_free(t->table);
    t->ctl->targets = NULL;
    (void)pthread_mutex_destroy(&t->mutex);
    free(t);
}

static void *NO_TSA
target_start(struct ctl *ctl, struct err *err)
{
    struct targets *t = xcalloc(1, sizeof *t);

    t->ctl = ctl;
    t->table = map_new();
    (void)pthread_mutex_init(&t->mutex, NULL);
    t->loop = loop_new(ctl, &spec, t);
    ctl->targets = t;
    if (loop_start(t->loop, err) == 0)
        return t;
    target_stop(t);
    return NULL;
}

const struct ctl_part target_part = {
    .name = "target",
    .start = target_start,
    .stop = target_stop,
};
