/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/hrestore-status.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define CLAIM_MAX 253

/* ---- conditions ---- */

static const json_t *
find(const json_t *status, const char *type)
{
    return jsonx_find(json_object_get(status, "conditions"), "type", type);
}

/* Times move as Harvester moves them: lastTransitionTime with the status,
 * lastUpdateTime with anything. */
static json_t *
condition(const json_t *status, const char *type, bool is_true,
          const char *reason, const char *message, int64_t now_s)
{
    const json_t *was = find(status, type);
    char now[CLOCK_RFC3339_SIZE];
    json_t *c = was == NULL ? json_object() : json_deep_copy(was);
    const char *word = is_true ? "True" : "False";

    if (strcmp(jsonx_str_or(was, "status", ""), word) == 0 &&
        strcmp(jsonx_str_or(was, "reason", ""), reason) == 0 &&
        strcmp(jsonx_str_or(was, "message", ""), message) == 0)
        return c;
    clock_format_rfc3339(now_s, now);
    jsonx_set_str(c, "type", type);
    if (strcmp(jsonx_str_or(was, "status", ""), word) != 0)
        jsonx_set_str(c, "lastTransitionTime", now);
    jsonx_set_str(c, "lastUpdateTime", now);
    jsonx_set_str(c, "status", word);
    jsonx_set_str(c, "reason", *reason == 0 ? NULL : reason);
    jsonx_set_str(c, "message", message);
    return c;
}

json_t *
hrestore_status_plan(const json_t *status, const struct hrestore_plan *p,
                     int64_t now_s)
{
    const json_t *was = find(status, "InProgress");
    bool had_failed = strcmp(jsonx_str_or(was, "reason", ""), "Error") == 0;
    /* Failed stays failed, with the words it failed with. */
    const char *message = p->is_failed && had_failed
                              ? jsonx_str_or(was, "message", "")
                              : p->message;
    const char *reason = p->is_failed ? "Error" : "";
    bool is_busy = !p->is_failed && !p->is_ready;
    json_t *patch = json_object();

    jsonx_set(
        patch, "conditions",
        json_pack(
            "[o, o]",
            condition(status, "InProgress", is_busy, reason, message, now_s),
            condition(status, "Ready", p->is_ready, reason, message, now_s)));
    jsonx_set_str(patch, "vmkeep.phase", p->phase);
    if (!json_is_boolean(json_object_get(status, "complete")))
        (void)json_object_set_new(patch, "complete", json_false());
    return patch;
}

static json_t *
time_of(int64_t s)
{
    char text[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(s, text);
    return json_string(text);
}

/* Of a try that is over. */
static void
clear_try(json_t *patch)
{
    static const char *const members[] = { "error", "tries", "startTries",
                                           "lastTryTime", "isErrorFinal" };

    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        CLEANUP(mem_free) char *path = xasprintf("vmkeep.state.%s", members[i]);

        jsonx_set(patch, path, json_null());
    }
    jsonx_set(patch, "vmkeep.secondsLeft", json_null());
}

json_t *
hrestore_status_done(const json_t *status, const struct hrestore_plan *plan,
                     bool is_dry_run, int64_t now_s)
{
    json_t *patch = hrestore_status_plan(status, plan, now_s);
    CLEANUP(json_decref)
    json_t *rows = json_deep_copy(json_object_get(status, "restores"));

    clear_try(patch);
    (void)json_object_set_new(patch, "complete", json_true());
    (void)json_object_set_new(patch, "restoreTime", time_of(now_s));
    if (is_dry_run)
        return patch;
    for (size_t i = 0; i < json_array_size(rows); i++)
        jsonx_set(json_array_get(rows, i), "progress", json_integer(100));
    if (rows != NULL)
        (void)json_object_set(patch, "restores", rows);
    (void)json_object_set_new(patch, "progress", json_integer(100));
    return patch;
}

/* ---- volumes ---- */

