/* SPDX-License-Identifier: Apache-2.0 */
/* repo/repo-keys.h: who can open a repository, and for what.
 *
 * A slot lets one key file, passphrase or recipient in, in one role: full,
 * backup-only, restore-only, maintainer (docs/formats/keys.md says what each
 * can do and what keeps it from more). Adding one rewrites nothing.
 * Threads: as struct repo.
 */
#pragma once
#include "repo/repo.h"

#define REPO_KEYS_LABEL 33 /* with NUL */

struct repo_key {
    char id[REPO_ID_SIZE];
    char label[REPO_KEYS_LABEL];
    const char *kind; /* "key file", "passphrase", "recipient" */
    const char *role; /* "full" ... */
    int64_t created_unix_s;
    bool is_ours;    /* it opened this struct repo */
    bool is_genuine; /* signed by who owns the repository */
};

/* The slots. Array, the caller's to free(). */
int repo_keys_list(struct repo *repo, struct repo_key **ret_keys,
                   size_t *ret_count, struct err *err) NODISCARD;

struct repo_keys_new {
    const char *role;  /* NULL: full */
    const char *label; /* NULL: none; printable ASCII, at most 32 */
    /* One of these. */
    const char *key_file;   /* must not exist; is made */
    const char *passphrase; /* */
    const char *recipient;  /* what `new-recipient` printed */
    const uint8_t *raw;     /* the 32 bytes of a key file */
    bool is_kdf_fast;
};

/*   errors  DENIED (our role is not full); INVALID; EXISTS */
int repo_keys_add(struct repo *repo, const struct repo_keys_new *new_key,
                  char ret_id[REPO_ID_SIZE], struct err *err) NODISCARD;

/* Take a slot away. Who had it and kept a copy can still read what was there;
 * rotate to keep later backups from him.
 *   errors  NOT_FOUND; DENIED; CONFLICT (the last full one) */
int repo_keys_remove(struct repo *repo, const char *id, struct err *err)
    NODISCARD;

/* A new epoch: packs of backups that begin from now on get new keys, which
 * every slot that is there now is given. `repo` is closed by its owner after
 * that: it knows the old keys only.
 *   ret_skipped  slots that are not genuine and got nothing
 *   errors  DENIED; CONFLICT (somebody else did); UNSUPPORTED (too many) */
int repo_keys_rotate(struct repo *repo, unsigned *ret_epoch,
                     size_t *ret_skipped, struct err *err) NODISCARD;

/* Are the keys that `repo` writes with those of the present epoch? If not,
 * somebody rotated: open it again.
 *   blocks  on the store */
int repo_keys_is_current(struct repo *repo, bool *ret, struct err *err)
    NODISCARD;

/* A recipient's pair: the secret into a new file, the public key as text
 * ("vmkeep-public-1 ...", no newline) into `ret_public` of 96 bytes. */
int repo_keys_make_recipient(const char *path, char ret_public[96],
                             struct err *err) NODISCARD;

/* Write a key file with these 32 bytes. EXISTS when it is there. */
int repo_keys_write_file(const char *path, const uint8_t key[32],
                         struct err *err) NODISCARD;
