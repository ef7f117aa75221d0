/* SPDX-License-Identifier: Apache-2.0 */
/* repo/repo-private.h: an open repository, for the files of repo/ only. */
#pragma once
#include "base/mutex.h"
#include "blob/blob.h"
#include "codec/keys.h"
#include "repo/commitlog.h"
#include "repo/pack-read.h"
#include "repo/redirect.h"
#include "repo/repo.h"
#include "repo/root.h"

#define REPO_PRIVATE_CTXS 16

struct repo {
    struct blob *blob;         /* [C] owned */
    struct repo_info info;     /* [C] */
    uint8_t uuid[16];          /* [C] */
    uint8_t cipher;            /* [C] 0, 1 */
    uint8_t slot[16];          /* [C] the key slot that opened it, or zeros */
    bool is_read_only;         /* [C] a newer format allows reading only */
    struct keys keys;          /* [C] zeros when locked; see its role */
    struct pack_wrap wrap;     /* [C] */
    struct commitlog *log;     /* [C] */
    struct pack_reader *packs; /* [C] */
    struct redirect *moves;    /* [C] */
    struct segcache *segcache; /* [C] or NULL */
    uint64_t index_budget;     /* [C] bytes; a larger index is sampled */
    size_t index_memory;       /* [C] DEDUPINDEX_MEMORY; tests have less */
    pthread_mutex_t mutex;     /* of the two below */
    struct frame_ctx *ctxs[REPO_PRIVATE_CTXS];
    unsigned ctx_count;
};

/* DENIED when the key is not known. */
int repo_private_need_key(const struct repo *repo, struct err *err) NODISCARD;

/* The same; UNSUPPORTED when the format allows reading only; DENIED when the
 * key does. */
int repo_private_need_write(const struct repo *repo, struct err *err) NODISCARD;

/* What the role must allow besides: the content of disks, adding backups,
 * deleting and collecting. DENIED. */
int repo_private_need_read(const struct repo *repo, struct err *err) NODISCARD;
int repo_private_need_backup(const struct repo *repo, struct err *err)
    NODISCARD;
int repo_private_need_delete(const struct repo *repo, struct err *err)
    NODISCARD;

/* As repo.cfg says now: it may have been added since we opened it. */
bool repo_private_makes_parity(struct repo *repo);

/* A context from the repository's store of them. */
struct frame_ctx *repo_private_ctx_take(struct repo *repo) NODISCARD;
void repo_private_ctx_put(struct repo *repo, struct frame_ctx *ctx);

/* How many workers: `wanted`, or one per core; 1..16. */
unsigned repo_private_threads(unsigned wanted);

/* The packs of a session that nobody may take up any more. Best effort: what
 * stays is garbage. */
void repo_private_remove_packs(struct repo *repo, const uint8_t session[16]);

/* Is the frame that a tree says is at `loc`, wherever it was moved to, on the
 * list?  blocks on the store, if a map of moves is read */
bool repo_private_is_bad(struct repo *repo, const struct badset *bad,
                         enum frame_kind kind, const struct frame_loc *loc);

/* What repo_list() says of it. */
void repo_private_entry(const struct commitlog_backup *b,
                        struct repo_entry *ret);
