/* SPDX-License-Identifier: Apache-2.0 */
/* api/server.h: HTTP by libmicrohttpd, which no other file knows.
 *
 * A pool of threads with epoll serves all connections. A handler may block on
 * the store; what waits for events (watch, subresources) gives the thread
 * back: its connection is suspended until api_wake().
 * Threads: see each function.
 * source  spec k8swire 13
 */
#pragma once
#include "api/request.h"

struct server;

/* Fill `rp`. Called on a server thread, for several requests at once. */
typedef void (*server_handle_fn)(struct request *rq, struct reply *rp);

struct server_listener {
    int fd;              /* taken over; bound and listening */
    bool is_local;       /* a UNIX socket */
    const char *key_pem; /* NULL: no TLS; copied */
    const char *cert_pem;
};

#define SERVER_BODY_MAX (3u << 20) /* kube-apiserver's limit */

struct server *server_new(struct api *api, server_handle_fn handle) NODISCARD;
/* Begin to serve on one more socket; the fd is taken over in any case. */
int server_listen(struct server *s, const struct server_listener *l,
                  struct err *err) NODISCARD;
/* Ends streams and pending replies, then all connections. NULL is fine. */
void server_free(struct server *s);
/* Any thread; an unknown waker is ignored. */
void server_wake(struct server *s, uint64_t waker);
