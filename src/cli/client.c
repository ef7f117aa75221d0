/* SPDX-License-Identifier: Apache-2.0 */
/* A wait is a GET and then a watch from its revision, again whenever the
 * stream ends: so it survives a restart of the daemon.
 */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/kubeconf.h"
#include "net/http.h"

#define CALL_TIMEOUT_MS  60000 /* a subresource may take 30 s */
#define WATCH_TIMEOUT_MS 30000 /* then look again */
#define RETRY_MS         500

struct client {
    struct http *http;
    struct kubeconf *conf; /* or NULL */
    json_t *status;        /* of the last refusal */
};

struct client *
client_new(const struct client_config *cfg, struct err *err)
{
    struct client *c = xcalloc(1, sizeof *c);
    struct http_config http = { .user_agent = "vmkeep/" VMKEEP_VERSION };

    if (cfg->kubeconfig != NULL || cfg->server != NULL) {
        c->conf = kubeconf_load(cfg->kubeconfig, err);
        if (c->conf == NULL) {
            client_free(c);
            return NULL;
        }
        http.url = cfg->server != NULL ? cfg->server : c->conf->server;
        http.ca_pem = c->conf->ca_pem;
        http.cert_pem = c->conf->cert_pem;
        http.key_pem = c->conf->key_pem;
        http.token = c->conf->token;
    } else {
        http.unix_socket = cfg->socket;
    }
    c->http = http_new(&http, err);
    if (c->http == NULL) {
        client_free(c);
        return NULL;
    }
    return c;
}

void
client_free(struct client *c)
{
    if (c == NULL)
        return;
    http_free(c->http);
    kubeconf_free(c->conf);
    json_decref(c->status);
    free(c);
}

const char *
client_ns(const struct client *c)
{
    return c->conf == NULL ? NULL : c->conf->ns;
}

const json_t *
client_status(const struct client *c)
{
    return c == NULL ? NULL : c->status;
}

char *
client_path(const struct gvr *gvr, const char *ns, const char *name)
{
    struct buf path = BUF_INIT;

    if (*gvr->group == 0)
        buf_printf(&path, "/api/%s", gvr->version);
    else
        buf_printf(&path, "/apis/%s/%s", gvr->group, gvr->version);
    if (ns != NULL && gvr->is_namespaced) {
        CLEANUP(mem_free) char *s = http_escape(ns);

        buf_printf(&path, "/namespaces/%s", s);
    }
    buf_printf(&path, "/%s", gvr->resource);
    if (name != NULL) {
        CLEANUP(mem_free) char *s = http_escape(name);

        buf_printf(&path, "/%s", s);
    }
    return buf_take_str(&path);
}

/* ---- refusals ---- */

static enum err_code
code_of(int http, const char *reason)
{
    for (int i = ERR_NONE + 1; i < ERR_CODE_COUNT; i++) {
        if (strcmp(err_code_name((enum err_code)i), reason) == 0)
            return (enum err_code)i;
    }
    switch (http) {
    case 400:
    case 422:
        return ERR_INVALID;
    case 401:
    case 403:
        return ERR_DENIED;
    case 404:
        return ERR_NOT_FOUND;
    case 405:
    case 415:
    case 501:
        return ERR_UNSUPPORTED;
    case 409:
        return ERR_CONFLICT;
    case 429:
    case 503:
        return ERR_UNAVAILABLE;
    case 504:
        return ERR_TIMEOUT;
    case 507:
        return ERR_NO_SPACE;
    default:
        return ERR_INTERNAL;
    }
}

static int
refuse(struct client *c, const struct http_response *r, struct err *err)
{
    struct err unused;
    const char *message;

    json_decref(c->status);
    c->status = jsonx_parse(buf_str(&r->body), r->body.len, &unused);
    message = jsonx_str(c->status, "message");
    if (message == NULL)
        return err_set(err, code_of(r->status, ""),
                       "the server answered with HTTP status %d: %.200s",
                       r->status, buf_str(&r->body));
    return err_set(err,
                   code_of(r->status, jsonx_str_or(c->status, "reason", "")),
                   "%s", message);
}

/* ---- one request ---- */

static int
exchange(struct client *c, const char *method, const char *path,
         const json_t *body, struct http_response *r, struct err *err)
{
    const char *const headers[] = {
        strcmp(method, "PATCH") == 0
            ? "Content-Type: application/merge-patch+json"
            : "Content-Type: application/json",
        "Accept: application/json", NULL
    };
    CLEANUP(mem_free)
    char *text = body == NULL ? NULL : jsonx_canonical(body);
    struct http_request rq = {
        .method = method,
        .path = path,
        .headers = headers,
        .body = text,
        .body_len = text == NULL ? 0 : strlen(text),
        .timeout_ms = CALL_TIMEOUT_MS,
    };

    if (http_do(c->http, &rq, r, err) < 0)
        return -1;
    if (r->status < 200 || r->status > 299)
        return refuse(c, r, err);
    return 0;
}

