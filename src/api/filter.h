/* SPDX-License-Identifier: Apache-2.0 */
/* api/filter.h: which objects of a collection a request is about.
 *
 * Namespace, label selector and field selector together. A selector is never
 * ignored: `kubectl wait` and `delete` would never end.
 * source  spec k8swire 7
 */
#pragma once
#include "api/request.h"
#include "api/selector.h"
#include "store/object.h"

struct filter {
    const char *ns; /* NULL: all */
    char *name;     /* metadata.name must be this; NULL: any */
    struct selector labels, fields;
    bool needs_json; /* a field is not one of those kept beside the text */
};

/* From the query; a name in the URL counts as field metadata.name. False: `rp`
 * is the answer (400). */
bool filter_init(struct filter *f, const struct request *rq, struct reply *rp);
void filter_fini(struct filter *f);
bool filter_match(const struct filter *f, const struct object *o);
/* Everything in the namespace matches. */
bool filter_is_empty(const struct filter *f);
