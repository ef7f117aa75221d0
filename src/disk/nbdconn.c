/* SPDX-License-Identifier: Apache-2.0 */
/* libnbd's calls that wait have no time limit, so only those that do not wait
 * are used, with poll(2) here. A request carries its own state; libnbd calls
 * back into it from within nbd_aio_notify_*(), in our thread.
 *
 * The clock of a stall runs only while we wait: a caller that lets answers lie
 * because its sink is slow is no fault of the server.
 */
#include "disk/nbdconn.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
    CONNS_MAX = 16,
    EXTENTS_MAX = 131072, /* QEMU's answers are not longer */
};

#define STATUS_MAX ((uint64_t)0xffff0000) /* of one request: 32 bits */
#define ZERO_MAX   ((uint64_t)1 << 30)

struct nbdconn {
    struct nbd_handle *nbd;
    char *what;
    uint64_t size, stall_ms;
    uint64_t waited_ms; /* since the last answer */
    uint64_t n_answers;
    unsigned n_open; /* requests under way */
    bool has_context;
    bool is_lost;
};

static enum err_code
code_of_nbd(void)
{
    int errnum = nbd_get_errno();

    if (errnum == ENOTCONN || errnum == ESHUTDOWN || errnum == EPIPE ||
        errnum == ECONNRESET || errnum == ECONNREFUSED || errnum == 0)
        return ERR_UNAVAILABLE;
    return err_code_of_errno(errnum);
}

#define fail_nbd(err, c, doing)                                                \
    err_set(err, code_of_nbd(), "%s: NBD: %s: %s", (c)->what, doing,           \
            nbd_get_error() != NULL ? nbd_get_error() : "it failed")

/* One round of poll(2) over the connections. */
static int
poll_once(struct nbdconn *const *conns, size_t n, int ms, struct err *err)
{
    struct pollfd p[CONNS_MAX];
    unsigned dir[CONNS_MAX];

    for (size_t i = 0; i < n; i++) {
        dir[i] = nbd_aio_get_direction(conns[i]->nbd);
        p[i] = (struct pollfd){ .fd = nbd_aio_get_fd(conns[i]->nbd) };
        if (dir[i] & LIBNBD_AIO_DIRECTION_READ)
            p[i].events |= POLLIN;
        if (dir[i] & LIBNBD_AIO_DIRECTION_WRITE)
            p[i].events |= POLLOUT;
    }
    if (poll(p, n, ms) < 0 && errno != EINTR)
        return err_sys(err, errno, "poll");
    for (size_t i = 0; i < n; i++) {
        struct nbd_handle *h = conns[i]->nbd;
        int rc = 0;

        if (p[i].revents & (POLLIN | POLLHUP | POLLERR) &&
            dir[i] & LIBNBD_AIO_DIRECTION_READ)
            rc = nbd_aio_notify_read(h);
        else if (p[i].revents & (POLLOUT | POLLHUP | POLLERR) &&
                 dir[i] & LIBNBD_AIO_DIRECTION_WRITE)
            rc = nbd_aio_notify_write(h);
        else if (p[i].revents & POLLNVAL)
            return err_set(err, ERR_INTERNAL, "%s: NBD: socket",
                           conns[i]->what);
        if (nbd_aio_is_dead(h) > 0 || nbd_aio_is_closed(h) > 0)
            conns[i]->is_lost = true;
        if (rc < 0)
            return fail_nbd(err, conns[i], "receive");
        if (conns[i]->is_lost)
            return err_set(err, ERR_UNAVAILABLE, "%s: the NBD server went away",
                           conns[i]->what);
    }
    return 0;
}

int
nbdconn_wait(struct nbdconn *const *conns, size_t n, uint64_t ms,
             struct err *err)
{
    uint64_t begin = clock_mono_ms(), took;
    uint64_t answers[CONNS_MAX];

