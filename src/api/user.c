/* SPDX-License-Identifier: Apache-2.0 */
#include "api/user.h"

#include <string.h>

#include "base/mem.h"

void
user_set(struct user *u, const char *name)
{
    user_fini(u);
    u->name = xstrdup(name);
}

void
user_add_group(struct user *u, const char *group)
{
    if (u->ngroups < USER_GROUPS_MAX)
        u->groups[u->ngroups++] = xstrdup(group);
}

void
user_fini(struct user *u)
{
    free(u->name);
    for (int i = 0; i < u->ngroups; i++)
        free(u->groups[i]);
    *u = (struct user){ 0 };
}

bool
user_in_group(const struct user *u, const char *group)
{
    for (int i = 0; i < u->ngroups; i++) {
        if (strcmp(u->groups[i], group) == 0)
            return true;
    }
    return false;
}
