/* SPDX-License-Identifier: Apache-2.0 */
/* base/file.h: files, the careful way.
 *
 * Every change goes through base/effect.h. Paths from outside are opened
 * beneath a directory with no link followed. Threads: any.
 */
#pragma once
#include <sys/stat.h>

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Open `path` below `dirfd` for reading or with `flags`; `..`, absolute paths
 * and links anywhere on the way are refused (INVALID). `mode` as in open(2).
 * source  openat2(2), RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS */
int file_open_beneath(int dirfd, const char *path, int flags, mode_t mode,
                      int *ret_fd, struct err *err) NODISCARD;

/* A directory by absolute path, O_PATH not set, CLOEXEC set. */
int file_open_dir(const char *path, int *ret_fd, struct err *err) NODISCARD;

/* All of `path`; NO_SPACE over `max` bytes; appended to `out`, which a
 * failure leaves as it was. */
int file_read_all(const char *path, size_t max, struct buf *out,
                  struct err *err) NODISCARD;
int file_read_fd(int fd, size_t max, const char *what, struct buf *out,
                 struct err *err) NODISCARD;

int file_write_fd(int fd, const void *data, size_t len, const char *what,
                  struct err *err) NODISCARD;

/* Replace `name` in `dirfd` by `len` bytes: temporary file, fsync, rename,
 * fsync of the directory. After a crash the old bytes or the new are there. */
int file_replace(int dirfd, const char *name, const void *data, size_t len,
                 mode_t mode, struct err *err) NODISCARD;

/* The same for a file that is another user's. */
struct file_owner {
    uid_t uid;
    gid_t gid;
};

int file_replace_as(int dirfd, const char *name, const void *data, size_t len,
                    mode_t mode, const struct file_owner *owner,
                    struct err *err) NODISCARD;

/* Remove what a crash in the midst of file_replace() left in this directory.
 * At start, before anybody else writes there. */
int file_sweep(const char *path, struct err *err) NODISCARD;

/* The counted single steps. `what` names the thing in messages. */
int file_sync(int fd, const char *what, struct err *err) NODISCARD;
int file_sync_dir(int dirfd, const char *what, struct err *err) NODISCARD;
/* fsync of the file at `path`, then of its directory. */
int file_sync_path(const char *path, struct err *err) NODISCARD;
/* A missing file is success: the step may be repeated after a crash. */
int file_unlink(int dirfd, const char *name, struct err *err) NODISCARD;
int file_unlink_path(const char *path, struct err *err) NODISCARD;
/* The same for several: each directory is synced once, after the last. */
int file_unlink_paths(const char *const *paths, size_t n, struct err *err)
    NODISCARD;
/* rename(2) within one file system, then fsync of both directories. */
int file_rename_path(const char *from, const char *to, struct err *err)
    NODISCARD;

/* mkdir -p, durable; existing directories keep their mode. */
int file_make_dirs(const char *path, mode_t mode, struct err *err) NODISCARD;

/* The directory part of an absolute path; the caller's to free. */
char *file_dirname(const char *path) NODISCARD;
const char *file_basename(const char *path); /* points into `path` */
