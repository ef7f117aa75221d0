/* SPDX-License-Identifier: Apache-2.0 */
/* base/file-id.h: who a file is, whatever its name.
 *
 * Device and inode number alone do not say it for long: the number of a file
 * that was removed is soon another file's, and a device may have another
 * number after a reboot or a mount (NFS, btrfs, LVM). So the time at which the
 * file was made belongs to it, where the file system tells it, to a tick of
 * the kernel's clock (some milliseconds).
 *
 * Threads: any. Blocking: on the file system.
 * source  statx(2)
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct file_id {
    uint64_t dev, ino; /* a block device: its number and 0, wherever its node
                          stands */
    uint64_t born;     /* ns since 1970; 0: nobody says */
};

enum {
    FILE_ID_TEXT_SIZE = 64
};

/* The same dev and ino, and not made at different times. */
bool file_id_equal(const struct file_id *a, const struct file_id *b);
/* The same, but perhaps for the number of the device. For two looks at one
 * path only: many devices have a file of this number. */
bool file_id_equal_there(const struct file_id *a, const struct file_id *b);

/* errors  NOT_FOUND; IO ...: as errno says */
int file_id_of_path(const char *path, struct file_id *ret_id, struct err *err)
    NODISCARD;
/* `flags`: AT_SYMLINK_NOFOLLOW or 0; `name` from `dirfd` on, as statx(2) has
 * it. */
int file_id_at(int dirfd, const char *name, int flags, struct file_id *ret_id,
               struct err *err) NODISCARD;
/* `name`: for the message only. */
int file_id_of_fd(int fd, const char *name, struct file_id *ret_id,
                  struct err *err) NODISCARD;
/* Is it this very file? False also when nobody can say. */
bool file_is_at(const char *path, const struct file_id *id);

/* "dev:ino" or, where it is known, "dev:ino:born", in decimal. */
void file_id_print(const struct file_id *id, char out[FILE_ID_TEXT_SIZE]);
/* Only what file_id_print() would write. */
bool file_id_parse(const char *text, struct file_id *ret_id) NODISCARD;
