/* SPDX-License-Identifier: Apache-2.0 */
/* base/spawn.h: run a program: an argv, never a shell.
 *
 * The child gets /dev/null as input, a clean signal mask, no descriptor but
 * 0, 1 and 2, LANG=C and the parent's PATH. The call is one counted effect.
 */
#pragma once
#include <sys/types.h>

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Run argv[0] (looked up in PATH) to its end.
 *
 *   argv        NULL-terminated; put "--" before paths
 *   timeout_ms  then SIGKILL and TIMEOUT
 *   ret_out     its standard output, at most 16 MiB; NULL: dropped
 *   errors      TIMEOUT; NOT_FOUND (no such program); INTERNAL with the last
 *               line of its standard error when it exits non-zero
 *   blocks      until the child has ended: hold no lock
 */
int spawn_run(const char *const argv[], uint64_t timeout_ms,
              struct buf *ret_out, struct err *err) NODISCARD;

/* The same, but a non-zero exit code is a result, not an error. */
int spawn_run_code(const char *const argv[], uint64_t timeout_ms,
                   struct buf *ret_out, int *ret_code, struct err *err)
    NODISCARD;

/* spawn_run() with descriptors (at most 32) that the child holds too, as 3 and
 * up: open file description locks stay held until it has ended, even if we
 * are killed before it. */
int spawn_run_keeping(const char *const argv[], const int *fds, size_t n,
                      uint64_t timeout_ms, struct err *err) NODISCARD;

/* Both: what the child says is dropped, its exit code is the result. */
int spawn_run_keeping_code(const char *const argv[], const int *fds, size_t n,
                           uint64_t timeout_ms, int *ret_code, struct err *err)
    NODISCARD;

/* Start argv[0] and let it run. Descriptor `keep_fd` (or -1) becomes the
 * child's descriptor 3. The caller reaps `ret_pid`. */
int spawn_start(const char *const argv[], int keep_fd, pid_t *ret_pid,
                struct err *err) NODISCARD;

/* The same; what it writes goes to `log_fd` (a file, so that nobody has to
 * read it meanwhile). */
int spawn_start_logged(const char *const argv[], int keep_fd, int log_fd,
                       pid_t *ret_pid, struct err *err) NODISCARD;
