/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target.c: what is known of each BackupTarget, and when it is
 * looked at.
 *
 * A look (target-look.c) is a job: the directory may be a mount whose server is
 * away, and then every call on it hangs until it is back. A worker here starts
 * the look and returns. A look that has not got on for ANSWER_MS makes the
 * target "not answering": target_open() refuses it, so that nobody begins
 * anything there, and its jobs take nobody's place. When the look ends after
 * all, the target is looked at once more, and is what it is.
 *
 *   none -> looking -> known (ready or not)     again after a while, or a poke
 *           looking -> hangs -> known, at once looked at again
 *
 * The table maps names to what is known of each target. It is only a memory:
 * after a restart nothing is known until the first look, and target_state()
 * says so. A target that is away leaves its backups' objects as they are;
 * only a list of a healthy repository, or the deletion of the BackupTarget,
 * says that a backup is not there.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/job.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/target-look.h"
#include "controller/target-priv.h"

#define ANSWER_MS     20000
#define HANGS_MS      5000
#define RETRY_MS      10000
#define LOOKS_AT_ONCE 64

#define HANGS_TEXT                                                             \
    "it does not answer: is the file server behind its directory there? Everything on this target waits until it does"

extern struct role target_lock;

struct known {
    struct target_ref *ref; /* NULL: not ready */
    char *why;              /* then */
    struct map *uids;       /* backups that are there; NULL: not known */
};

/* A look that runs. */
struct looking {
    char *uid;         /* of the BackupTarget */
    uint64_t alive_ms; /* when it last got on */
    bool hangs;        /* and is said to */
    bool is_again;     /* somebody poked it meanwhile */
};

struct targets {
    struct ctl *ctl;
    struct loop *loop;
    struct jobs *jobs; /* the looks */
    pthread_mutex_t mutex;
    struct map *table GUARDED_BY(target_lock);
    struct map *looks GUARDED_BY(target_lock);
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

struct target_ref *
target_ref_get(struct target_ref *ref)
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

/* What is known now takes the place of what was; NULL: nothing is. */
static struct known *
remember_locked(struct targets *t, const char *name, struct known *now)
    REQUIRES(target_lock)
{
    return now == NULL ? map_remove(t->table, name)
                       : map_put(t->table, name, now);
}

static void
forget(struct targets *t, const char *name)
{
    struct known *was;

    lock(t);
    was = remember_locked(t, name, NULL);
    unlock(t);
    known_free(was);
}

struct target_ref *
target_present(struct targets *t, const char *name, const struct file_id *dir,
               const char *uuid)
{
    struct target_ref *ref = NULL;
    const struct known *k;

    lock(t);
    k = map_get(t->table, name);
    if (k != NULL && k->ref != NULL && file_id_equal(&k->ref->dir, dir) &&
        strcmp(k->ref->uuid, uuid) == 0)
        ref = target_ref_get(k->ref);
    unlock(t);
    return ref;
}

void
target_publish(struct targets *t, const char *name, const char *uid,
               struct target_ref *ref, const char *why, struct map *uids)
{
    struct known *k = xcalloc(1, sizeof *k), *was = k;
    const struct looking *l;

