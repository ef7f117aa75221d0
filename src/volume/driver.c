/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/driver.h"

#include <assert.h>
#include <string.h>

#include "volume/layer.h"

/* The front: what every driver may rely on is checked here, once. */

void
driver_free(struct driver *d)
{
    if (d != NULL)
        d->ops->free(d);
}

/* Paths come from libvirt or the layer table: they are hostile only in what
 * letters they have, but a relative one would be a bug of ours. */
static int
check_path(const char *path, struct err *err)
{
    assert(path != NULL);
    if (path[0] != '/' || strlen(path) > LAYER_PATH_MAX)
        return err_set(err, ERR_UNSUPPORTED,
                       "%.200s: not an absolute path of at most %d bytes", path,
                       LAYER_PATH_MAX);
    return 0;
}

static int
check_file(const struct qimg_file *f, struct err *err)
{
    assert(f->format != NULL);
    if (strcmp(f->format, "qcow2") != 0 && strcmp(f->format, "raw") != 0)
        return err_set(err, ERR_UNSUPPORTED, "%.200s: format %s", f->path,
                       f->format);
    return check_path(f->path, err);
}

int
driver_cut(struct driver *d, const char *uuid, const char *request,
           struct err *err)
{
    assert(request != NULL);
    return d->ops->cut(d, uuid, request, err);
}

int
driver_create(struct driver *d, const struct driver_create *c, struct err *err)
{
    struct qimg_file parent = c->parent;

    if (parent.path == NULL)
        parent.path = c->path;
    if (check_path(c->path, err) < 0 || check_file(&parent, err) < 0)
        return -1;
    return d->ops->create(d, c, err);
}

static int
check_merge(const struct driver_merge *m, struct err *err)
{
    if (check_file(&m->base, err) < 0 || check_file(&m->top, err) < 0)
        return -1;
    if (strcmp(m->top.format, "qcow2") != 0)
        return err_set(err, ERR_INTERNAL, "%s: a raw file is on no other one",
                       m->top.path);
    return 0;
}

int
driver_merge_live(struct driver *d, const struct driver_merge *m,
                  struct err *err)
{
    if (check_merge(m, err) < 0)
        return -1;
    if (m->top_size < m->base_size)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: smaller than its base; not while it runs",
                       m->top.path);
    return d->ops->merge_live(d, m, err);
}

int
driver_merge(struct driver *d, const struct driver_merge *m, struct err *err)
{
    if (check_merge(m, err) < 0)
        return -1;
    return d->ops->merge(d, m, err);
}

int
driver_rebase(struct driver *d, const char *path,
              const struct qimg_file *parent, const struct imglock *locks,
              struct err *err)
{
    if (check_path(path, err) < 0 || check_file(parent, err) < 0)
        return -1;
    return d->ops->rebase(d, path, parent, locks, err);
}

int
driver_clone(struct driver *d, const struct qimg_file *from, const char *to,
             const char *like, struct err *err)
{
    if (check_path(to, err) < 0 || check_file(from, err) < 0)
        return -1;
    return d->ops->clone(d, from, to, like, err);
}

int
driver_remove(struct driver *d, const char *path, struct err *err)
{
    return driver_remove_all(d, &path, 1, err);
}

int
driver_remove_all(struct driver *d, const char *const *paths, size_t n,
                  struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (check_path(paths[i], err) < 0)
            return -1;
    return d->ops->remove(d, paths, n, err);
}

int
driver_rename(struct driver *d, const char *from, const char *to,
              struct err *err)
{
    if (check_path(from, err) < 0 || check_path(to, err) < 0)
        return -1;
    return d->ops->rename(d, from, to, err);
}

int
driver_copy_probe(struct driver *d, const char *path, uint64_t *ret_us,
                  struct err *err)
{
    if (d->ops->copy_probe == NULL)
        return err_set(err, ERR_UNSUPPORTED, "driver %s makes no copies",
                       d->ops->name);
    if (check_path(path, err) < 0)
        return -1;
    return d->ops->copy_probe(d, path, ret_us, err);
}

int
driver_copy_create(struct driver *d, const char *from, const char *to,
                   struct err *err)
{
    assert(d->ops->copy_create != NULL);
    if (check_path(from, err) < 0 || check_path(to, err) < 0)
        return -1;
    return d->ops->copy_create(d, from, to, err);
}

int
driver_copy(struct driver *d, const char *from, const char *to, struct err *err)
{
    assert(d->ops->copy != NULL);
    if (check_path(from, err) < 0 || check_path(to, err) < 0)
        return -1;
    return d->ops->copy(d, from, to, err);
}
