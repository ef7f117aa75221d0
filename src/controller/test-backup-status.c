/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "controller/backup-progress.h"
#include "controller/backup-status.h"
#include "controller/ctl.h"
#include "test.h"

static json_t *
fresh(void)
{
    json_t *o = json_pack("{s:{s:s}}", "metadata", "name", "b1");

    backup_status_begin(o);
    return o;
}

static bool
is(const json_t *o, const char *type, const char *status)
{
    const char *s = ctl_condition_get(o, type);

    return s != NULL && strcmp(s, status) == 0;
}

static void
the_words_are_harvesters(void)
{
    CLEANUP(json_decref) json_t *o = fresh();

    CHECK(is(o, "InProgress", "True") && is(o, "Ready", "False"));
    CHECK(strcmp(ctl_condition_message(o, "InProgress"),
                 "Operation in progress") == 0);
    CHECK(strcmp(ctl_condition_message(o, "Ready"), "Not ready") == 0);
    backup_status_kept(o, "2026-01-01T00:00:00Z");
    CHECK(is(o, "InProgress", "False") && is(o, "Ready", "True"));
    CHECK(strcmp(ctl_condition_message(o, "Ready"), "Operation complete") == 0);
    CHECK(jsonx_bool(o, "status.readyToUse"));
    CHECK_INT(jsonx_int(o, "status.progress", 0), ==, 100);
}

static void
a_failure_is_final_and_says_why(void)
{
    CLEANUP(json_decref) json_t *o = fresh();

    backup_status_error(o, "no space");
    CHECK(is(o, "InProgress", "True"));
    CHECK(strcmp(jsonx_str_or(o, "status.error.message", ""), "no space") == 0);
    backup_status_failed(o, "no space");
    CHECK(is(o, "InProgress", "False") && is(o, "Ready", "False"));
    CHECK(strcmp(ctl_condition_message(o, "InProgress"), "no space") == 0);
    CHECK(!jsonx_bool(o, "status.readyToUse"));
}

static void
what_was_lost_can_come_back(void)
{
    CLEANUP(json_decref) json_t *o = fresh();

    backup_status_kept(o, NULL);
    backup_status_lost(o, "BackupNotFound", "it is gone");
    CHECK(is(o, "Ready", "False") && !jsonx_bool(o, "status.readyToUse"));
    CHECK(strcmp(ctl_condition_message(o, "Ready"), "it is gone") == 0);
    CHECK(jsonx_get(o, "status.error") == NULL);
    backup_status_found(o);
    CHECK(is(o, "Ready", "True") && jsonx_bool(o, "status.readyToUse"));
}

static void
progress_never_falls_and_is_100_only_at_the_end(void)
{
    CLEANUP(json_decref) json_t *o = fresh();
    CLEANUP(json_decref)
    json_t *note =
        json_pack("{s:s, s:s, s:[{s:s, s:i}]}", "phase", "Reading", "session",
                  "id", "disks", "volume", "vda", "progress", 50);
    struct job_progress p = { .done_bytes = 50,
                              .all_bytes = 100,
                              .elapsed_ms = 1000 };

    jsonx_set(o, "status.vmkeep.cut", json_object());
    jsonx_set(o, "status.volumeBackups",
              json_pack("[{s:s}]", "volumeName", "vda"));
    backup_progress_tell(o, &p, note);
    CHECK_INT(jsonx_int(o, "status.progress", 0), ==, 50);
    CHECK_INT(jsonx_int(o, "status.vmkeep.bytesPerSecond", 0), ==, 50);
    CHECK_INT(jsonx_int(o, "status.vmkeep.secondsLeft", 0), ==, 1);
    CHECK_INT(jsonx_int(o, "status.volumeBackups.0.progress", 0), ==, 50);
    CHECK(strcmp(jsonx_str_or(o, "status.vmkeep.cut.session", ""), "id") == 0);
    p.done_bytes = 40;
    backup_progress_tell(o, &p, note);
    CHECK_INT(jsonx_int(o, "status.progress", 0), ==, 50);
    p.done_bytes = 100;
    backup_progress_tell(o, &p, note);
    CHECK_INT(jsonx_int(o, "status.progress", 0), ==, 99);
}

/* Metadata as whoever can write to the target may have made it. */
static void
adopted_objects_have_the_published_shape(void)
{
    static const struct {
        const char *spec, *source, *volumes;
        bool is_good;
    } rows[] = {
        { "{\"source\":{\"apiGroup\":\"kubevirt.io\","
          "\"kind\":\"VirtualMachine\",\"name\":\"v\"},"
          "\"type\":\"backup\"}",
          "{\"metadata\":{\"name\":\"v\"},\"spec\":{}}",
          "[{\"name\":\"b-volume-v\",\"volumeName\":\"vda\","
          "\"volumeSize\":1}]",
          true },
        { "{\"source\":\"v\"}", "{}", "[]", false },
        { "{}", "{}", "[]", false },
        { "{\"source\":{\"kind\":\"VirtualMachine\",\"name\":[]}}", "{}", "[]",
          false },
        { "{\"source\":{\"kind\":\"VirtualMachine\",\"name\":\"v\"},"
          "\"type\":\"snapshot\"}",
          "{}", "[]", false },
        { "{\"source\":{\"kind\":\"VirtualMachine\",\"name\":\"v\"}}",
          "{\"metadata\":{\"labels\":{\"a\":1}}}", "[]", false },
        { "{\"source\":{\"kind\":\"VirtualMachine\",\"name\":\"v\"}}", "{}",
          "[{\"volumeName\":1}]", false },
        { "{\"source\":{\"kind\":\"VirtualMachine\",\"name\":\"v\"}}", "{}",
          "[\"vda\"]", false },
    };
    struct repo_entry entry = { .id = "" };
    struct backup_status_place place = { "t", "file:///t", "u", &entry };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err err = { 0 };
        static char ns[] = "default", name[] = "b", uid[] = "u";
        struct backup_meta meta = { .ns = ns, .name = name, .uid = uid };
        CLEANUP(json_decref) json_t *o = NULL;

        meta.vm_uuid = uid;
        meta.spec = jsonx_parse(rows[i].spec, strlen(rows[i].spec), &err);
        meta.source = jsonx_parse(rows[i].source, strlen(rows[i].source), &err);
        meta.volume_backups =
            jsonx_parse(rows[i].volumes, strlen(rows[i].volumes), &err);
        o = backup_status_object(&meta, "b", &place);
        if ((backup_status_check(o, &err) == 0) != rows[i].is_good)
            test_fail(__FILE__, __LINE__, rows[i].spec, err.msg);
        CHECK(rows[i].is_good || err.code == ERR_CORRUPT);
        json_decref(meta.spec);
        json_decref(meta.source);
        json_decref(meta.volume_backups);
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "the words are Harvester's", the_words_are_harvesters },
        { "a failure is final and says why", a_failure_is_final_and_says_why },
        { "what was lost can come back", what_was_lost_can_come_back },
        { "progress never falls, and is 100 only at the end",
          progress_never_falls_and_is_100_only_at_the_end },
        { "adopted objects have the published shape",
          adopted_objects_have_the_published_shape },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
