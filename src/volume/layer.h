/* SPDX-License-Identifier: Apache-2.0 */
/* volume/layer.h: the layer table of one VM.
 *
 * Which files make up the VM's disks, as trees; which cut refers to which;
 * which job is under way. Pure data: nothing here touches a disk.
 * Threads: a struct layer_table is one thread's at a time.
 * source  docs/formats/layer-table.md
 */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file-id.h"
#include "base/uuid.h"

#define LAYER_TARGET_SIZE 32
#define LAYER_PATH_MAX    1023 /* a qcow2 header holds no longer one */
#define LAYER_DEPTH_MAX   32   /* files in a chain, DESIGN 5 */

enum layer_state {
    LAYER_PLANNED,
    LAYER_ACTIVE,
    LAYER_SEALED,
    LAYER_TRASH,
    LAYER_DETACHED,
    LAYER_FOREIGN,
    LAYER_KEPT, /* a copy that a cut made, see volume-copy.c */
};

struct layer {
    char id[UUID_STR_SIZE];     /* of the content, kept over a merge */
    char parent[UUID_STR_SIZE]; /* "": a root */
    char target[LAYER_TARGET_SIZE];
    enum layer_state state;
    bool is_made;        /* the file was created by vmkeep */
    struct file_id file; /* 0:0 until seen */
    char *format;        /* "qcow2" or "raw" */
    uint64_t size;       /* bytes, virtual */
    int64_t until_s;     /* trash: when to remove it */
    char *path;          /* absolute */
    char *was;           /* trash: the path before; else NULL */
};

enum layer_ref_kind {
    LAYER_REF_CUT,
    LAYER_REF_RESTORE,
};

struct layer_ref {
    enum layer_ref_kind kind;
    char owner[UUID_STR_SIZE];
    char target[LAYER_TARGET_SIZE];
    char layer[UUID_STR_SIZE];
};

enum layer_job_kind {
    LAYER_JOB_NONE,
    LAYER_JOB_CUT,
    LAYER_JOB_MERGE,
    LAYER_JOB_INPLACE,
    LAYER_JOB_CLONE,
    LAYER_JOB_FILLINPLACE, /* as inplace and clone, but the content comes */
    LAYER_JOB_FILLNEW,     /* from elsewhere: no sealed layer */
    LAYER_JOB_COPY,        /* a cut by copies that share blocks */
};
enum layer_step {
    LAYER_STEP_PLANNED,
    LAYER_STEP_CREATED,
    LAYER_STEP_BEGIN,
    LAYER_STEP_COMMITTED,
    LAYER_STEP_PIVOTED,
    LAYER_STEP_PIVOTING,
    LAYER_STEP_FILLED,
};
struct layer_job_disk {
    char target[LAYER_TARGET_SIZE];
    char a[UUID_STR_SIZE], b[UUID_STR_SIZE], c[UUID_STR_SIZE];
};
/* What a restore is: the VM's own disks are replaced, or the new files are for
 * another VM and leave the table with the job. */
bool layer_job_is_in_place(enum layer_job_kind kind);
bool layer_job_is_fill(enum layer_job_kind kind);
struct layer_job {
    enum layer_job_kind kind;
    char id[UUID_STR_SIZE];
    enum layer_step step;
    char owner[UUID_STR_SIZE]; /* "" for cut and merge */
    uint64_t trash_s;          /* inplace: old disks' time there; 0: retained */
    struct layer_job_disk *disks;
    size_t n;
};

struct layer_done_disk {
    char target[LAYER_TARGET_SIZE];
    char old[UUID_STR_SIZE]; /* "": none */
    char *format;
    uint64_t size;
    char *path;
};
struct layer_done {
    char id[UUID_STR_SIZE];
    struct layer_done_disk *disks;
    size_t n;
};

struct layer_table {
    char vm[UUID_STR_SIZE];
    struct layer *layers; /* a parent stands before its children */
    size_t n_layers;
    struct layer_ref *refs;
    size_t n_refs;
    struct layer_job job;
    struct layer_done *done; /* oldest first */
    size_t n_done;
};

struct layer_table *layer_table_new(const char *vm_uuid) NODISCARD;
void layer_table_free(struct layer_table *t);
DEFINE_CLEANUP(layer_table_free, struct layer_table *)

/* layer-code.c: the bytes of docs/formats/layer-table.md. */
void layer_table_encode(const struct layer_table *t, struct buf *out);
/* errors  CORRUPT (what the encoder would not write); UNSUPPORTED (version) */
struct layer_table *layer_table_decode(const uint8_t *data, size_t len,
                                       struct err *err) NODISCARD;
/* Do the rules hold that no single line shows (unique ids, parents before
 * children, one active layer per target, ...)? CORRUPT. */
int layer_table_check(const struct layer_table *t, struct err *err) NODISCARD;

const char *layer_state_name(enum layer_state state);

/* ---- looking up; pointers are valid until the next change ---- */
struct layer *layer_find(const struct layer_table *t, const char *id);
struct layer *layer_find_path(const struct layer_table *t, const char *path);
struct layer *layer_find_active(const struct layer_table *t,
                                const char *target);
struct layer *layer_parent(const struct layer_table *t, const struct layer *l);
size_t layer_children(const struct layer_table *t, const struct layer *l);
/* Its depth in files: a root has 1. */
size_t layer_depth(const struct layer_table *t, const struct layer *l);
bool layer_is_referenced(const struct layer_table *t, const struct layer *l);
bool layer_has_ref(const struct layer_table *t, enum layer_ref_kind kind,
                   const struct layer *l);
const struct layer_ref *layer_ref_find(const struct layer_table *t,
                                       enum layer_ref_kind kind,
                                       const char *owner, const char *target);
const struct layer_done *layer_done_find(const struct layer_table *t,
                                         const char *id);

/* ---- changes ---- */
/* A new row at the end; all strings are copied. id NULL: a random one. */
struct layer *layer_add(struct layer_table *t, const char *id,
                        const char *parent, const char *target,
                        enum layer_state state, const char *format,
                        const char *path, uint64_t size);
void layer_remove(struct layer_table *t, const char *id);
void layer_set_path(struct layer *l, const char *path);
void layer_ref_add(struct layer_table *t, enum layer_ref_kind kind,
                   const char *owner, const char *target, const char *layer);
void layer_ref_drop(struct layer_table *t, enum layer_ref_kind kind,
                    const char *owner); /* all its targets */
/* `b` is the new active layer on `a`, which is sealed. */
void layer_seal(struct layer_table *t, const char *a, const char *b);
/* The files of L and C are one now: see "merge" in the format. */
void layer_merged(struct layer_table *t, const char *l, const char *c);
void layer_job_begin(struct layer_table *t, enum layer_job_kind kind,
                     const char *id, const char *owner);
void layer_job_add(struct layer_table *t, const char *target, const char *a,
                   const char *b, const char *c);
void layer_job_end(struct layer_table *t);
struct layer_done *layer_done_begin(struct layer_table *t, const char *id);
void layer_done_add(struct layer_done *d, const char *target, const char *old,
                    const char *format, uint64_t size, const char *path);
