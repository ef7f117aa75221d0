/* SPDX-License-Identifier: Apache-2.0 */
/* cli/client.h: the API of vmkeepd, as a client sees it.
 *
 * Threads: one.
 * source  docs/api.md; spec k8swire 3 to 8
 */
#pragma once
#include <stdint.h>

#include "codec/gvr.h"
#include "codec/jsonx.h"

struct client;

struct client_config {
    const char *socket;     /* UNIX socket; NULL: by `server` */
    const char *server;     /* "https://host:7443" */
    const char *kubeconfig; /* a file; NULL: none */
};

/* No connection is made before the first request. */
struct client *client_new(const struct client_config *cfg, struct err *err)
    NODISCARD;
void client_free(struct client *c); /* NULL is fine */
/* The namespace that the kubeconfig names; NULL: none. */
const char *client_ns(const struct client *c);

/* "/apis/GROUP/VERSION/namespaces/NS/RESOURCE/NAME"; ns NULL: all namespaces
 * (it is left out where there are none);
 * name NULL: the collection. Caller frees. */
char *client_path(const struct gvr *gvr, const char *ns, const char *name)
    NODISCARD;

/* One request; the body of a PATCH is a merge patch. `body` NULL: none. `ret`
 * NULL: the answer is not wanted.
 *
 *   errors  what the server says, by its Status; client_status() then has it
 */
int client_call(struct client *c, const char *method, const char *path,
                const json_t *body, json_t **ret, struct err *err) NODISCARD;
/* The Status of the last refusal; NULL: there was none. */
const json_t *client_status(const struct client *c);

/* Called with each state of an object; NULL: it is gone. 0: wait on; 1: that
 * is it; -1 with err. */
typedef int (*client_seen_fn)(void *arg, const json_t *object, struct err *err);

/* Watch one object until `seen` has seen enough. TIMEOUT after timeout_ms. */
int client_wait(struct client *c, const struct gvr *gvr, const char *ns,
                const char *name, uint64_t timeout_ms, client_seen_fn seen,
                void *arg, struct err *err) NODISCARD;
