/* SPDX-License-Identifier: Apache-2.0 */
/* BackupTarget: a place that backups are written to. Whether its path lies
 * beneath a root that the host's administrator allows is the controller's to
 * say: admission does not know vmkeep.conf and does no I/O.
 * source  DESIGN 4, 8
 */
#include <string.h>

#include "base/mem.h"
#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1alpha1", NULL };
static const char *const short_names[] = { "vmkt", NULL };
static const char *const categories[] = { "vmkeep", NULL };
static const struct kind_column columns[] = {
    { "Path", "string", ".spec.directory.path", "Where it is.", 0 },
    { "Ready", "string", NULL, "It can be written now.", 0 },
    { "Backups", "integer", ".status.backups", "How many it holds.", 0 },
    { "Free", "string", NULL, "Room that is left.", 0 },
    { "Encrypted", "boolean", ".status.encrypted", "A key is needed.", 0 },
    { "Age", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { "Repository", "string", ".status.repositoryUUID", "What is there.", 1 },
    { "Message", "string", NULL, "What is in the way.", 1 },
    { NULL },
};

static char *
free_cell(const json_t *object)
{
    int64_t n = jsonx_int(object, "status.freeBytes", -1);

    return n < 0 ? NULL : rules_size(n);
}

static char *
cell(const struct kind_column *col, const json_t *object)
{
    const json_t *ready = rules_condition(object, "Ready");

    if (strcmp(col->name, "Free") == 0)
        return free_cell(object);
    if (ready == NULL)
        return NULL;
    if (strcmp(col->name, "Ready") == 0)
        return xstrdup(jsonx_str_or(ready, "status", ""));
    if (strcmp(jsonx_str_or(ready, "status", ""), "True") == 0)
        return NULL;
    return xstrdup(jsonx_str_or(ready, "message", ""));
}

static void
set_defaults(json_t *object)
{
    json_t *spec = json_object_get(object, "spec");

    if (!json_is_object(spec))
        return;
    if (json_object_get(spec, "type") == NULL)
        jsonx_set_str(spec, "type", "directory");
    if (json_object_get(spec, "encryption") == NULL)
        json_object_set_new(spec, "encryption", json_object());
    if (json_is_object(json_object_get(spec, "encryption")) &&
        jsonx_get(spec, "encryption.mode") == NULL)
        jsonx_set_str(spec, "encryption.mode", "Generated");
}

/* Absolute, and written in one way only: what the controller compares with
 * its roots, it compares by letters. */
static void
check_path(const json_t *spec, const char *field, struct causes *causes)
{
    const char *path = jsonx_str_or(spec, field, "");
    size_t len = strlen(path);
    char at[128];
    const char *what = NULL;

    (void)snprintf(at, sizeof at, "spec.%s", field);
    if (len == 0)
        causes_add(causes, "FieldValueRequired", at, "Required value");
    else if (path[0] != '/')
        what = "must be an absolute path";
    else if (len == 1)
        what = "must not be the root directory";
    else if (len >= 4000)
        what = "is too long";
    else if (strstr(path, "//") != NULL || path[len - 1] == '/')
        what = "must have neither empty parts nor a slash at its end";
    else if (rules_has_dot_part(path))
        what = "must not contain the parts \".\" or \"..\"";
    if (what != NULL)
        causes_add(causes, "FieldValueInvalid", at,
                   "Invalid value: \"%.100s\": %s", path, what);
}

/* The one file that a mode needs, and none that it does not use. */
static void
check_encryption(const json_t *spec, struct causes *causes)
{
    static const struct {
        const char *mode, *field;
    } files[] = {
        { "KeyFile", "encryption.keyFile" },
        { "Passphrase", "encryption.passphraseFile" },
    };
    const char *mode = jsonx_str_or(spec, "encryption.mode", "Generated");
    char at[128];

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        (void)snprintf(at, sizeof at, "spec.%s", files[i].field);
        if (strcmp(mode, files[i].mode) == 0)
            check_path(spec, files[i].field, causes);
        else if (*jsonx_str_or(spec, files[i].field, "") != 0)
            causes_add(causes, "FieldValueForbidden", at,
                       "Forbidden: only with spec.encryption.mode %s",
                       files[i].mode);
    }
}

/* A repository is bound to its place: the data would not follow. */
static void
check_unchanged(const struct kind_request *rq, struct causes *causes)
{
    static const char *const fixed[] = { "type", "directory",
                                         "encryption.mode" };
    const json_t *is = json_object_get(rq->object, "spec");
    const json_t *was = json_object_get(rq->old, "spec");
    char at[128];

    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
        if (jsonx_equal(jsonx_get(is, fixed[i]), jsonx_get(was, fixed[i])))
            continue;
        (void)snprintf(at, sizeof at, "spec.%s", fixed[i]);
        causes_add(causes, "FieldValueInvalid", at,
                   "%s is immutable: delete this BackupTarget, which leaves "
                   "its directory as it is, and create it again with the "
                   "other one",
                   at);
    }
}

