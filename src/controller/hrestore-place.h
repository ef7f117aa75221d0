/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-place.h: in which directory a restored disk goes.
 *
 *   1. replacing a disk: beside it
 *   2. the annotation vmkeep.io/restore-dir of the restore
 *   3. restore_dir of vmkeep.conf
 *   4. the directory where the disk was when it was backed up
 *   5. /var/lib/libvirt/images
 *
 * What users and backups name (2, 4) must be allowed: a place that the
 * administrator has chosen for disks already, which is restore_dir and
 * /var/lib/libvirt/images with all below them, and each directory in which a
 * domain of this host has a disk. A directory that is not allowed: 2 is an
 * error, 4 is passed over.
 * Threads: any. Reads libvirt and the file system, changes nothing.
 * source  DESIGN 7, 10
 */
#pragma once
#include "codec/jsonx.h"
#include "controller/ctl.h"

#define HRESTORE_PLACE_NOTE    "vmkeep.io/restore-dir"
#define HRESTORE_PLACE_DEFAULT "/var/lib/libvirt/images"

struct hrestore_places;

/* errors  INVALID (the annotation); UNAVAILABLE (libvirt) */
int hrestore_place_open(struct ctl *ctl, const json_t *restore,
                        struct hrestore_places **ret_places, struct err *err)
    NODISCARD;
void hrestore_place_close(struct hrestore_places *p); /* NULL is fine */
DEFINE_CLEANUP(hrestore_place_close, struct hrestore_places *)

/* What volume_fill_prepare() calls `beside`; the caller's to free.
 *
 *   target  "vda"
 *   was     the path of the disk in the backup's XML; NULL: not known
 *   old     in place: the domain as it is; else NULL
 *   errors  NOT_FOUND (there is no directory)
 */
char *hrestore_place_of(const struct hrestore_places *p, const char *target,
                        const char *was, const struct domxml *old,
                        struct err *err) NODISCARD;

/* Bytes that are free at `beside` for others than root, and which file system
 * that is. */
int hrestore_place_room(const char *beside, uint64_t *ret_free,
                        uint64_t *ret_device, struct err *err) NODISCARD;
