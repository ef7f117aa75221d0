/* SPDX-License-Identifier: Apache-2.0 */
/* disk/sweep.h: end what a killed process left in the directory of a job.
 *
 * A qemu-nbd that we started ends with our connection. One that was started
 * and not yet connected to when we were killed waits for ever, and holds
 * QEMU's image locks: a merge of that layer fails. So the next process sweeps
 * every directory of a job that it finds, before it touches any disk.
 */
#pragma once
#include "base/err.h"

/* Kill each qemu-nbd that works in `dir` (its descriptor 3, see nbdserver.c),
 * wait for its end, remove the sockets and the directory: a server that is
 * only just being started cannot make its socket then, and ends. A directory
 * that is not there is success. The caller's own servers in it were closed
 * before.
 *
 *   errors  BUSY (a server does not even die; something else than a socket
 *           lies there)
 *   blocks  at most 10 s for a server
 */
int disk_sweep(const char *dir, struct err *err) NODISCARD;