/* "36h", "30d", "1y6m": numbers with a letter each. */
static bool
is_span(const char *text)
{
    if (*text == 0)
        return false;
    while (*text != 0) {
        size_t digits = strspn(text, "0123456789");

        if (digits == 0 || digits > 6 || text[digits] == 0 ||
            strchr("hdwmy", text[digits]) == NULL)
            return false;
        text += digits + 1;
    }
    return true;
}

static void
check_spans(const json_t *spec, struct causes *causes)
{
    static const struct {
        const char *field;
        bool takes_never; /* "0" */
    } spans[] = {
        { "retention.keepWithin", false },
        { "maintenance.gcInterval", true },
        { "maintenance.gcGrace", true },
        { "maintenance.scrubInterval", true },
    };

    for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
        const char *text = jsonx_str(spec, spans[i].field);
        char at[128];

        if (text == NULL || is_span(text) ||
            (spans[i].takes_never && strcmp(text, "0") == 0))
            continue;
        (void)snprintf(at, sizeof at, "spec.%s", spans[i].field);
        causes_add(causes, "FieldValueInvalid", at,
                   "Invalid value: \"%.60s\": must be like 36h, 30d, 8w, 6m "
                   "or 1y6m",
                   text);
    }
}

/* A policy that keeps nothing is a mistake, not a wish. */
static void
check_retention(const json_t *spec, struct causes *causes)
{
    static const char *const counts[] = { "keepLast",    "keepHourly",
                                          "keepDaily",   "keepWeekly",
                                          "keepMonthly", "keepYearly" };
    const json_t *r = json_object_get(spec, "retention");
    int64_t sum = 0;

    if (r == NULL)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        sum += jsonx_int(r, counts[i], 0);
    if (sum == 0 && jsonx_str(r, "keepWithin") == NULL)
        causes_add(causes, "FieldValueInvalid", "spec.retention",
                   "Invalid value: keeps nothing: say what to keep, or leave "
                   "spec.retention out to keep everything");
}

static bool
is_running_on(const json_t *backup, const char *target)
{
    static const char *const running[] = { "Cutting", "Reading", "Committing" };
    const char *phase = jsonx_str_or(backup, "status.vmkeep.phase", "");

    if (strcmp(jsonx_str_or(backup, "status.vmkeep.target", ""), target) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(running); i++) {
        if (strcmp(phase, running[i]) == 0)
            return true;
    }
    return false;
}

/* A target that answers is not taken away from under a backup; one that does
 * not must not hold anything. */
static int
check_delete(const struct kind_request *rq, struct err *err)
{
    const char *name = jsonx_str_or(rq->old, "metadata.name", "");
    CLEANUP(json_decref) json_t *list = NULL;

    if (!rules_condition_is(rq->old, "Ready", "True"))
        return 0;
    list = rq->lookup->list(rq->lookup->arg, &kind_vmbackup.gvr, NULL);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *backup = json_array_get(list, i);

        if (is_running_on(backup, name))
            return err_set(
                err, ERR_CONFLICT,
                "backuptargets.vmkeep.io \"%s\" is being written by the "
                "backup %s/%s: wait for it, or delete the backup first",
                name, jsonx_str_or(backup, "metadata.namespace", "?"),
                jsonx_str_or(backup, "metadata.name", "?"));
    }
    return 0;
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    const json_t *spec = json_object_get(rq->object, "spec");

    if (rq->op == KIND_DELETE)
        return check_delete(rq, err);
    if (rq->op == KIND_UPDATE_STATUS)
        return 0;
    if (rq->op == KIND_UPDATE)
        check_unchanged(rq, causes);
    if (causes->n == 0) {
        check_path(spec, "directory.path", causes);
        check_encryption(spec, causes);
        check_spans(spec, causes);
        check_retention(spec, causes);
    }
    return 0;
}

const struct kind kind_backuptarget = {
    .gvr = { "vmkeep.io", "v1alpha1", "backuptargets", "BackupTarget", false,
             true, true },
    .versions = versions,
    .singular = "backuptarget",
    .short_names = short_names,
    .categories = categories,
    .verbs = rules_verbs,
    .columns = columns,
    .cell = cell,
    .set_defaults = set_defaults,
    .validate = validate,
    .schema_json = schema_backuptarget,
};
