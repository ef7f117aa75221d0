/* SPDX-License-Identifier: Apache-2.0 */
/* disk/nbdconn.h: one connection to an NBD server; every wait is bounded.
 *
 * A server that answers nothing for `stall_ms` is TIMEOUT, one that goes away
 * UNAVAILABLE; after either, and after a protocol error, the connection can
 * only be closed. What a server answers is hostile: sizes are checked.
 * Threads: a connection is one thread's at a time.
 * source  NBD protocol (proto.md); libnbd(3)
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define NBDCONN_REQUEST_MAX ((size_t)1 << 20)

struct nbdconn;

struct nbdconn_options {
    const char *context; /* of block status, NULL: none */
    const char *name;    /* of the export; NULL: the one without */
    const char *what;    /* the image, for messages; copied */
    uint64_t stall_ms;
};

/* Take over a connected socket (in any case) and negotiate. */
int nbdconn_open(int fd, const struct nbdconn_options *options,
                 struct nbdconn **ret_conn, struct err *err) NODISCARD;
/* Says farewell if it can. Requests under way are dropped: their buffers are
 * not touched any more. */
void nbdconn_close(struct nbdconn *c); /* NULL is fine */
DEFINE_CLEANUP(nbdconn_close, struct nbdconn *)

uint64_t nbdconn_size(const struct nbdconn *c);
bool nbdconn_is_lost(const struct nbdconn *c); /* the server is away */
bool nbdconn_has_context(const struct nbdconn *c);

/* A request under way; the caller's, at the same address until it is done. */
struct nbdconn_request {
    bool is_done;
    int error; /* errno of the server, 0: success */
    struct nbdconn *conn;
    uint64_t expect, end; /* of a read: what has not come yet */
};

/* Begin to read; nbdconn_wait() goes on with it. */
int nbdconn_pread(struct nbdconn *c, struct nbdconn_request *r, uint64_t off,
                  void *data, size_t len, struct err *err) NODISCARD;

/* Do I/O on all of them until something happens, at most `ms`. Fails when a
 * connection is lost, or has requests under way and none was answered for
 * stall_ms of waiting in here. */
int nbdconn_wait(struct nbdconn *const *conns, size_t n, uint64_t ms,
                 struct err *err) NODISCARD;

/* The same to their end, one after the other. Any length. */
int nbdconn_read(struct nbdconn *c, uint64_t off, void *data, size_t len,
                 struct err *err) NODISCARD;
int nbdconn_write(struct nbdconn *c, uint64_t off, const void *data, size_t len,
                  struct err *err) NODISCARD;
int nbdconn_zero(struct nbdconn *c, uint64_t off, uint64_t len, struct err *err)
    NODISCARD;
int nbdconn_flush(struct nbdconn *c, struct err *err) NODISCARD;

struct nbdconn_extent {
    uint64_t len;
    uint32_t flags;
};

/* Ask for the block status of a range: the server may answer for its
 * beginning only, which is at least one byte. The sum of what is returned is
 * at most `len`.
 *
 *   ret_extents  the caller's to free()
 */
int nbdconn_status(struct nbdconn *c, uint64_t off, uint64_t len,
                   struct nbdconn_extent **ret_extents, size_t *ret_n,
                   struct err *err) NODISCARD;
