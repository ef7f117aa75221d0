/* SPDX-License-Identifier: Apache-2.0 */
#include "api/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/status.h"
#include "base/buf.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/text.h"

#define MANAGER_MAX 128 /* bytes */

/* "" is the same as absent. */
static const char *
given(const struct request *rq, const char *key)
{
    const char *s = uri_query(&rq->uri, key);

    return s != NULL && s[0] != 0 ? s : NULL;
}

/* An absent number is 0. */
static bool
read_number(const struct request *rq, const char *key, int64_t *ret,
            struct reply *rp)
{
    const char *s = given(rq, key);
    char *end = NULL;

    *ret = 0;
    if (s == NULL)
        return true;
    errno = 0;
    *ret = strtoll(s, &end, 10);
    if (errno == 0 && *end == 0 && end > s && !isspace((unsigned char)s[0]))
        return true;
    status_bad_request(rp, "%s: Invalid value: \"%s\": want a whole number",
                       key, s);
    return false;
}

static bool
read_revision(const struct request *rq, bool *ret_has, uint64_t *ret,
              struct reply *rp)
{
    const char *s = given(rq, "resourceVersion");

    *ret = 0;
    *ret_has = s != NULL;
    if (s == NULL)
        return true;
    if (strlen(s) <= 18 && strspn(s, "0123456789") == strlen(s)) {
        *ret = strtoull(s, NULL, 10);
        return true;
    }
    status_bad_request(
        rp, "resourceVersion: Invalid value: \"%s\": want a number", s);
    return false;
}

/* How much of an object the rows of a table carry. */
static bool
check_include(const struct request *rq, struct reply *rp)
{
    const char *s = given(rq, "includeObject");

    if (s == NULL || strcmp(s, "None") == 0 || strcmp(s, "Metadata") == 0 ||
        strcmp(s, "Object") == 0)
        return true;
    status_bad_request(rp, "unrecognized includeObject value: \"%s\"", s);
    return false;
}

/* ---- list and watch ---- */

static void
forbid(struct causes *c, const char *field, const char *why)
{
    causes_add(c, "FieldValueForbidden", field, "Forbidden: %s", why);
}

#define MATCH "resourceVersionMatch"

static void
check_match_list(const struct options_list *o, const char *match,
                 struct causes *c)
{
    bool is_known =
        o->is_exact || match == NULL || strcmp(match, "NotOlderThan") == 0;

    if (o->has_initial)
        forbid(c, "sendInitialEvents",
               "sendInitialEvents is forbidden for list");
    if (match == NULL)
        return;
    if (!o->has_rev)
        forbid(
            c, MATCH,
            "resourceVersionMatch is forbidden unless resourceVersion is provided");
    if (o->token != NULL)
        forbid(c, MATCH,
               "resourceVersionMatch is forbidden when continue is provided");
    if (!is_known)
        causes_add(
            c, "FieldValueNotSupported", MATCH,
            "Unsupported value: \"%s\": supported values: \"Exact\", \"NotOlderThan\"",
            match);
    if (o->is_exact && o->has_rev && o->rev == 0)
        forbid(
            c, MATCH,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
}

/* sendInitialEvents is obeyed or refused, never ignored: a client waits for
 * the bookmark that ends them. */
static void
check_match_watch(const struct options_list *o, const char *match,
                  struct causes *c)
{
    bool is_not_older = match != NULL && strcmp(match, "NotOlderThan") == 0;

