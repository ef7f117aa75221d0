/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-work.c: preflight and try see the same things by the
 * same functions, so that a dry run says what a restore would do.
 *
 * The job reads the objects again: nothing of a pass outlives the step that
 * started it.
 */
#include "controller/hrestore-work.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/capture.h"
#include "controller/hrestore-fill.h"
#include "controller/hrestore-status.h"
#include "controller/job.h"
#include "controller/objutil.h"
#include "controller/projection.h"
#include "controller/restore-define.h"
#include "controller/secrets.h"

#define CHECK_MS 500 /* mostly it is done by then */

/* ---- what this kind of restore says ---- */

static char *
claim_name(const struct restore_job *job, const char *volume)
{
    const json_t *r = job->restore_json;

    return hrestore_status_claim(
        jsonx_str_or(r, "spec.virtualMachineBackupName", ""),
        jsonx_str_or(r, "metadata.uid", ""), volume);
}

static json_t *
restores_row(const struct restore_job *job, const struct volume_new_disk *disk,
             const char *claim)
{
    const struct hrestore_status_volume v = {
        .ns = jsonx_str_or(job->restore_json, "metadata.namespace", ""),
        .volume = disk->target,
        .claim = claim,
        .size = disk->virtual_size,
        .percent = 100,
    };

    return hrestore_status_row(job->arg, &v);
}

static const struct restore_words words = { "vmkeep.state", claim_name,
                                            restores_row };

static struct restore_job
job_of(const struct hrestore_pass *p, struct hrestore_source *s)
{
    const struct hrestore_seen *seen = &p->seen;

    return (struct restore_job){
        .restore_json = p->json,
        .vm_json = seen->is_new ? NULL : p->vm_json,
        .source = &s->base,
        .words = &words,
        .arg = p->backup_json,
        .table_uuid = jsonx_str_or(p->state, "table", ""),
        .is_keeping_macs = jsonx_bool(p->json, "spec.keepMacAddress"),
        .is_replacing = !seen->is_new,
        .old = seen->is_retain ? VOLUME_OLD_RETAIN : VOLUME_OLD_TRASH,
    };
}

/* ---- preflight ---- */

static void line(json_t *lines, const char *fmt, ...) PRINTF(2, 3);

static void
line(json_t *lines, const char *fmt, ...)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    (void)json_array_append_new(lines, json_string(buf_str(&b)));
}

static void
say_target(json_t *lines, const struct hrestore_pass *p,
           const struct restore_target *t)
{
    if (t->is_in_place)
        line(lines, "name: the VM %s is replaced; it is off", t->name);
    else
        line(lines, "name: %s is free", t->name);
    if (t->is_in_place || !t->is_same_uuid)
        line(lines, "UUID: %s%s", t->uuid,
             t->is_in_place ? ", as it is" : ", a new one");
    else
        line(
            lines,
            "UUID: %s: the VM exists nowhere any more and comes back as itself",
            t->uuid);
    for (size_t i = 0; i < t->dom->n_nics; i++) {
        const struct domxml_nic *nic = &t->dom->nics[i];

        line(lines, "MAC address: interface %zu: %s%s", i,
             t->macs[i][0] != 0 ? t->macs[i]
             : nic->mac != NULL ? nic->mac
                                : "none",
             t->macs[i][0] != 0 ? ", a new one" : ", as in the backup");
        if (nic->source != NULL)
            line(lines, "network: interface %zu: %s is there", i, nic->source);
    }
    if (p->seen.is_new || p->seen.is_retain)
        return;
    line(lines,
         "old disks: to the trash beside them when the restore has succeeded");
}

static int
say_repository(json_t *lines, struct hrestore_source *s, struct err *err)
{
    struct repo_entry *entries = NULL;
    size_t n = 0, damage = 0;

    if (s->target == NULL) {
        line(lines, "snapshot: its layers are there");
        return 0;
    }
    if (repo_list(target_repo(s->target), &entries, &n, &damage, err) < 0)
        return err_wrap(err, "backup target %s", target_name(s->target));
    free(entries);
    if (damage > 0)
        line(
            lines,
            "repository: %zu entries of the log of %s are damaged: vmkeep backup verify says which backups that concerns",
            damage, target_name(s->target));
    else
        line(lines, "repository: %s can be read, %zu backups, no damage known",
             target_name(s->target), n);
    return 0;
}

/* The disks as they will be, for the XML that says what is dropped. */
static struct volume_new_disk *
planned_disks(const struct hrestore_source *s)
{
    struct volume_new_disk *v = xcalloc(s->base.n_targets + 1, sizeof *v);

    for (size_t i = 0; i < s->base.n_targets; i++) {
        const struct backup_meta_disk *d =
            s->meta == NULL ? NULL
                            : backup_meta_disk(s->meta, s->base.targets[i]);

        (void)snprintf(v[i].target, sizeof v[i].target, "%s",
                       s->base.targets[i]);
        v[i].path = (char *)(uintptr_t) "/planned";
        v[i].format = (char *)(uintptr_t)(d != NULL ? d->format : "qcow2");
        v[i].virtual_size = d != NULL ? d->size : 0;
    }
    return v;
}

