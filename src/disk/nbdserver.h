/* SPDX-License-Identifier: Apache-2.0 */
/* disk/nbdserver.h: a qemu-nbd of our own, on a socket in a job's directory.
 *
 * It is started without -t: it ends when the last connection ends.
 * Threads: a server is one thread's at a time.
 */
#pragma once
#include <sys/types.h>

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/chain.h"

#define NBDSERVER_CONNECTIONS_MAX 8

struct nbdserver;

struct nbdserver_options {
    const char *dir;
    const struct disk_layer *image;
    const char *program; /* NULL: qemu-nbd */
    const char *bitmap;  /* to be shown; NULL: none */
    unsigned connections;
    bool is_writable;
};

int nbdserver_start(const struct nbdserver_options *options,
                    struct nbdserver **ret_server, struct err *err) NODISCARD;

/* A connected socket; waits until the server listens, at most 30 s. */
int nbdserver_connect(struct nbdserver *s, int *ret_fd, struct err *err)
    NODISCARD;

/* Connect to a UNIX socket in a directory, whatever its path's length: -1 and
 * an errno. */
int nbdserver_connect_at(int dirfd, const char *name, int *ret_fd,
                         int *ret_errno) NODISCARD;

/* To be called when a connection was lost: if the server has ended, or ends
 * within a second, and not well, its last words take the place of `err`. */
void nbdserver_explain(struct nbdserver *s, struct err *err);

/* After the last connection was closed: wait for its end, at most `ms`.
 *   errors  TIMEOUT (it was killed then); UNAVAILABLE (not a good end) */
int nbdserver_end(struct nbdserver *s, uint64_t ms, struct err *err) NODISCARD;

pid_t nbdserver_pid(const struct nbdserver *s); /* for tests */

/* Ends it, at the latest by SIGKILL, after 1 s (10 s if it writes). NULL is
 * fine. */
void nbdserver_free(struct nbdserver *s);
DEFINE_CLEANUP(nbdserver_free, struct nbdserver *)
