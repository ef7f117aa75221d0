/* SPDX-License-Identifier: Apache-2.0 */
/* repo/redirect.h: finds frames that were moved.
 *
 * Trees keep the locations that they were written with; a location in a pack
 * that was rewritten is looked up in the map of its REDIRECT, and again until
 * nobody moved it further. Maps are read when they are needed; a few are kept.
 * Source: docs/formats/pack.md, "Moved frames".
 * Threads: any.
 */
#pragma once
#include "base/mutex.h"
#include "repo/pack-read.h"

struct commitlog;
struct redirect;
struct repo;
extern struct role redirect_lock;

struct redirect *redirect_new(struct repo *repo) NODISCARD; /* borrowed */
void redirect_free(struct redirect *r);                     /* NULL is fine */

/* Take in what the log says by now; `reads_log`: look for newer entries. */
int redirect_update(struct redirect *r, bool reads_log, struct err *err)
    NODISCARD EXCLUDES(redirect_lock);

/* Was the pack rewritten? */
bool redirect_is_source(struct redirect *r, const struct pack_id *pack)
    EXCLUDES(redirect_lock);

/* Where is the frame, as far as redirect_update() knows? *ret_moved: `loc` was
 * changed. A frame of a rewritten pack that was not moved stays where it is.
 *   errors  those of reading a map
 *   blocks  on the store, if a map is read */
int redirect_resolve(struct redirect *r, enum frame_kind kind,
                     struct frame_loc *loc, bool *ret_moved, struct err *err)
    NODISCARD EXCLUDES(redirect_lock);

/* For pack_reader_set_moves(): `arg` is a struct redirect. */
int redirect_look(void *arg, enum frame_kind kind, struct frame_loc *loc,
                  bool is_missing, bool *ret_moved, struct err *err) NODISCARD;
