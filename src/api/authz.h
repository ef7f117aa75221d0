/* SPDX-License-Identifier: Apache-2.0 */
/* api/authz.h: who may do what.
 *
 * One question per request: may this user do this verb to this resource in
 * this namespace, or to this path. Today the group system:masters may do
 * everything, everybody may read health, version and discovery, and a known
 * user may ask about herself; roles become further rules in authz_allows().
 * Threads: any.
 * source  DESIGN 10
 */
#pragma once
#include <stdbool.h>

#include "api/user.h"

struct authz_question {
    const char *verb;        /* get, list, watch, create, update, patch, delete,
                              * deletecollection, ... */
    const char *group;       /* of the resource; NULL with `path` */
    const char *resource;    /* NULL with `path` */
    const char *subresource; /* NULL: none */
    const char *ns;          /* NULL: all, or cluster-scoped */
    const char *name;        /* NULL: any */
    const char *path;        /* "/healthz"; NULL: a resource */
};

/* `ret_reason` (may be NULL): static text. */
bool authz_allows(const struct user *u, const struct authz_question *q,
                  const char **ret_reason);
