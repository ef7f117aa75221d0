/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-read.c
 *
 *   target_open             the repository
 *   repo_find_uid           committed already? A crash, or an answer that was
 *                           lost; nothing is left to do
 *   backup_session_begin    against the parent, going on with a dead session,
 *                           which may be found to have committed after all
 *   backup_disk_store       each disk
 *   backup_firmware_store   NVRAM, TPM
 *   backup_sealed_store     the definition's secrets, if the repository is
 *                           encrypted
 *   backup_meta_encode      the definition
 *   repo_backup_commit      the backup exists
 *
 * Nothing of the VM is touched: its domain may be started, killed, undefined
 * meanwhile, for what is read are layers that nobody writes to any more, held
 * by the cut's references and the VM's lock (READ: no merge).
 *
 * The job has all its facts by value, from the object as it was at the start.
 */
#include "controller/backup-read.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/backup-disk.h"
#include "controller/backup-firmware.h"
#include "controller/backup-sealed.h"
#include "controller/backup-session.h"
#include "controller/objutil.h"
#include "controller/recover.h"
#include "controller/target.h"
#include "controller/tracking.h"
#include "disk/sweep.h"

struct read_job {
    struct ctl *ctl;
    struct job *job;
    json_t *json; /* the VirtualMachineBackup */
    json_t *note;
    char *parent; /* "": none */
    char *dir;
    const char *uid, *vm_uuid, *target;
    struct target_ref *ref;
    struct repo_view *view; /* of the parent */
    struct repo_backup *backup;
    struct backup_meta *meta;
    char *definition; /* whole, if it has secrets; else NULL */
    uint64_t done_bytes, all_bytes, read_bytes; /* of the disks so far */
};

static void
read_job_free(void *arg)
{
    struct read_job *r = arg;

    repo_backup_free(r->backup);
    repo_view_close(r->view);
    target_release(r->ref);
    backup_meta_free(r->meta);
    json_decref(r->json);
    json_decref(r->note);
    secrets_free_text(r->definition);
    free(r->parent);
    free(r->dir);
    free(r);
}

static char *
job_dir(struct ctl *ctl, const char *uid)
{
    return xasprintf("%s/jobs/%s", ctl->config.run_dir, uid);
}

int
backup_read_sweep(struct ctl *ctl, const char *uid, struct err *err)
{
    CLEANUP(mem_free) char *dir = job_dir(ctl, uid);

    return disk_sweep(dir, err);
}

/* ---- what others see ---- */

static void
publish(struct read_job *r)
{
    job_note_set(r->job, json_deep_copy(r->note));
}

static json_t *
disk_note(struct read_job *r, size_t i)
{
    return json_array_get(json_object_get(r->note, "disks"), i);
}

struct disk_at {
    struct read_job *r;
    size_t i;
    int percent;
};

static void
on_progress(void *arg, uint64_t done_bytes, uint64_t size)
{
    struct disk_at *at = arg;
    struct read_job *r = at->r;
    struct job_progress p = { .done_bytes = r->done_bytes + done_bytes,
                              .all_bytes = r->all_bytes,
                              .moved_bytes = r->read_bytes };
    int percent = size == 0 ? 100 : (int)(done_bytes * 100 / size);

    if (percent != at->percent) {
        at->percent = percent;
        jsonx_set(disk_note(r, at->i), "progress", json_integer(percent));
        publish(r);
    }
    job_progress_set(r->job, &p);
}

/* ---- the parts ---- */

static const json_t *
cut_disks(const struct read_job *r)
{
    return jsonx_get(r->json, "status.vmkeep.cut.disks");
}

/* The parent that the bitmaps start from, else the newest that is known; if
 * the repository still has it. */
static int
open_parent(struct read_job *r, struct err *err)
{
    CLEANUP(mem_free)
    char *tracked =
        tracking_parent_entry(r->ctl, r->vm_uuid, target_uuid(r->ref));
    const char *const ids[] = { tracked, r->parent };

    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        if (ids[i] == NULL || ids[i][0] == 0)
            continue;
        if (repo_view_open(target_repo(r->ref), ids[i], &r->view, err) == 0) {
            char *id = xstrdup(ids[i]);

            free(r->parent);
            r->parent = id;
            return 0;
        }
        if (err->code != ERR_NOT_FOUND && err->code != ERR_CORRUPT)
            return -1;
        log_info("backup %s: parent %s: %s", r->uid, ids[i], err->msg);
    }
    free(r->parent);
    r->parent = xstrdup("");
    return 0;
}

