/* SPDX-License-Identifier: Apache-2.0 */
/* api/admission.h: may this object be stored?
 *
 * Defaults, the published schema, then the kind's own rules, which look other
 * objects up in the cache. The first refusal is the answer.
 * source  DESIGN 4; spec k8swire 4 (unknown fields)
 */
#pragma once
#include "api/ctx.h"

struct admission {
    struct request *rq;
    struct reply *rp; /* the answer of a refusal; gets warnings */
    enum kind_op op;
};

/* A kind that users cannot create or delete says so before anything else.
 * false: `rp` is the answer. `old` NULL: create. */
bool admission_precheck(const struct admission *a, const json_t *old);

/* Fill in defaults and check; unknown fields are refused, warned of or
 * dropped, as the query's fieldValidation says. `object` is changed. */
bool admission_check(const struct admission *a, json_t *object,
                     const json_t *old);
