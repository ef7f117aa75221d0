/* SPDX-License-Identifier: Apache-2.0 */
/* disk/source.h: a guest disk that stands still, read through qemu-nbd.
 *
 * The image and its backing chain must not change while it is read: it is a
 * sealed layer, or the disk of a stopped VM. qemu-nbd takes QEMU's own shared
 * image locks. It is started read-only and without -t: it ends when our
 * connection ends, so also when we are killed (for the moment before the
 * connection see disk/sweep.h).
 *
 * The size is what a guest sees: QEMU rounds up to 512 bytes. Encrypted
 * images, images with an external data file, images that do not say of which
 * format their backing file is (QEMU would guess, and a guest can write a
 * header into a raw disk), and backing files that are not local are refused.
 *
 * After a call failed, the source can only be closed.
 * Threads: a source is one thread's at a time. Every wait is bounded.
 * source  NBD protocol (proto.md), qemu-nbd(8); spec engine.md 3.3, 5.9
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "disk/chain.h"
#include "disk/dirty.h"
#include "disk/ranges.h"

struct disk_source;

struct disk_source_options {
    const char *dir; /* of the job: ours alone (0710); the socket lies there,
                      * its name may be longer than 107 bytes */
    struct disk_layer top;
    unsigned connections; /* 0: 1; at most 8; qemu-nbd 7.2 serves them all in
                           * one thread */
    uint64_t stall_ms;    /* no answer for so long: TIMEOUT; 0: 60000 */
    const char *program;  /* NULL: "qemu-nbd"; tests give a hostile one */
};

/* Start qemu-nbd on the image.
 *
 *   errors  NOT_FOUND; BUSY (somebody writes to it); UNSUPPORTED (see above);
 *           CORRUPT; CONFLICT (replaced meanwhile); TIMEOUT; UNAVAILABLE
 *           (qemu-nbd ended, with its last words)
 *   blocks  until it answers, at most 30 s: hold no lock
 */
int disk_source_open(const struct disk_source_options *options,
                     struct disk_source **ret_source, struct err *err)
    NODISCARD NONNULL(1, 2, 3);

/* The same of an export that a QEMU serves: of a backup job in pull mode. The
 * size is the export's; nothing is known of files.
 *
 *   dirfd, socket  the UNIX socket, by the directory that it lies in
 *   name           of the export
 *   errors         UNAVAILABLE (nobody serves there); UNSUPPORTED; TIMEOUT
 */
int disk_source_open_export(int dirfd, const char *socket, const char *name,
                            struct disk_source **ret_source, struct err *err)
    NODISCARD;

/* Ends qemu-nbd and waits for it, at most 1 s, then SIGKILL. NULL is fine. */
void disk_source_close(struct disk_source *s);
DEFINE_CLEANUP(disk_source_close, struct disk_source *)

uint64_t disk_source_size(const struct disk_source *s);

/* What may hold something else than zeros (base:allocation), in the whole
 * chain; put into `add_to`. */
int disk_source_allocated(struct disk_source *s, struct ranges *add_to,
                          struct err *err) NODISCARD;

/* Read any range within the disk. */
int disk_source_read(struct disk_source *s, uint64_t off, void *data,
                     size_t len, struct err *err) NODISCARD;

/* How many bytes of buffers a copy holds at once, at most; but always two. */
#define DISK_SINK_HELD_MAX ((size_t)8 << 20)

/* Where a copy goes. All are called from the thread that copies. Offsets
 * ascend; off and len are multiples of the chunk, but at the disk's end. */
struct disk_sink {
    void *arg;
    /* A buffer of one chunk; may block until there is one. Until they are
     * handed on, DISK_SINK_HELD_MAX / chunk of them are out at once. */
    int (*buffer_get)(void *arg, uint8_t **ret_buffer, struct err *err);
    /* Give one back that was not used. */
    void (*buffer_put)(void *arg, uint8_t *buffer);
    /* One chunk; the buffer is taken, also by a failure. */
    int (*write)(void *arg, uint64_t off, uint8_t *buffer, size_t len,
                 struct err *err);
    /* The range reads as zeros; may be of any length. */
    int (*zero)(void *arg, uint64_t off, uint64_t len, struct err *err);
    /* So many bytes are done, zeros counted. Called after each of them, and
     * every second while nothing comes; a value other than 0 ends it with
     * CANCELLED. May be NULL. */
    int (*progress)(void *arg, uint64_t done_bytes);
};

/* Read `want` in order: up to 32 requests of 256 KiB are under way, in
 * bounded memory. A chunk that block status calls zero is not read.
 *
 *   want    multiples of `chunk`, within the disk's size rounded up to it;
 *           what lies behind the disk's end is left out
 *   chunk   a power of two, 4 KiB to 16 MiB
 *   errors  the sink's; CANCELLED; TIMEOUT (no answer for stall_ms);
 *           UNAVAILABLE (qemu-nbd ended); CONFLICT (an image of the chain was
 *           replaced or got smaller: QEMU reads zeros then); others of a read
 *   blocks  as long as it takes
 */
int disk_source_copy(struct disk_source *s, const struct ranges *want,
                     size_t chunk, const struct disk_sink *sink,
                     struct err *err) NODISCARD NONNULL(1, 2, 4, 5);
