/* SPDX-License-Identifier: Apache-2.0 */
/* volume/qimg.h: qemu-img, run with an argv, explicit formats, absolute paths.
 *
 * No format is ever probed: a guest can write a qcow2 header into its raw
 * disk. The functions that write expect that the caller holds the image locks
 * (volume/imglock.h) and therefore run qemu-img without its own.
 * Threads: any. All block on a child process: hold no lock.
 * source  qemu-img(1), QEMU 7.2
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

struct qimg_file {
    const char *path;   /* absolute */
    const char *format; /* "qcow2" or "raw" */
};

/* Descriptors that the child holds as well, see imglock_fds(). */
struct qimg_keep {
    const int *fds;
    size_t n;
};

/* A new, empty qcow2 on `backing` (path NULL: on nothing), into a file that
 * exists. The backing file is not opened. */
int qimg_create(const char *path, const struct qimg_file *backing,
                uint64_t size, const struct qimg_keep *keep, struct err *err)
    NODISCARD;
/* Write what `top` (qcow2) has over `base`, its backing file, into `base`;
 * `top` is left as it is. `base` grows if it must and is made smaller if
 * `top` is. May be repeated. fsynced. */
int qimg_commit(const char *top, uint64_t top_size,
                const struct qimg_file *base, uint64_t base_size,
                const struct qimg_keep *keep, struct err *err) NODISCARD;
/* Does a guest read the same from `top` (qcow2), which lies on `base`, and from
 * `base` alone? The locks of both are the caller's. */
int qimg_compare(const char *top, const struct qimg_file *base,
                 const struct qimg_keep *keep, bool *ret_same, struct err *err)
    NODISCARD;
/* Change the name of the backing file in the header, and nothing else. */
int qimg_rebase(const char *path, const struct qimg_file *backing,
                const struct qimg_keep *keep, struct err *err) NODISCARD;
/* The whole content, flat, as qcow2 into a file that exists; holes stay. The
 * source takes qemu-img's own read locks. */
int qimg_convert(const struct qimg_file *from, const char *to,
                 const struct qimg_keep *keep, struct err *err) NODISCARD;
/* How many bytes qimg_convert() will need at most. */
int qimg_measure(const struct qimg_file *from, uint64_t *ret_bytes,
                 struct err *err) NODISCARD;
