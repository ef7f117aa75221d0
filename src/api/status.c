/* SPDX-License-Identifier: Apache-2.0 */
#include "api/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

json_t *
status_json(int code, const char *reason, const char *message)
{
    return json_pack("{s:s, s:s, s:{}, s:s, s:s, s:s, s:i}", "kind", "Status",
                     "apiVersion", "v1", "metadata", "status", "Failure",
                     "message", message, "reason", reason, "code", code);
}

/* `details` is stolen, may be NULL. */
static void
reply_status(struct reply *rp, int code, const char *reason,
             const char *message, json_t *details)
{
    CLEANUP(json_decref) json_t *s = status_json(code, reason, message);

    if (s == NULL) /* bytes that are not UTF-8 in the message */
        s = status_json(code, reason, "the request is not UTF-8");
    if (details != NULL)
        json_object_set_new(s, "details", details);
    reply_json(rp, code, s);
}

void
status_reply(struct reply *rp, int code, const char *reason, const char *fmt,
             ...)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    reply_status(rp, code, reason, buf_str(&b), NULL);
}

void
status_bad_request(struct reply *rp, const char *fmt, ...)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    reply_status(rp, 400, "BadRequest", buf_str(&b), NULL);
}

void
status_no_path(struct reply *rp)
{
    reply_status(rp, 404, "NotFound",
                 "the server could not find the requested resource",
                 json_object());
}

char *
status_resource(const struct kind *k)
{
    if (k->gvr.group[0] == 0)
        return xstrdup(k->gvr.resource);
    return xasprintf("%s.%s", k->gvr.resource, k->gvr.group);
}

static json_t *
details_of(const struct target *t, const char *name)
{
    json_t *d = json_object();

    if (name != NULL)
        json_object_set_new(d, "name", json_string(name));
    if (t->kind->gvr.group[0] != 0)
        json_object_set_new(d, "group", json_string(t->kind->gvr.group));
    json_object_set_new(d, "kind", json_string(t->kind->gvr.resource));
    return d;
}

/* A broken rule of metadata comes as "metadata.x: Invalid value: ...". */
static bool
reply_metadata_cause(struct reply *rp, const struct target *t,
                     const struct err *err)
{
    const char *colon = strchr(err->msg, ':');
    struct causes causes = { 0 };
    const char *reason = "FieldValueInvalid";

    if (strncmp(err->msg, "metadata.", 9) != 0 || colon == NULL ||
        colon[1] != ' ')
        return false;
    if (strncmp(colon + 2, "Required", 8) == 0)
        reason = "FieldValueRequired";
    else if (strncmp(colon + 2, "Too long", 8) == 0)
        reason = "FieldValueTooLong";
    else if (strncmp(colon + 2, "Forbidden", 9) == 0)
        reason = "FieldValueForbidden";
    causes_add(&causes, reason, "", "%s", colon + 2);
    (void)snprintf(causes.v[0].field, sizeof causes.v[0].field, "%.*s",
                   (int)(colon - err->msg), err->msg);
    status_invalid(rp, t, t->name, &causes);
    return true;
}

void
status_of_err(struct reply *rp, const struct target *t, const struct err *err)
{
    CLEANUP(mem_free) char *resource = status_resource(t->kind);
    CLEANUP(mem_free) char *words = NULL;

    if (err->code == ERR_INVALID) {
        if (!reply_metadata_cause(rp, t, err))
            reply_status(rp, 400, "BadRequest", err->msg, NULL);
        return;
    }
    if (err->code == ERR_UNSUPPORTED) {
        reply_status(rp, 405, "MethodNotAllowed", err->msg,
                     details_of(t, t->name));
        return;
    }
    if (err->code == ERR_DENIED && strstr(err->msg, "is forbidden") == NULL)
        words = xasprintf("%s \"%s\" is forbidden: %s", resource,
                          t->name != NULL ? t->name : "", err->msg);
    reply_status(rp, err_code_http(err->code),
                 err->code == ERR_BUSY ? "Conflict" : err_code_name(err->code),
                 words != NULL ? words : err->msg, details_of(t, t->name));
}

/* "spec.a: Required value" or "[a, b]" */
static void
add_causes(struct buf *b, const struct causes *causes, json_t *list)
{
    if (causes->n != 1)
        buf_add_char(b, '[');
    for (size_t i = 0; i < causes->n; i++) {
        const struct cause *c = &causes->v[i];

        buf_printf(b, "%s%s: %s", i > 0 ? ", " : "", c->field, c->message);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "reason",
                                              c->reason, "message", c->message,
                                              "field", c->field));
    }
    if (causes->n != 1)
        buf_add_char(b, ']');
}

static void
reply_invalid(struct reply *rp, const char *kind, const char *group,
              const char *name, const struct causes *causes)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    json_t *list = json_array();
    json_t *details = json_object();

    buf_printf(&b, "%s%s%s \"%s\" is invalid: ", kind, group[0] ? "." : "",
               group, name);
    add_causes(&b, causes, list);
    if (name[0] != 0)
        json_object_set_new(details, "name", json_string(name));
    if (group[0] != 0)
        json_object_set_new(details, "group", json_string(group));
    json_object_set_new(details, "kind", json_string(kind));
    json_object_set_new(details, "causes", list);
    reply_status(rp, 422, "Invalid", buf_str(&b), details);
}

void
status_invalid(struct reply *rp, const struct target *t, const char *name,
               const struct causes *causes)
{
    reply_invalid(rp, t->kind->gvr.kind, t->kind->gvr.group,
                  name != NULL ? name : "", causes);
}

void
status_invalid_options(struct reply *rp, const char *kind,
                       const struct causes *causes)
{
    reply_invalid(rp, kind, "meta.k8s.io", "", causes);
}

void
status_forbidden(struct reply *rp, const struct user *u, const char *verb,
                 const struct target *t)
{
    CLEANUP(mem_free) char *resource = status_resource(t->kind);
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_printf(&b, "%s", resource);
    if (t->name != NULL)
        buf_printf(&b, " \"%s\"", t->name);
    buf_printf(
        &b,
        " is forbidden: User \"%s\" cannot %s resource \"%s%s%s\" in API group \"%s\"",
        u->name, verb, t->kind->gvr.resource, t->subresource != NULL ? "/" : "",
        t->subresource != NULL ? t->subresource : "", t->kind->gvr.group);
    if (t->ns != NULL)
        buf_printf(&b, " in the namespace \"%s\"", t->ns);
    else
        buf_add_str(&b, " at the cluster scope");
    reply_status(rp, 403, "Forbidden", buf_str(&b), details_of(t, t->name));
}

void
status_deleted(struct reply *rp, const struct target *t, const char *name,
               const char *uid)
{
    json_t *details = details_of(t, name);
    CLEANUP(json_decref)
    json_t *s =
        json_pack("{s:s, s:s, s:{}, s:s, s:o}", "kind", "Status", "apiVersion",
                  "v1", "metadata", "status", "Success", "details", details);

    if (uid != NULL)
        json_object_set_new(details, "uid", json_string(uid));
    reply_json(rp, 200, s);
}
