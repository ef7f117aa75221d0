/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/target-tasks.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "controller/objutil.h"
#include "controller/target.h"
#include "repo/collect.h"
#include "repo/retain.h"
#include "repo/scrub.h"

#define RATE     ((int64_t)32 << 20) /* bytes a second, unless the spec says */
#define NAMED    10 /* damaged objects in the status; the rest is counted */
#define AFFECTED 200

struct work {
    struct ctl *ctl;
    struct job *job;
    char *target;
    uint64_t rate;
    int64_t undelete_s;
    struct job_progress progress;
    json_t *damages, *repairs, *backups; /* arrays of strings */
};

static int64_t
undelete_of(const json_t *target)
{
    const char *text = jsonx_str_or(target, "spec.maintenance.gcGrace", "2d");
    struct err ignored;
    uint64_t s;

    if (strcmp(text, "0") == 0)
        return 0;
    return retain_parse_within(text, &s, &ignored) < 0 ? REPO_GC_UNDELETE_S
                                                       : (int64_t)s;
}

void *
target_tasks_arg(struct ctl *ctl, const json_t *target, const char *name)
{
    struct work *w = xcalloc(1, sizeof *w);
    int64_t rate =
        jsonx_int(target, "spec.maintenance.scrubBytesPerSecond", RATE);

    w->ctl = ctl;
    w->target = xstrdup(name);
    w->rate = rate > 0 ? (uint64_t)rate : 0;
    w->undelete_s = undelete_of(target);
    w->damages = json_array();
    w->repairs = json_array();
    w->backups = json_array();
    return w;
}

void
target_tasks_free(void *arg)
{
    struct work *w = arg;

    json_decref(w->damages);
    json_decref(w->repairs);
    json_decref(w->backups);
    free(w->target);
    free(w);
}

/* ---- scrub ---- */

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct work *w = arg;
    CLEANUP(mem_free) char *text = xasprintf("%s: %s", object, cause);

    if (json_array_size(w->damages) < NAMED)
        (void)json_array_append_new(w->damages, json_string(text));
}

static void
on_repaired(void *arg, const char *object, const char *what)
{
    struct work *w = arg;
    CLEANUP(mem_free) char *text = xasprintf("%s: %s", object, what);

    if (json_array_size(w->repairs) < NAMED)
        (void)json_array_append_new(w->repairs, json_string(text));
}

static void
on_affected(void *arg, const struct repo_entry *backup, const char *disk,
            uint64_t lost_bytes)
{
    struct work *w = arg;
    size_t n = json_array_size(w->backups);
    const char *last =
        n == 0 ? "" : json_string_value(json_array_get(w->backups, n - 1));

    (void)disk;
    (void)lost_bytes;
    if (n < AFFECTED && strcmp(last, backup->object_uid) != 0)
        (void)json_array_append_new(w->backups,
                                    json_string(backup->object_uid));
}

static int
on_progress(void *arg, uint64_t done_bytes, uint64_t all_bytes)
{
    struct work *w = arg;

    w->progress.done_bytes = done_bytes;
    w->progress.all_bytes = all_bytes;
    job_progress_set(w->job, &w->progress);
    return job_is_cancelled(w->job);
}

static int
scrub_run(struct job *job, void *arg, struct err *err)
{
    struct work *w = arg;
    CLEANUP(target_release) struct target_ref *ref = NULL;
    struct repo_scrub_options o = { .level = REPO_VERIFY_FRAMES,
                                    .bytes_per_s = w->rate };
    struct repo_scrub_sink sink = { .damage = on_damage,
                                    .repaired = on_repaired,
                                    .affected = on_affected,
                                    .progress = on_progress,
                                    .arg = w };
    struct repo_scrub_result r;

    w->job = job;
    if (target_open(w->ctl, w->target, &ref, err) < 0 ||
        repo_scrub_run(target_repo(ref), &o, &sink, &r, err) < 0)
        return -1;
    job_note_set(
        job, json_pack("{s:I, s:I, s:I, s:I, s:O, s:O, s:O}", "readBytes",
                       (json_int_t)r.bytes, "badFrames", (json_int_t)r.bad,
                       "healedFrames", (json_int_t)r.healed, "repairedPacks",
                       (json_int_t)r.repaired, "repairs", w->repairs, "damages",
                       w->damages, "damagedBackups", w->backups));
    return 0;
}

