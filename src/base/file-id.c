/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file-id.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static bool
is_same_birth(const struct file_id *a, const struct file_id *b)
{
    return a->born == b->born || a->born == 0 || b->born == 0;
}

bool
file_id_equal(const struct file_id *a, const struct file_id *b)
{
    return a->dev == b->dev && a->ino == b->ino && is_same_birth(a, b);
}

bool
file_id_equal_there(const struct file_id *a, const struct file_id *b)
{
    /* A block device is its number and nothing else. */
    return a->ino == b->ino && is_same_birth(a, b) &&
           (a->ino != 0 || a->dev == b->dev);
}

static int
look(int fd, const char *path, int flags, const char *name,
     struct file_id *ret_id, struct err *err)
{
    struct statx st;

    if (statx(fd, path, flags, STATX_TYPE | STATX_INO | STATX_BTIME, &st) < 0)
        return err_sys(err, errno, "%s: stat", name);
    if (S_ISBLK(st.stx_mode)) {
        *ret_id = (struct file_id){ .dev = makedev(st.stx_rdev_major,
                                                   st.stx_rdev_minor) };
        return 0;
    }
    *ret_id =
        (struct file_id){ .dev = makedev(st.stx_dev_major, st.stx_dev_minor),
                          .ino = st.stx_ino };
    /* A clock that stood at 1970 tells nothing apart. */
    if ((st.stx_mask & STATX_BTIME) != 0 && st.stx_btime.tv_sec > 0)
        ret_id->born =
            (uint64_t)st.stx_btime.tv_sec * 1000000000u + st.stx_btime.tv_nsec;
    return 0;
}

int
file_id_of_path(const char *path, struct file_id *ret_id, struct err *err)
{
    return look(AT_FDCWD, path, 0, path, ret_id, err);
}

int
file_id_at(int dirfd, const char *name, int flags, struct file_id *ret_id,
           struct err *err)
{
    return look(dirfd, name, flags, name, ret_id, err);
}

int
file_id_of_fd(int fd, const char *name, struct file_id *ret_id, struct err *err)
{
    return look(fd, "", AT_EMPTY_PATH, name, ret_id, err);
}

bool
file_is_at(const char *path, const struct file_id *id)
{
    struct file_id is;
    struct err unused;

    return file_id_of_path(path, &is, &unused) == 0 && file_id_equal(&is, id);
}

void
file_id_print(const struct file_id *id, char out[FILE_ID_TEXT_SIZE])
{
    int n = snprintf(out, FILE_ID_TEXT_SIZE, "%" PRIu64 ":%" PRIu64, id->dev,
                     id->ino);

    if (id->born != 0)
        (void)snprintf(out + n, FILE_ID_TEXT_SIZE - (size_t)n, ":%" PRIu64,
                       id->born);
}

bool
file_id_parse(const char *text, struct file_id *ret_id)
{
    uint64_t *const parts[] = { &ret_id->dev, &ret_id->ino, &ret_id->born };
    const char *at = text;
    char again[FILE_ID_TEXT_SIZE];
    char *end = NULL;

    *ret_id = (struct file_id){ .dev = 0 };
    for (size_t i = 0; i < ARRAY_SIZE(parts) && (i == 0 || *end == ':'); i++) {
        *parts[i] = strtoull(at, &end, 10);
        at = end + 1;
    }
    /* A sign, a leading zero, too large a number, a part too many: whatever
     * would be written differently was not written by us. */
    file_id_print(ret_id, again);
    return strcmp(again, text) == 0;
}
