/* SPDX-License-Identifier: Apache-2.0 */
/* disk/qcow2.h: what a qcow2 file says about itself, read without QEMU.
 *
 * The header is under the guest's or a stranger's control: every field is
 * bounded before it is used, and nothing that it names is opened here.
 * Threads: any.
 * source  QEMU docs/interop/qcow2.txt
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define QCOW2_BACKING_MAX      1023 /* bytes of a backing file's name */
#define QCOW2_BITMAP_NAME_MAX  1023
#define QCOW2_BITMAPS_MAX      4096 /* QEMU writes more; nobody has them */
#define QCOW2_BITMAPS_SIZE_MAX ((uint64_t)4 << 20)

struct qcow2_info {
    unsigned version; /* 2 or 3 */
    unsigned cluster_bits;
    uint64_t size; /* bytes, virtual */
    bool is_dirty, is_corrupt, is_encrypted, has_data_file;
    bool has_subclusters;     /* L2 entries of 16 bytes */
    bool has_unknown_feature; /* incompatible, of a newer QEMU */
    unsigned n_snapshots;     /* internal ones */
    uint64_t l1_offset;
    uint32_t l1_entries;
    bool has_bitmaps;        /* the header vouches for them */
    uint32_t n_bitmaps;      /* dirty bitmaps that are valid */
    uint64_t bitmaps_offset; /* of their directory */
    uint64_t bitmaps_size;   /* bytes, at most QCOW2_BITMAPS_SIZE_MAX */
    char *backing;           /* as written, NUL-terminated; NULL: none */
    char *backing_format;    /* NULL: not said */
};
void qcow2_info_fini(struct qcow2_info *i);
static inline void
qcow2_info_fini_p(struct qcow2_info *i)
{
    qcow2_info_fini(i);
}

/* Read the header out of the first bytes of a file.
 *
 *   ret_need  0: done; else how many bytes from the file's start are wanted
 *             (at most 2 MiB), and nothing is set
 *   errors    INVALID (no qcow2 magic); CORRUPT
 */
int qcow2_decode(const uint8_t *data, size_t len, struct qcow2_info *ret_info,
                 size_t *ret_need, struct err *err) NODISCARD;

/* The same from a file. `what` names it in messages. */
int qcow2_read(int fd, const char *what, struct qcow2_info *ret_info,
               struct err *err) NODISCARD;

/* Does the file itself hold any of the guest's data (or zeros written over
 * its backing file)? A fresh overlay does not. */
int qcow2_has_data(int fd, const char *what, const struct qcow2_info *info,
                   bool *ret_has_data, struct err *err) NODISCARD;

struct qcow2_bitmap {
    char *name;
    bool in_use;          /* not closed well: what it marks is worth nothing */
    bool is_auto;         /* recording whenever the image is open for writing */
    uint64_t granularity; /* bytes for a bit */
};

struct qcow2_bitmaps {
    struct qcow2_bitmap *v;
    size_t n;
};
void qcow2_bitmaps_fini(struct qcow2_bitmaps *b);
static inline void
qcow2_bitmaps_fini_p(struct qcow2_bitmaps *b)
{
    qcow2_bitmaps_fini(b);
}

/* Read the directory of bitmaps: exactly `n` entries in `len` bytes. CORRUPT.
 */
int qcow2_bitmaps_decode(const uint8_t *data, size_t len, uint32_t n,
                         struct qcow2_bitmaps *ret, struct err *err) NODISCARD;

/* The same from a file whose header was read. */
int qcow2_bitmaps_read(int fd, const char *what, const struct qcow2_info *info,
                       struct qcow2_bitmaps *ret, struct err *err) NODISCARD;

/* The bitmap of that name, or NULL; borrowed. */
const struct qcow2_bitmap *qcow2_bitmaps_find(const struct qcow2_bitmaps *b,
                                              const char *name);
