/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-priv.h: what target.c and target-look.c share: the handles,
 * and the table of what is known of each target.
 *
 * Threads: any.
 */
#pragma once
#include <stdatomic.h>

#include "base/file.h"
#include "base/map.h"
#include "controller/target.h"

struct target_ref {
    atomic_int refs;    /* [A] */
    struct repo *repo;  /* [C] */
    char *name;         /* [C] */
    char *endpoint;     /* [C] */
    char *uuid;         /* [C] */
    bool is_encrypted;  /* [C] */
    char *key;          /* [C] its key file; NULL: none */
    struct file_id dir; /* [C] */
};

/* NULL is fine, and given back. */
struct target_ref *target_ref_get(struct target_ref *ref);

struct targets;

/* The known handle of the target, if it leads to this very directory and
 * repository; NULL: none. The caller's. */
struct target_ref *target_present(struct targets *t, const char *name,
                                  const struct file_id *dir, const char *uuid)
    NODISCARD;

/* What a look at the target found, for everybody who asks; the look of another
 * object than the one that is looked at now is ignored.
 *
 *   uid   of the BackupTarget
 *   ref   borrowed; NULL: not ready
 *   why   then
 *   uids  the backups that are there; taken; NULL: not known */
void target_publish(struct targets *t, const char *name, const char *uid,
                    struct target_ref *ref, const char *why, struct map *uids);

/* The look at the target gets on. */
void target_look_on(struct targets *t, const char *name);
