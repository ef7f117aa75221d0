/* SPDX-License-Identifier: Apache-2.0 */
/* blob/blob-dir.h: objects as files below one directory.
 *
 * Every path is opened beneath the directory, no link followed; files are
 * 0600, directories 0700. A file appears under its name complete and synced:
 * an unnamed file (O_TMPFILE), or a temporary name where the file system has
 * none, is written, synced and linked. link(2) fails if the name exists, and
 * that is the primitive; where there are no links it is renameat2 with
 * RENAME_NOREPLACE. Which one works is found out by trying, with racing
 * creators, when the store is opened for writing.
 */
#pragma once
#include "blob/blob.h"

/* `path` is an absolute directory that exists.
 *   errors  NOT_FOUND; UNSUPPORTED (neither primitive works there) */
int blob_dir_open(const char *path, struct blob **ret_blob, struct err *err)
    NODISCARD NONNULL(1, 2, 3);

/* The same below a directory that is open already.
 *
 *   fd    taken, in any case
 *   path  of it, for messages */
struct blob *blob_dir_open_fd(int fd, const char *path) NODISCARD;

/* Try the primitive that creates a file only if it is absent, with racing
 * creators. Once, before a repository is created. */
int blob_dir_probe(struct blob *b, struct err *err) NODISCARD;
