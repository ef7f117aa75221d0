/* SPDX-License-Identifier: Apache-2.0 */
/* repo/segcache.h: pages of segments, kept on this host.
 *
 * A segment never changes, and the checksum of each of its pages names segment
 * and page (docs/formats/index.md). So a file with holes is enough: what
 * lies at a page's place is that page, or is not. It may be torn,
 * damaged or removed at any time, and several processes may share it.
 * Threads: any, but segcache_free().
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct blob_names;
struct segcache;

/* `dir` (absolute) is made, if it is not there, and holds nothing else.
 *   max_bytes  it does not grow beyond; nor if less than a tenth of its file
 *              system is free */
int segcache_open(const char *dir, uint64_t max_bytes, struct segcache **ret,
                  struct err *err) NODISCARD;
void segcache_free(struct segcache *c); /* NULL is fine */
DEFINE_CLEANUP(segcache_free, struct segcache *)

/* Segments that are not on this list of objects are no more. */
void segcache_keep(struct segcache *c, const struct blob_names *names);

/* `len` bytes at `off` of a segment, as they were written: who reads checks
 * them. False: they are not here. */
bool segcache_read(struct segcache *c, const uint8_t uuid[16], uint64_t off,
                   void *out, size_t len);
/* A courtesy: what does not fit is forgotten. */
void segcache_write(struct segcache *c, const uint8_t uuid[16], uint64_t off,
                    const void *data, size_t len);
uint64_t segcache_bytes(const struct segcache *c); /* on this disk, about */
