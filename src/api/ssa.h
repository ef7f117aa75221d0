/* SPDX-License-Identifier: Apache-2.0 */
/* api/ssa.h: who set which field: server-side apply and managedFields.
 *
 * Semantics of a custom resource without list annotations: maps are granular,
 * lists are atomic. A set of fields is a tree in FieldsV1 form:
 * {"f:spec":{"f:runStrategy":{}}}; {} is a leaf (a scalar, a list, an empty
 * map). Identity and what the server owns is in no set.
 * Threads: pure functions.
 * source  spec k8swire 9;
 * kubernetes.io/docs/reference/using-api/server-side-apply
 */
#pragma once
#include "base/buf.h"
#include "codec/jsonx.h"

/* Who writes, as an entry of managedFields names it. */
struct ssa_writer {
    const char *manager;
    const char *api_version;
    const char *now; /* RFC 3339 */
};

/* A field that another manager has set to something else. */
struct ssa_conflict {
    char manager[128];
    char api_version[96];
    char field[256]; /* ".spec.runStrategy" */
};

#define SSA_CONFLICTS_MAX 16
struct ssa_conflicts {
    struct ssa_conflict v[SSA_CONFLICTS_MAX]; /* what does not fit is counted */
    size_t n;                                 /* only */
};

/* What `live` (NULL: not there) becomes when `who` applies `config`: merged;
 * fields that the manager applied before and left out now are removed unless
 * somebody else has them too; managedFields kept. A new value; NULL: there are
 * conflicts and not `is_forced`. An equal outcome is an equal value, times
 * included, so that nothing is written. */
json_t *ssa_apply(const json_t *live, const json_t *config,
                  const struct ssa_writer *who, bool is_forced,
                  struct ssa_conflicts *ret_conflicts) NODISCARD;

/* Record in `object`.metadata.managedFields what `who` changed by another
 * write: changed and added fields become its own, removed ones nobody's.
 * `old` NULL: a creation. A managedFields that the client sent is kept as the
 * base; [{}] clears it. */
void ssa_track(const json_t *old, json_t *object, const struct ssa_writer *who);
