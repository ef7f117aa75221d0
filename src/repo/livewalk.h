/* SPDX-License-Identifier: Apache-2.0 */
/* repo/livewalk.h: every frame that backups need, each node read once.
 *
 * Threads: one.
 */
#pragma once
#include "repo/commitlog.h"

struct livewalk;
struct repo;

struct livewalk_sink {
    /* A frame, and where it is now. Frames come in the order of the disks'
     * offsets; the same one may come again. */
    int (*frame)(void *arg, enum frame_kind kind, const struct tree_entry *e,
                 struct err *err);
    void *arg;
};

struct livewalk *livewalk_new(struct repo *repo,
                              const struct livewalk_sink *sink) NODISCARD;
void livewalk_free(struct livewalk *w); /* NULL is fine */
DEFINE_CLEANUP(livewalk_free, struct livewalk *)

/* All of a backup but what is below nodes that were walked before.
 *   errors  the sink's; CORRUPT, NOT_FOUND: it is damaged */
int livewalk_backup(struct livewalk *w, const struct commitlog_commit *c,
                    struct err *err) NODISCARD;
