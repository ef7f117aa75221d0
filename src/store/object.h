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

struct object *object_ref(struct object *o);
void object_unref(struct object *o); /* NULL is fine */
DEFINE_CLEANUP(object_unref, struct object *)

const struct gvr *object_gvr(const struct object *o);
const char *object_ns(const struct object *o); /* "" when cluster-scoped */
const char *object_name(const struct object *o);
const char *object_uid(const struct object *o);
uint64_t object_rev(const struct object *o);
bool object_is_deleting(const struct object *o); /* has deletionTimestamp */
/* NULL when the label is absent. */
const char *object_label(const struct object *o, const char *key);

/* The object, with metadata.resourceVersion and apiVersion of the storage
 * version. A new value, the caller's; parsing takes about 80 us. */
json_t *object_json(const struct object *o) NODISCARD;
/* The same as text, appended: splicing, no parsing. `api_version` NULL: as
 * stored; else what apiVersion is to say ("snapshot.kubevirt.io/v1alpha1"). */
void object_text(const struct object *o, const char *api_version,
                 struct buf *out);