    for (size_t i = 0; i < n; i++)
        answers[i] = conns[i]->n_answers;
    if (poll_once(conns, n, (int)ms, err) < 0)
        return -1;
    took = clock_mono_ms() - begin;
    for (size_t i = 0; i < n; i++) {
        struct nbdconn *c = conns[i];

        c->waited_ms = c->n_answers != answers[i] || c->n_open == 0
                           ? 0
                           : c->waited_ms + took;
        if (c->waited_ms >= c->stall_ms)
            return err_set(err, ERR_TIMEOUT,
                           "%s: the NBD server has not answered for %llu ms",
                           c->what, (unsigned long long)c->stall_ms);
    }
    return 0;
}

/* ---- open ---------------------------------------------------------------- */

static int
negotiate(struct nbdconn *c, int fd, const struct nbdconn_options *o,
          struct err *err)
{
    uint64_t deadline_ms = clock_mono_ms() + c->stall_ms;
    int64_t size;

    if (nbd_set_pread_initialize(c->nbd, false) < 0 ||
        (o->name != NULL && nbd_set_export_name(c->nbd, o->name) < 0) ||
        (o->context != NULL && nbd_add_meta_context(c->nbd, o->context) < 0)) {
        close(fd);
        return fail_nbd(err, c, "prepare");
    }
    /* libnbd closes the socket, also when this fails. */
    if (nbd_aio_connect_socket(c->nbd, fd) < 0)
        return fail_nbd(err, c, "connect");
    while (nbd_aio_is_ready(c->nbd) == 0) {
        if (nbd_aio_is_dead(c->nbd) > 0 || nbd_aio_is_closed(c->nbd) > 0)
            return fail_nbd(err, c, "connect");
        if (clock_mono_ms() >= deadline_ms)
            return err_set(err, ERR_TIMEOUT,
                           "%s: the NBD server has not answered for %llu ms",
                           c->what, (unsigned long long)c->stall_ms);
        if (poll_once(&c, 1, 20, err) < 0)
            return -1;
    }
    size = nbd_get_size(c->nbd);
    if (size < 0)
        return fail_nbd(err, c, "size");
    c->size = (uint64_t)size;
    c->has_context =
        o->context != NULL && nbd_can_meta_context(c->nbd, o->context) > 0;
    return 0;
}

int
nbdconn_open(int fd, const struct nbdconn_options *o, struct nbdconn **ret_conn,
             struct err *err)
{
    CLEANUP(nbdconn_close) struct nbdconn *c = xcalloc(1, sizeof *c);

    c->what = xstrdup(o->what);
    c->stall_ms = o->stall_ms;
    c->nbd = nbd_create();
    if (c->nbd == NULL) {
        close(fd);
        return err_set(err, ERR_NO_MEMORY, "%s: NBD: %s", c->what,
                       nbd_get_error());
    }
    if (negotiate(c, fd, o, err) < 0)
        return -1;
    *ret_conn = TAKE(c);
    return 0;
}

/* NBD_CMD_DISC, so that the server sees an end and no loss. It has no answer:
 * what does not go out at once does not matter. */
static void
say_farewell(struct nbdconn *c)
{
    struct err ignored = { .code = ERR_NONE };

    if (nbd_aio_is_ready(c->nbd) <= 0 || nbd_aio_disconnect(c->nbd, 0) < 0)
        return;
    for (int i = 0; i < 50 && nbd_aio_is_closed(c->nbd) == 0; i++)
        if (poll_once(&c, 1, 20, &ignored) < 0)
            return;
}

void
nbdconn_close(struct nbdconn *c)
{
    if (c == NULL)
        return;
    if (c->nbd != NULL && c->n_open == 0)
        say_farewell(c);
    nbd_close(c->nbd);
    free(c->what);
    free(c);
}

uint64_t
nbdconn_size(const struct nbdconn *c)
{
    return c->size;
}

