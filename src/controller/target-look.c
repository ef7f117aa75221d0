/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-look.c
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
 */
#include "controller/target-look.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/backup-hold.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/target-repo.h"
#include "controller/target-sync.h"
#include "repo/repo-keys.h"

#define LOOK_MS      60000
#define LOOK_AWAY_MS 10000
#define SYNC_NOTE_S  300 /* lastSyncTime alone is not written more often */

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
    bool went_back; /* an older copy is in its place */
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

const char *
target_look_test_of(const json_t *target)
{
    const char *test = json_string_value(json_object_get(
        jsonx_get(target, "metadata.annotations"), TARGET_LOOK_TEST));

    if (test == NULL ||
        strcmp(test, jsonx_str_or(target, "status.lastTest", "")) == 0)
        return NULL;
    return test;
}

static void
observe(struct pass *p)
{
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
    p->test = target_look_test_of(p->json);
}

/* It answered: what hangs has stopped before such a point. */
static void
answered(struct pass *p)
{
    target_look_on(p->t, object_name(p->object));
}

static int
open_handle(struct pass *p, struct err *err)
{
    struct target_ref *ref;
    struct repo *repo = NULL;
    bool is_current = false;
    char *key = NULL;

    p->ref = p->look.step == TARGET_USE
                 ? target_present(p->t, object_name(p->object), &p->look.dir,
                                  p->place.known_uuid)
                 : NULL;
    if (p->ref != NULL && repo_went_back(p->ref->repo, &p->went_back, err) < 0)
        return -1;
    if (p->ref != NULL && p->test == NULL && !p->went_back &&
        repo_keys_is_current(p->ref->repo, &is_current, err) < 0)
        return -1;
    if (is_current)
        return 0;
    /* None, or its keys were rotated, or it is another one than was read; or
     * somebody asked for a test, which begins at the beginning. */
    target_release(TAKE(p->ref));
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

        if (uid == NULL ||
            job_look(p->ctl->jobs, uid, NULL, NULL) != JOB_NONE ||
            backup_hold_runs(p->ctl, uid))
            continue; /* what reads it may still commit it */
        if (target_sync_delete(
                p->ref->repo, uid,
                jsonx_str(json_array_get(list, i), "repositoryHold"),
                err) < 0) {
            if (err->code != ERR_CONFLICT)
                return -1;
            continue; /* on hold in the repository: when it is released */
        }
        p->deleted[p->n_deleted++] = xstrdup(uid);
        answered(p);
    }
    return 0;
}

/* Everything that a target that is there gets. An error means "not ready". */
static int
use(struct pass *p, struct err *err)
{
    CLEANUP(mem_free) char *trouble = NULL;

    if (open_handle(p, err) < 0)
        return -1;
    answered(p);
    if (p->test != NULL && target_repo_test(&p->look, p->place.path, err) < 0)
        return -1;
    if (work_off(p, err) < 0 || target_sync_list(p->ref, &p->seen, err) < 0)
        return -1;
    answered(p);
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
    if (p->went_back && p->ref != NULL)
        eventrec_warn(
            p->ctl->events, p->object, "RepositoryWentBack",
            "an older copy of the repository was put in place in %s: it has %zu backups; those that are not among them are lost unless the newer copy is put back",
            p->place.path, p->seen.n);
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
    struct map *uids = NULL;

    if (p->ref != NULL && p->seen.damage == 0) {
        uids = map_new();
        for (size_t i = 0; i < p->seen.n; i++)
            (void)map_put(uids, p->seen.uids[i], p->t);
    }
    target_publish(p->t, object_name(p->object), object_uid(p->object), p->ref,
                   p->message, uids);
}

/* ---- the job ---- */

void *
target_look_arg(struct targets *t, struct ctl *ctl, struct object *target)
{
    struct pass *p = xcalloc(1, sizeof *p);

    p->t = t;
    p->ctl = ctl;
    p->object = object_ref(target);
    p->look.fd = -1;
    return p;
}

void
target_look_free(void *arg)
{
    pass_fini_p(arg);
    free(arg);
}

static int64_t
again_ms(const struct pass *p)
{
    if (p->n_deleted == ARRAY_SIZE(p->deleted))
        return 0;
    return p->ref != NULL ? LOOK_MS : LOOK_AWAY_MS;
}

int
target_look_run(struct job *job, void *arg, struct err *err)
{
    struct pass *p = arg;
    struct obj_ref at =
        objutil_ref(&kind_backuptarget, "", object_name(p->object));
    struct obj_write how = { .part = OBJ_STATUS, .uid = object_uid(p->object) };

    observe(p);
    look(p);
    publish(p); /* who sees the status asks the table */
    job_note_set(job, json_pack("{s:I}", "againMs", (json_int_t)again_ms(p)));
    if (obj_update(p->ctl->store, &at, &how, put_status, p, NULL, NULL, err) <
        0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    tell_events(p);
    return 0;
}
