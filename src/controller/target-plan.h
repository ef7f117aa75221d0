/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-plan.h: what a directory is to a BackupTarget.
 *
 * Pure. The rule that everything here serves: a place that is not mounted
 * looks like an empty directory, and must never be taken for one.
 * Threads: pure functions.
 * source  DESIGN 8
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Beneath which of `roots` (NULL at the end) lies `path`? Both absolute and
 * without "." and "..". Returns the place in `roots`, and in *ret_below the
 * rest of the path; -1: beneath none. */
int target_plan_root(const char *path, const char *const *roots,
                     const char **ret_below);

struct target_plan_seen {
    const char *known_uuid; /* status.repositoryUUID; "": the first time */
    bool has_directory;
    bool is_empty;         /* but for lost+found */
    const char *repo_uuid; /* of the repo.cfg there; NULL: there is none */
};

enum target_plan_step {
    TARGET_CREATE,     /* make a repository in the empty directory */
    TARGET_ADOPT,      /* the first time, and there is one */
    TARGET_USE,        /* it is ours */
    TARGET_MISSING,    /* no such directory; never had one */
    TARGET_FOREIGN,    /* other files and no repository; never had one */
    TARGET_UNMOUNTED,  /* had one, and it is not there */
    TARGET_OTHER_REPO, /* had one, and another is there */
};

enum target_plan_step target_plan_make(const struct target_plan_seen *seen);
/* Reason and message of the condition Ready; NULL for the first three. */
const char *target_plan_reason(enum target_plan_step step);
const char *target_plan_message(enum target_plan_step step);
