/* SPDX-License-Identifier: Apache-2.0 */
/* store/object.h: one version of one object, immutable and shared.
 *
 * Kept as canonical JSON text without resourceVersion; what selectors need is
 * taken out once. Threads: never changes after it is made; share freely.
 */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "codec/gvr.h"
#include "codec/jsonx.h"

struct object;

/* From the text that the store keeps (or what is to go there) at revision
 * `rev`. CORRUPT: it is not an object with a name. */
struct object *object_new(const struct gvr *gvr, const char *text, size_t len,
                          uint64_t rev, struct err *err) NODISCARD;
/* The same content at another revision: the last state of a deleted object. */
struct object *object_at_rev(const struct object *o, uint64_t rev) NODISCARD;

struct object *object_ref(struct object *o);
void object_unref(struct object *o); /* NULL is fine */
DEFINE_CLEANUP(object_unref, struct object *)

struct object_list {
    struct object **v; /* ordered by namespace, name */
    size_t n;
    uint64_t rev;
};
void object_list_fini(struct object_list *l);
static inline void
object_list_fini_p(struct object_list *l)
{
    object_list_fini(l);
}

const struct gvr *object_gvr(const struct object *o);
const char *object_ns(const struct object *o); /* "" when cluster-scoped */
const char *object_name(const struct object *o);
const char *object_uid(const struct object *o);
uint64_t object_rev(const struct object *o);
bool object_is_deleting(const struct object *o); /* has deletionTimestamp */
/* NULL when the label is absent. */
const char *object_label(const struct object *o, const char *key);

/* uids in metadata.ownerReferences; `i` counts from 0, NULL: no more. */
const char *object_owner(const struct object *o, size_t i);
/* Its key in the store: lists are ordered by it. */
const char *object_key(const struct object *o);

/* "/k/<group>/<resource>/<namespace>/<name>". Caller frees. */
char *object_key_of(const struct gvr *gvr, const char *ns, const char *name)
    NODISCARD;

/* The object, with metadata.resourceVersion and apiVersion of the storage
 * version. A new value, the caller's; parsing takes about 80 us. */
json_t *object_json(const struct object *o) NODISCARD;
/* The same as text, appended: splicing, no parsing. `api_version` NULL: as
 * stored; else what apiVersion is to say ("snapshot.kubevirt.io/v1alpha1"). */
void object_text(const struct object *o, const char *api_version,
                 struct buf *out);
