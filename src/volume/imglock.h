/* SPDX-License-Identifier: Apache-2.0 */
/* volume/imglock.h: hold QEMU's image locks on files, so that no QEMU starts
 * on them meanwhile: `virsh start` and qemu-img fail cleanly instead.
 *
 * The locks go with the process: a crash releases them.
 * Threads: a struct imglock is one thread's at a time.
 * source  QEMU 7.2 block/file-posix.c (raw_apply_lock_bytes); spec guest.md
 */
#pragma once
#include "base/err.h"
#include "base/file-id.h"

struct imglock;

struct imglock *imglock_new(void) NODISCARD;
void imglock_free(struct imglock *l); /* releases all; NULL is fine */
DEFINE_CLEANUP(imglock_free, struct imglock *)

/* For children that work on the files under these locks: they hold them too,
 * so that a child that outlives us keeps its files locked until it ends.
 * Borrowed; valid until the next add or free. */
const int *imglock_fds(const struct imglock *l, size_t *ret_n);

/* Mark a file that is being made: QEMU's tools can open it, imglock_add() of
 * another process says BUSY. Goes with all copies of `fd`. */
int imglock_mark(int fd, const char *path, struct err *err) NODISCARD;

/* Take the file for ourselves alone. A file that is held already by `l` is
 * success.
 *
 *   want    who the file must be; NULL: whoever it is
 *   errors  BUSY (a QEMU has it open); CONFLICT (another file); NOT_FOUND
 */
int imglock_add(struct imglock *l, const char *path, const struct file_id *want,
                struct err *err) NODISCARD;
