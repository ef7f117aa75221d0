/* SPDX-License-Identifier: Apache-2.0 */
/* disk/chain.h: an image file and what it stands on, looked at before QEMU
 * opens it.
 *
 * QEMU would follow whatever a header names, and guess formats. So the chain
 * is read first, with no QEMU: what is not a local raw or qcow2 file of a
 * format that is said is refused.
 * Threads: a struct chain never changes after chain_open(); share it freely.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file-id.h"

#define CHAIN_FILES_MAX 64

/* One image file; its backing chain follows from its header. */
struct disk_layer {
    const char *path;   /* absolute */
    const char *format; /* "raw" or "qcow2" */
};

struct chain_file {
    char *path;
    char format[8];
    struct file_id id;
    uint64_t bytes; /* length of the file; a block device: its size */
};

struct chain {
    struct chain_file files[CHAIN_FILES_MAX]; /* the top first */
    size_t n;
    uint64_t size; /* of the disk, bytes, as the top file says */
};

/*   errors  NOT_FOUND; INVALID (no absolute path, no such format, neither
 *           file nor block device); CORRUPT; UNSUPPORTED (encrypted, external
 *           data file, unknown feature, backing file that is not local or of
 *           no said format, more than CHAIN_FILES_MAX files) */
int chain_open(const struct disk_layer *top, struct chain **ret_chain,
               struct err *err) NODISCARD NONNULL(1, 2, 3);
void chain_free(struct chain *c); /* NULL is fine */
DEFINE_CLEANUP(chain_free, struct chain *)

/* Are the paths still the same files, and none of them shorter? CONFLICT. */
int chain_check(const struct chain *c, struct err *err) NODISCARD;
