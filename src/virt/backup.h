/* SPDX-License-Identifier: Apache-2.0 */
/* virt/backup.h: libvirt's backup job, in pull mode: the disks of a running
 * domain at one instant, served by its QEMU over NBD until the job ends.
 *
 * What the guest overwrites meanwhile QEMU copies to a scratch file before. If
 * that file cannot grow, the guest's own write fails: so room for all that it
 * can need is reserved (virt_backup_reserve()).
 * A domain has one such job at a time; while it runs, cuts of the same domain
 * wait and fail (spec guest.md 4).
 * Threads: any; one call per domain at a time.
 * source  libvirt 9.0, virDomainBackupBegin; spec engine.md 3, guest.md 4
 */
#pragma once
#include <sys/types.h>

#include "virt/virt.h"

struct virt_backup_disk {
    const char *target;  /* "vdb" */
    const char *scratch; /* a file that libvirt makes; its directory is there */
};
/* A job is ours if the path of its socket has this name in it: one of a kind,
 * say a UUID. */
struct virt_backup {
    const char *socket; /* UNIX, with the name in it; QEMU makes it */
    const struct virt_backup_disk *disks;
    size_t n;
};

/* The instant. Exports are named as the targets. Without a checkpoint: raw
 * disks can have none.
 *   errors  BUSY (another job); CONFLICT (it is not running) */
int virt_backup_begin(struct virt *v, const char *uuid,
                      const struct virt_backup *b, struct err *err) NODISCARD;
/* The socket of this very job, as QEMU names it; NULL: it does not run. The
 * caller's.
 *   errors  NOT_FOUND: no such domain */
int virt_backup_socket(struct virt *v, const char *uuid, const char *name,
                       char **ret_socket, struct err *err) NODISCARD;
/* End it and wait until it is gone; none, or another, is success.
 *   errors  TIMEOUT */
int virt_backup_end(struct virt *v, const char *uuid, const char *name,
                    struct err *err) NODISCARD;

/* Let a scratch file have what a disk of `size` bytes can need at most, on the
 * file system where it is. It keeps it until it is removed.
 *   errors  NO_SPACE; UNSUPPORTED (the file system cannot promise room) */
int virt_backup_reserve(const char *scratch, uint64_t size, struct err *err)
    NODISCARD;
/* So much. */
uint64_t virt_backup_need(uint64_t size);

/* Who runs its QEMU. NOT_FOUND: nobody. */
int virt_qemu_owner(const char *uuid, uid_t *ret_uid, gid_t *ret_gid,
                    struct err *err) NODISCARD;
/* The directory that libvirt made for this QEMU alone, as QEMU names it: where
 * AppArmor's profile of a domain lets it make sockets. It goes with the domain.
 * NULL: not known. The caller's. */
char *virt_qemu_dir(const char *uuid) NODISCARD;
/* A directory as QEMU sees it, which may have mounts of its own. QEMU can write
 * to it, or replace it: follow no links. */
int virt_qemu_open_dir(const char *uuid, const char *dir, int *ret_fd,
                       struct err *err) NODISCARD;
