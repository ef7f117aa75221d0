/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-repo.h: the directory of a BackupTarget and the repository
 * in it: looking, making, opening.
 *
 *   <state_dir>/keys/<repository uuid>.key    encryption.mode Generated
 *   <state_dir>/keys/new-<target's uid>.key   the same, while the repository
 *                                             is being made
 *
 * Threads: any, one per target. Blocks on the directory.
 * source  DESIGN 8
 */
#pragma once
#include "base/file-id.h"
#include "controller/target-plan.h"
#include "repo/repo.h"

struct target_repo_place {
    const char *state_dir;
    const char *const *roots;
    const char *path, *uid, *known_uuid;
    const char *mode;                       /* of encryption */
    const char *key_file, *passphrase_file; /* NULL: none */
};

struct target_repo_look {
    enum target_plan_step step;
    int fd;                  /* of the directory; -1: none */
    struct file_id dir;      /* who it is */
    uint64_t capacity, free; /* bytes, of its file system */
};
void target_repo_look_fini(struct target_repo_look *l);
static inline void
target_repo_look_fini_p(struct target_repo_look *l)
{
    target_repo_look_fini(l);
}

/* errors  DENIED (beneath no root); INVALID (a link is in the way); those of
 *         reading a directory; CORRUPT (repo.cfg) */
int target_repo_look(const struct target_repo_place *place,
                     struct target_repo_look *ret_look, struct err *err)
    NODISCARD;

/* Open the repository, or make it, as look->step says (CREATE, ADOPT, USE).
 *
 *   ret_key  path of its key file on this host; NULL: it has none. The
 *            caller's
 *   errors   DENIED (no key, wrong key); those of the repository */
int target_repo_open(const struct target_repo_place *place,
                     const struct target_repo_look *look,
                     struct repo **ret_repo, char **ret_key, struct err *err)
    NODISCARD;

/* Can it be written? Makes and removes a few names. */
int target_repo_test(const struct target_repo_look *look, const char *path,
                     struct err *err) NODISCARD;
