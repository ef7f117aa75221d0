/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/target-plan.h"

#include <string.h>

int
target_plan_root(const char *path, const char *const *roots,
                 const char **ret_below)
{
    for (int i = 0; roots[i] != NULL; i++) {
        size_t n = strlen(roots[i]);

        if (strncmp(path, roots[i], n) == 0 && path[n] == '/' &&
            path[n + 1] != 0) {
            *ret_below = path + n + 1;
            return i;
        }
    }
    return -1;
}

enum target_plan_step
target_plan_make(const struct target_plan_seen *s)
{
    bool is_first = s->known_uuid[0] == 0;

    if (!s->has_directory)
        return is_first ? TARGET_MISSING : TARGET_UNMOUNTED;
    if (s->repo_uuid != NULL && is_first)
        return TARGET_ADOPT;
    if (s->repo_uuid != NULL)
        return strcmp(s->repo_uuid, s->known_uuid) == 0 ? TARGET_USE
                                                        : TARGET_OTHER_REPO;
    if (!is_first)
        return TARGET_UNMOUNTED;
    return s->is_empty ? TARGET_CREATE : TARGET_FOREIGN;
}

const char *
target_plan_reason(enum target_plan_step step)
{
    switch (step) {
    case TARGET_MISSING:
        return "NoDirectory";
    case TARGET_FOREIGN:
        return "NotEmpty";
    case TARGET_UNMOUNTED:
        return "NotMounted";
    case TARGET_OTHER_REPO:
        return "OtherRepository";
    case TARGET_CREATE:
    case TARGET_ADOPT:
    case TARGET_USE:
        break;
    }
    return NULL;
}

const char *
target_plan_message(enum target_plan_step step)
{
    switch (step) {
    case TARGET_MISSING:
        return "the directory is not there: make it, or mount what belongs there";
    case TARGET_FOREIGN:
        return "the directory has files and no repository: name an empty one, or one with a repository";
    case TARGET_UNMOUNTED:
        return "not mounted? The repository that belongs to this target is not in its directory; nothing is written there until it is back";
    case TARGET_OTHER_REPO:
        return "another repository is in the directory than the one that belongs to this target: is the wrong disk mounted?";
    case TARGET_CREATE:
    case TARGET_ADOPT:
    case TARGET_USE:
        break;
    }
    return NULL;
}
