/* SPDX-License-Identifier: Apache-2.0 */
/* api/request.h: one request, free of any HTTP library.
 *
 * server.c fills a struct request, route.c finds the handler, the handler
 * fills a struct reply (api/reply.h).
 * Threads: both belong to the thread that serves the connection.
 */
#pragma once
#include <stdint.h>

#include "api/reply.h"
#include "api/uri.h"
#include "api/user.h"
#include "base/buf.h"
#include "codec/jsonx.h"
#include "types/kind.h"

enum method {
    METHOD_GET, /* and HEAD */
    METHOD_POST,
    METHOD_PUT,
    METHOD_PATCH,
    METHOD_DELETE,
    METHOD_OTHER,
};

struct api;

/* What the URL names, filled by route.c. */
struct target {
    const struct kind *kind;
    const char *version;     /* as in the URL: answers carry it */
    const char *ns;          /* NULL: none, or all namespaces */
    const char *name;        /* NULL: the collection */
    const char *subresource; /* NULL: none */
};

struct request {
    struct api *api;
    enum method method;
    struct uri uri;
    struct user user;
    bool is_local; /* came by the UNIX socket */
    struct buf body;
    struct target target;
    int fd; /* the peer's socket */
    /* The values of a header, at most `max` are set; how many there are. Use
     * request_header(). `conn` is what server.c needs for it. */
    size_t (*headers)(void *conn, const char *name, const char **v, size_t max);
    void *conn;
    uint64_t waker; /* of this connection, for api_wake() */
};

const char *request_header(const struct request *rq, const char *name);

/* Let the connection `waker` go on reading its stream or asking its pending
 * reply. Any thread, also long after the connection is gone. */
void api_wake(struct api *a, uint64_t waker);