/* spec.verifyWrites of the BackupTarget. */
static bool
verifies_writes(const struct read_job *r)
{
    struct obj_ref at = objutil_ref(&kind_backuptarget, "", r->target);
    CLEANUP(object_unref)
    struct object *target = cache_get(r->ctl->cache, &at);
    CLEANUP(json_decref)
    json_t *json = target == NULL ? NULL : object_json(target);

    return jsonx_bool(json, "spec.verifyWrites");
}

static int
begin(struct read_job *r, struct err *err)
{
    const struct backup_session_want want = {
        .uid = r->uid,
        .parent = r->parent[0] == 0 ? NULL : r->parent,
        .session = jsonx_str(r->json, "status.vmkeep.cut.session"),
        .checks_all = verifies_writes(r),
    };
    struct job_progress p;

    if (backup_session_begin(target_repo(r->ref), &want, &r->backup, err) < 0)
        return -1;
    if (r->backup == NULL)
        return 0;
    jsonx_set_str(r->note, "session", repo_backup_id(r->backup));
    jsonx_set_str(r->note, "parent", r->parent);
    publish(r);
    for (size_t i = 0; i < json_array_size(cut_disks(r)); i++)
        r->all_bytes +=
            (uint64_t)jsonx_int(json_array_get(cut_disks(r), i), "size", 0);
    /* The first progress wakes the controller, which writes the session down:
     * whoever comes after a crash goes on with it. */
    p = (struct job_progress){ .all_bytes = r->all_bytes + 1 };
    job_progress_set(r->job, &p);
    return 0;
}

static void
note_disk(struct read_job *r, size_t i, const char *target,
          const struct backup_disk_result *result)
{
    json_t *o = disk_note(r, i);

    jsonx_set_str(o, "volume", target);
    jsonx_set_str(o, "method", backup_meta_tracking_name(result->tracking));
    jsonx_set_str(o, "reason", result->reason);
    jsonx_set(o, "readBytes", json_integer((json_int_t)result->read_bytes));
    if (result->tracking == BACKUP_META_INCREMENTAL)
        jsonx_set(o, "dirtyBytes",
                  json_integer((json_int_t)result->dirty_bytes));
    jsonx_set(o, "progress", json_integer(100));
    jsonx_set(r->note, "readBytes", json_integer((json_int_t)r->read_bytes));
    jsonx_set(r->note, "dirtyBytes",
              json_integer(jsonx_int(r->note, "dirtyBytes", 0) +
                           (json_int_t)result->dirty_bytes));
    if (result->mismatches > 0)
        jsonx_set(r->note, "auditMismatches",
                  json_integer(jsonx_int(r->note, "auditMismatches", 0) +
                               (json_int_t)result->mismatches));
    publish(r);
}

static int
store_disk(struct read_job *r, size_t i, struct err *err)
{
    const json_t *cut = json_array_get(cut_disks(r), i);
    struct disk_at at = { r, i, -1 };
    struct backup_disk_job job = { .ctl = r->ctl,
                                   .job = r->job,
                                   .vm_uuid = r->vm_uuid,
                                   .uid = r->uid,
                                   .target = jsonx_str_or(cut, "target", ""),
                                   .pull = json_object_get(cut, "pull"),
                                   .dir = r->dir,
                                   .backup = r->backup,
                                   .repo_uuid = target_uuid(r->ref),
                                   .parent = r->view,
                                   .parent_id =
                                       r->view == NULL ? NULL : r->parent,
                                   .progress = on_progress,
                                   .arg = &at };
    struct backup_disk_result result;

    (void)json_array_append_new(json_object_get(r->note, "disks"),
                                json_pack("{s:s}", "volume", job.target));
    if (backup_disk_store(&job, &result, err) < 0)
        return -1;
    r->done_bytes += (uint64_t)jsonx_int(cut, "size", 0);
    r->read_bytes += result.read_bytes;
    note_disk(r, i, job.target, &result);
    if (result.mismatches > 0) {
        struct err why;

        if (tracking_distrust(r->ctl, r->vm_uuid, &why) < 0)
            log_warn("VM %s: change tracking: %s", r->vm_uuid, why.msg);
    }
    r->meta->disks[r->meta->n_disks++] = (struct backup_meta_disk){
        .target = xstrdup(job.target),
        .claim = xstrdup(jsonx_str(cut, "claim")),
        .format = xstrdup(result.format),
        .bus = xstrdup(jsonx_str(cut, "bus")),
        .size = result.size,
        .tracking = result.tracking,
    };
    return 0;
}

static json_t *
copy_of(const struct read_job *r, const char *path)
{
    return json_deep_copy(jsonx_get(r->json, path));
}

