/* SPDX-License-Identifier: Apache-2.0 */
/* repo/root.h: the root of a backup: its disks and its metadata.
 *
 * Bytes: docs/formats/tree.md, "Root". Threads: any.
 */
#pragma once
#include "base/buf.h"
#include "repo/repo.h"
#include "repo/tree.h"

#define ROOT_PARTS_MAX 255

struct root_disk {
    char name[REPO_DISK_NAME_MAX + 1];
    uint64_t size;
    unsigned chunk_log2;
    unsigned top_level;
    struct tree_entry top; /* TREE_ZERO or TREE_REF */
};

struct root {
    uint8_t repo_uuid[16];
    uint8_t id[16];
    uint8_t parent[16]; /* zeros: none */
    int64_t created_unix_s;
    char object_uid[REPO_UID_MAX + 1];
    struct tree_entry metadata; /* TREE_ZERO: none */
    struct tree_entry *summary; /* array: summary.h */
    unsigned summary_count;     /* at most ROOT_PARTS_MAX */
    struct root_disk *disks;    /* array */
    unsigned disk_count;
};

void root_fini(struct root *r);
static inline void
root_fini_p(struct root *r)
{
    root_fini(r);
}

/* Appended to `out`. */
void root_encode(const struct root *r, struct buf *out);
/* *ret is the caller's: root_fini(). */
int root_decode(const uint8_t *data, size_t len, struct root *ret,
                struct err *err) NODISCARD;

/* Is it 1..max (or 0..max) printable ASCII characters without '/'? */
bool root_name_is_valid(const char *name);
bool root_uid_is_valid(const char *uid);
