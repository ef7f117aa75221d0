/* SPDX-License-Identifier: Apache-2.0 */
#include "api/authz.h"

#include <string.h>

#include "base/macros.h"

/* What everybody may read: clients ask for it before they have a token. */
static bool
is_public_path(const char *path)
{
    static const char *const exact[] = { "/",       "/healthz", "/livez",
                                         "/readyz", "/version", "/api",
                                         "/apis" };
    static const char *const below[] = { "/openapi/", "/api/", "/apis/" };

    for (size_t i = 0; i < ARRAY_SIZE(exact); i++) {
        if (strcmp(path, exact[i]) == 0)
            return true;
    }
    /* Only discovery asks about paths below /api and /apis: requests for
     * objects are asked about as resources. */
    for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
        if (strncmp(path, below[i], strlen(below[i])) == 0)
            return true;
    }
    return false;
}

static bool
is_about_oneself(const struct authz_question *q)
{
    return q->resource != NULL && strcmp(q->verb, "create") == 0 &&
           (strcmp(q->resource, "selfsubjectaccessreviews") == 0 ||
            strcmp(q->resource, "selfsubjectrulesreviews") == 0 ||
            strcmp(q->resource, "selfsubjectreviews") == 0);
}

bool
authz_allows(const struct user *u, const struct authz_question *q,
             const char **ret_reason)
{
    const char *reason = NULL;

    if (user_in_group(u, USER_GROUP_MASTERS))
        reason = "member of " USER_GROUP_MASTERS;
    else if (q->path != NULL && is_public_path(q->path) &&
             strcmp(q->verb, "get") == 0)
        reason = "open to everybody";
    else if (is_about_oneself(q) && user_in_group(u, USER_GROUP_AUTH))
        reason = "every user may ask about herself";
    if (ret_reason != NULL)
        *ret_reason = reason != NULL ? reason : "no rule allows it";
    return reason != NULL;
}
