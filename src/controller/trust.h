/* SPDX-License-Identifier: Apache-2.0 */
/* controller/trust.h: which bytes of a disk does an incremental backup read?
 *
 * Pure: facts in, verdict out. A bitmap is believed only where nothing
 * speaks against it; in doubt the disk is read in full and compared, which
 * costs time and no correctness.
 * Threads: any. source  spec engine.md 3.1, 3.6; guest.md 4
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file-id.h"
#include "base/uuid.h"

enum trust_level {
    TRUST_FULL,   /* no parent: everything is read and stored */
    TRUST_DIRTY,  /* the bitmaps' ranges, and what has grown */
    TRUST_RESCAN, /* all allocated ranges are read and compared by hash */
};

enum trust_bitmap {
    TRUST_BITMAP_ABSENT,
    TRUST_BITMAP_GOOD,
    TRUST_BITMAP_BROKEN, /* "in-use": QEMU died, or has it open */
};

/* One file of the chain, as it is now. */
struct trust_layer {
    char id[UUID_STR_SIZE];
    struct file_id file;
    const char *path, *format;
    uint64_t size;        /* bytes, virtual */
    unsigned n_snapshots; /* internal ones */
    enum trust_bitmap bitmap;
};

/* The disk when the bitmap was made: the generation record. */
struct trust_record {
    char layer[UUID_STR_SIZE]; /* that was written to then */
    struct file_id file;
    const char *path, *format;
    uint64_t size;
};

struct trust_facts {
    bool has_parent;      /* the repository has it, with this disk */
    uint64_t parent_size; /* bytes, of this disk in the parent */
    /* Why the record is not the parent's: static text; NULL: it is. */
    const char *record_refusal;
    const struct trust_record *record; /* NULL: nothing was recorded */
    /* The record is no bitmap but copies that share blocks with the disk, kept
     * since the parent: these files, top first; n_clone 0: they are gone. */
    bool is_clone;
    const struct trust_layer *clone;
    size_t n_clone;
    const struct trust_layer *layers; /* sealed first, down to the root */
    size_t n_layers;
};

struct trust_verdict {
    enum trust_level level;
    /* DIRTY: the bitmaps of layers[0 .. n_layers). */
    size_t n_layers;
    /* DIRTY: each layer compared with its copy instead. */
    bool by_clone;
    /* DIRTY: bytes from here on are dirty, too (the disk has grown);
     * UINT64_MAX: none. */
    uint64_t dirty_from;
    const char *reason; /* a sentence for the status; static */
};

struct trust_verdict trust_decide(const struct trust_facts *f);
const char *trust_level_name(enum trust_level level); /* "Full" ... */