int
client_call(struct client *c, const char *method, const char *path,
            const json_t *body, json_t **ret, struct err *err)
{
    CLEANUP(http_response_fini) struct http_response r = { 0 };
    json_t *v;

    if (exchange(c, method, path, body, &r, err) < 0)
        return -1;
    if (ret == NULL)
        return 0;
    v = jsonx_parse(buf_str(&r.body), r.body.len, err);
    if (v == NULL)
        return err_wrap(err, "the server's answer");
    *ret = v;
    return 0;
}

/* ---- waiting ---- */

struct wait {
    client_seen_fn seen;
    void *arg;
    struct buf line;
    bool is_done;
    bool is_over; /* the stream has nothing more to say */
};

/* One event of the stream. 0: go on, 1: end it. */
static int
on_line(struct wait *w, struct err *err)
{
    CLEANUP(json_decref)
    json_t *event = jsonx_parse(buf_str(&w->line), w->line.len, err);
    const char *type = jsonx_str_or(event, "type", "ERROR");
    int rc;

    if (event == NULL)
        return -1;
    if (strcmp(type, "BOOKMARK") == 0)
        return 0;
    if (strcmp(type, "ERROR") == 0) {
        w->is_over = true;
        return 1;
    }
    rc = w->seen(
        w->arg,
        strcmp(type, "DELETED") == 0 ? NULL : json_object_get(event, "object"),
        err);
    w->is_done = rc > 0;
    return rc;
}

static int
on_data(void *arg, const char *data, size_t len, struct err *err)
{
    struct wait *w = arg;

    for (size_t i = 0; i < len; i++) {
        int rc;

        if (data[i] != '\n') {
            buf_add_char(&w->line, data[i]);
            continue;
        }
        rc = on_line(w, err);
        buf_truncate(&w->line, 0);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The present state; *ret_rev is what a watch goes on from. */
static int
look(struct client *c, const char *path, struct wait *w, char **ret_rev,
     struct err *err)
{
    CLEANUP(json_decref) json_t *object = NULL;
    int rc;

    if (client_call(c, "GET", path, NULL, &object, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -1;
    }
    rc = w->seen(w->arg, object, err);
    w->is_done = rc > 0;
    *ret_rev =
        rc < 0 ? NULL
               : xstrdup(jsonx_str_or(object, "metadata.resourceVersion", "0"));
    return rc < 0 ? -1 : 0;
}

static int
stream(struct client *c, const char *collection, const char *name,
       const char *rev, uint64_t left_ms, struct wait *w, struct err *err)
{
    CLEANUP(http_response_fini) struct http_response r = { 0 };
    uint64_t ms = left_ms < WATCH_TIMEOUT_MS ? left_ms : WATCH_TIMEOUT_MS;
    uint64_t seconds = ms / 1000 + 1;
    CLEANUP(mem_free) char *escaped = http_escape(name);
    CLEANUP(mem_free)
    char *path =
        xasprintf("%s?watch=1&fieldSelector=metadata.name%%3D%s"
                  "&resourceVersion=%s&timeoutSeconds=%llu",
                  collection, escaped, rev, (unsigned long long)seconds);
    struct http_request rq = { .method = "GET",
                               .path = path,
                               .timeout_ms = ms + 1 };

    buf_truncate(&w->line, 0);
    return http_stream(c->http, &rq, on_data, w, &r, err);
}

static int
wait_once(struct client *c, const char *path, const char *collection,
          const char *name, uint64_t end_ms, struct wait *w, struct err *err)
{
    CLEANUP(mem_free) char *rev = NULL;
    uint64_t now = clock_mono_ms();

    if (look(c, path, w, &rev, err) < 0)
        return -1;
    if (w->is_done || now >= end_ms)
        return 0;
    return stream(c, collection, name, rev, end_ms - now, w, err);
}

int
client_wait(struct client *c, const struct gvr *gvr, const char *ns,
            const char *name, uint64_t timeout_ms, client_seen_fn seen,
            void *arg, struct err *err)
{
    CLEANUP(mem_free) char *path = client_path(gvr, ns, name);
    CLEANUP(mem_free) char *collection = client_path(gvr, ns, NULL);
    uint64_t end_ms = clock_mono_ms() + timeout_ms;
    struct wait w = { .seen = seen, .arg = arg };
    int rc = 0;

    while (!w.is_done) {
        rc = wait_once(c, path, collection, name, end_ms, &w, err);
        if (rc < 0 && err->code != ERR_UNAVAILABLE)
            break;
        if (w.is_done)
            break;
        if (clock_mono_ms() >= end_ms) {
            if (rc == 0)
                (void)err_set(err, ERR_TIMEOUT,
                              "timed out waiting for %s \"%s\"", gvr->kind,
                              name);
            rc = -1;
            break;
        }
        clock_sleep_ms(RETRY_MS / (rc < 0 ? 1 : 5));
    }
    buf_fini(&w.line);
    return w.is_done ? 0 : rc;
}
