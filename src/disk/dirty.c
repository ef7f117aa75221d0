/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "disk/qcow2.h"
#include "disk/source-priv.h"

#define STATE_DIRTY 1u

/* Said by the file itself, so that what is wrong needs no guessing from
 * qemu-nbd's words. */
static int
check_bitmap(const struct disk_layer *layer, const char *bitmap,
             struct err *err)
{
    CLEANUP(qcow2_info_fini) struct qcow2_info info = { .version = 0 };
    CLEANUP(qcow2_bitmaps_fini) struct qcow2_bitmaps all = { .n = 0 };
    CLEANUP(fd_close) int fd = -1;
    const struct qcow2_bitmap *b;

    if (strcmp(layer->format, "qcow2") != 0)
        return err_set(err, ERR_NOT_FOUND, "%s: a %s image has no bitmaps",
                       layer->path, layer->format);
    fd = open(layer->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_sys(err, errno, "%s: open", layer->path);
    if (qcow2_read(fd, layer->path, &info, err) < 0 ||
        qcow2_bitmaps_read(fd, layer->path, &info, &all, err) < 0)
        return -1;
    b = qcow2_bitmaps_find(&all, bitmap);
    if (b == NULL)
        return err_set(err, ERR_NOT_FOUND, "%s: no bitmap %s", layer->path,
                       bitmap);
    if (b->in_use)
        return err_set(
            err, ERR_CORRUPT,
            "%s: the bitmap %s is in use: the QEMU that recorded it was killed",
            layer->path, bitmap);
    return 0;
}

int
disk_dirty_read(const char *dir, const struct disk_layer *layer,
                const char *bitmap, struct ranges *add_to, struct err *err)
{
    CLEANUP(disk_source_close) struct disk_source *s = NULL;
    const struct disk_source_options o = { .dir = dir, .top = *layer };

    if (check_bitmap(layer, bitmap, err) < 0 ||
        disk_source_open_bitmap(&o, bitmap, &s, err) < 0)
        return -1;
    const struct source_query q = { 0, s->size, STATE_DIRTY, STATE_DIRTY };

    if (disk_source_query(s, &q, add_to, err) < 0)
        return disk_source_fail(s, err);
    return 0;
}
