/* SPDX-License-Identifier: Apache-2.0 */
/* repo/rescue.h: a writer found chunks in packs of others, and somebody
 * condemned or rewrote such a pack before the commit.
 *
 * Source: docs/formats/log.md, "REDIRECT". Threads: the caller's of a backup
 * of which everything is stored.
 */
#pragma once
#include "repo/backup.h"

/* Find the chunks that the new nodes of the backup name in such packs: refer to
 * where they were moved, or store them again while they can still be read; and
 * write these nodes anew. What was stored is in the packers, to be finished.
 *
 *   ret_changed  false: there is no such pack
 *   errors       CONFLICT (a chunk is gone: the backup must begin again); those
 *                of the store
 *   blocks       on the store */
int rescue_run(struct repo_backup *b, bool *ret_changed, struct err *err)
    NODISCARD;
