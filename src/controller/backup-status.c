/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-status.c
 *
 * A finished backup's status is made from its metadata and its entry in the
 * repository alone: the controller that has just written it, the one that
 * finds it after a crash, and the sync on a host that never saw the VM write
 * the same.
 */
#include "controller/backup-status.h"

#include <string.h>

#include "base/clock.h"
#include "controller/ctl.h"
#include "controller/objutil.h"

#define DRIVER "repository.vmkeep.io"

/* Harvester's conditions also say when they were written last. */
static void
set(json_t *object, const char *type, bool is_true, const char *reason,
    const char *message)
{
    json_t *list;

    if (!ctl_condition_set(object, type, is_true ? "True" : "False", reason,
                           message, 0))
        return;
    list = jsonx_get(object, "status.conditions");
    (void)json_object_set_new(jsonx_find(list, "type", type), "lastUpdateTime",
                              objutil_time(clock_wall_s()));
}

static void
set_error(json_t *object, const char *message)
{
    json_t *status = json_object_get(object, "status");

    objutil_error(status, message, clock_wall_s());
}

void
backup_status_begin(json_t *object)
{
    if (json_object_get(object, "status") == NULL)
        jsonx_set(object, "status", json_object());
    jsonx_set(object, "status.readyToUse", json_false());
    jsonx_set(object, "status.progress", json_integer(0));
    set(object, "InProgress", true, "", "Operation in progress");
    set(object, "Ready", false, "", "Not ready");
}

void
backup_status_error(json_t *object, const char *message)
{
    set_error(object, message);
}

void
backup_status_failed(json_t *object, const char *message)
{
    jsonx_set(object, "status.readyToUse", json_false());
    set(object, "InProgress", false, "Error", message);
    set(object, "Ready", false, "", "Not Ready");
    set_error(object, message);
}

void
backup_status_lost(json_t *object, const char *cause, const char *message)
{
    jsonx_set(object, "status.readyToUse", json_false());
    set(object, "Ready", false, cause, message);
}

void
backup_status_found(json_t *object)
{
    jsonx_set(object, "status.readyToUse", json_true());
    set(object, "Ready", true, "", "Operation complete");
}

void
backup_status_kept(json_t *object, const char *time)
{
    jsonx_set_str(object, "status.creationTime", time);
    jsonx_set(object, "status.progress", json_integer(100));
    set_error(object, NULL);
    set(object, "InProgress", false, "", "Operation complete");
    backup_status_found(object);
}

/* volumeBackups as the metadata has them, each finished. */
static json_t *
volumes(const struct backup_meta *meta, const char *time)
{
    json_t *list = json_deep_copy(meta->volume_backups);

    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *v = json_array_get(list, i);

        jsonx_set_str(v, "csiDriverName", DRIVER);
        jsonx_set_str(v, "creationTime", time);
        jsonx_set(v, "progress", json_integer(100));
        jsonx_set(v, "readyToUse", json_true());
        jsonx_del(v, "error");
    }
    return list;
}

static json_t *
secrets(const struct backup_meta *meta)
{
    json_t *list = json_array();

    for (size_t i = 0; i < json_array_size(meta->secret_names); i++)
        (void)json_array_append_new(
            list,
            json_pack("{s:O}", "name", json_array_get(meta->secret_names, i)));
    return list;
}

static json_t *
tracking(const struct backup_meta *meta)
{
    json_t *list = json_array();

    for (size_t i = 0; i < meta->n_disks; i++)
        (void)json_array_append_new(
            list,
            json_pack("{s:s, s:s}", "volume", meta->disks[i].target, "method",
                      backup_meta_tracking_name(meta->disks[i].tracking)));
    return list;
}