static int
say_dropped(struct restore_target *t, const struct hrestore_source *s,
            struct err *err)
{
    CLEANUP(mem_free) struct volume_new_disk *disks = planned_disks(s);
    CLEANUP(secrets_free_text) char *xml = NULL;

    return restore_define_xml(t, disks, s->base.n_targets, &xml, err);
}

static json_t *
planned_rows(const struct restore_job *job, const struct hrestore_source *s)
{
    CLEANUP(mem_free) struct volume_new_disk *disks = planned_disks(s);
    json_t *rows = json_array();

    for (size_t i = 0; i < s->base.n_targets; i++) {
        CLEANUP(mem_free) char *claim = claim_name(job, disks[i].target);
        json_t *row = restores_row(job, &disks[i], claim);

        jsonx_set(row, "progress", json_integer(0));
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

/* Claims of disks that the restore replaces and does not retain. */
static json_t *
deleted_volumes(const struct hrestore_pass *p, const struct hrestore_source *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->base.n_targets; i++) {
        const char *claim = projection_claim_of(p->vm_json, s->base.targets[i]);

        if (!p->seen.is_new && !p->seen.is_retain && claim != NULL)
            (void)json_array_append_new(list, json_string(claim));
    }
    return list;
}

static int
write_found(struct hrestore_pass *p, const struct hrestore_source *s,
            const struct restore_job *job, const struct restore_target *t,
            json_t *lines, struct err *err)
{
    const char *table = s->target != NULL ? t->uuid : s->base.vm_uuid;
    CLEANUP(json_decref)
    json_t *patch = json_pack(
        "{s:o, s:o, s:i, s:{s:O, s:O, s:b, s:{s:s, s:b, s:{s:s, s:b}}}}",
        "restores", planned_rows(job, s), "deletedVolumes",
        deleted_volumes(p, s), "progress", 0, "vmkeep", "preflight", lines,
        "dropped", t->notes, "identityKept", !t->is_in_place && t->is_same_uuid,
        "state", "table", table, "isChecked", 1, "target", "uid", t->uuid,
        "isNew", !t->is_in_place);

    if (s->target != NULL) {
        jsonx_set_str(patch, "vmkeep.target", target_name(s->target));
        jsonx_set_str(patch, "vmkeep.backupID",
                      jsonx_str(p->backup_json, "status.vmkeep.backupID"));
    }
    if (jsonx_str(p->json, "status.vmkeep.startTime") == NULL)
        jsonx_set(patch, "vmkeep.startTime", objutil_time(clock_wall_s()));
    if (p->seen.is_dry_run)
        jsonx_set(patch, "vmkeep.dryRun", json_true());
    return objutil_merge_status(p->ctl, &p->restore, patch, err);
}

static int
preflight(struct hrestore_pass *p, json_t *lines, struct err *err)
{
    CLEANUP(hrestore_source_close) struct hrestore_source *s = NULL;
    CLEANUP(restore_define_fini) struct restore_target t = { .name = NULL };
    struct restore_job job;

    if (hrestore_source_open(p->ctl, p->backup_json, p->json, &s, err) < 0 ||
        say_repository(lines, s, err) < 0)
        return -1;
    job = job_of(p, s);
    if (restore_define_preflight(
            p->ctl, &job, jsonx_str(p->state, "target.uid"), &t, err) < 0)
        return -1;
    say_target(lines, p, &t);
    if (s->meta != NULL &&
        hrestore_fill_check_room(s, t.is_in_place ? t.old->inactive : NULL,
                                 lines, err) < 0)
        return -1;
    if (say_dropped(&t, s, err) < 0)
        return -1;
    return write_found(p, s, &job, &t, lines, err);
}

struct check {
    struct loop *loop;
    char *key; /* of the restore */
};

static void
check_free(void *arg)
{
    struct check *c = arg;

    if (c == NULL)
        return;
    free(c->key);
    free(c);
}

static int
check_run(struct job *job, void *arg, struct err *err)
{
    const struct check *c = arg;
    CLEANUP(hrestore_pass_clear)
    struct hrestore_pass p = { .loop = c->loop,
                               .ctl = loop_ctl(c->loop),
                               .key = c->key };
    CLEANUP(json_decref) json_t *lines = json_array();
    CLEANUP(json_decref) json_t *patch = NULL;
    bool is_there = false;
    struct err ignored;

    if (hrestore_pass_look(&p, &is_there, err) < 0 || job_check(job, err) < 0)
        return -1;
    if (!is_there || p.backup == NULL)
        return err_set(err, ERR_CANCELLED, "the restore or its backup is gone");
    if (preflight(&p, lines, err) == 0)
        return 0;
    /* What was found until then helps to understand it. */
    line(lines, "refused: %s", err->msg);
    patch = json_pack("{s:{s:O}}", "vmkeep", "preflight", lines);
    if (p.seen.is_dry_run)
        jsonx_set(patch, "vmkeep.dryRun", json_true());
    (void)!objutil_merge_status(p.ctl, &p.restore, patch, &ignored);
    return -1;
}

static char *
check_key(const struct hrestore_pass *p)
{
    return xasprintf("%s/preflight", object_uid(p->restore));
}

/* Where its backup is; NULL: on this host. */
static const char *
target_of(const struct hrestore_pass *p)
{
    if (strcmp(jsonx_str_or(p->backup_json, "spec.type", ""), "snapshot") == 0)
        return NULL;
    return jsonx_str(p->backup_json, "status.vmkeep.target");
}

static const char *
flow_of(const struct hrestore_pass *p)
{
    return p->seen.is_new ? "hrestore-new" : "hrestore-replace";
}

int
hrestore_work_preflight(struct hrestore_pass *p, struct err *err)
{
    CLEANUP(mem_free) char *key = check_key(p);
    struct check *c = xcalloc(1, sizeof *c);
    struct job_spec spec = { .key = key,
                             .flow = flow_of(p),
                             .group = target_of(p),
                             .fn = check_run,
                             .arg = c,
                             .free_arg = check_free,
                             .queue = loop_queue(p->loop),
                             .queue_key = p->key };
    void *done = NULL;
    int rc;

    c->loop = p->loop;
    c->key = xstrdup(p->key);
    rc = job_ask(p->ctl->asks, &spec, CHECK_MS, &done, err);
    check_free(done);
    return rc;
}

void
hrestore_work_drop(struct hrestore_pass *p)
{
    CLEANUP(mem_free) char *key = check_key(p);

    job_abandon(p->ctl->asks, key);
}

/* ---- the try ---- */

struct work {
    struct loop *loop;
    char *key;    /* of the restore */
    char *table;  /* the VM whose lock is held */
    char *holder; /* of that lock: this very restore, not one of its name */
};

static void
work_free(void *arg)
{
    struct work *w = arg;

    vmlock_release(loop_ctl(w->loop)->locks, w->table, w->holder);
    free(w->holder);
    free(w->key);
    free(w->table);
    free(w);
}

static int
run(struct job *j, void *arg, struct err *err)
{
    struct work *w = arg;
    CLEANUP(hrestore_pass_clear)
    struct hrestore_pass p = { .loop = w->loop,
                               .ctl = loop_ctl(w->loop),
                               .key = w->key };
    CLEANUP(hrestore_source_close) struct hrestore_source *s = NULL;
    struct restore_job job;
    bool is_there = false;

    if (job_check(j, err) < 0 || hrestore_pass_look(&p, &is_there, err) < 0)
        return -1;
    if (!is_there || p.backup == NULL)
        return err_set(err, ERR_CANCELLED, "the restore or its backup is gone");
    if (hrestore_fill_sweep(p.ctl, object_uid(p.restore), err) < 0 ||
        hrestore_source_open(p.ctl, p.backup_json, p.json, &s, err) < 0)
        return -1;
    s->job = j;
    job = job_of(&p, s);
    if (strcmp(job.table_uuid, w->table) != 0)
        return err_set(err, ERR_BUSY, "the target was chosen anew");
    return restore_apply(p.ctl, &job, &p.restore, err);
}

int
hrestore_work_start(struct hrestore_pass *p, int64_t *ret_again_ms,
                    struct err *err)
{
    const char *table = jsonx_str_or(p->state, "table", "");
    CLEANUP(mem_free) char *key = hrestore_pass_job_key(p);
    struct work *w;
    CLEANUP(mem_free)
    char *holder = xasprintf("hrestore %s %s", p->key, object_uid(p->restore));

    if (vmlock_take(p->ctl->locks, table, VMLOCK_RESTORE, holder,
                    loop_queue(p->loop), p->key, err) < 0) {
        *ret_again_ms = LOOP_LATER_MS;
        return err->code == ERR_BUSY ? 1 : -1;
    }
    w = xcalloc(1, sizeof *w);
    w->loop = p->loop;
    w->key = xstrdup(p->key);
    w->table = xstrdup(table);
    w->holder = TAKE(holder);
    const struct job_spec spec = {
        .key = key,
        .flow = flow_of(p),
        .group = target_of(p),
        .fn = run,
        .arg = w,
        .free_arg = work_free,
        .queue = loop_queue(p->loop),
        .queue_key = p->key,
    };

    if (job_start(p->ctl->jobs, &spec, err) < 0 && err->code != ERR_EXISTS)
        return -1;
    return 0;
}
