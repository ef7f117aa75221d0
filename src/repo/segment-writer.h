/* SPDX-License-Identifier: Apache-2.0 */
/* repo/segment-writer.h: collects what was stored, and makes segments of it.
 *
 * Entries are kept in memory up to a number, then they become a segment. The
 * index is a courtesy: a segment that cannot be written is forgotten, and
 * what it listed is found again by who completes the index.
 * Threads: any; the store is used without the lock.
 */
#pragma once
#include "base/mutex.h"
#include "repo/segment.h"

struct segment_writer;
extern struct role segment_writer_lock;

/* 64 GiB of chunks of 256 KiB; 7 MiB, and as much while one is written. */
#define SEGMENT_WRITER_ENTRIES ((uint32_t)1 << 18)

/* `repo_uuid` 16 bytes, borrowed as `blob`; `owner` a session (borrowed), or
 * NULL; at most `max` entries make a segment. */
struct segment_writer *segment_writer_new(struct blob *blob,
                                          const uint8_t *repo_uuid,
                                          const uint8_t *owner, uint32_t max)
    NODISCARD;
void segment_writer_free(struct segment_writer *w); /* NULL is fine */
DEFINE_CLEANUP(segment_writer_free, struct segment_writer *)

/* The segments of a merge: their level and run; they are named by the run, so
 * that who does the same merge makes the same ones. */
void segment_writer_set_run(struct segment_writer *w, unsigned level,
                            const uint8_t run[16]);

/* One more. Writes a segment, if there are enough now. */
void segment_writer_add(struct segment_writer *w, const uint8_t *id,
                        const struct segment_hit *place)
    EXCLUDES(segment_writer_lock);

/* Write what is left; then *ret_failed says how many segments could not be
 * written since the begin, and `err` why the last could not. */
void segment_writer_finish(struct segment_writer *w, unsigned *ret_failed,
                           struct err *err) EXCLUDES(segment_writer_lock);

/* Remove what was written: nobody will use it. */
void segment_writer_discard(struct segment_writer *w)
    EXCLUDES(segment_writer_lock);

/* Of those that were written. */
struct segment_writer_sums {
    uint64_t segments, entries;
};

struct segment_writer_sums segment_writer_sums_get(struct segment_writer *w)
    EXCLUDES(segment_writer_lock);
