/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/source.h"

#include <string.h>

#include "base/mem.h"
#include "disk/source-priv.h"

#define STALL_MS      ((uint64_t)60 * 1000)
#define SECTOR        ((uint64_t)512)
#define STATE_ZERO    2u /* base:allocation: reads as zeros */
#define CONTEXT_ALLOC "base:allocation"
#define CONTEXT_DIRTY "qemu:dirty-bitmap:"

/* ---- open and close ------------------------------------------------------ */

static int
connect_all(struct disk_source *s, const struct disk_source_options *o,
            const char *context, unsigned n, struct err *err)
{
    const struct nbdconn_options co = {
        .context = context,
        .what = o->top.path,
        .stall_ms = o->stall_ms != 0 ? o->stall_ms : STALL_MS,
    };

    while (s->n_conns < n) {
        int fd;

        if (nbdserver_connect(s->server, &fd, err) < 0)
            return -1;
        if (nbdconn_open(fd, &co, &s->conns[s->n_conns], err) < 0) {
            nbdserver_explain(s->server, err);
            return -1;
        }
        s->n_conns++;
    }
    return 0;
}

/* The server must serve what was looked at: the same size, as QEMU rounds
 * it, and the same files. */
static int
check_served(struct disk_source *s, struct err *err)
{
    uint64_t up = (s->chain->size + SECTOR - 1) / SECTOR * SECTOR;
    uint64_t down = s->chain->size / SECTOR * SECTOR;

    s->size = nbdconn_size(s->conns[0]);
    for (size_t i = 1; i < s->n_conns; i++)
        if (nbdconn_size(s->conns[i]) != s->size)
            return err_set(err, ERR_CORRUPT,
                           "%s: the NBD server says two sizes",
                           s->chain->files[0].path);
    if (s->size != up && s->size != down)
        return err_set(err, ERR_CONFLICT,
                       "%s: %llu bytes, but served are %llu: it has changed",
                       s->chain->files[0].path,
                       (unsigned long long)s->chain->size,
                       (unsigned long long)s->size);
    return chain_check(s->chain, err);
}

int
disk_source_open_bitmap(const struct disk_source_options *o, const char *bitmap,
                        struct disk_source **ret_source, struct err *err)
{
    CLEANUP(disk_source_close) struct disk_source *s = xcalloc(1, sizeof *s);
    CLEANUP(mem_free)
    char *context = bitmap == NULL ? xstrdup(CONTEXT_ALLOC)
                                   : xasprintf(CONTEXT_DIRTY "%s", bitmap);
    unsigned n = o->connections == 0 ? 1 : o->connections;

    if (n > NBDSERVER_CONNECTIONS_MAX)
        n = NBDSERVER_CONNECTIONS_MAX;
    if (chain_open(&o->top, &s->chain, err) < 0)
        return -1;
    s->what = xstrdup(s->chain->files[0].path);
    const struct nbdserver_options so = {
        .dir = o->dir,
        .image = &o->top,
        .program = o->program,
        .bitmap = bitmap,
        .connections = n,
    };

    if (nbdserver_start(&so, &s->server, err) < 0 ||
        connect_all(s, o, context, n, err) < 0 || check_served(s, err) < 0)
        return -1;
    if (!nbdconn_has_context(s->conns[0]))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the NBD server does not offer %s", o->top.path,
                       context);
    *ret_source = TAKE(s);
    return 0;
}

int
disk_source_open(const struct disk_source_options *o,
                 struct disk_source **ret_source, struct err *err)
{
    return disk_source_open_bitmap(o, NULL, ret_source, err);
}

int
disk_source_open_export(int dirfd, const char *socket, const char *name,
                        struct disk_source **ret_source, struct err *err)
{
    CLEANUP(disk_source_close) struct disk_source *s = xcalloc(1, sizeof *s);
    const struct nbdconn_options co = { .context = CONTEXT_ALLOC,
                                        .name = name,
                                        .what = name,
                                        .stall_ms = STALL_MS };
    int fd, errnum;

    s->what = xstrdup(name);
    if (nbdserver_connect_at(dirfd, socket, &fd, &errnum) < 0)
        return err_set(err, ERR_UNAVAILABLE, "%s: connect to its QEMU: %s",
                       name, strerror(errnum));
    if (nbdconn_open(fd, &co, &s->conns[0], err) < 0)
        return -1;
    s->n_conns = 1;
    s->size = nbdconn_size(s->conns[0]);
    if (!nbdconn_has_context(s->conns[0]))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the NBD server does not offer " CONTEXT_ALLOC,
                       name);
    *ret_source = TAKE(s);
    return 0;
}

static void
close_conns(struct disk_source *s)
{
    while (s->n_conns > 0)
        nbdconn_close(s->conns[--s->n_conns]);
}

void
disk_source_close(struct disk_source *s)
{
    if (s == NULL)
        return;
    close_conns(s);
    nbdserver_free(s->server);
    chain_free(s->chain);
    free(s->what);
    free(s);
}

uint64_t
disk_source_size(const struct disk_source *s)
{
    return s->size;
}

/* ---- calls --------------------------------------------------------------- */

int
disk_source_fail(struct disk_source *s, struct err *err)
{
    s->is_broken = true;
    /* Before the connections are closed: then it ends in any case. */
    for (size_t i = 0; i < s->n_conns; i++)
        if (s->server != NULL && nbdconn_is_lost(s->conns[i])) {
            nbdserver_explain(s->server, err);
            break;
        }
    close_conns(s);
    return -1;
}

static int
check_usable(const struct disk_source *s, uint64_t off, uint64_t len,
             struct err *err)
{
    if (s->is_broken)
        return err_set(err, ERR_UNAVAILABLE, "%s: reading it has failed before",
                       s->what);
    if (off > s->size || len > s->size - off)
        return err_set(err, ERR_INVALID, "%s: %llu bytes at %llu of %llu",
                       s->what, (unsigned long long)len,
                       (unsigned long long)off, (unsigned long long)s->size);
    return 0;
}

int
disk_source_query(struct disk_source *s, const struct source_query *q,
                  struct ranges *add_to, struct err *err)
{
    uint64_t at = q->from;

    while (at < q->to) {
        struct nbdconn_extent *v = NULL;
        size_t n = 0;

        if (nbdconn_status(s->conns[0], at, q->to - at, &v, &n, err) < 0)
            return -1;
        for (size_t i = 0; i < n; i++) {
            if ((v[i].flags & q->mask) == q->value)
                ranges_add(add_to, at, v[i].len);
            at += v[i].len;
        }
        free(v);
    }
    return 0;
}

int
disk_source_allocated(struct disk_source *s, struct ranges *add_to,
                      struct err *err)
{
    const struct source_query q = { 0, s->size, STATE_ZERO, 0 };

    if (check_usable(s, 0, 0, err) < 0)
        return -1;
    if (disk_source_query(s, &q, add_to, err) < 0)
        return disk_source_fail(s, err);
    return 0;
}

int
disk_source_read(struct disk_source *s, uint64_t off, void *data, size_t len,
                 struct err *err)
{
    if (check_usable(s, off, len, err) < 0)
        return -1;
    if (nbdconn_read(s->conns[0], off, data, len, err) < 0)
        return disk_source_fail(s, err);
    return 0;
}
