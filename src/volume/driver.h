/* SPDX-License-Identifier: Apache-2.0 */
/* volume/driver.h: how layers are made, merged and removed on one kind of
 * storage. What may be done to which layer is decided elsewhere (plan.h);
 * a driver does it. Every step may be repeated after a crash.
 *
 * Nobody calls ops but driver.c.
 * Threads: any, for different VMs.
 */
#pragma once
#include "virt/block.h"
#include "volume/imglock.h"
#include "volume/qimg.h"

struct driver;

struct driver_create {
    const char *path;        /* of the new file */
    struct qimg_file parent; /* its backing file; path NULL: none, and format
                              * is the new file's own */
    uint64_t size;           /* bytes, virtual */
    const char *like;        /* an old disk: owner and mode are taken over;
                              * NULL: root's alone */
};
struct driver_merge {
    const char *uuid, *target; /* live only */
    struct qimg_file base;     /* stays, with the content of top */
    struct qimg_file top;
    uint64_t base_size, top_size;
    const struct imglock *locks; /* stopped only: held on base and top */
    const volatile bool *cancel; /* may be NULL */
    /* live only, may be NULL: see struct virt_commit */
    int (*before_pivot)(void *arg, struct err *err);
    void *arg;
};

struct driver_ops {
    const char *name;
    /* All disks of a running domain at one instant; `request`: what
     * virt_overlay_request() made. */
    int (*cut)(struct driver *d, const char *uuid, const char *request,
               struct err *err);
    /* An empty layer on a sealed one, or an empty disk of its own; the file is
     * replaced if it is there. */
    int (*create)(struct driver *d, const struct driver_create *c,
                  struct err *err);
    int (*merge_live)(struct driver *d, const struct driver_merge *m,
                      struct err *err);
    /* The image locks of base and top are the caller's, in m->locks. */
    int (*merge)(struct driver *d, const struct driver_merge *m,
                 struct err *err);
    /* The image lock of path is the caller's, in `locks`. */
    int (*rebase)(struct driver *d, const char *path,
                  const struct qimg_file *parent, const struct imglock *locks,
                  struct err *err);
    /* A full copy that needs nothing else; `like` as in create. */
    int (*clone)(struct driver *d, const struct qimg_file *from, const char *to,
                 const char *like, struct err *err);
    /* All of them, and durably. One that is not there is success. */
    int (*remove)(struct driver *d, const char *const *paths, size_t n,
                  struct err *err);
    int (*rename)(struct driver *d, const char *from, const char *to,
                  struct err *err);
    /* Copies that share blocks (volume/reflink.h); all NULL: it cannot. */
    int (*copy_probe)(struct driver *d, const char *path, uint64_t *ret_us,
                      struct err *err);
    int (*copy_create)(struct driver *d, const char *from, const char *to,
                       struct err *err);
    int (*copy)(struct driver *d, const char *from, const char *to,
                struct err *err);
    void (*free)(struct driver *d);
};

/* Embedded first in a driver's own struct. */
struct driver {
    const struct driver_ops *ops;
};

void driver_free(struct driver *d);
DEFINE_CLEANUP(driver_free, struct driver *)

int driver_cut(struct driver *d, const char *uuid, const char *request,
               struct err *err) NODISCARD;
int driver_create(struct driver *d, const struct driver_create *c,
                  struct err *err) NODISCARD;
int driver_merge_live(struct driver *d, const struct driver_merge *m,
                      struct err *err) NODISCARD;
int driver_merge(struct driver *d, const struct driver_merge *m,
                 struct err *err) NODISCARD;
int driver_rebase(struct driver *d, const char *path,
                  const struct qimg_file *parent, const struct imglock *locks,
                  struct err *err) NODISCARD;
int driver_clone(struct driver *d, const struct qimg_file *from, const char *to,
                 const char *like, struct err *err) NODISCARD;
int driver_remove(struct driver *d, const char *path, struct err *err)
    NODISCARD;
int driver_remove_all(struct driver *d, const char *const *paths, size_t n,
                      struct err *err) NODISCARD;
int driver_rename(struct driver *d, const char *from, const char *to,
                  struct err *err) NODISCARD;

/* errors  UNSUPPORTED: not this driver, or not this file system */
int driver_copy_probe(struct driver *d, const char *path, uint64_t *ret_us,
                      struct err *err) NODISCARD;
int driver_copy_create(struct driver *d, const char *from, const char *to,
                       struct err *err) NODISCARD;
int driver_copy(struct driver *d, const char *from, const char *to,
                struct err *err) NODISCARD;