static void
tell_vmkeep(json_t *status, const struct backup_meta *meta,
            const struct backup_status_place *place)
{
    char cut[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(meta->cut_s, cut);
    jsonx_set_str(status, "vmkeep.phase", "Ready");
    jsonx_set_str(status, "vmkeep.target", place->target);
    jsonx_set_str(status, "vmkeep.repositoryUUID", place->repo_uuid);
    jsonx_set_str(status, "vmkeep.backupID", place->entry->id);
    jsonx_set_str(status, "vmkeep.parentBackupID", place->entry->parent);
    jsonx_set_str(status, "vmkeep.cutTime", cut);
    jsonx_set(status, "vmkeep.storedBytes",
              json_integer((json_int_t)place->entry->stored_bytes));
    jsonx_set(status, "vmkeep.totalBytes",
              json_integer((json_int_t)place->entry->logical_bytes));
    jsonx_set(status, "vmkeep.quiesced",
              json_boolean(meta->consistency == BACKUP_META_QUIESCED));
    jsonx_set(status, "vmkeep.frozenMilliseconds",
              json_integer((json_int_t)meta->frozen_ms));
    jsonx_set(status, "vmkeep.secretsRedacted",
              json_boolean(!meta->has_secrets && !meta->has_sealed));
    jsonx_set_str(status, "vmkeep.host", meta->host);
    if (jsonx_get(status, "vmkeep.tracking") == NULL)
        jsonx_set(status, "vmkeep.tracking", tracking(meta));
    if (meta->excluded != NULL)
        jsonx_set(status, "vmkeep.excluded", json_deep_copy(meta->excluded));
    jsonx_del(status, "vmkeep.retryTime");
    jsonx_del(status, "vmkeep.secondsLeft");
}

void
backup_status_complete(json_t *object, const struct backup_meta *meta,
                       const struct backup_status_place *place)
{
    char time[CLOCK_RFC3339_SIZE];
    json_t *status;

    clock_format_rfc3339(place->entry->created_unix_s, time);
    backup_status_begin(object);
    status = json_object_get(object, "status");
    jsonx_set_str(status, "sourceUID", meta->vm_uuid);
    jsonx_set_str(status, "creationTime", time);
    jsonx_set_str(status, "backupTarget.endpoint", place->endpoint);
    jsonx_set(status, "source", json_deep_copy(meta->source));
    jsonx_set(status, "volumeBackups", volumes(meta, time));
    jsonx_set(status, "secretBackups", secrets(meta));
    jsonx_set(status, "progress", json_integer(100));
    tell_vmkeep(status, meta, place);
    set_error(object, NULL);
    set(object, "InProgress", false, "", "Operation complete");
    set(object, "MetadataReady", true, "", "The metadata is on the target");
    backup_status_found(object);
}

json_t *
backup_status_object(const struct backup_meta *meta, const char *name,
                     const struct backup_status_place *place)
{
    json_t *o = json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:[s]}, s:O}",
                          "apiVersion", "harvesterhci.io/v1beta1", "kind",
                          "VirtualMachineBackup", "metadata", "name", name,
                          "namespace", meta->ns, "uid", meta->uid, "finalizers",
                          BACKUP_STATUS_FINALIZER, "spec", meta->spec);
    json_t *notes = meta->annotations == NULL
                        ? json_object()
                        : json_deep_copy(meta->annotations);

    (void)json_object_set_new(notes, "vmkeep.io/backup-target",
                              json_string(place->target));
    jsonx_set(o, "metadata.annotations", notes);
    if (meta->labels != NULL)
        jsonx_set(o, "metadata.labels", json_deep_copy(meta->labels));
    backup_status_complete(o, meta, place);
    jsonx_set(o, "status.vmkeep.synced", json_true());
    return o;
}

/* A member that is missing hurts nobody, and an older vmkeep may not have
 * written it; one of another type cannot be decoded. */
static bool
is_harmless(const struct cause *c)
{
    return strcmp(c->reason, "FieldValueRequired") == 0 &&
           strncmp(c->field, "spec", 4) != 0;
}

int
backup_status_check(const json_t *object, struct err *err)
{
    struct causes causes = { 0 };

    (void)kind_check_schema(&kind_vmbackup, object, &causes, NULL);
    for (size_t i = 0; i < causes.n; i++)
        if (!is_harmless(&causes.v[i]))
            return err_set(
                err, ERR_CORRUPT,
                "its metadata makes no VirtualMachineBackup: %s: %.100s",
                causes.v[i].field, causes.v[i].message);
    if (strcmp(jsonx_str_or(object, "spec.type", "backup"), "backup") != 0)
        return err_set(err, ERR_CORRUPT,
                       "its metadata is not that of a backup: spec.type");
    return 0;
}
