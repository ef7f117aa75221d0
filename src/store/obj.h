/* SPDX-License-Identifier: Apache-2.0 */
/* store/obj.h: objects and the rules that hold for all of them.
 *
 * The same functions serve API handlers and controllers: uid, generation,
 * creationTimestamp, resourceVersion as precondition, finalizers, deletion in
 * two steps, generateName, status as a subresource, no-op writes that write
 * nothing. Meaning and validation of a kind are types/'s, called by the API.
 * Threads: any. Blocks on the store.
 * source  spec k8swire 4
 */
#pragma once
#include "store/object.h"
#include "store/store.h"

enum obj_part {
    OBJ_MAIN,   /* everything but status (for kinds with that subresource) */
    OBJ_STATUS, /* status alone */
    OBJ_ALL,    /* both: controllers that make projected kinds only */
};

struct obj_write {
    enum obj_part part;
    bool is_dry_run; /* all checks and the answer, no write */
    /* Preconditions, NULL: none. */
    const char *uid;
    const char *resource_version;
    const char *field_manager; /* recorded for apply; NULL: none */
};

/* Create. metadata.uid, creationTimestamp, generation and, where the name is
 * empty, generateName's suffix are set here (a uid that is there is kept only
 * with OBJ_ALL: projected kinds bring theirs). OBJ_MAIN drops status.
 *
 *   object      borrowed; not changed
 *   ret_object  as stored; caller unrefs
 *   errors      EXISTS; INVALID (resourceVersion set); NOT_FOUND (its
 *               namespace is not there); DENIED (namespace terminating)
 */
int obj_create(struct store *s, const struct gvr *gvr, const char *ns,
               const json_t *object, const struct obj_write *how,
               struct object **ret_object, struct err *err) NODISCARD;

/* Change an object in place: called with a private copy of the newest version
 * (resourceVersion in it), perhaps several times when others write too.
 * Return 0 to write what `object` is now, 1 to write nothing, -1 with `err`. */
typedef int (*obj_mutate_fn)(void *arg, json_t *object, struct err *err);

/* Read, mutate, compare-and-swap; again on a conflict unless
 * how->resource_version or a resourceVersion changed by `mutate` forbids it.
 * Server-owned metadata is restored whatever `mutate` did to it; parts outside
 * how->part are too. Equal result: no write, the present version is returned.
 * The write that empties the finalizers of a deleted object deletes it:
 * *ret_object is then its last state and *ret_is_gone (may be NULL) true.
 *
 *   errors  NOT_FOUND; CONFLICT; what `mutate` said
 */
int obj_update(struct store *s, const struct obj_ref *ref,
               const struct obj_write *how, obj_mutate_fn mutate, void *arg,
               struct object **ret_object, bool *ret_is_gone, struct err *err)
    NODISCARD;

/* Delete: sets deletionTimestamp while finalizers are there, else removes.
 * Already gone: NOT_FOUND. Preconditions in `how`. */
int obj_delete(struct store *s, const struct obj_ref *ref,
               const struct obj_write *how, struct object **ret_object,
               bool *ret_is_gone, struct err *err) NODISCARD;

/* The newest version, from the store itself. NOT_FOUND. */
int obj_get(struct store *s, const struct obj_ref *ref,
            struct object **ret_object, struct err *err) NODISCARD;