static json_t *
secret_names(const struct read_job *r)
{
    const json_t *list = jsonx_get(r->json, "status.secretBackups");
    json_t *names = json_array();

    for (size_t i = 0; i < json_array_size(list); i++)
        (void)json_array_append_new(
            names,
            json_string(jsonx_str_or(json_array_get(list, i), "name", "")));
    return names;
}

/* The same text, printed anew: what was taken out of it is what differs. */
static int
has_secrets(const char *xml, const char *redacted, bool *ret, struct err *err)
{
    CLEANUP(secrets_free_text) char *same = NULL;

    if (domxml_retarget(xml, NULL, 0, &same, err) < 0)
        return -1;
    *ret = strcmp(same, redacted) != 0;
    return 0;
}

/* The definition: whole if it has no secrets; they go apart, sealed, or
 * nowhere. */
static int
take_definition(struct read_job *r, struct err *err)
{
    CLEANUP(secrets_free_text) char *xml = NULL;
    bool is_secret = false;

    if (secrets_get(recover_secrets(r->ctl), r->uid, &xml, err) < 0)
        return err_wrap(err, "the definition that was kept at the cut");
    if (domxml_redact(xml, &r->meta->domain_xml, err) < 0 ||
        has_secrets(xml, r->meta->domain_xml, &is_secret, err) < 0)
        return -1;
    if (!target_is_encrypted(r->ref))
        return 0;
    if (is_secret) {
        r->definition = TAKE(xml);
        return 0;
    }
    r->meta->has_secrets = true;
    r->meta->host_mark = xcalloc(1, SECRETS_MARK_SIZE);
    secrets_mark(recover_secrets(r->ctl), r->meta->domain_xml,
                 r->meta->host_mark);
    return 0;
}

static int
store_secrets(struct read_job *r, struct err *err)
{
    char mark[SECRETS_MARK_SIZE];

    if (r->definition == NULL)
        return 0;
    secrets_mark(recover_secrets(r->ctl), r->definition, mark);
    return backup_sealed_store(r->backup, r->definition, mark, err);
}

static int
start_meta(struct read_job *r, struct err *err)
{
    const json_t *j = r->json;
    struct backup_meta *m = xcalloc(1, sizeof *m);
    const char *consistency =
        jsonx_str_or(j, "status.vmkeep.cut.consistency", "");

    r->meta = m;
    m->ns = xstrdup(jsonx_str(j, "metadata.namespace"));
    m->name = xstrdup(jsonx_str(j, "metadata.name"));
    m->uid = xstrdup(r->uid);
    m->labels = copy_of(r, "metadata.labels");
    m->annotations = copy_of(r, "metadata.annotations");
    m->spec = copy_of(r, "spec");
    m->vm_uuid = xstrdup(r->vm_uuid);
    m->source = copy_of(r, "status.source");
    m->volume_backups = copy_of(r, "status.volumeBackups");
    m->secret_names = secret_names(r);
    m->excluded = copy_of(r, "status.vmkeep.excluded");
    m->host = xstrdup(jsonx_str(j, "status.vmkeep.cut.host"));
    m->cut_s = objutil_time_ms(j, "status.vmkeep.cut.time") / 1000;
    m->frozen_ms =
        (uint64_t)jsonx_int(j, "status.vmkeep.cut.frozenMilliseconds", 0);
    for (int c = BACKUP_META_CRASH; c <= BACKUP_META_OFFLINE; c++)
        if (strcmp(consistency, backup_meta_consistency_name(
                                    (enum backup_meta_consistency)c)) == 0)
            m->consistency = (enum backup_meta_consistency)c;
    m->disks = xcalloc(json_array_size(cut_disks(r)) + 1, sizeof *m->disks);
    return take_definition(r, err);
}

static int
commit(struct read_job *r, struct err *err)
{
    CLEANUP(mem_free) char *text = NULL;
    size_t len = 0;
    int rc;

    if (backup_meta_encode(r->meta, &text, &len, err) < 0)
        return -1;
    jsonx_set_str(r->note, "phase", "Committing");
    publish(r);
    rc = repo_backup_commit(r->backup, text, len, r->uid, err);
    return rc < 0 ? err_wrap(err, "commit") : 0;
}