static void
tell_backup(struct ctl *ctl, const char *uid)
{
    struct object_list list;

    cache_list(ctl->cache, &kind_vmbackup.gvr, NULL, &list);
    for (size_t i = 0; i < list.n; i++)
        if (strcmp(object_uid(list.v[i]), uid) == 0)
            eventrec_warn(
                ctl->events, list.v[i], "BackupDamaged",
                "part of it cannot be read any more; the next backup of this "
                "machine stores what is damaged again");
    object_list_fini(&list);
}

static char *
scrub_tell(struct ctl *ctl, struct object *target, const json_t *note)
{
    const json_t *damages = json_object_get(note, "damages");
    const json_t *repairs = json_object_get(note, "repairs");
    const json_t *backups = json_object_get(note, "damagedBackups");
    int64_t bad = jsonx_int(note, "badFrames", 0);
    char *text;

    for (size_t i = 0; i < json_array_size(backups); i++)
        tell_backup(ctl, json_string_value(json_array_get(backups, i)));
    if (json_array_size(repairs) > 0)
        eventrec_warn(ctl->events, target, "DamageRepaired", "%s",
                      json_string_value(json_array_get(repairs, 0)));
    /* What has a whole copy elsewhere, or nobody needs, harms nobody. */
    if (json_array_size(backups) == 0 && bad == 0)
        return NULL;
    text = xasprintf(
        "%zu backups are affected, %lld frames have no whole copy%s%s",
        json_array_size(backups), (long long)bad,
        json_array_size(damages) > 0 ? "; " : "",
        json_array_size(damages) > 0
            ? json_string_value(json_array_get(damages, 0))
            : "");
    eventrec_warn(ctl->events, target, "DamageFound", "%s", text);
    return text;
}

/* ---- garbage ---- */

static int
on_removed(void *arg, const char *object, uint64_t bytes)
{
    const struct work *w = arg;

    return job_is_cancelled(w->job);
}

static void
on_doubt(void *arg, const char *backup, const char *what)
{
    const struct work *w = arg;

    log_warn("backup target %s: backup %s: %s; what it lacks is kept",
             w->target, backup, what);
}

static void
on_index_failed(void *arg, const struct err *why)
{
    const struct work *w = arg;

    log_warn("backup target %s: the index: %s", w->target, why->msg);
}

static int
gc_run(struct job *job, void *arg, struct err *err)
{
    struct work *w = arg;
    CLEANUP(target_release) struct target_ref *ref = NULL;
    struct repo_collect_options o = { .gc = repo_gc_defaults() };
    struct repo_collect_sink sink = {
        .gc = { .removed = on_removed, .doubt = on_doubt, .arg = w },
        .compact = { .progress = on_progress, .arg = w },
        .index_failed = on_index_failed,
        .arg = w,
    };
    struct repo_collect_result r;

    w->job = job;
    o.gc.undelete_s = w->undelete_s;
    if (target_open(w->ctl, w->target, &ref, err) < 0 ||
        repo_collect(target_repo(ref), &o, &sink, &r, err) < 0)
        return -1;
    job_note_set(job, json_pack("{s:I, s:I}", "removedPacks",
                                (json_int_t)r.gc.removed_packs, "freedBytes",
                                (json_int_t)r.gc.removed_bytes));
    return 0;
}

const struct target_task target_tasks[] = {
    { .name = "scrub",
      .annotation = "vmkeep.io/scrub",
      .interval = "spec.maintenance.scrubInterval",
      .standard = "30d",
      .failed = "ScrubError",
      .run = scrub_run,
      .tell = scrub_tell },
    { .name = "gc",
      .annotation = "vmkeep.io/gc",
      .interval = "spec.maintenance.gcInterval",
      .standard = "1d",
      .failed = "GcError",
      .run = gc_run },
};
const size_t target_tasks_count = sizeof target_tasks / sizeof target_tasks[0];