bool
nbdconn_is_lost(const struct nbdconn *c)
{
    return c->is_lost || (c->nbd != NULL && (nbd_aio_is_dead(c->nbd) > 0 ||
                                             nbd_aio_is_closed(c->nbd) > 0));
}

bool
nbdconn_has_context(const struct nbdconn *c)
{
    return c->has_context;
}

/* ---- requests ------------------------------------------------------------ */

static int
on_done(void *arg, int *error)
{
    struct nbdconn_request *r = arg;

    r->is_done = true;
    r->error = *error;
    if (r->error == 0 && r->expect != r->end)
        r->error = EPROTO;
    r->conn->n_open--;
    r->conn->n_answers++;
    return 1; /* libnbd forgets it */
}

#define DONE_CALLBACK(r)                                                       \
    (nbd_completion_callback)                                                  \
    {                                                                          \
        .callback = on_done, .user_data = (r)                                  \
    }

static void
request_init(struct nbdconn *c, struct nbdconn_request *r)
{
    *r = (struct nbdconn_request){ .conn = c };
    if (c->n_open == 0)
        c->waited_ms = 0;
    c->n_open++; /* first: it may be answered within the call */
}

static int
request_begun(struct nbdconn *c, int64_t cookie, const char *doing,
              struct err *err)
{
    if (cookie >= 0)
        return 0;
    c->n_open--;
    /* Lost while nobody waited: libnbd then calls it a wrong state. */
    if (nbdconn_is_lost(c))
        return err_set(err, ERR_UNAVAILABLE, "%s: the NBD server went away",
                       c->what);
    return fail_nbd(err, c, doing);
}

/* A piece of an answer. libnbd sees to it that it lies within the buffer, but
 * not (1.14) that the pieces are the whole: a short answer would be a success
 * with old bytes in the buffer. QEMU sends them in order. */
static int
on_piece(void *arg, const void *data, size_t count, uint64_t off,
         unsigned status, int *error)
{
    struct nbdconn_request *r = arg;

    if (status == LIBNBD_READ_ERROR)
        return 0; /* libnbd fails the request */
    if (off != r->expect || count > r->end - r->expect) {
        *error = EPROTO;
        return -1;
    }
    r->expect += count;
    return 0;
}

int
nbdconn_pread(struct nbdconn *c, struct nbdconn_request *r, uint64_t off,
              void *data, size_t len, struct err *err)
{
    const nbd_chunk_callback piece = { .callback = on_piece, .user_data = r };

    request_init(c, r);
    r->expect = off;
    r->end = off + len;
    return request_begun(c,
                         nbd_aio_pread_structured(c->nbd, data, len, off, piece,
                                                  DONE_CALLBACK(r), 0),
                         "read", err);
}

/* Wait for this one. A request that is given up stays in libnbd's hands with
 * a pointer to the caller's stack: so the connection is ended with it. */
static int
finish(struct nbdconn *c, const struct nbdconn_request *r, const char *doing,
       uint64_t off, struct err *err)
{
    while (!r->is_done)
        if (nbdconn_wait(&c, 1, 1000, err) < 0) {
            c->is_lost = nbdconn_is_lost(c);
            nbd_close(c->nbd);
            c->nbd = NULL;
            return -1;
        }
    if (r->error != 0)
        return err_sys(err, r->error, "%s: NBD: %s at %llu", c->what, doing,
                       (unsigned long long)off);
    return 0;
}

static int
check_alive(const struct nbdconn *c, struct err *err)
{
    if (c->nbd == NULL)
        return err_set(err, ERR_UNAVAILABLE,
                       "%s: the NBD connection ended before", c->what);
    return 0;
}

