/* SPDX-License-Identifier: Apache-2.0 */
/* api/patch.h: the patch types of PATCH, applied to an object.
 *
 * JSON Patch and JSON Merge Patch are codec/'s; strategic merge is here: what
 * kubectl and client-go send for core kinds.
 * source  spec k8swire 4 (Patch)
 */
#pragma once
#include "api/request.h"

enum patch_type {
    PATCH_JSON,
    PATCH_MERGE,
    PATCH_STRATEGIC, /* core kinds only */
    PATCH_APPLY,     /* server-side apply: ssa.h */
    PATCH_UNKNOWN,   /* 415 */
};

/* By Content-Type; strategic is UNKNOWN for kinds outside the core group. */
enum patch_type patch_type_of(const struct request *rq);

/* A new value. errors  INVALID (a patch that cannot be applied) */
json_t *patch_apply(enum patch_type type, const json_t *object,
                    const json_t *patch, struct err *err) NODISCARD;

/* Kubernetes' strategic merge: maps are merged, lists replaced except
 * finalizers (a set), ownerReferences (by uid) and conditions (by type); the
 * directives $patch, $retainKeys, $setElementOrder/x,
 * $deleteFromPrimitiveList/x. A new value. */
json_t *patch_strategic(const json_t *object, const json_t *patch) NODISCARD;
