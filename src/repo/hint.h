/* SPDX-License-Identifier: Apache-2.0 */
/* repo/hint.h: small objects that are replaced, below hint/.
 *
 * Objects never change, so each is written under the next number and the one
 * before is removed; the highest counts. Neither encrypted nor authenticated:
 * nothing may depend on what one says. Two who write at once: one's is lost.
 * Threads: any. Blocks on the store.
 */
#pragma once
#include "base/buf.h"
#include "repo/repo-private.h"

/* `prefix` as "hint/copies/". `ret` stays empty when there is none, it is
 * larger than `max`, or has just gone; *ret_number is for hint_store(). */
int hint_load(struct repo *repo, const char *prefix, size_t max,
              struct buf *ret, uint64_t *ret_number, struct err *err) NODISCARD;
/* `number`: of the one that this replaces; 0: there was none. */
int hint_store(struct repo *repo, const char *prefix, uint64_t number,
               const void *data, size_t len, struct err *err) NODISCARD;
