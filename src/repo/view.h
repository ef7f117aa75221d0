/* SPDX-License-Identifier: Apache-2.0 */
/* repo/view.h: an open backup, for the files of repo/ only; see repo.h. */
#pragma once
#include "repo/mend.h"
#include "repo/renew.h"
#include "repo/repo-private.h"

#define VIEW_NODES  64
#define VIEW_CHUNKS 8
#define VIEW_PIN_S  3600 /* who has read for so long pins the backup */

extern struct role view_lock;

struct view_node_slot {
    unsigned disk;
    uint64_t idx;
    uint64_t used; /* 0: empty */
    struct tree_node *node;
};

struct view_chunk_slot {
    uint8_t id[HASH_SIZE];
    uint64_t used; /* 0: empty */
    uint32_t len;
    uint8_t *data;
};

struct repo_view {
    struct repo *repo; /* [C] */
    struct root root;  /* [C] */
    char id[REPO_ID_SIZE];
    uint8_t pin[16];       /* [C] who we are in a PIN */
    bool is_kept;          /* [C] by the OPEN of a writer: needs no PIN */
    pthread_mutex_t mutex; /* what view_lock stands for */
    bool is_pinned GUARDED_BY(view_lock);
    struct renew renew GUARDED_BY(view_lock); /* when to pin (again) */
    uint64_t clock GUARDED_BY(view_lock);
    struct view_node_slot nodes[VIEW_NODES] GUARDED_BY(view_lock);
    struct view_chunk_slot chunks[VIEW_CHUNKS] GUARDED_BY(view_lock);
    struct mend *mend; /* [C] for packs that are damaged */
};

/* A backup that may be deleted; what the log says of it is known. */
int view_open_commit(struct repo *repo, const struct commitlog_commit *c,
                     struct repo_view **ret_view, struct err *err) NODISCARD;

/* pack_reader_frame(); and where that finds damage, mend_frame(). */
int view_mend_frame(struct repo_view *v, struct frame_ctx *ctx,
                    enum frame_kind kind, const struct frame_loc *loc,
                    const uint8_t id[HASH_SIZE], uint8_t *out, struct err *err)
    NODISCARD;

/* Chunks of a disk, and bytes of chunk `c`. */
uint64_t view_chunks(const struct root_disk *d);
uint32_t view_span(const struct root_disk *d, uint64_t chunk);

/* The entry that the parent of node (level, idx) has for it. */
int view_entry(struct repo_view *v, unsigned disk, unsigned level, uint64_t idx,
               struct tree_entry *ret, struct err *err) NODISCARD;
/* A copy of node (level, idx); *ret_found false: all of it is zero. Messages
 * name the disk. */
int view_node(struct repo_view *v, unsigned disk, unsigned level, uint64_t idx,
              struct tree_node *ret, bool *ret_found, struct err *err)
    NODISCARD;
