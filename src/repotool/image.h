/* SPDX-License-Identifier: Apache-2.0 */
/* repotool/image.h: raw image files and block devices.
 *
 * Threads: image_write() and image_zero() any; the rest one.
 */
#pragma once
#include <sys/stat.h>

#include <stdint.h>

#include "base/err.h"

struct image {
    int fd; /* -1: closed */
    char *path;
    uint64_t size;
    bool is_device;
    bool is_fresh;   /* made by image_create(): reads as zeros */
    bool is_made;    /* image_create() gave it its name */
    struct stat was; /* when it was opened */
};

void image_close(struct image *i);
static inline void
image_close_p(struct image *i)
{
    image_close(i);
}

int image_open(const char *path, struct image *ret, struct err *err) NODISCARD;

/* Was a file written to since it was opened? Of a device nobody knows. */
bool image_has_changed(const struct image *i);
/* A qcow2 image that is nothing without another one. */
bool image_is_overlay(const struct image *i);

/* The first run of data at or after `off`, up to the size that the image had
 * when it was opened; *ret_len 0: none up to there. A file that cannot tell is
 * data all over; one that became shorter is an error. */
int image_next_data(struct image *i, uint64_t off, uint64_t *ret_off,
                    uint64_t *ret_len, struct err *err) NODISCARD;
/* All `len` bytes; an image that became shorter is an error. */
int image_read(struct image *i, uint64_t off, void *data, size_t len,
               struct err *err) NODISCARD;

/* A file of `size` zero bytes, mode 0600, or a device at least that large. A
 * file that exists is refused without `overwrites`. */
int image_create(const char *path, uint64_t size, bool overwrites,
                 struct image *ret, struct err *err) NODISCARD;
int image_write(struct image *i, uint64_t off, const void *data, size_t len,
                struct err *err) NODISCARD;
int image_zero(struct image *i, uint64_t off, uint64_t len, struct err *err)
    NODISCARD;
int image_sync(struct image *i, struct err *err) NODISCARD;
/* What was written is of no use: remove the file if we made it, else say that
 * it is incomplete. Closes it. */
void image_discard(struct image *i);
