/* SPDX-License-Identifier: Apache-2.0 */
/* api/api.h: the HTTP server: the Kubernetes protocol over the store.
 *
 * Handlers read the cache and write objects with store/obj.h; they meet the
 * controllers nowhere else. Two listeners: a UNIX socket (who connects is
 * asked from the kernel) and TLS with bearer tokens.
 * Paths of the server's own are in docs/api.md.
 * Threads: its own; api_new() and api_free() from the main thread.
 * source  spec k8swire
 */
#pragma once
#include "store/cache.h"
#include "store/store.h"

/* Borrowed strings; they live as long as the server. */
struct api_config {
    const char *state_dir; /* pki/ below it: CA, server key, tokens */
    const char *socket;    /* path of the UNIX socket; NULL: none */
    const char *listen;    /* "127.0.0.1:7443", "[::1]:7443"; NULL: no TLS.
                            * Port 0: any free one */
    const char *group;     /* its members are administrators on the socket,
                            * NULL: "vmkeep" */
};

struct api;

/* Start serving. Makes the CA, certificate and socket when they are missing.
 *
 *   errors  INVALID (listen), EXISTS (another daemon serves the socket),
 *           DENIED, those of codec/pki.h
 */
struct api *api_new(const struct api_config *cfg, struct store *store,
                    struct cache *cache, struct err *err) NODISCARD;

/* Ends all watches with a clean last chunk and waits for running requests.
 * NULL is fine. The store and the cache must outlive it. */
void api_free(struct api *a);
DEFINE_CLEANUP(api_free, struct api *)

/* The port that TLS listens on; 0: no TLS. */
unsigned api_port(const struct api *a);
