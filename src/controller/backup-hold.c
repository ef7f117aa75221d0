/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/backup-hold.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "controller/target-retain.h"
#include "repo/hold.h"

#define STATUS   "status.vmkeep.repositoryHold"
#define HELD     "Held"
#define ASK_MS   300 /* mostly it has answered by then */
#define RETRY_MS 60000

struct work {
    struct target_ref *ref;
    char *uid, *want, *put;
    enum backup_hold_deed deed;
    bool is_foreign; /* somebody else's hold is there */
};

static void
work_free(void *arg)
{
    struct work *w = arg;

    if (w == NULL)
        return;
    target_release(w->ref);
    free(w->uid);
    free(w->want);
    free(w->put);
    free(w);
}

static bool
is_same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

enum backup_hold_deed
backup_hold_decide(const char *want, const char *put, const char *have)
{
    bool is_ours = is_same(put, have);

    if (want == NULL)
        return is_ours ? BACKUP_HOLD_CLEAR : BACKUP_HOLD_NOTHING;
    if (have == NULL || (is_ours && !is_same(want, have)))
        return BACKUP_HOLD_SET;
    return BACKUP_HOLD_NOTHING;
}

char *
backup_hold_wanted(const json_t *backup)
{
    const char *text = json_string_value(json_object_get(
        jsonx_get(backup, "metadata.annotations"), TARGET_RETAIN_HOLD));
    char *reason;

    if (!target_retain_is_held(backup))
        return NULL;
    reason = xstrndup(text, text_fit(text, REPO_HOLD_REASON_MAX));
    text_clean(reason, false);
    return reason;
}

/* ---- the job ---- */

static char *
key_of(const char *uid)
{
    return xasprintf("%s/hold", uid);
}

static int
run(struct job *job, void *arg, struct err *err)
{
    struct work *w = arg;
    struct repo *repo = target_repo(w->ref);
    CLEANUP(mem_free) struct repo_hold *holds = NULL;
    const char *have = NULL;
    struct repo_entry entry;
    bool is_there = false;
    size_t n = 0;

    (void)job;
    if (repo_find_uid(repo, w->uid, &is_there, &entry, err) < 0)
        return -1;
    if (!is_there)
        return w->want == NULL
                   ? 0
                   : err_set(err, ERR_NOT_FOUND, "it is not on its target");
    if (repo_hold_list(repo, &holds, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (strcmp(holds[i].id, entry.id) == 0)
            have = holds[i].reason;
    w->deed = backup_hold_decide(w->want, w->put, have);
    w->is_foreign = w->deed == BACKUP_HOLD_NOTHING && have != NULL &&
                    !is_same(w->want, have);
    if (w->deed == BACKUP_HOLD_SET)
        return repo_hold_set(repo, entry.id, w->want, err);
    if (w->deed == BACKUP_HOLD_CLEAR)
        return repo_hold_clear(repo, entry.id, err);
    return 0;
}

/* 0 with *ret, 1: not yet, -1. */
static int
ask(struct ctl *ctl, const struct backup_find *f, const char *want,
    const char *put, struct work **ret, struct err *err)
{
    CLEANUP(mem_free) char *key = key_of(f->uid);
    struct job_spec spec = { .key = key,
                             .flow = "backup",
                             .group = f->target,
                             .fn = run,
                             .free_arg = work_free,
                             .queue = f->queue,
                             .queue_key = f->queue_key };
    struct target_ref *ref = NULL;
    struct work *w;
    void *done = NULL;
    int rc;

    if (target_open(ctl, f->target, &ref, err) < 0)
        return -1;
    w = xcalloc(1, sizeof *w);
    w->ref = ref;
    w->uid = xstrdup(f->uid);
    w->want = want == NULL ? NULL : xstrdup(want);
    w->put = put == NULL ? NULL : xstrdup(put);
    spec.arg = w;
    rc = job_ask(ctl->asks, &spec, ASK_MS, &done, err);
    if (rc == 0)
        *ret = done;
    if (rc > 0)
        target_poke(ctl, f->target); /* does it answer at all? */
    return rc;
}

/* ---- a step ---- */

static void
tell_done(struct ctl *ctl, const struct object *about, json_t *object,
          const struct work *w)
{
    if (w->deed == BACKUP_HOLD_SET)
        eventrec_normal(ctl->events, about, "BackupHeld",
                        "on hold in its repository: no host can delete it");
    if (w->deed == BACKUP_HOLD_CLEAR)
        eventrec_normal(ctl->events, about, "HoldReleased",
                        "released in its repository");
    jsonx_set_str(object, STATUS, w->want);
    if (w->want == NULL)
        ctl_condition_remove(object, HELD);
    else
        (void)ctl_condition_set(
            object, HELD, "True", w->is_foreign ? "HeldByOthers" : "Held",
            w->is_foreign
                ? "It is on hold in its repository for another reason, and "
                  "stays so when the annotation is removed: see vmkeep repo "
                  "list"
                : "It is on hold in its repository: no host can delete it",
            0);
}

/* What was done before stays: a hold does not end with a target that is away.
 */
static void
tell_failure(struct ctl *ctl, const struct object *about, json_t *object,
             const char *want, const struct err *why)
{
    const char *was = ctl_condition_get(object, HELD);
    bool is_held = was != NULL && strcmp(was, "True") == 0;

    if (want != NULL && is_held)
        return;
    if (ctl_condition_set(object, HELD, is_held ? "True" : "False",
                          err_code_name(why->code), why->msg, 0))
        eventrec_warn(ctl->events, about, "HoldError",
                      want != NULL
                          ? "not on hold in its repository yet, only this "
                            "host refuses to delete it: %s"
                          : "not released in its repository yet: %s",
                      why->msg);
}

static void
again_in(int64_t *again_ms, int64_t ms)
{
    if (ms < *again_ms)
        *again_ms = ms;
}

void
backup_hold_step(struct ctl *ctl, const struct backup_find *f,
                 const struct object *about, json_t *object,
                 int64_t *ret_again_ms)
{
    CLEANUP(mem_free) char *want = backup_hold_wanted(object);
    const char *put = jsonx_str(object, STATUS);
    struct work *w = NULL;
    struct err why;
    int rc;

    if (want == NULL && put == NULL) {
        ctl_condition_remove(object, HELD);
        return;
    }
    if (put == NULL) { /* first, so that it is released whatever happens */
        jsonx_set_str(object, STATUS, want);
        return;
    }
    rc = target_state(ctl, f->target) == TARGET_IS_UNKNOWN
             ? 1
             : ask(ctl, f, want, put, &w, &why);
    if (rc == 0)
        tell_done(ctl, about, object, w);
    else if (rc < 0)
        tell_failure(ctl, about, object, want, &why);
    if (rc != 0)
        again_in(ret_again_ms, RETRY_MS);
    else if (want != w->want && !is_same(want, w->want))
        again_in(ret_again_ms, 0); /* it was asked before that changed */
    work_free(w);
}

const char *
backup_hold_mine(const json_t *backup)
{
    return target_retain_is_held(backup) ? NULL : jsonx_str(backup, STATUS);
}

void
backup_hold_drop(struct ctl *ctl, const char *uid)
{
    CLEANUP(mem_free) char *key = key_of(uid);

    job_abandon(ctl->asks, key);
}

bool
backup_hold_runs(struct ctl *ctl, const char *uid)
{
    CLEANUP(mem_free) char *key = key_of(uid);

    return job_look(ctl->asks, key, NULL, NULL) != JOB_NONE;
}
