/* SPDX-License-Identifier: Apache-2.0 */
/* The server's own paths: docs/api.md. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/body.h"
#include "api/handlers.h"
#include "api/status.h"
#include "base/mem.h"
#include "codec/pki.h"

static json_t *
kubeconfig_of(const struct api *a, const char *server, const char *user,
              const char *token)
{
    CLEANUP(mem_free) char *ca = pki_base64(a->ca_pem, strlen(a->ca_pem));

    return json_pack(
        "{s:s, s:s, s:[{s:s, s:{s:s, s:s}}], s:[{s:s, s:{s:s}}], s:[{s:s, s:{s:s, s:s, s:s}}], s:s, s:{}}",
        "apiVersion", "v1", "kind", "Config", "clusters", "name", "vmkeep",
        "cluster", "server", server, "certificate-authority-data", ca, "users",
        "name", user, "user", "token", token, "contexts", "name", "vmkeep",
        "context", "cluster", "vmkeep", "user", user, "namespace", "default",
        "current-context", "vmkeep", "preferences");
}

/* "0.0.0.0:7443" listens everywhere, but a client must say where. */
static char *
default_server(const struct api *a)
{
    const char *listen = a->cfg.listen;
    const char *colon = listen != NULL ? strrchr(listen, ':') : NULL;
    int len = colon != NULL ? (int)(colon - listen) : 0;
    bool is_any = len == 0 || strncmp(listen, "0.0.0.0:", 8) == 0 ||
                  strncmp(listen, "[::]:", 5) == 0;

    return is_any ? xasprintf("https://127.0.0.1:%u", a->port)
                  : xasprintf("https://%.*s:%u", len, listen, a->port);
}

void
local_kubeconfig(struct request *rq, struct reply *rp)
{
    struct api *a = rq->api;
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(json_decref) json_t *out = NULL;
    CLEANUP(mem_free) char *server = NULL;
    const char *user;
    char token[TOKEN_SIZE];
    struct err err = { 0 };

    if (!rq->is_local) {
        status_reply(
            rp, 403, "Forbidden",
            "tokens are made on the UNIX socket only: run vmkeep kubeconfig on the host");
        return;
    }
    if (a->port == 0) {
        status_reply(
            rp, 409, "Conflict",
            "vmkeepd does not listen on TLS: set listen in vmkeep.conf");
        return;
    }
    v = body_parse(rq, true, rp);
    if (v == NULL)
        return;
    user = jsonx_str_or(v, "user", rq->user.name);
    if (jsonx_str(v, "server") != NULL)
        server = xstrdup(jsonx_str(v, "server"));
    else
        server = default_server(a);
    if (auth_mint(a->auth, user, token, &err) < 0) {
        if (err.code == ERR_INVALID)
            status_bad_request(rp, "%s", err.msg);
        else
            status_reply(rp, err_code_http(err.code), err_code_name(err.code),
                         "%s", err.msg);
        return;
    }
    out = kubeconfig_of(a, server, user, token);
    mem_wipe(token, sizeof token);
    reply_json(rp, 200, out);
}

/* Resident memory from the kernel; 0: unknown. source: proc(5), statm */
static uint64_t
resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    char line[128] = "";
    char *at; /* after the first number, the total size */

    if (f == NULL)
        return 0;
    if (fgets(line, sizeof line, f) == NULL)
        line[0] = 0;
    (void)fclose(f);
    at = strchr(line, ' ');
    return at == NULL
               ? 0
               : strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* source: the Prometheus text format, 0.0.4 */
void
local_metrics(struct request *rq, struct reply *rp)
{
    struct buf *b = &rp->body;

    reply_text(rp, 200, "");
    rp->content_type = "text/plain; version=0.0.4; charset=utf-8";
    buf_printf(
        b,
        "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %" PRIu64
        "\n",
        resident_bytes());
    buf_printf(
        b,
        "# TYPE vmkeep_store_revision counter\nvmkeep_store_revision %" PRIu64
        "\n# TYPE vmkeep_objects gauge\n",
        cache_rev(rq->api->cache));
    for (size_t i = 0; kind_table[i] != NULL; i++) {
        CLEANUP(object_list_fini) struct object_list l = { 0 };
        CLEANUP(mem_free) char *name = status_resource(kind_table[i]);

        cache_list(rq->api->cache, &kind_table[i]->gvr, NULL, &l);
        buf_printf(b, "vmkeep_objects{resource=\"%s\"} %zu\n", name, l.n);
    }
}
