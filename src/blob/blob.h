/* SPDX-License-Identifier: Apache-2.0 */
/* blob/blob.h: where bytes are kept.
 *
 * Named objects that are written once, whole, and never changed (but see
 * blob_replace(), which puts back what a disk has changed). Names are
 * words of [a-z0-9._-] joined by '/', at most 200 bytes, no word beginning
 * with '.'. An object is created only if absent, with one winner among racing
 * creators: the whole safety of the repository rests on that.
 *
 * Implementations: blob-dir.h (a directory), blob-fault.h (errors on demand).
 * Threads: any, but blob_free().
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

#define BLOB_NAME_MAX 200
#define BLOB_PUT_MAX  ((size_t)1 << 30)

struct blob;

void blob_free(struct blob *b); /* NULL is fine */
DEFINE_CLEANUP(blob_free, struct blob *)

/* Create `name` with `len` bytes.
 *
 *   ret_existed  true: it was there already and was not touched. After a retry
 *                it may be our own: read it back to know
 *   errors       NO_SPACE; UNAVAILABLE, TIMEOUT (it may be there or not)
 *   blocks       until the bytes are durable; the name is after blob_sync()
 */
int blob_put(struct blob *b, const char *name, const void *data, size_t len,
             bool *ret_existed, struct err *err) NODISCARD NONNULL(1, 2, 5, 6);

/* The same for what can be done without: the last of the space is left to those
 * that use blob_put(), so that a full store can still be told what to remove.
 *   errors  NO_SPACE (nothing was tried) */
int blob_put_spare(struct blob *b, const char *name, const void *data,
                   size_t len, bool *ret_existed, struct err *err)
    NODISCARD NONNULL(1, 2, 5, 6);
/* Would there be room for an object of that length? A store that does not know
 * says yes.
 *   errors  NO_SPACE */
int blob_room(struct blob *b, size_t len, struct err *err) NODISCARD;

/* Other bytes in the place of an object that is damaged: at any time, after a
 * crash too, the name has the old ones or the new ones, and these were read
 * back from the store before. Needs the room of blob_put_spare().
 *   errors  NOT_FOUND; UNSUPPORTED (not in this store); CORRUPT (what was
 *           written reads as something else); NO_SPACE
 *   blocks  until the bytes are durable; the change is after blob_sync() */
int blob_replace(struct blob *b, const char *name, const void *data, size_t len,
                 struct err *err) NODISCARD NONNULL(1, 2, 5);

/* Everything that was put before is durable, names and all. */
int blob_sync(struct blob *b, struct err *err) NODISCARD;

/* Objects below `prefix` (as for blob_list()) were put by somebody who may have
 * died before a sync: the next blob_sync() makes their names durable too. */
int blob_sync_also(struct blob *b, const char *prefix, struct err *err)
    NODISCARD;

/* Up to `len` bytes at `off`; *ret_len is less only at the object's end.
 *   errors  NOT_FOUND; UNAVAILABLE */
int blob_get(struct blob *b, const char *name, uint64_t off, void *data,
             size_t len, size_t *ret_len, struct err *err)
    NODISCARD NONNULL(1, 2, 6, 7);
int blob_size(struct blob *b, const char *name, uint64_t *ret_size,
              struct err *err) NODISCARD;

/* Does an error mean that the bytes are lost: the object is not there, is
 * damaged (CORRUPT), or lies where the disk cannot be read (EIO)? Who checks a
 * store reports that and goes on. */
bool blob_is_lost(const struct err *err);
/* Does it mean that the store does not answer now, and may another time? */
bool blob_is_away(const struct err *err);

struct blob_names {
    char **names; /* sorted by byte */
    size_t count;
};

void blob_names_fini(struct blob_names *n);
static inline void
blob_names_fini_p(struct blob_names *n)
{
    blob_names_fini(n);
}

/* Every object whose name begins with `prefix`: "" or one that ends in '/'.
 * An empty answer is an answer, not an error. */
int blob_list(struct blob *b, const char *prefix, struct blob_names *ret_names,
              struct err *err) NODISCARD NONNULL(1, 2, 3, 4);

/* A missing object is success: the step may be repeated. */
int blob_remove(struct blob *b, const char *name, struct err *err) NODISCARD;

/* Puts that were cut off `age_s` ago or earlier may have left something that is
 * in no list; it is removed. What cannot be removed stays.
 *   errors  the store cannot be written to */
int blob_sweep(struct blob *b, int64_t age_s, struct err *err) NODISCARD;

/* For messages: "directory /srv/b". Borrowed. */
const char *blob_what(const struct blob *b);

/* ---- for implementations ------------------------------------------------ */

/* The front functions above have checked names and lengths. */
struct blob_ops {
    void (*free)(struct blob *b);
    int (*put)(struct blob *b, const char *name, const void *data, size_t len,
               bool *ret_existed, struct err *err);
    /* NULL: UNSUPPORTED. */
    int (*replace)(struct blob *b, const char *name, const void *data,
                   size_t len, struct err *err);
    /* NULL: nobody knows. */
    int (*room)(struct blob *b, size_t len, struct err *err);
    int (*sync)(struct blob *b, struct err *err);
    /* NULL: a name is durable as soon as it is seen. */
    int (*sync_also)(struct blob *b, const char *prefix, struct err *err);
    int (*get)(struct blob *b, const char *name, uint64_t off, void *data,
               size_t len, size_t *ret_len, struct err *err);
    int (*size)(struct blob *b, const char *name, uint64_t *ret_size,
                struct err *err);
    /* Adds names with blob_names_add(), in any order. */
    int (*list)(struct blob *b, const char *prefix, struct blob_names *names,
                struct err *err);
    int (*remove)(struct blob *b, const char *name, struct err *err);
    int (*sweep)(struct blob *b, int64_t age_s, struct err *err); /* or NULL */
};

struct blob {
    const struct blob_ops *ops; /* [C] */
    char *what;                 /* [C] for messages; freed by blob_free() */
};

void blob_names_add(struct blob_names *n, const char *name);
