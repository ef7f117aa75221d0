/* volume/imglock.h: hold QEMU's image locks on files, so that no QEMU starts
 * on them meanwhile: `virsh start` and qemu-img fail cleanly instead.
 *
 * The locks go with the process: a crash releases them.
 * Threads: a struct imglock is one thread's at a time.
 * source  QEMU 7.2 block/file-posix.c (raw_apply_lock_bytes); spec guest.md
 */
#pragma once
#include "base/err.h"
#include "base/file.h"

struct imglock;

struct imglock *imglock_new(void) NODISCARD;
void imglock_free(struct imglock *l); /* releases all; NULL is fine */
DEFINE_CLEANUP(imglock_free, struct imglock *)

/* Take the file for ourselves alone. A file that is held already by `l` is
 * success.
 *
 *   want    who the file must be; NULL: whoever it is
 *   errors  BUSY (a QEMU has it open); CONFLICT (another file); NOT_FOUND
 */
int imglock_add(struct imglock *l, const char *path, const struct file_id *want,
                struct err *err) NODISCARD;