int
nbdconn_read(struct nbdconn *c, uint64_t off, void *data, size_t len,
             struct err *err)
{
    if (check_alive(c, err) < 0)
        return -1;
    for (size_t at = 0; at < len;) {
        size_t n =
            len - at < NBDCONN_REQUEST_MAX ? len - at : NBDCONN_REQUEST_MAX;
        struct nbdconn_request r;

        if (nbdconn_pread(c, &r, off + at, (uint8_t *)data + at, n, err) < 0 ||
            finish(c, &r, "read", off + at, err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

int
nbdconn_write(struct nbdconn *c, uint64_t off, const void *data, size_t len,
              struct err *err)
{
    if (check_alive(c, err) < 0)
        return -1;
    for (size_t at = 0; at < len;) {
        size_t n =
            len - at < NBDCONN_REQUEST_MAX ? len - at : NBDCONN_REQUEST_MAX;
        struct nbdconn_request r;

        request_init(c, &r);
        if (request_begun(c,
                          nbd_aio_pwrite(c->nbd, (const uint8_t *)data + at, n,
                                         off + at, DONE_CALLBACK(&r), 0),
                          "write", err) < 0 ||
            finish(c, &r, "write", off + at, err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

int
nbdconn_zero(struct nbdconn *c, uint64_t off, uint64_t len, struct err *err)
{
    if (check_alive(c, err) < 0)
        return -1;
    for (uint64_t at = 0; at < len;) {
        uint64_t n = len - at < ZERO_MAX ? len - at : ZERO_MAX;
        struct nbdconn_request r;

        request_init(c, &r);
        if (request_begun(
                c, nbd_aio_zero(c->nbd, n, off + at, DONE_CALLBACK(&r), 0),
                "zero", err) < 0 ||
            finish(c, &r, "zero", off + at, err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

int
nbdconn_flush(struct nbdconn *c, struct err *err)
{
    struct nbdconn_request r;

    if (check_alive(c, err) < 0)
        return -1;
    request_init(c, &r);
    if (request_begun(c, nbd_aio_flush(c->nbd, DONE_CALLBACK(&r), 0), "flush",
                      err) < 0)
        return -1;
    return finish(c, &r, "flush", 0, err);
}

/* ---- block status -------------------------------------------------------- */

struct status {
    uint64_t len, sum;
    struct nbdconn_extent *v;
    size_t n, cap;
};

/* Takes what lies within the question; pairs of length and flags. */
static int
on_extents(void *arg, const char *context, uint64_t off, uint32_t *entries,
           size_t n_entries, int *error)
{
    struct status *s = arg;

    for (size_t i = 0; i + 1 < n_entries && s->sum < s->len; i += 2) {
        uint64_t len = entries[i];

        if (len == 0 || s->n == EXTENTS_MAX)
            break;
        if (len > s->len - s->sum)
            len = s->len - s->sum;
        if (s->n == s->cap) {
            s->cap = s->cap == 0 ? 64 : s->cap * 2;
            s->v = xrealloc(s->v, s->cap, sizeof *s->v);
        }
        s->v[s->n++] = (struct nbdconn_extent){ len, entries[i + 1] };
        s->sum += len;
    }
    return 0;
}

int
nbdconn_status(struct nbdconn *c, uint64_t off, uint64_t len,
               struct nbdconn_extent **ret_extents, size_t *ret_n,
               struct err *err)
{
    struct status s = { .len = len < STATUS_MAX ? len : STATUS_MAX };
    struct nbdconn_request r;
    int rc;

    if (check_alive(c, err) < 0)
        return -1;
    request_init(c, &r);
    rc = request_begun(
        c,
        nbd_aio_block_status(
            c->nbd, s.len, off,
            (nbd_extent_callback){ .callback = on_extents, .user_data = &s },
            DONE_CALLBACK(&r), 0),
        "block status", err);
    if (rc == 0)
        rc = finish(c, &r, "block status", off, err);
    if (rc == 0 && s.sum == 0)
        rc = err_set(err, ERR_CORRUPT,
                     "%s: NBD: the server does not say what is at %llu",
                     c->what, (unsigned long long)off);
    if (rc < 0) {
        free(s.v);
        return -1;
    }
    *ret_extents = s.v;
    *ret_n = s.n;
    return 0;
}