static int
read_all(struct read_job *r, struct err *err)
{
    if (open_parent(r, err) < 0 || start_meta(r, err) < 0 || begin(r, err) < 0)
        return -1;
    if (r->backup == NULL)
        return 0; /* committed by an earlier try */
    for (size_t i = 0; i < json_array_size(cut_disks(r)); i++)
        if (job_check(r->job, err) < 0 || store_disk(r, i, err) < 0)
            return -1;
    if (backup_firmware_store(r->ctl->config.state_dir, r->uid, r->backup,
                              r->meta, err) < 0 ||
        store_secrets(r, err) < 0 || job_check(r->job, err) < 0)
        return -1;
    return commit(r, err);
}

/* ---- the job ---- */

/* Will nobody go on with this session? */
static bool
is_wasted(struct read_job *r, const struct err *why)
{
    struct obj_ref at =
        objutil_ref(&kind_vmbackup, jsonx_str(r->json, "metadata.namespace"),
                    jsonx_str(r->json, "metadata.name"));
    CLEANUP(object_unref) struct object *o = NULL;

    if (why->code == ERR_NO_SPACE)
        return true; /* what was stored fills the target */
    if (why->code != ERR_CANCELLED)
        return false;
    o = cache_get(r->ctl->cache, &at);
    if (o == NULL || object_is_deleting(o))
        return true;

    CLEANUP(json_decref) json_t *now = object_json(o);

    return strcmp(jsonx_str_or(now, "status.vmkeep.phase", ""), "Failed") == 0;
}

static int
read_job_run(struct job *job, void *arg, struct err *err)
{
    struct read_job *r = arg;
    struct repo_entry entry;
    bool is_there = false;
    struct err later;
    int rc;

    r->job = job;
    if (target_open(r->ctl, r->target, &r->ref, err) < 0 ||
        repo_find_uid(target_repo(r->ref), r->uid, &is_there, &entry, err) < 0)
        return -1;
    if (is_there)
        return 0;
    if (disk_sweep(r->dir, err) < 0 || file_make_dirs(r->dir, 0710, err) < 0)
        return -1;
    rc = read_all(r, err);
    /* Everything that holds on to the target or the layers ends here, not when
     * somebody forgets the job. */
    if (rc < 0 && r->backup != NULL && is_wasted(r, err))
        repo_backup_discard(r->backup);
    repo_backup_free(TAKE(r->backup));
    repo_view_close(TAKE(r->view));
    if (rc < 0 && err->code != ERR_CANCELLED)
        target_poke(r->ctl, r->target);
    target_release(TAKE(r->ref));
    if (disk_sweep(r->dir, &later) < 0)
        log_info("backup %s: %s", r->uid, later.msg);
    return rc;
}

int
backup_read_start(struct ctl *ctl, const char *key, const json_t *json,
                  const char *parent, struct queue *queue,
                  const char *queue_key, struct err *err)
{
    struct read_job *r = xcalloc(1, sizeof *r);
    struct job_spec spec = { .key = key,
                             .flow = "backup",
                             .fn = read_job_run,
                             .arg = r,
                             .free_arg = read_job_free,
                             .queue = queue,
                             .queue_key = queue_key };

    r->ctl = ctl;
    r->json = json_deep_copy(json);
    r->note = json_pack("{s:s, s:[]}", "phase", "Reading", "disks");
    r->parent = xstrdup(parent == NULL ? "" : parent);
    r->uid = jsonx_str_or(r->json, "metadata.uid", "");
    r->vm_uuid = jsonx_str_or(r->json, "status.sourceUID", "");
    r->target = jsonx_str_or(r->json, "status.vmkeep.target", "");
    r->dir = job_dir(ctl, r->uid);
    spec.group = r->target;
    return job_start(ctl->jobs, &spec, err);
}

char *
backup_read_parent(struct ctl *ctl, const char *vm_uuid, const char *repo_uuid)
{
    int64_t newest_ms = 0;
    struct object_list list;
    char *id = NULL;

    cache_list(ctl->cache, &kind_vmbackup.gvr, NULL, &list);
    for (size_t i = 0; i < list.n; i++) {
        CLEANUP(json_decref) json_t *o = object_json(list.v[i]);
        const char *is = jsonx_str(o, "status.vmkeep.backupID");
        int64_t cut_ms = objutil_time_ms(o, "status.vmkeep.cutTime");

        if (is == NULL || cut_ms < newest_ms ||
            !jsonx_bool(o, "status.readyToUse") ||
            strcmp(jsonx_str_or(o, "status.sourceUID", ""), vm_uuid) != 0 ||
            strcmp(jsonx_str_or(o, "status.vmkeep.repositoryUUID", ""),
                   repo_uuid) != 0)
            continue;
        free(id);
        id = xstrdup(is);
        newest_ms = cut_ms;
    }
    object_list_fini(&list);
    return id;
}