    k->ref = target_ref_get(ref);
    k->why = xstrdup(why);
    k->uids = uids;
    lock(t);
    l = map_get(t->looks, name);
    if (l != NULL && strcmp(l->uid, uid) == 0)
        was = remember_locked(t, name, k);
    unlock(t);
    known_free(was);
}

void
target_look_on(struct targets *t, const char *name)
{
    struct looking *l;

    lock(t);
    l = map_get(t->looks, name);
    if (l != NULL)
        l->alive_ms = clock_mono_ms();
    unlock(t);
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
        ref = target_ref_get(k->ref);
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

enum target_state
target_state(struct ctl *ctl, const char *name)
{
    struct targets *t = ctl->targets;
    enum target_state state = TARGET_IS_UNKNOWN;
    const struct known *k;

    lock(t);
    k = map_get(t->table, name);
    if (k != NULL)
        state = k->ref != NULL ? TARGET_IS_READY : TARGET_IS_AWAY;
    unlock(t);
    return state == TARGET_IS_UNKNOWN && !is_there(ctl, name) ? TARGET_IS_AWAY
                                                              : state;
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

/* ---- looks ---- */

static char *
look_key(const char *name, const char *uid)
{
    return xasprintf("look/%s/%s", name, uid);
}

static void
looking_free(struct looking *l)
{
    if (l == NULL)
        return;
    free(l->uid);
    free(l);
}

/* The uid of the object that is looked at; NULL: none. Caller frees. */
static char *
looked_at(struct targets *t, const char *name)
{
    const struct looking *l;
    char *uid = NULL;

    lock(t);
    l = map_get(t->looks, name);
    if (l != NULL)
        uid = xstrdup(l->uid);
    unlock(t);
    return uid;
}

static struct looking *
take_look(struct targets *t, const char *name)
{
    struct looking *l;

    lock(t);
    l = map_remove(t->looks, name);
    unlock(t);
    return l;
}

static void
hold(struct targets *t, const char *name, bool is_held)
{
    job_group_hold(t->ctl->jobs, name, is_held);
    job_group_hold(t->ctl->asks, name, is_held);
}

/* The object went, or is another one: its look, if one runs, ends alone. */
static void
drop_look(struct targets *t, const char *name, const char *uid)
{
    CLEANUP(mem_free) char *key = look_key(name, uid);

    looking_free(take_look(t, name));
    job_abandon(t->jobs, key);
    hold(t, name, false);
    forget(t, name);
}

static int
start_look(struct targets *t, struct object *target, const char *key,
           int64_t *ret_again_ms, struct err *err)
{
    const char *name = object_name(target);
    CLEANUP(mem_free) char *job_key = look_key(name, object_uid(target));
    struct looking *l = xcalloc(1, sizeof *l);
    struct job_spec spec = { .key = job_key,
                             .flow = "target",
                             .is_quick = true,
                             .fn = target_look_run,
                             .arg = target_look_arg(t, t->ctl, target),
                             .free_arg = target_look_free,
                             .queue = loop_queue(t->loop),
                             .queue_key = key };

    l->uid = xstrdup(object_uid(target));
    l->alive_ms = clock_mono_ms();
    lock(t);
    (void)map_put(t->looks, name, l);
    unlock(t);
    *ret_again_ms = ANSWER_MS;
    if (job_start(t->jobs, &spec, err) == 0)
        return 0;
    looking_free(take_look(t, name));
    *ret_again_ms = QUEUE_DONE;
    return err->code == ERR_CANCELLED ? 0 : -1; /* the daemon stops */
}

static int
put_hangs(void *arg, json_t *object, struct err *err)
{
    (void)arg;
    (void)err;
    if (json_object_get(object, "status") == NULL)
        jsonx_set(object, "status", json_object());
    return ctl_condition_set(object, "Ready", "False", "NotAnswering",
                             HANGS_TEXT, 0)
               ? 0
               : 1;
}

static int
tell_hangs(struct targets *t, struct object *target, bool is_first,
           struct err *err)
{
    const char *name = object_name(target);
    struct obj_ref at = objutil_ref(&kind_backuptarget, "", name);
    struct obj_write how = { .part = OBJ_STATUS, .uid = object_uid(target) };

    if (is_first) {
        target_publish(t, name, object_uid(target), NULL, HANGS_TEXT, NULL);
        hold(t, name, true);
        eventrec_warn(t->ctl->events, target, "TargetNotReady", "%s",
                      HANGS_TEXT);
    }
    if (obj_update(t->ctl->store, &at, &how, put_hangs, NULL, NULL, NULL, err) <
        0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return 0;
}

/* It is still being looked at. */
static int
watch_look(struct targets *t, struct object *target, int64_t *ret_again_ms,
           struct err *err)
{
    uint64_t now_ms = clock_mono_ms(), due_ms = now_ms;
    bool hangs = false, is_first = false;
    struct looking *l;

    lock(t);
    l = map_get(t->looks, object_name(target));
    if (l != NULL) {
        due_ms = l->alive_ms + ANSWER_MS;
        is_first = !l->hangs && now_ms >= due_ms;
        l->hangs = hangs = l->hangs || is_first;
        l->is_again = true;
    }
    unlock(t);
    *ret_again_ms = hangs ? HANGS_MS : (int64_t)(due_ms - now_ms) + 1;
    return hangs ? tell_hangs(t, target, is_first, err) : 0;
}

static int
end_look(struct targets *t, struct object *target, int64_t *ret_again_ms)
{
    const char *name = object_name(target);
    CLEANUP(mem_free) char *key = look_key(name, object_uid(target));
    CLEANUP(json_decref) json_t *note = job_note_get(t->jobs, key);
    struct looking *l = take_look(t, name);
    struct err why;

    *ret_again_ms = jsonx_int(note, "againMs", RETRY_MS);
    if (l == NULL || l->hangs || l->is_again)
        *ret_again_ms = 0;
    if (job_look(t->jobs, key, NULL, &why) == JOB_FAILED) {
        log_warn("target %s: %s", name, why.msg);
        *ret_again_ms = RETRY_MS;
    }
    looking_free(l);
    (void)job_forget(t->jobs, key);
    hold(t, name, false);
    return 0;
}

static int
target_work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct targets *t = arg;
    CLEANUP(object_unref) struct object *target = NULL;
    CLEANUP(mem_free) char *uid = NULL;
    CLEANUP(mem_free) char *job_key = NULL;
    struct loop_key at;

    loop_key_parse(key, &at);
    *ret_again_ms = QUEUE_DONE;
    if (objutil_find(t->ctl, &kind_backuptarget, "", at.name, &target, err) < 0)
        return -1;
    uid = looked_at(t, at.name);
    if (target == NULL || object_is_deleting(target) ||
        (uid != NULL && strcmp(uid, object_uid(target)) != 0)) {
        drop_look(t, at.name, uid == NULL ? "" : uid);
        if (target == NULL || object_is_deleting(target))
            return 0;
    }
    job_key = look_key(at.name, object_uid(target));
    switch (job_look(t->jobs, job_key, NULL, NULL)) {
    case JOB_NONE:
        return start_look(t, target, key, ret_again_ms, err);
    case JOB_DONE:
    case JOB_FAILED:
        return end_look(t, target, ret_again_ms);
    case JOB_WAITING:
    case JOB_RUNNING:
    case JOB_ABANDONED:
    default:
        return watch_look(t, target, ret_again_ms, err);
    }
}

/* ---- the loop ---- */

/* Only what the user changes: the status is ours. A change of it comes here
 * too, once more than needed; so the generation and the test are compared. */
static void
map_event(void *arg, struct loop *l, const struct cache_event *ev)
{
    struct targets *t = arg;
    bool is_known;

    lock(t);
    is_known = map_get(t->table, object_name(ev->object)) != NULL;
    unlock(t);
    if (!is_known || ev->type != CACHE_MODIFIED) {
        loop_add(l, "", object_name(ev->object));
        return;
    }

    CLEANUP(json_decref) json_t *o = object_json(ev->object);

    if (target_look_test_of(o) != NULL ||
        ctl_condition_get(o, "Ready") == NULL || object_is_deleting(ev->object))
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

    job_pool_stop(t->jobs);
    loop_free(t->loop);
    job_pool_free(t->jobs);
    for (size_t i = 0; map_next(t->table, &i, &key, &value);)
        known_free(value);
    map_free(t->table);
    for (size_t i = 0; map_next(t->looks, &i, &key, &value);)
        looking_free(value);
    map_free(t->looks);
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
    t->looks = map_new();
    t->jobs = job_pool_new(LOOKS_AT_ONCE);
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