    if (o->has_initial && !is_not_older)
        forbid(
            c, MATCH,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    else if (match != NULL && !o->has_initial)
        forbid(
            c, MATCH,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    if (match != NULL && o->token != NULL)
        forbid(c, MATCH,
               "resourceVersionMatch is forbidden when continue is provided");
}

bool
options_list_read(const struct request *rq, bool is_watch,
                  struct options_list *ret, struct reply *rp)
{
    const char *match = given(rq, MATCH);
    struct options_list o = { .token = given(rq, "continue") };
    int64_t limit = 0, timeout_s = 0;
    struct causes causes = { 0 };

    if (!read_number(rq, "limit", &limit, rp) ||
        !read_number(rq, "timeoutSeconds", &timeout_s, rp) ||
        !read_revision(rq, &o.has_rev, &o.rev, rp) || !check_include(rq, rp))
        return false;
    if (timeout_s < 0) {
        status_bad_request(
            rp, "timeoutSeconds: Invalid value: %lld: must not be negative",
            (long long)timeout_s);
        return false;
    }
    o.limit = limit > 0 ? (size_t)limit : 0;
    o.timeout_s = (uint64_t)timeout_s;
    o.has_match = match != NULL;
    o.is_exact = match != NULL && strcmp(match, "Exact") == 0;
    o.has_initial = uri_query(&rq->uri, "sendInitialEvents") != NULL;
    o.wants_initial = uri_query_bool(&rq->uri, "sendInitialEvents");
    o.wants_bookmarks = uri_query_bool(&rq->uri, "allowWatchBookmarks");
    (is_watch ? check_match_watch : check_match_list)(&o, match, &causes);
    if (causes.n > 0) {
        status_invalid_options(rp, "ListOptions", &causes);
        return false;
    }
    if (o.token != NULL && o.rev != 0 && !is_watch) {
        status_bad_request(
            rp,
            "specifying resource version is not allowed when using continue");
        return false;
    }
    *ret = o;
    return true;
}

bool
options_get_read(const struct request *rq, uint64_t *ret_rev, struct reply *rp)
{
    bool has_rev;

    return read_revision(rq, &has_rev, ret_rev, rp) && check_include(rq, rp);
}

/* ---- create, update, patch ---- */

/* The bytes of the character at `s`, if a manager's name may have it, else 0.
 */
static size_t
manager_char(const char *s)
{
    size_t n = text_utf8_length(s);

    return n > 1 || (n == 1 && isprint((unsigned char)*s)) ? n : 0;
}

static void
check_manager(const char *manager, struct causes *c)
{
    bool is_printable = true;

    for (const char *s = manager; *s != 0 && is_printable;) {
        size_t n = manager_char(s);

        is_printable = n > 0;
        s += n;
    }
    if (strlen(manager) > MANAGER_MAX)
        causes_add(c, "FieldValueTooLong", "fieldManager",
                   "Too long: may not be more than %d bytes", MANAGER_MAX);
    if (!is_printable)
        causes_add(c, "FieldValueInvalid", "fieldManager",
                   "Invalid value: should only contain printable characters");
}

/* The program in User-Agent: what of it can be a manager's name. It is kept in
 * every object that the program changes. */
static char *
manager_of_agent(const char *agent)
{
    struct buf name = BUF_INIT;

    while (agent != NULL && *agent != 0 && strchr("/ ", *agent) == NULL) {
        size_t n = manager_char(agent), skipped = text_utf8_length(agent);

        if (n > 0 && name.len + n <= MANAGER_MAX)
            buf_add(&name, agent, n);
        agent += skipped > 0 ? skipped : 1;
    }
    if (name.len == 0)
        buf_add_str(&name, "unknown");
    return buf_take_str(&name);
}

char *
options_manager(const struct request *rq)
{
    const char *manager = given(rq, "fieldManager");

    return manager != NULL ? xstrdup(manager)
                           : manager_of_agent(request_header(rq, "User-Agent"));
}

static void
check_word(struct causes *c, const char *field, const char *word,
           const char *const *known)
{
    char list[128] = "";

    for (size_t i = 0; known[i] != NULL; i++) {
        size_t len = strlen(list);

        if (strcmp(known[i], word) == 0)
            return;
        (void)snprintf(list + len, sizeof list - len, "%s\"%s\"",
                       len > 0 ? ", " : "", known[i]);
    }
    causes_add(c, "FieldValueNotSupported", field,
               "Unsupported value: \"%s\": supported values: %s", word, list);
}

static const char *const dry_runs[] = { "All", NULL };

bool
options_write_read(const struct request *rq, const char *kind,
                   bool *ret_is_dry_run, struct reply *rp)
{
    static const char *const validations[] = { "Ignore", "Warn", "Strict",
                                               NULL };
    const char *dry_run = given(rq, "dryRun");
    const char *validation = given(rq, "fieldValidation");
    const char *manager = given(rq, "fieldManager");
    struct causes causes = { 0 };

    *ret_is_dry_run = dry_run != NULL;
    if (dry_run != NULL)
        check_word(&causes, "dryRun", dry_run, dry_runs);
    if (validation != NULL)
        check_word(&causes, "fieldValidation", validation, validations);
    if (manager != NULL)
        check_manager(manager, &causes);
    if (causes.n > 0)
        status_invalid_options(rp, kind, &causes);
    return causes.n == 0;
}

/* ---- delete ---- */

bool
options_body_dry_run(const json_t *body, bool *ret_is_dry_run, struct reply *rp)
{
    const json_t *list = json_object_get(body, "dryRun");
    struct causes causes = { 0 };
    bool is_list = list == NULL || json_is_null(list) || json_is_array(list);

    for (size_t i = 0; i < json_array_size(list); i++)
        is_list = is_list && json_is_string(json_array_get(list, i));
    if (!is_list) {
        status_bad_request(rp, "dryRun: want a list of words: [\"All\"]");
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++)
        check_word(&causes, "dryRun",
                   json_string_value(json_array_get(list, i)), dry_runs);
    *ret_is_dry_run = json_array_size(list) > 0;
    if (causes.n > 0)
        status_invalid_options(rp, "DeleteOptions", &causes);
    return causes.n == 0;
}

/* A slip in the type of a member would delete what it was to protect. */
static bool
check_types(const json_t *body, struct reply *rp)
{
    static const struct {
        const char *path;
        json_type type;
        const char *words;
    } members[] = {
        { "kind", JSON_STRING, "text" },
        { "gracePeriodSeconds", JSON_INTEGER, "a whole number" },
        { "propagationPolicy", JSON_STRING, "text" },
        { "orphanDependents", JSON_TRUE, "true or false" },
        { "preconditions", JSON_OBJECT, "an object" },
        { "preconditions.uid", JSON_STRING, "text" },
        { "preconditions.resourceVersion", JSON_STRING, "text" },
    };

    if (!json_is_object(body)) {
        status_bad_request(rp, "the body is no DeleteOptions object");
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        const json_t *v = jsonx_get(body, members[i].path);

        if (v == NULL || json_is_null(v) || json_typeof(v) == members[i].type ||
            (members[i].type == JSON_TRUE && json_is_false(v)))
            continue;
        status_bad_request(rp, "%s: want %s", members[i].path,
                           members[i].words);
        return false;
    }
    if (strcmp(jsonx_str_or(body, "kind", "DeleteOptions"), "DeleteOptions") !=
        0) {
        status_bad_request(rp, "the body is a %s; want DeleteOptions",
                           jsonx_str(body, "kind"));
        return false;
    }
    return true;
}

/* The same words may stand in the query. */
static bool
read_delete_query(const struct request *rq, struct options_delete *o,
                  struct reply *rp)
{
    bool is_dry_run = false;
    int64_t grace_s;

    if (!read_number(rq, "gracePeriodSeconds", &grace_s, rp) ||
        !options_write_read(rq, "DeleteOptions", &is_dry_run, rp))
        return false;
    o->is_dry_run = o->is_dry_run || is_dry_run;
    return true;
}

bool
options_delete_read(const struct request *rq, const json_t *body,
                    struct options_delete *ret, struct reply *rp)
{
    static const char *const policies[] = { "Background", "Foreground",
                                            "Orphan", NULL };
    const char *policy = uri_query(&rq->uri, "propagationPolicy");
    const json_t *orphan = jsonx_get(body, "orphanDependents");
    struct options_delete o = { .is_dry_run = false };
    struct causes causes = { 0 };
    bool is_said;

    if (!check_types(body, rp) ||
        !options_body_dry_run(body, &o.is_dry_run, rp) ||
        !read_delete_query(rq, &o, rp))
        return false;
    if (policy == NULL)
        policy = jsonx_str(body, "propagationPolicy");
    is_said = json_is_boolean(orphan) ||
              uri_query(&rq->uri, "orphanDependents") != NULL;
    if (policy != NULL)
        check_word(&causes, "propagationPolicy", policy, policies);
    if (policy != NULL && is_said)
        causes_add(
            &causes, "FieldValueInvalid", "propagationPolicy",
            "Invalid value: \"%s\": orphanDependents and deletionPropagation cannot be both set",
            policy);
    if (causes.n > 0) {
        status_invalid_options(rp, "DeleteOptions", &causes);
        return false;
    }
    o.is_orphan = (policy != NULL && strcmp(policy, "Orphan") == 0) ||
                  json_is_true(orphan) ||
                  uri_query_bool(&rq->uri, "orphanDependents");
    o.uid = jsonx_str(body, "preconditions.uid");
    o.resource_version = jsonx_str(body, "preconditions.resourceVersion");
    *ret = o;
    return true;
}