char *
hrestore_status_claim(const char *backup, const char *uid, const char *volume)
{
    char *name = xasprintf("restore-%s-%s-%s", backup, uid, volume);

    if (strlen(name) <= CLAIM_MAX)
        return name;
    free(name);
    return xasprintf("restore-%s-%s", uid, volume);
}

/* The claim as it was, under its new name and without what was the old
 * volume's. */
static json_t *
claim_spec(const json_t *was, const struct hrestore_status_volume *v)
{
    json_t *spec = json_deep_copy(jsonx_get(was, "spec"));
    json_t *labels = json_deep_copy(jsonx_get(was, "metadata.labels"));
    json_t *claim = json_pack("{s:{s:s, s:s}}", "metadata", "name", v->claim,
                              "namespace", v->ns);

    if (labels != NULL)
        jsonx_set(claim, "metadata.labels", labels);
    if (spec == NULL) {
        CLEANUP(mem_free)
        char *size = xasprintf("%llu", (unsigned long long)v->size);

        spec = json_pack("{s:[s], s:{s:{s:s}}}", "accessModes", "ReadWriteOnce",
                         "resources", "requests", "storage", size);
    }
    jsonx_del(spec, "volumeName");
    jsonx_set(claim, "spec", spec);
    return claim;
}

json_t *
hrestore_status_row(const json_t *backup,
                    const struct hrestore_status_volume *v)
{
    const json_t *vb = jsonx_find(jsonx_get(backup, "status.volumeBackups"),
                                  "volumeName", v->volume);
    json_t *row =
        json_pack("{s:s, s:i, s:I}", "volumeName", v->volume, "progress",
                  (int)v->percent, "volumeSize", (json_int_t)v->size);

    jsonx_set(row, "persistentVolumeClaimSpec",
              claim_spec(jsonx_get(vb, "persistentVolumeClaim"), v));
    jsonx_set_str(row, "volumeBackupName", jsonx_str(vb, "name"));
    return row;
}

/* ---- progress ---- */

static int64_t
percent(uint64_t done, uint64_t all)
{
    return all == 0 || done >= all
               ? 100
               : (int64_t)((double)done * 100 / (double)all);
}

static int64_t
most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void
put_rows(json_t *patch, const json_t *status, const json_t *volumes)
{
    json_t *rows = json_deep_copy(json_object_get(status, "restores"));

    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        const json_t *done =
            json_object_get(volumes, jsonx_str_or(row, "volumeName", ""));
        int64_t was = jsonx_int(row, "progress", 0);

        if (done == NULL)
            continue;
        jsonx_set(
            row, "progress",
            json_integer(
                most(was, percent((uint64_t)json_integer_value(done),
                                  (uint64_t)jsonx_int(row, "volumeSize", 0)))));
    }
    if (rows != NULL)
        (void)json_object_set_new(patch, "restores", rows);
}

json_t *
hrestore_status_progress(const json_t *status,
                         const struct hrestore_status_moved *m)
{
    json_t *patch = json_object();
    int64_t is = percent(m->done, m->all);
    int64_t took_s = most(m->now_s - m->since_s, 1);
    int64_t rate = (int64_t)m->done / took_s;

    is = most(is > 99 ? 99 : is, jsonx_int(status, "progress", 0));
    (void)json_object_set_new(patch, "progress", json_integer(is));
    jsonx_set(patch, "vmkeep.totalBytes", json_integer((json_int_t)m->all));
    jsonx_set(patch, "vmkeep.doneBytes", json_integer((json_int_t)m->done));
    jsonx_set(patch, "vmkeep.bytesPerSecond", json_integer(rate));
    if (rate > 0 && m->all >= m->done)
        jsonx_set(patch, "vmkeep.secondsLeft",
                  json_integer((json_int_t)(m->all - m->done) / rate));
    put_rows(patch, status, m->volumes);
    return patch;
}
