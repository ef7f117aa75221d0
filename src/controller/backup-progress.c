/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/backup-progress.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/macros.h"
#include "controller/backup-status.h"
#include "controller/objutil.h"
#include "controller/target.h"

static void
set_number(json_t *object, const char *path, uint64_t n)
{
    jsonx_set(object, path, json_integer((json_int_t)n));
}

static void
tell_volumes(json_t *object, const json_t *note)
{
    const json_t *list = jsonx_get(object, "status.volumeBackups");
    const json_t *disks = json_object_get(note, "disks");

    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *v = json_array_get(list, i);
        const json_t *d =
            jsonx_find(disks, "volume", jsonx_str_or(v, "volumeName", ""));

        if (d != NULL)
            jsonx_set(v, "progress", json_integer(jsonx_int(d, "progress", 0)));
    }
}

void
backup_progress_tell(json_t *object, const struct job_progress *p,
                     const json_t *note)
{
    int64_t before = jsonx_int(object, "status.progress", 0);
    int64_t percent =
        p->all_bytes == 0
            ? 0
            : (int64_t)((double)p->done_bytes * 100 / (double)p->all_bytes);

    if (percent > 99)
        percent = 99; /* 100 is a backup that is there */
    if (percent > before)
        jsonx_set(object, "status.progress", json_integer(percent));
    set_number(object, "status.vmkeep.doneBytes", p->done_bytes);
    set_number(object, "status.vmkeep.totalBytes", p->all_bytes);
    if (p->elapsed_ms > 0)
        set_number(
            object, "status.vmkeep.bytesPerSecond",
            (uint64_t)((double)p->done_bytes * 1000 / (double)p->elapsed_ms));
    if (p->done_bytes > 0 && p->all_bytes >= p->done_bytes)
        set_number(object, "status.vmkeep.secondsLeft",
                   (uint64_t)((double)p->elapsed_ms / 1000 *
                              (double)(p->all_bytes - p->done_bytes) /
                              (double)p->done_bytes));
    if (note == NULL)
        return;
    jsonx_set_str(object, "status.vmkeep.phase",
                  jsonx_str_or(note, "phase", "Reading"));
    if (jsonx_str(note, "session") != NULL)
        jsonx_set_str(object, "status.vmkeep.cut.session",
                      jsonx_str(note, "session"));
    tell_volumes(object, note);
}

void
backup_progress_result(json_t *object, const json_t *note)
{
    static const char *const numbers[] = { "readBytes", "dirtyBytes",
                                           "auditMismatches" };
    const json_t *disks = json_object_get(note, "disks");
    json_t *tracking;

    if (json_array_size(disks) == 0)
        return; /* it was committed by an earlier run */
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (json_object_get(note, numbers[i]) != NULL) {
            char path[64];

            (void)snprintf(path, sizeof path, "status.vmkeep.%s", numbers[i]);
            jsonx_set(object, path,
                      json_integer(jsonx_int(note, numbers[i], 0)));
        }
    tracking = json_deep_copy(disks);
    for (size_t i = 0; i < json_array_size(tracking); i++)
        jsonx_del(json_array_get(tracking, i), "progress");
    jsonx_set(object, "status.vmkeep.tracking", tracking);
}

void
backup_progress_end(json_t *object)
{
    int64_t start_ms = objutil_time_ms(object, "status.vmkeep.startTime");
    int64_t now_s = clock_wall_s();

    if (start_ms == 0)
        return;
    jsonx_set(object, "status.vmkeep.completionTime", objutil_time(now_s));
    jsonx_set(object, "status.vmkeep.milliseconds",
              json_integer(now_s * 1000 - start_ms));
}

void
backup_progress_target(struct ctl *ctl, json_t *object, const char *target)
{
    CLEANUP(target_release) struct target_ref *ref = NULL;
    struct err why;
    int rc = target_open(ctl, target, &ref, &why);

    backup_status_error(object, rc < 0 ? why.msg : NULL);
}
