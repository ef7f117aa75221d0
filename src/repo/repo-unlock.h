/* SPDX-License-Identifier: Apache-2.0 */
/* repo/repo-unlock.h: from a secret to the keys of a repository. */
#pragma once
#include "codec/keys-text.h"
#include "repo/repo-private.h"

/* A slot or grant of the store. */
struct repo_unlock_slot {
    char name[64]; /* "keys/<uuid>" */
    struct keys_slot slot;
    uint8_t bytes[KEYS_SLOT_MAX + 1]; /* what slot.bytes points to */
};

/* All that are whole and of this repository; array of pointers.
 *   errors  those of the store */
int repo_unlock_slots(struct repo *repo, struct repo_unlock_slot ***ret,
                      size_t *ret_count, struct err *err) NODISCARD;
void repo_unlock_slots_free(struct repo_unlock_slot **slots, size_t count);

/* Fills repo->keys, repo->slot and repo->wrap.epoch.
 *   errors  DENIED (the secret opens none); NO_MEMORY; INVALID (no key file) */
int repo_unlock(struct repo *repo, const struct repo_secret *secret,
                struct err *err) NODISCARD;

/* A key file's content, or a recipient's. */
int repo_unlock_read_file(const char *path, struct keys_secret *ret,
                          struct err *err) NODISCARD;
