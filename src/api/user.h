/* SPDX-License-Identifier: Apache-2.0 */
/* api/user.h: who asks. */
#pragma once
#include <stdbool.h>

#define USER_GROUPS_MAX 8

struct user {
    char *name; /* owned; NULL until known */
    char *groups[USER_GROUPS_MAX];
    int ngroups;
};

/* Both are copied; groups beyond USER_GROUPS_MAX are dropped. */
void user_set(struct user *u, const char *name);
void user_add_group(struct user *u, const char *group);
void user_fini(struct user *u);
bool user_in_group(const struct user *u, const char *group);

#define USER_GROUP_MASTERS   "system:masters" /* may do everything */
#define USER_GROUP_AUTH      "system:authenticated"
#define USER_GROUP_ANONYMOUS "system:unauthenticated"
