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

/* Connect to the sockets in `dir` and leave again, which ends their servers;
 * remove them, then the directory: a server that has not made its socket yet
 * then cannot, and ends. A directory that is not there is success.
 *
 *   errors  BUSY (a server goes on serving somebody else; a directory or a
 *           strange file lies there)
 *   blocks  at most 10 s for a server
 */
int disk_sweep(const char *dir, struct err *err) NODISCARD;
