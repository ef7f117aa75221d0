/* SPDX-License-Identifier: Apache-2.0 */
/* virt/checkpoint.h: libvirt's checkpoints: a bitmap in each qcow2 disk that
 * records what the guest writes from an instant on.
 *
 * What counts is the bitmap in the disk file. libvirt's own note of the
 * checkpoint is forgotten right after it was made: with it `virsh undefine`
 * refuses and an admin's snapshots and reverts fail. QEMU keeps recording, and
 * carries the bitmap over snapshots, commits, stop and start by its name.
 * Threads: any; at most one block operation per domain at a time.
 * source  libvirt 9.0, virDomainCheckpointCreateXML;
 *         docs/decisions/0022-checkpoints.md
 */
#pragma once
#include "virt/virt.h"

/* Begin to record, at one instant, on the named qcow2 disks of a running (or
 * paused) domain; other disks are not touched. One libvirt call and nothing
 * else.
 *
 *   name    of the checkpoint and of the bitmap in every disk
 *   errors  EXISTS; CONFLICT (not running); UNSUPPORTED (raw, qcow2 v2)
 */
int virt_checkpoint_create(struct virt *v, const char *uuid, const char *name,
                           const char *const *targets, size_t n,
                           struct err *err) NODISCARD;
/* libvirt's note of it goes, the bitmaps stay and record on. None: success. */
int virt_checkpoint_forget(struct virt *v, const char *uuid, const char *name,
                           struct err *err) NODISCARD;
/* The bitmaps go from all files in these disks' chains, the note too. The
 * domain runs (CONFLICT). No such bitmap on any disk: success. Disks on which
 * the bitmap is missing or broken are left alone; those files are for
 * disk/bitmap.h once the domain is off.
 *
 *   ret_left  NULL or: on how many of the targets it could not be removed */
int virt_checkpoint_delete(struct virt *v, const char *uuid, const char *name,
                           const char *const *targets, size_t n,
                           size_t *ret_left, struct err *err) NODISCARD;
/* Names of the checkpoints that libvirt knows and that begin with `prefix`.
 * Caller frees each and the array. */
int virt_checkpoint_list(struct virt *v, const char *uuid, const char *prefix,
                         char ***ret_names, size_t *ret_n, struct err *err)
    NODISCARD;
