/* SPDX-License-Identifier: Apache-2.0 */
/* store/objmeta.h: the rules of object metadata, without I/O.
 *
 * Threads: pure functions.
 * source  spec k8swire 4
 */
#pragma once
#include "store/obj.h"

/* Turn what a client sent into what is stored for the first time (all of
 * obj_create()'s rules but the name's uniqueness and the namespace).
 *   object  changed in place
 *   errors  INVALID */
int objmeta_prepare_new(const struct gvr *gvr, const char *ns, json_t *object,
                        enum obj_part part, struct err *err) NODISCARD;

/* What becomes of `old` when a writer of `part` wants `wanted`: server-owned
 * fields and other parts restored, generation counted.
 *   errors  INVALID */
json_t *objmeta_merge(const struct gvr *gvr, const json_t *old,
                      const json_t *wanted, enum obj_part part, struct err *err)
    NODISCARD;

/* Deletion, first step: the stamp. `object` is changed in place. */
void objmeta_mark_deleting(const struct gvr *gvr, json_t *object);
bool objmeta_is_deleting(const json_t *object);
/* metadata.finalizers, and spec.finalizers of a Namespace. */
bool objmeta_has_finalizers(const struct gvr *gvr, const json_t *object);

bool objmeta_is_namespace(const struct gvr *gvr);
