/* SPDX-License-Identifier: Apache-2.0 */
/* api/ctx.h: what the handlers share. Private to api/. */
#pragma once
#include "api/api.h"
#include "api/auth.h"
#include "api/discovery.h"
#include "api/openapi.h"
#include "api/server.h"

/* All [C]: constant while requests are served. */
struct api {
    struct api_config cfg;
    struct store *store;
    struct cache *cache;
    struct discovery *discovery;
    struct openapi *openapi;
    struct tokens *tokens; /* NULL: no TLS */
    struct auth *auth;
    struct server *server;
    char *ca_pem;
    unsigned port;   /* 0: no TLS */
    bool has_socket; /* the UNIX socket is ours to remove */
};

/* Wait until the cache has everything that the store has now: an answer from
 * the cache is then the most recent. A bounded wait; late is no error. */
void api_catch_up(struct api *a);
/* Wait until the cache has revision `rev`: called after each write, so that a
 * client reads its own writes. */
void api_wait_rev(struct api *a, uint64_t rev);

/* "GROUP/VERSION" of the target ("v1" for the core group); caller frees. */
char *api_version_of(const struct target *t) NODISCARD;
/* NULL where the stored apiVersion is the target's already, else what it is
 * to be replaced by, in `buf`. */
#define API_VERSION_SIZE 128
const char *api_other_version(const struct target *t,
                              char buf[API_VERSION_SIZE]);
